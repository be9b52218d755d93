"""What becomes of a connection that has to wait before it may shake hands."""

from __future__ import annotations

import socket
from typing import Any

import trio
import trio.testing

from swarmharness.network.libp2p_links import Links
from swarmharness.network.limits import Limits
from swarmharness.refusals import Refusals

LIMITS = Limits()
NEARLY_S = 0.8 * LIMITS.hello_timeout_s


class SlowTurns:
    """Turns for which everybody waits long."""

    def __init__(self) -> None:
        self.groups: list[str] = []

    async def take(self, group: str, *, known: bool, turns: int = 1) -> None:
        self.groups.append(group)
        await trio.sleep(NEARLY_S)


def accepted_socket() -> tuple[socket.socket, trio.SocketStream]:
    """Return both ends of a connection on this machine."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        other = socket.create_connection(server.getsockname())
        return other, trio.SocketStream(trio.socket.from_stdlib_socket(server.accept()[0]))


async def test_the_time_of_a_handshake_begins_with_its_turn_and_each_address_at_home_waits_by_itself(
    autojump_clock: trio.testing.MockClock,
) -> None:
    turns: Any = SlowTurns()
    links = Links(LIMITS, Refusals(), turns)
    other, stream = accepted_socket()
    with other:
        async with stream, links.accepted(stream) as taken, trio.open_nursery() as nursery:
            assert taken
            nursery.start_soon(links.watch)
            await trio.sleep(NEARLY_S)
            assert links.counts()["half_open"] == 1
            await trio.sleep(NEARLY_S)
            assert links.counts()["half_open"] == 0
            nursery.cancel_scope.cancel()
    assert turns.groups == ["127.0.0.1"]
