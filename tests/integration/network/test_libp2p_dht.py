from __future__ import annotations

from swarmharness.identity import Identity
from swarmharness.network.libp2p_dht import Libp2pDht
from swarmharness.network.libp2p_transport import Libp2pTransport
from swarmharness.network.ports import PeerAddress
from swarmharness.network.settings import NetworkSettings


async def test_addresses_that_are_none_are_left_out() -> None:
    settings = NetworkSettings(listen=("/ip4/127.0.0.1/tcp/0",))
    hostile = ("garbage", "/ip4/999.1.1.1/tcp/1", "/ip4/127.0.0.1/tcp/99999", "/ip4/127.0.0.1/tcp/9")
    async with (
        Libp2pTransport(settings, Identity(b"\x01" * 32)) as transport,
        Libp2pDht(transport) as dht,
    ):
        await dht.add_peer(PeerAddress(Identity(b"\x02" * 32).peer_id, hostile))
        await dht.add_peer(PeerAddress(Identity(b"\x03" * 32).peer_id, hostile[:3]))
        assert await dht.find_providers(b"\x00" * 32, limit=4) == []
