"""Yamux frames: their bytes, and bytes taken apart as they come; pure, and it knows of no stream.

The specification: https://github.com/hashicorp/yamux/blob/master/spec.md
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct
from typing import NamedTuple

from swarmharness.errors import ProtocolError

HEADER = Struct("!BBHII")
DATA, WINDOW, PING, GO_AWAY = range(4)
SYN, ACK, FIN, RST = 1, 2, 4, 8
WINDOW_BYTES_FIRST = 256 * 1024
"""Of both directions of a new stream."""
NORMAL, PROTOCOL_ERROR = 0, 1
"""Codes of GO_AWAY."""


class Header(NamedTuple):
    """What begins a frame. `length` counts the bytes that follow of DATA, and is the value of every other kind."""

    kind: int
    flags: int
    number: int
    length: int


def header(kind: int, flags: int, number: int, length: int = 0) -> bytes:
    """Return the 12 bytes that begin a frame."""
    return HEADER.pack(0, kind, flags, number, length)


class FrameReader:
    """Takes one direction of a connection apart; a body is passed on in pieces, and is never kept."""

    def __init__(self) -> None:
        self._rest = b""
        self._missing_bytes = 0

    def read(self, data: bytes) -> Iterator[Header | bytes]:
        """Yield each header, and after that of DATA the pieces of its body.

        Raises ProtocolError for another version, and for a kind that there is not. Has to be used up before it is
        called again.
        """
        if self._rest:
            data, self._rest = self._rest + data, b""
        start, end = 0, len(data)
        while start < end:
            if self._missing_bytes:
                piece = data[start : start + self._missing_bytes]
                start += len(piece)
                self._missing_bytes -= len(piece)
                yield piece
                continue
            if end - start < HEADER.size:
                self._rest = data[start:]
                return
            version, kind, flags, number, length = HEADER.unpack_from(data, start)
            if version or kind > GO_AWAY:
                raise ProtocolError(f"a Yamux frame of version {version} and kind {kind}")
            start += HEADER.size
            if kind == DATA:
                self._missing_bytes = length
            yield Header(kind, flags, number, length)
