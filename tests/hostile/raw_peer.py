"""A peer on a bare socket: multistream-select, Noise XX and Yamux by hand; it keeps no rule that it is not told to.

It shares no network code with what it attacks. One process can be a thousand of them: a Noise key is made once, an
identity costs one Ed25519 key and one signature.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from struct import Struct
from types import TracebackType
from typing import Self

import trio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.hostile.raw_noise import STATIC_PUBLIC, Cipher, Handshake

DATA, WINDOW, PING, GO_AWAY = range(4)
SYN, ACK, FIN, RST = 1, 2, 4, 8
YAMUX = Struct("!BBHII")
SIGNED_PREFIX = b"noise-libp2p-static-key:"
_NOISE_BYTES_MAX = 65_519
_FIRST_WINDOW = 256 * 1024
_CHUNK_BYTES = 65_000
_PIECE_BYTES = 4 * _NOISE_BYTES_MAX


class RawPeer:
    """One connection to a node. Each step of the way is a method of its own, so that an attack can stop anywhere."""

    def __init__(self, stream: trio.SocketStream, identity: Ed25519PrivateKey | None = None) -> None:
        self.stream = stream
        self.identity = identity or Ed25519PrivateKey.generate()
        self.next_stream = 1
        self._data = bytearray()
        self._plain = bytearray()
        self._writing = trio.StrictFIFOLock()
        self._credit: defaultdict[int, int] = defaultdict(lambda: _FIRST_WINDOW)
        self._credit_grew = trio.lowlevel.ParkingLot()
        self._send: Cipher | None = None
        self._receive: Cipher | None = None

    @classmethod
    async def connect(
        cls, address: tuple[str, int], *, source: str = "127.0.0.1", identity: Ed25519PrivateKey | None = None
    ) -> Self:
        """Open a TCP connection from `source` and nothing else."""
        stream = await trio.open_tcp_stream(*address, local_address=source)
        return cls(stream, identity)

    @classmethod
    async def meet(
        cls, address: tuple[str, int], *, source: str = "127.0.0.1", identity: Ed25519PrivateKey | None = None
    ) -> Self:
        """Connect, shake hands and agree on Yamux."""
        peer = await cls.connect(address, source=source, identity=identity)
        try:
            await peer.secure()
            await peer.multiplex()
        except BaseException:
            await trio.aclose_forcefully(peer.stream)
            raise
        return peer

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.cut()

    async def cut(self) -> None:
        """Close the socket without a word."""
        await trio.aclose_forcefully(self.stream)

    @property
    def secured(self) -> bool:
        """Whether Noise is agreed."""
        return self._receive is not None

    @property
    def public_key(self) -> bytes:
        """The identity's key as libp2p writes keys: a protobuf with type 1 (Ed25519) and the bytes."""
        return b"\x08\x01\x12\x20" + self.identity.public_key().public_bytes_raw()

    @property
    def peer_id(self) -> str:
        """The identity's peer id in base 58: the key itself under an identity hash."""
        return base58(b"\x00" + bytes([len(self.public_key)]) + self.public_key)

    # -- the way up -----------------------------------------------------------------------------------------------

    async def secure(self, prologue: bytes = b"", payload: bytes = b"") -> None:
        """Agree on Noise and shake hands as the initiator; raises ConnectionError if the node hangs up.

        `payload` replaces what proves the identity.
        """
        await self.stream.send_all(line("/multistream/1.0.0") + line("/noise"))
        await self._expect_line("/multistream/1.0.0", self.exactly)
        await self._expect_line("/noise", self.exactly)
        shake = Handshake(prologue)
        await self.send_noise(shake.first())
        shake.second(await self.read_noise())
        signature = self.identity.sign(SIGNED_PREFIX + STATIC_PUBLIC)
        await self.send_noise(shake.third(payload or field(1, self.public_key) + field(2, signature)))
        self._send, self._receive = shake.split()

    async def multiplex(self) -> None:
        """Agree on Yamux inside Noise."""
        await self.write(line("/multistream/1.0.0") + line("/yamux/1.0.0"))
        await self._expect_line("/multistream/1.0.0", self.read)
        await self._expect_line("/yamux/1.0.0", self.read)

    async def open_stream(self, protocol: str = "", first: bytes = b"") -> int:
        """Open a stream, ask for `protocol` on it or else say `first`, and return its number; waits for no answer."""
        number, self.next_stream = self.next_stream, self.next_stream + 2
        greeting = line("/multistream/1.0.0") + line(protocol) if protocol else first
        self._credit[number] -= len(greeting)
        await self.send_frame(DATA, SYN, number, greeting)
        return number

    async def push_identify(self, addresses: Iterable[bytes] = (), protocols: Iterable[str] = ()) -> None:
        """Tell the node unasked who this is and where: identify/push, answered by nothing."""
        message = field(1, self.public_key)
        message += b"".join(field(2, address) for address in addresses)
        message += b"".join(field(3, protocol.encode()) for protocol in protocols)
        number = await self.open_stream("/ipfs/id/push/1.0.0")
        await self.send_frame(DATA, FIN, number, varint(len(message)) + message)

    # -- Yamux ----------------------------------------------------------------------------------------------------

    async def send_frame(self, kind: int, flags: int, number: int, body: bytes = b"", *, length: int = -1) -> None:
        """Send one frame; `length` replaces the length of the body, as it must for all kinds but DATA."""
        await self.write(frame(kind, flags, number, body, length=length))

    async def send_paced(self, number: int, data: bytes) -> None:
        """Send data within the stream's window, which grows only while somebody reads frames."""
        view = memoryview(data)
        while view:
            most = min(_CHUNK_BYTES, self._credit[number], len(view))
            if most > 0:
                self._credit[number] -= most
                await self.send_frame(DATA, 0, number, bytes(view[:most]))
                view = view[most:]
            else:
                await self._credit_grew.park()

    async def read_frame(self) -> tuple[int, int, int, int, bytes]:
        """Return kind, flags, stream, length and body of the next frame."""
        _, kind, flags, number, length = YAMUX.unpack(await self.read(YAMUX.size))
        if kind == WINDOW:
            self._credit[number] += length
            self._credit_grew.unpark_all()
        return kind, flags, number, length, await self.read(length) if kind == DATA else b""

    async def read_stream(self, number: int) -> bytes:
        """Return all that comes on a stream until the node ends or resets it; what comes on others is forgotten."""
        received = bytearray()
        while True:
            _, flags, stream, _, body = await self.read_frame()
            if stream == number:
                received += body
                if flags & (FIN | RST):
                    return bytes(received)

    async def drain(self) -> None:
        """Read and forget until the node closes the connection."""
        try:
            while await self.stream.receive_some(64 * 1024):
                pass
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass

    async def sink(self) -> None:
        """Do as `drain`, but take Noise messages apart, so that a `read_frame` can follow when this is cancelled."""
        try:
            while True:
                await self.read_frame()
        except (ConnectionError, trio.BrokenResourceError, trio.ClosedResourceError):
            pass

    # -- Noise ----------------------------------------------------------------------------------------------------

    async def write(self, data: bytes) -> None:
        """Encrypt and send, some messages at a time; several tasks may write."""
        assert self._send is not None, "not secured yet"
        async with self._writing:
            for piece in range(0, len(data), _PIECE_BYTES):
                parts = []
                for start in range(piece, min(piece + _PIECE_BYTES, len(data)), _NOISE_BYTES_MAX):
                    sealed = self._send.seal(data[start : min(start + _NOISE_BYTES_MAX, piece + _PIECE_BYTES)])
                    parts += [len(sealed).to_bytes(2, "big"), sealed]
                await self.stream.send_all(b"".join(parts))

    async def read(self, count: int) -> bytes:
        """Return `count` decrypted bytes."""
        assert self._receive is not None, "not secured yet"
        while len(self._plain) < count:
            self._plain += self._receive.open(await self.read_noise())
        data = bytes(self._plain[:count])
        del self._plain[:count]
        return data

    async def send_noise(self, message: bytes) -> None:
        """Send one message as it is."""
        await self.stream.send_all(len(message).to_bytes(2, "big") + message)

    async def read_noise(self) -> bytes:
        """Return one message as it came."""
        return await self.exactly(int.from_bytes(await self.exactly(2), "big"))

    async def exactly(self, count: int) -> bytes:
        """Return `count` bytes of the socket; raises ConnectionError if it ends before."""
        while len(self._data) < count:
            try:
                part = await self.stream.receive_some(64 * 1024)
            except trio.BrokenResourceError as error:
                raise ConnectionError("the node broke the connection") from error
            if not part:
                raise ConnectionError("the node hung up")
            self._data += part
        data = bytes(self._data[:count])
        del self._data[:count]
        return data

    async def _expect_line(self, text: str, read: object) -> None:
        assert callable(read)
        size = (await read(1))[0]
        answer = await read(size)
        if answer != text.encode() + b"\n":
            raise ConnectionError(f"the node answered {answer!r}, not {text}")


