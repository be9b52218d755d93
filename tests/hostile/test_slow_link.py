"""An honest peer on a slow mobile link (3G: 400 ms there and back, 200 kbit/s) is served and counted as nothing."""

from __future__ import annotations

from swarmharness.network.ports import PeerAddress, Request
from tests.hostile.raw_peer import address_of
from tests.hostile.slow_link import slow_link
from tests.integration.network.worlds import libp2p_world

ROUND_TRIP_S, BYTES_PER_S = 0.4, 25_000
LARGE = bytes(range(256)) * 1_100
"""More than goes inline, and so much that a PING waits for longer than a peer may be silent."""


async def test_a_peer_on_a_mobile_link_is_not_taken_for_hostile() -> None:
    async with libp2p_world() as world:
        node, phone = await world.node("node"), await world.node("phone")

        async def weigh(request: Request) -> bytes:
            return b"%d" % len(request.payload)

        node.handle("weigh", weigh)
        dht, phones = await world.dht(node), await world.dht(phone)
        async with slow_link(address_of(node.addresses), delay_s=ROUND_TRIP_S / 2, bytes_per_s=BYTES_PER_S) as (
            host,
            port,
        ):
            address = PeerAddress(node.peer_id, (f"/ip4/{host}/tcp/{port}",))
            await phones.add_peer(address)
            await phone.connect(node.peer_id, timeout_s=20)
            assert await phone.call(node.peer_id, "weigh", b"small", timeout_s=10) == b"5"
            assert await phone.call(node.peer_id, "weigh", LARGE, timeout_s=120) == b"281600"
            await phones.provide(bytes(32))
            assert [one.peer_id for one in await dht.find_providers(bytes(32), limit=1)] == [phone.peer_id]
            assert phone.connected() == (node.peer_id,)
        assert node.refusals() == {}
        assert phone.refusals() == {}
