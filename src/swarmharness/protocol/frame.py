"""Cuts a byte stream into the frames of a channel and writes them; pure: it never does I/O and never looks at payloads.

A frame is `u32 length | u8 kind | u32 request id | body`, big-endian; `length` counts what follows it.
"""

from __future__ import annotations

from enum import IntEnum
from struct import Struct
from typing import NamedTuple

from swarmharness.errors import ProtocolError
from swarmharness.text_bytes import visible


class FrameKind(IntEnum):
    """What a frame's body means; `ARCHITECTURE.md` has the table."""

    HELLO = 1
    REQUEST = 2
    RESPONSE = 3
    ERROR = 4
    CANCEL = 5
    WINDOW = 6
    PING = 7
    PONG = 8
    BULK_REQUEST = 9
    BULK_RESPONSE = 10
    CLOSE = 11


class Frame(NamedTuple):
    """One frame; `kind` is a value of `FrameKind` (a plain int: frames are made 30,000 times a second)."""

    kind: int
    request_id: int
    body: bytes


class RequestBody(NamedTuple):
    """The parsed body of REQUEST and BULK_REQUEST."""

    timeout_ms: int
    method: str
    payload: bytes


HEADER_BYTES = 9
METHOD_BYTES_MAX = 255
TEXT_BYTES_MAX = 2_000
"""The longest error message or farewell; longer ones are cut."""
U32_MAX = 2**32 - 1

_HEADER = Struct(">IBI")
_REQUEST = Struct(">IB")
_U32 = Struct(">I")
_U64 = Struct(">Q")
_PACK_HEADER = _HEADER.pack
_UNPACK_HEADER = _HEADER.unpack_from
_LENGTH_LEAST = HEADER_BYTES - 4
_KINDS = frozenset(int(kind) for kind in FrameKind)


def encode_frame(kind: int, request_id: int, body: bytes = b"") -> bytes:
    """Return the bytes of one frame."""
    return _PACK_HEADER(_LENGTH_LEAST + len(body), kind, request_id) + body


def encode_request(kind: int, request_id: int, timeout_ms: int, method: bytes, payload: bytes) -> bytes:
    """Return a REQUEST or BULK_REQUEST; `method` is UTF-8 of 1 to 255 bytes, `timeout_ms` at most 2^32 - 1."""
    length = _LENGTH_LEAST + 5 + len(method) + len(payload)
    return b"".join((_PACK_HEADER(length, kind, request_id), _REQUEST.pack(timeout_ms, len(method)), method, payload))


def encode_error(request_id: int, kind: int, message: str) -> bytes:
    """Return an ERROR frame with the one-line `message`, cut at `TEXT_BYTES_MAX`."""
    return encode_frame(FrameKind.ERROR, request_id, bytes((kind,)) + _cut(message))


def encode_close(reason: str) -> bytes:
    """Return the farewell."""
    return encode_frame(FrameKind.CLOSE, 0, _cut(reason))


def encode_window(size_bytes: int) -> bytes:
    """Return a WINDOW frame that gives back `size_bytes` of credit."""
    return encode_frame(FrameKind.WINDOW, 0, _U32.pack(size_bytes))


def encode_u64(kind: int, request_id: int, value: int) -> bytes:
    """Return a PING, PONG or BULK_RESPONSE frame, whose body is one number."""
    return encode_frame(kind, request_id, _U64.pack(value))


def parse_request(body: bytes) -> RequestBody:
    """Return what a REQUEST asks for; raises ProtocolError on anything else."""
    if len(body) < 5:
        raise ProtocolError(f"REQUEST: {len(body)} bytes, at least 5 needed")
    timeout_ms, method_bytes = _REQUEST.unpack_from(body)
    end = 5 + method_bytes
    if method_bytes == 0 or end > len(body):
        raise ProtocolError(f"REQUEST: a method of {method_bytes} bytes does not fit {len(body) - 5} bytes")
    try:
        method = body[5:end].decode()
    except UnicodeDecodeError:
        raise ProtocolError("REQUEST: the method is not UTF-8") from None
    return RequestBody(timeout_ms, method, body[end:])


