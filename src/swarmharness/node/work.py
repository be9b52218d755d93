"""Says of each skill of a node what work it gets from others, or why it gets none; it changes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from swarmharness.node.parts import NodeParts
from swarmharness.registry.clocks import summary
from swarmharness.routing.demand import Circumstances

_LOOPBACK = ("/ip4/127.", "/ip6/::1/")


def work_of(parts: NodeParts, limits: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return `Demand.account` of each skill that is offered; `limits` is why the owner's keep others from it."""
    ports, clocks = parts.ports, parts.registry.reasons.clocks
    connected = len(ports.transport.connected())
    # A few clocks that differ keep no work away; it is different where most nodes do not take this one's advert.
    clock = summary(clocks.sentences()) if 2 * len(clocks.wrong) > clocks.compared else ""
    addresses = ports.transport.addresses
    around = Circumstances(
        tuple(limits), connected, clock, bool(addresses) and all(one.startswith(_LOOPBACK) for one in addresses)
    )
    now_us = ports.clock.monotonic_us()
    return {skill.name: parts.demand.account(skill.name, now_us, around) for skill in ports.executor.skills()}
