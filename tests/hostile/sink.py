"""Stands in for a node when the honest figures without an attack are taken: it shakes hands and forgets all it gets.

Aiming the attacker at it leaves what the attacker itself costs the machine, and nothing of what it does to a node. A
second node would suffer the same attack on the same processors, and make the quiet figures worse than they are.
"""

from __future__ import annotations

import contextlib
import os

import trio
from cryptography.exceptions import InvalidTag

from tests.hostile.raw_noise import AnsweringHandshake
from tests.hostile.raw_peer import WINDOW, RawPeer, frame, line

_MULTISTREAM = line("/multistream/1.0.0")


class _Answering(RawPeer):
    """The other end of a RawPeer."""

    async def answer(self) -> None:
        """Agree on Noise and Yamux with whoever asks for them."""
        first = await self.exactly(1)
        if first != _MULTISTREAM[:1]:
            return  # HTTP, or the nonce of a private swarm: nobody waits for an answer
        await self.exactly(len(_MULTISTREAM) - 1 + len(line("/noise")))
        await self.stream.send_all(_MULTISTREAM + line("/noise"))
        shake = AnsweringHandshake()
        shake.take_first(await self.read_noise())
        await self.send_noise(shake.answer(b""))
        shake.take_third(await self.read_noise())
        self._send, self._receive = shake.split()
        await self.read(len(_MULTISTREAM + line("/yamux/1.0.0")))
        await self.write(_MULTISTREAM + line("/yamux/1.0.0"))
        await self.write(b"".join(frame(WINDOW, 0, number, length=2**31) for number in range(1, 400, 2)))


async def serve_sink(*, task_status: trio.TaskStatus[tuple[str, int]] = trio.TASK_STATUS_IGNORED) -> None:
    """Listen on a free port of loopback, tell it, and swallow what comes."""

    async def swallow(stream: trio.SocketStream) -> None:
        async with _Answering(stream) as end:
            with contextlib.suppress(OSError, InvalidTag, ValueError, trio.BrokenResourceError):
                await end.answer()
            await end.drain()

    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1", backlog=4096)
    task_status.started(listeners[0].socket.getsockname())
    await trio.serve_listeners(swallow, listeners)


async def main() -> None:
    """Print the port and serve until the process is ended."""
    async with trio.open_nursery() as nursery:
        print((await nursery.start(serve_sink))[1], flush=True)


if __name__ == "__main__":
    os.nice(19)
    trio.run(main)
