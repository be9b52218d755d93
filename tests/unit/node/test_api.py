"""Whom a node says can join it."""

from __future__ import annotations

from typing import Any

import pytest

from swarmharness.errors import ConfigurationError, SwarmError, UnavailableError
from swarmharness.network.own_addresses import Hosts
from swarmharness.node.api import InviteTerms, NodeApi
from swarmharness.registry.invite import parse_invite
from swarmharness.routing.load_messages import METHOD_PROBE
from swarmharness.simulation.memory_swarm import memory_swarm

HOME = Hosts(frozenset({"192.0.2.7"}), frozenset({"192.0.2.7", "127.0.0.1"}))
NOWHERE = Hosts(frozenset(), frozenset({"127.0.0.1"}))
EVERY, LOOPBACK, OWN = "/ip4/0.0.0.0/tcp/4001", "/ip4/127.0.0.1/tcp/4001", "/ip4/192.0.2.7/tcp/4001"


async def invite(listening: list[str], hosts: Hosts) -> dict[str, Any] | SwarmError:
    """Return what a node that is bound to these answers."""
    async with memory_swarm(1) as (node,):
        transport: Any = node.parts.ports.transport
        transport._own.update(listening, hosts)
        api = NodeApi(node.parts, InviteTerms(None, 0), stop=lambda: None)
        try:
            return dict(await api.call("node.invite", {}))
        except SwarmError as error:
            return error


@pytest.mark.parametrize(
    ("listening", "hosts", "named", "reach"),
    [
        (EVERY, HOME, OWN, "network"),
        (EVERY, NOWHERE, LOOPBACK, "no-network"),
        (LOOPBACK, HOME, LOOPBACK, "loopback"),
        (OWN, HOME, OWN, "network"),
    ],
)
async def test_an_invite_names_where_the_node_is_now(listening: str, hosts: Hosts, named: str, reach: str) -> None:
    answer = await invite([listening], hosts)
    assert isinstance(answer, dict)
    assert (answer["addresses"], answer["listening"], answer["reach"]) == ([named], [listening], reach)
    assert parse_invite(answer["invite"]).addresses == (named,)


async def test_a_node_whose_address_the_machine_lost_advises_what_would_follow_it() -> None:
    answer = await invite([OWN], NOWHERE)
    assert isinstance(answer, UnavailableError)
    assert f"listens on {OWN}" in str(answer)
    assert f"--listen {EVERY}" in str(answer)


async def test_a_node_that_does_not_listen_has_no_invite() -> None:
    answer = await invite([], HOME)
    assert isinstance(answer, ConfigurationError)


async def test_the_status_names_whoever_attacks_and_counts_all_that_was_refused() -> None:
    async with memory_swarm(2) as (node, other):
        mine, theirs = node.parts.ports.transport, other.parts.ports.transport
        api = NodeApi(node.parts, InviteTerms(None, 0), stop=lambda: None)
        assert (await api.call("node.status", {}))["attacks"] == []
        for _ in range(30):
            with pytest.raises(SwarmError):
                await theirs.call(mine.peer_id, METHOD_PROBE, b"\xc1", timeout_s=5)
        status = await api.call("node.status", {})
        (attack,) = status["attacks"]
        assert attack.pop("since_unix_s") <= node.parts.ports.clock.unix_us() // 1_000_000
        assert attack == {"from": theirs.peer_id, "reason": "malformed", "count": 30, "action": "refused"}
        assert status["refused_messages"]["malformed"] == 30
