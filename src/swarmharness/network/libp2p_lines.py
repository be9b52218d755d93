"""Reads and writes the lines of multistream-select within limits, before and after Noise; it selects no protocol.

libp2p's own reads a line of any size into memory, and as many as come.
"""

from __future__ import annotations

import libp2p.host.basic_host as libp2p_host
import libp2p.protocol_muxer.generic_selector as libp2p_selector
from libp2p.io.exceptions import IncompleteReadError, IOException
from libp2p.protocol_muxer.exceptions import MultiselectCommunicatorError
from libp2p.protocol_muxer.multiselect_communicator import MultiselectCommunicator

LINE_BYTES_MAX = 1024
"""As in other implementations; the longest of ours has 30."""
LINES_MAX = 8
"""Of one side until both agree: libp2p's implementations propose five protocols at most."""


class Lines(MultiselectCommunicator):  # type: ignore[misc]
    """libp2p's communicator, for `LINES_MAX` lines."""

    _left = LINES_MAX
    ended = False
    """Whether the other side has ended the stream, which is no offence."""

    async def read(self) -> str:
        """Return a line without its end; raises MultiselectCommunicatorError."""
        self._left -= 1
        if self._left < 0:
            raise MultiselectCommunicatorError(f"{LINES_MAX} lines, and nothing agreed on")
        size, shift = 0, 0
        try:
            while True:
                (byte,) = await self._exactly(1)
                size |= (byte & 0x7F) << shift
                if byte < 0x80:
                    break
                shift += 7
                if shift > 7:
                    raise MultiselectCommunicatorError("the length of a line has more than two bytes")
            if not 1 <= size <= LINE_BYTES_MAX:
                raise MultiselectCommunicatorError(f"a line of {size} bytes")
            line = await self._exactly(size)
            if not line.endswith(b"\n"):
                raise MultiselectCommunicatorError("a line without an end")
            return line[:-1].decode()
        except (IOException, UnicodeDecodeError) as error:
            self.ended = isinstance(error, IOException)
            raise MultiselectCommunicatorError("no line came") from error

    async def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            part = await self.read_writer.read(size - len(data))
            if not part:
                raise IncompleteReadError("the other side has ended")
            data += part
        return data


def install_lines() -> None:
    """Have libp2p 0.8.1 use it for every negotiation (`test_libp2p_canary.py` fails when that is no longer so)."""
    libp2p_host.MultiselectCommunicator = Lines
    libp2p_selector.MultiselectCommunicator = Lines
