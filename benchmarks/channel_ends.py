"""Both ends of the three echo services that `bench_channel` compares, each in a process of its own; it judges nothing.

`python -m benchmarks.channel_ends KIND server` prints its address; `… KIND client ADDRESS` then answers each line
`CALLERS CALLS` on stdin with `P50_US CALLS_PER_S`.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from collections.abc import Awaitable, Callable

import trio

from swarmharness.identity import Identity
from swarmharness.network.libp2p_transport import Libp2pTransport
from swarmharness.network.ports import PeerAddress, Request
from swarmharness.network.settings import NetworkSettings

PAYLOAD = b"x" * 100
_READ_BYTES = 65_536
_SERVER, _CLIENT = Identity(b"s" * 32), Identity(b"c" * 32)
_METHOD = "/bench.Echo/Echo"

Caller = Callable[[int], Awaitable[None]]


def report(callers: int, calls: int, seconds: float, latencies_s: list[float]) -> None:
    """Answer one line."""
    print(f"{statistics.median(latencies_s) * 1e6} {callers * calls / seconds}", flush=True)


async def measure_on_trio(make_caller: Callable[[list[float]], Caller]) -> None:
    """Answer lines until stdin ends."""
    while line := await trio.to_thread.run_sync(sys.stdin.readline):
        callers, calls = map(int, line.split())
        latencies_s: list[float] = []
        started_s = time.perf_counter()
        async with trio.open_nursery() as nursery:
            for _ in range(callers):
                nursery.start_soon(make_caller(latencies_s), calls)
        report(callers, calls, time.perf_counter() - started_s, latencies_s)


# -- raw TCP: a connection for each caller ------------------------------------------------------------------------


async def raw_server() -> None:
    """Send back what comes."""

    async def serve(stream: trio.SocketStream) -> None:
        async with stream:
            while data := await stream.receive_some(_READ_BYTES):
                await stream.send_all(data)

    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    print(listeners[0].socket.getsockname()[1], flush=True)
    await trio.serve_listeners(serve, listeners)


async def raw_client(address: str) -> None:
    """Call the raw server."""

    pool: list[trio.SocketStream] = []

    def make_caller(latencies_s: list[float]) -> Caller:
        async def caller(calls: int) -> None:
            stream = pool.pop() if pool else await trio.open_tcp_stream("127.0.0.1", int(address))
            for _ in range(calls):
                began_s = time.perf_counter()
                await stream.send_all(PAYLOAD)
                missing = len(PAYLOAD)
                while missing:
                    missing -= len(await stream.receive_some(_READ_BYTES))
                latencies_s.append(time.perf_counter() - began_s)
            pool.append(stream)

        return caller

    await measure_on_trio(make_caller)


# -- gRPC on asyncio: one channel -----------------------------------------------------------------------------------


async def grpc_server() -> None:
    """Send back what comes."""
    import grpc

    async def echo(request: bytes, _context: object) -> bytes:
        return request

    handler = grpc.method_handlers_generic_handler("bench.Echo", {"Echo": grpc.unary_unary_rpc_method_handler(echo)})
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((handler,))
    print(server.add_insecure_port("127.0.0.1:0"), flush=True)
    await server.start()
    await server.wait_for_termination()


async def grpc_client(address: str) -> None:
    """Call the gRPC server."""
    import grpc

    async with grpc.aio.insecure_channel(f"127.0.0.1:{address}") as channel:
        call = channel.unary_unary(_METHOD)
        while line := await asyncio.to_thread(sys.stdin.readline):
            callers, calls = map(int, line.split())
            latencies_s: list[float] = []

            async def caller(calls: int, latencies_s: list[float]) -> None:
                for _ in range(calls):
                    began_s = time.perf_counter()
                    await call(PAYLOAD)
                    latencies_s.append(time.perf_counter() - began_s)

            started_s = time.perf_counter()
            await asyncio.gather(*(caller(calls, latencies_s) for _ in range(callers)))
            report(callers, calls, time.perf_counter() - started_s, latencies_s)


# -- ours: one channel over TCP, Noise and Yamux ----------------------------------------------------------------------


async def ours_server() -> None:
    """Send back what comes."""

    async def echo(request: Request) -> bytes:
        return request.payload

    async with Libp2pTransport(NetworkSettings(), _SERVER) as transport:
        transport.handle("echo", echo)
        print(transport.addresses[0], flush=True)
        await trio.sleep_forever()


async def ours_client(address: str) -> None:
    """Call our server."""
    async with Libp2pTransport(NetworkSettings(listen=()), _CLIENT) as transport:
        transport.add_addresses(PeerAddress(_SERVER.peer_id, (address,)))
        await transport.connect(_SERVER.peer_id, timeout_s=10)

        def make_caller(latencies_s: list[float]) -> Caller:
            async def caller(calls: int) -> None:
                for _ in range(calls):
                    began_s = time.perf_counter()
                    await transport.call(_SERVER.peer_id, "echo", PAYLOAD, timeout_s=30)
                    latencies_s.append(time.perf_counter() - began_s)

            return caller

        await measure_on_trio(make_caller)


def main(kind: str, role: str, *address: str) -> None:
    """Run one end."""
    run = globals()[f"{kind}_{role}"]
    if kind == "grpc":
        asyncio.run(run(*address))
    else:
        trio.run(run, *address)


if __name__ == "__main__":
    main(*sys.argv[1:])
