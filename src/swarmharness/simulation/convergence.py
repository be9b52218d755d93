"""What nodes agree upon once they have been left in peace: who serves what, and what was paid; it changes nothing.

They need a time of peace, which the scenario states: without any fault, and the nodes running all along.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from swarmharness.identity import PeerId
from swarmharness.registry.advert import CLOCK_SKEW_S_MAX
from swarmharness.registry.directory import EVICT_AFTER_REFRESHES, USED_FOR_REFRESHES
from swarmharness.simulation.audits import Problem

if TYPE_CHECKING:
    from swarmharness.simulation.node import SimulatedNode
    from swarmharness.simulation.swarm import Swarm


ASKED_OFTEN = 8
"""Who asked for a skill so often has searched for it as often; whoever asks twice an hour searches twice an hour."""


CLOCKS_DIFFER_US_MAX = (CLOCK_SKEW_S_MAX - 30) * 1_000_000


def settled(swarm: Swarm, node: SimulatedNode, peace_us: int) -> bool:
    """Tell whether an honest node has had so long a peace."""
    since_us = max(node.up_since_us, swarm.checks.quiet_since_us)
    return node.honest and node.parts is not None and not swarm.checks.faults and swarm.now_us() - since_us > peace_us


def _clocks_agree(node: SimulatedNode, other: SimulatedNode) -> bool:
    """Tell whether two running nodes believe each other's adverts, well inside of the limit: clocks may drift on."""
    assert node.clock is not None
    assert other.clock is not None
    return abs(node.clock.unix_us() - other.clock.unix_us()) <= CLOCKS_DIFFER_US_MAX


def knows_who_serves(swarm: Swarm, node: SimulatedNode) -> Iterator[Problem]:
    """R-3: a settled node knows all settled nodes that serve what it uses often, or enough, or as many as it may.

    Those whose clocks differ by minutes refuse each other's adverts, and say so. It seeks others when it uses the skill
    and lacks some, and whoever leaves counts as known for a few refresh periods more. So a node is looked at that used
    the skill within these, and has ended its search.
    """
    peace_us = swarm.scenario.expect.converges_s * 1_000_000
    if not settled(swarm, node, peace_us):
        return
    assert node.parts is not None
    assert node.clock is not None
    directory, look_ups = node.parts.registry._directory, node.parts.registry._look_ups
    used_after_us = (USED_FOR_REFRESHES - EVICT_AFTER_REFRESHES) * directory.settings.refresh_us
    for skill in swarm.scenario.skills:
        lately = directory.in_use(skill, node.clock.monotonic_us() + used_after_us)
        if node.asked[skill] >= ASKED_OFTEN and lately and not look_ups.searching(skill):
            serving = [other for other in swarm.nodes if skill in other.group.serves and other is not node]
            there = sum(
                settled(swarm, other, peace_us) and not other.group.serves_until_s and _clocks_agree(node, other)
                for other in serving
            )
            known = sum(entry.confirmed for entry in directory.holders(skill))
            if known < min(there, directory.settings.enough, directory.settings.peers_per_skill_max):
                yield "R-3", f"it knows {known} nodes that serve {skill}, and {there} have been there for long"


def counts_what_was_paid(swarm: Swarm, node: SimulatedNode) -> Iterator[Problem]:
    """S-4: what one settled party of a receipt counts for long, the other counts too, if its clock lets it count."""
    peace_us = swarm.scenario.expect.agrees_s * 1_000_000
    if not settled(swarm, node, peace_us):
        return
    assert node.parts is not None
    before_us = swarm.now_us() - peace_us
    lacking: dict[int, int] = {}
    for claim in node.parts.credit.books.ledger.claims():
        if node.peer_id not in (claim.requester, claim.worker):
            continue
        other = swarm.by_peer[PeerId(claim.requester if claim.worker == node.peer_id else claim.worker)]
        if swarm.checks.counted_us(claim.digest) < before_us and settled(swarm, other, peace_us):
            assert other.parts is not None
            ledger = other.parts.credit.books.ledger
            melted = ledger.epoch - claim.epoch >= ledger.horizon_epochs
            if claim.digest not in ledger and not melted:
                lacking[other.index] = lacking.get(other.index, 0) + 1
    for index, count in lacking.items():
        yield "S-4", f"node {index} does not count {count} receipts that the two have had for long"
