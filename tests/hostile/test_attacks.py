"""Every attack for a moment, from one identity, against one node: it lives, stays small, and serves the honest.

`scripts/bench hostile` has them at full size, with figures.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import trio

from swarmharness.identity import Identity, PeerId
from swarmharness.network.libp2p_transport import Libp2pTransport
from swarmharness.network.ports import PeerAddress
from swarmharness.network.settings import NetworkSettings
from swarmharness.node.process import NodeGroup, NodeLaunch, NodeProcess
from swarmharness.registry.messages import METHOD_ADVERT
from tests.hostile.attack import Attack, strike
from tests.hostile.attacks import ATTACKS
from tests.hostile.raw_channel import VERSION_1, RawChannel
from tests.hostile.raw_peer import RawPeer, address_of

pytestmark = [pytest.mark.processes]
SECONDS, ROUNDS = 0.6, 2
RSS_GROWTH_MIB_MAX = 150
UNMENDED: set[str] = set()
PSK_HEX = "5a" * 32
CONFIG = """version = 1

[network]
listen = ["/ip4/127.0.0.1/tcp/0", "/ip4/127.0.0.1/tcp/0/ws"]
{more}
[execution]
skills = []

[limits]
loopback = true
"""


class _Nodes:
    """An open node and a private one, each started when it is first attacked."""

    def __init__(self, folder: Path, group: NodeGroup) -> None:
        self._folder = folder
        self._group = group
        self._started: dict[bool, NodeProcess] = {}

    def at(self, attack: Attack) -> NodeProcess:
        private = attack.listener == "private"
        if private not in self._started:
            psk_file = self._folder / "psk"
            psk_file.touch(0o600)
            psk_file.write_text(PSK_HEX)
            config = CONFIG.format(more=f'psk_file = "{psk_file}"\n' if private else "")
            (self._started[private],) = self._group.start(NodeLaunch(self._folder / f"node-{private}", config=config))
        return self._started[private]


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[_Nodes]:
    with NodeGroup() as group:
        yield _Nodes(tmp_path_factory.mktemp("nodes"), group)


def _cases() -> Iterator[object]:
    for name, attack in ATTACKS.items():
        yield pytest.param(attack, id=name, marks=[pytest.mark.xfail(strict=False)] if name in UNMENDED else [])


@pytest.mark.parametrize("attack", list(_cases()))
async def test_a_node_lives_stays_small_and_serves_while_attacked(attack: Attack, nodes: _Nodes) -> None:
    node = nodes.at(attack)
    process = psutil.Process(node.process.pid)
    before_mib = process.memory_info().rss / 2**20
    peer = PeerId(node.peer_id)
    psk_hex = PSK_HEX if attack.listener == "private" else ""
    async with Libp2pTransport(NetworkSettings(listen=(), psk_hex=psk_hex), Identity(os.urandom(32))) as honest:
        honest.add_addresses(PeerAddress(peer, node.addresses))
        await honest.connect(peer, timeout_s=20)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_attacked, attack, node)
            for _ in range(ROUNDS):
                await trio.sleep(SECONDS / ROUNDS)
                await honest.call(peer, METHOD_ADVERT, VERSION_1, timeout_s=30)
                if psk_hex == "":
                    await _newcomer(node)
            nursery.cancel_scope.cancel()
        await honest.call(peer, METHOD_ADVERT, VERSION_1, timeout_s=30)
    assert node.process.poll() is None
    assert process.memory_info().rss / 2**20 - before_mib < RSS_GROWTH_MIB_MAX


async def _attacked(attack: Attack, node: NodeProcess) -> None:
    """Attack until cancelled."""
    address = address_of(node.addresses, websocket=attack.listener == "websocket")
    await strike(attack, address, identities=1, seconds=600)


async def _newcomer(node: NodeProcess) -> None:
    """Somebody whom the node does not know asks it something."""
    with trio.fail_after(30):
        async with await RawPeer.meet(address_of(node.addresses), source="127.0.0.7") as peer:
            await (await RawChannel.open(peer)).ask("registry.advert", VERSION_1)