def frame(kind: int, flags: int, number: int, body: bytes = b"", *, length: int = -1) -> bytes:
    """Return the bytes of a Yamux frame."""
    return YAMUX.pack(0, kind, flags, number, len(body) if length < 0 else length) + body


def line(text: str) -> bytes:
    """Return a message of multistream-select."""
    data = text.encode() + b"\n"
    return varint(len(data)) + data


def varint(value: int) -> bytes:
    """Return an unsigned LEB128 number."""
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def field(number: int, value: bytes) -> bytes:
    """Return a protobuf field of bytes."""
    return varint(number << 3 | 2) + varint(len(value)) + value


def tcp_address(host: str, port: int) -> bytes:
    """Return the multiaddr /ip4/…/tcp/… in its binary form."""
    return b"\x04" + bytes(int(part) for part in host.split(".")) + b"\x06" + port.to_bytes(2, "big")


def base58(data: bytes) -> str:
    """Return Bitcoin's base 58, which peer ids are written in."""
    alphabet = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
    number, text = int.from_bytes(data, "big"), ""
    while number:
        number, rest = divmod(number, 58)
        text = alphabet[rest] + text
    return "1" * (len(data) - len(data.lstrip(b"\x00"))) + text


def sources(count: int, *, per_prefix: int = 250) -> Iterator[str]:
    """Return addresses 127.a.b.c, `per_prefix` in each /24; none is in 127.0.0.0/24, where honest clients live."""
    for index in range(count):
        prefix, host = divmod(index, per_prefix)
        yield f"127.{1 + prefix // 256 % 250}.{prefix % 256}.{1 + host}"


def address_of(multiaddrs: Iterable[str], *, websocket: bool = False) -> tuple[str, int]:
    """Return host and port of a node's first listener for plain TCP, or for WebSocket."""
    for text in multiaddrs:
        parts = text.strip("/").split("/")
        if parts[0] == "ip4" and parts[2] == "tcp" and ("ws" in parts) == websocket:
            return parts[1], int(parts[3])
    raise ValueError(f"no such listener in {list(multiaddrs)}")