def parse_error(body: bytes) -> tuple[int, str]:
    """Return (error kind, message) of an ERROR; kinds unknown to this version pass through."""
    if not body:
        raise ProtocolError("ERROR: empty")
    return body[0], _text(body[1:], "ERROR")


def parse_close(body: bytes) -> str:
    """Return the reason of a CLOSE."""
    return _text(body, "CLOSE")


def parse_window(body: bytes) -> int:
    """Return how many bytes of credit a WINDOW gives back."""
    if len(body) != 4:
        raise ProtocolError(f"WINDOW: {len(body)} bytes instead of 4")
    return int(_U32.unpack(body)[0])


def parse_u64(body: bytes) -> int:
    """Return the number in a PING, PONG, BULK_RESPONSE, or in the payload of a BULK_REQUEST."""
    if len(body) != 8:
        raise ProtocolError(f"expected a number of 8 bytes, got {len(body)} bytes")
    return int(_U64.unpack(body)[0])


def pack_u64(value: int) -> bytes:
    """Return the payload of a BULK_REQUEST: the size that follows on its own stream."""
    return _U64.pack(value)


class FrameDecoder:
    """Turns chunks of any size into frames; after a ProtocolError the stream has no meaning and must be closed."""

    def __init__(self, frame_bytes_max: int) -> None:
        self._length_max = frame_bytes_max - 4
        self._buffer = bytearray()
        self._needed = 4

    @property
    def buffered_bytes(self) -> int:
        """Bytes kept for a frame that is not complete; less than the largest frame plus one chunk."""
        return len(self._buffer)

    def feed(self, data: bytes | bytearray) -> list[Frame]:
        """Return the frames that `data` completes; sizes are checked before anything is kept for them."""
        buffer = self._buffer
        if not buffer:
            data = bytes(data)  # a copy only of a bytearray, as some streams return; bodies must be bytes
            frames, used = self._cut(data)
            if used < len(data):
                buffer += memoryview(data)[used:]
            return frames
        buffer += data
        if len(buffer) < self._needed:
            return []
        frames, used = self._cut(bytes(buffer))
        del buffer[:used]
        return frames

    def _cut(self, data: bytes) -> tuple[list[Frame], int]:
        """Return the whole frames at the start of `data`, and where the first incomplete one begins."""
        frames: list[Frame] = []
        start, size = 0, len(data)
        length_max, unpack = self._length_max, _UNPACK_HEADER
        while size - start >= HEADER_BYTES:
            length, kind, request_id = unpack(data, start)
            if not _LENGTH_LEAST <= length <= length_max:
                raise ProtocolError(f"frame of {length} bytes, allowed are {_LENGTH_LEAST} to {length_max}")
            if kind not in _KINDS:
                raise ProtocolError(f"frame of unknown kind {kind}")
            end = start + 4 + length
            if end > size:
                self._needed = 4 + length
                return frames, start
            frames.append(Frame(kind, request_id, data[start + HEADER_BYTES : end]))
            start = end
        if size - start >= 4:  # the length alone is already known: refuse it before waiting for the rest
            length = int(_U32.unpack_from(data, start)[0])
            if not _LENGTH_LEAST <= length <= length_max:
                raise ProtocolError(f"frame of {length} bytes, allowed are {_LENGTH_LEAST} to {length_max}")
            self._needed = HEADER_BYTES
        else:
            self._needed = 4
        return frames, start


def _cut(text: str) -> bytes:
    raw = " ".join(text.split()).encode(errors="backslashreplace")
    return raw if len(raw) <= TEXT_BYTES_MAX else raw[:TEXT_BYTES_MAX].decode(errors="ignore").encode()


def _text(raw: bytes, what: str) -> str:
    if len(raw) > TEXT_BYTES_MAX:
        raise ProtocolError(f"{what}: a text of {len(raw)} bytes, allowed are {TEXT_BYTES_MAX}")
    try:
        return visible(" ".join(raw.decode().split()))
    except UnicodeDecodeError:
        raise ProtocolError(f"{what}: the text is not UTF-8") from None
