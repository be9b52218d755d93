"""Answers the streams that a node opens to a raw peer: it says who it is, and to the rest what it is told to say."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from tests.hostile.raw_peer import ACK, DATA, FIN, PING, RST, SYN, WINDOW, RawPeer, line, tcp_address, varint
from tests.hostile.raw_peer import field as protobuf

IDENTIFY = "/ipfs/id/1.0.0"
MULTISTREAM = line("/multistream/1.0.0")


@dataclass(slots=True)
class _Incoming:
    protocol: str = ""
    data: bytearray = field(default_factory=bytearray)


class Answering:
    """`answers` has for each protocol what is said to a message; both travel behind their length."""

    def __init__(self, peer: RawPeer, answers: Mapping[str, Callable[[bytes], bytes]], *, announced: int = 0) -> None:
        """`announced` replaces the length of those answers."""
        self._peer = peer
        self._announced = announced
        self._answers = answers
        self._streams: dict[int, _Incoming] = {}

    def identity(self) -> bytes:
        """Return identify's message: the key, the address, and all protocols that are answered."""
        message = protobuf(1, self._peer.public_key)
        message += protobuf(2, tcp_address(self._peer.stream.socket.getsockname()[0], 4001))
        return message + b"".join(protobuf(3, name.encode()) for name in (IDENTIFY, *self._answers))

    async def serve(self) -> None:
        """Run until the node ends the connection; ConnectionError then."""
        while True:
            kind, flags, number, length, body = await self._peer.read_frame()
            if kind == PING and flags & SYN:
                await self._peer.send_frame(PING, ACK, 0, length=length)
            if kind not in (DATA, WINDOW):
                continue
            if flags & SYN:
                self._streams[number] = _Incoming()
                await self._peer.send_frame(WINDOW, ACK, number, length=0)
            stream = self._streams.get(number)
            if stream is not None and body:
                stream.data += body
                await self._peer.send_frame(WINDOW, 0, number, length=len(body))
                await self._take(number, stream)
            if flags & (FIN | RST):
                self._streams.pop(number, None)

    async def _take(self, number: int, stream: _Incoming) -> None:
        while (message := _cut(stream.data)) is not None:
            if stream.protocol:
                answer = self._answers[stream.protocol](message)
                await self._peer.send_frame(DATA, 0, number, varint(self._announced or len(answer)) + answer)
                continue
            text = message.decode(errors="replace").strip()
            if line(text) == MULTISTREAM:
                await self._peer.send_frame(DATA, 0, number, MULTISTREAM)
            elif text == IDENTIFY:
                await self._peer.send_frame(DATA, 0, number, line(text))
                identity = self.identity()
                await self._peer.send_frame(DATA, FIN, number, varint(len(identity)) + identity)
            elif text in self._answers:
                stream.protocol = text
                await self._peer.send_frame(DATA, 0, number, line(text))
            else:
                await self._peer.send_frame(DATA, 0, number, line("na"))


def _cut(data: bytearray) -> bytes | None:
    """Take one message off the beginning, if a whole one is there."""
    size = shift = 0
    for index, byte in enumerate(data[:5]):
        size |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            if len(data) < index + 1 + size:
                return None
            message = bytes(data[index + 1 : index + 1 + size])
            del data[: index + 1 + size]
            return message
    return None
