"""Both ends of the two ways to move 64 MiB that `bench_bulk` compares, each in a process of its own; it judges nothing.

`python -m benchmarks.bulk_ends KIND server` prints its address; `… KIND client ADDRESS` then answers each line on stdin
with the MiB/s of one transfer. `bare` is a stream of an ordinary libp2p host (TCP, Noise, Yamux) on which both sides
hash what passes; `ours` is a call with a large payload.
"""

from __future__ import annotations

import hashlib
import os
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

import trio

from swarmharness.identity import Identity
from swarmharness.network.libp2p_transport import Libp2pTransport
from swarmharness.network.ports import PeerAddress, Request
from swarmharness.network.settings import MIB, NetworkSettings

SIZE_BYTES = 64 * MIB
_PART_BYTES = 64 * 1024
_SERVER, _CLIENT = Identity(b"s" * 32), Identity(b"c" * 32)
_PROTOCOL = "/bench/bulk/1"


async def measure(transfer: Callable[[], Awaitable[None]]) -> None:
    """Answer lines until stdin ends."""
    while await trio.to_thread.run_sync(sys.stdin.readline):
        began_s = time.perf_counter()
        await transfer()
        print(SIZE_BYTES / MIB / (time.perf_counter() - began_s), flush=True)


def bare_host(identity: Identity, listen: list[Any]) -> Any:
    """Return a host as anybody would make it, with Noise and Yamux."""
    from libp2p import create_new_x25519_key_pair, new_host
    from libp2p.crypto.ed25519 import create_new_key_pair
    from libp2p.security.noise.transport import PROTOCOL_ID, Transport

    key_pair = create_new_key_pair(identity.seed)
    noise = Transport(key_pair, noise_privkey=create_new_x25519_key_pair().private_key)
    return new_host(key_pair=key_pair, sec_opt={PROTOCOL_ID: noise}, listen_addrs=listen)


async def bare_server() -> None:
    """Read, hash, and send the digest back."""
    from multiaddr import Multiaddr

    listen = [Multiaddr("/ip4/127.0.0.1/tcp/0")]
    host = bare_host(_SERVER, listen)

    async def serve(stream: Any) -> None:
        digest, missing = hashlib.sha256(), SIZE_BYTES
        while missing:
            part = await stream.read(_PART_BYTES)
            digest.update(part)
            missing -= len(part)
        await stream.write(digest.digest())
        await stream.close()

    host.set_stream_handler(_PROTOCOL, serve)
    async with host.run(listen_addrs=listen):
        print(host.get_addrs()[0], flush=True)
        await trio.sleep_forever()


async def bare_client(address: str) -> None:
    """Send, hash, and compare the digest."""
    from libp2p.peer.peerinfo import info_from_p2p_addr
    from multiaddr import Multiaddr

    host = bare_host(_CLIENT, [])
    payload = os.urandom(SIZE_BYTES)
    async with host.run(listen_addrs=[]):
        info = info_from_p2p_addr(Multiaddr(address))
        await host.connect(info)

        async def transfer() -> None:
            stream = await host.new_stream(info.peer_id, [_PROTOCOL])
            digest = hashlib.sha256()
            for start in range(0, SIZE_BYTES, _PART_BYTES):
                part = payload[start : start + _PART_BYTES]
                digest.update(part)
                await stream.write(part)
            echoed = b""
            while len(echoed) < 32:
                echoed += await stream.read(32 - len(echoed))
            assert echoed == digest.digest()
            await stream.close()

        await measure(transfer)


async def ours_server() -> None:
    """Take large payloads."""

    async def take(request: Request) -> bytes:
        return len(request.payload).to_bytes(8, "big")

    async with Libp2pTransport(NetworkSettings(configured=frozenset({_CLIENT.peer_id})), _SERVER) as transport:
        transport.handle("take", take)
        print(transport.addresses[0], flush=True)
        await trio.sleep_forever()


async def ours_client(address: str) -> None:
    """Call with a large payload."""
    payload = os.urandom(SIZE_BYTES)
    async with Libp2pTransport(NetworkSettings(listen=()), _CLIENT) as transport:
        transport.add_addresses(PeerAddress(_SERVER.peer_id, (address,)))
        await transport.connect(_SERVER.peer_id, timeout_s=10)

        async def transfer() -> None:
            answer = await transport.call(_SERVER.peer_id, "take", payload, timeout_s=60)
            assert int.from_bytes(answer, "big") == SIZE_BYTES

        await measure(transfer)


if __name__ == "__main__":
    trio.run(globals()[f"{sys.argv[1]}_{sys.argv[2]}"], *sys.argv[3:])
