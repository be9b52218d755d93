"""Lines of multistream-select: whatever comes, little is read, and it is a line or a refusal."""

from __future__ import annotations

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from libp2p.io.exceptions import IOException
from libp2p.protocol_muxer.exceptions import MultiselectCommunicatorError

from swarmharness.network.libp2p_lines import LINE_BYTES_MAX, LINES_MAX, Lines


class Bytes:
    """Gives what is there in pieces, then ends."""

    def __init__(self, data: bytes, piece: int = 7, error: Exception | None = None) -> None:
        self.data, self.piece, self.error = data, piece, error
        self.most_asked = 0

    async def read(self, n: int) -> bytes:
        self.most_asked = max(self.most_asked, n)
        part, self.data = self.data[: min(n, self.piece)], self.data[min(n, self.piece) :]
        if not part and self.error is not None:
            raise self.error
        return part


def encoded(text: str) -> bytes:
    line = text.encode() + b"\n"
    size = len(line)
    return (bytes([size]) if size < 0x80 else bytes([size & 0x7F | 0x80, size >> 7])) + line


async def read_all(lines: Lines) -> list[str]:
    """Read until a refusal."""
    found = []
    while True:
        try:
            found.append(await lines.read())
        except MultiselectCommunicatorError:
            return found


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=300).filter(
    lambda text: len(text.encode()) < LINE_BYTES_MAX
)


@given(st.lists(texts, max_size=LINES_MAX), st.integers(1, 50))
def test_what_is_written_is_read_and_then_it_has_ended(written: list[str], piece: int) -> None:
    lines = Lines(Bytes(b"".join(map(encoded, written)), piece))
    assert trio.run(read_all, lines) == written
    assert lines.ended == (len(written) < LINES_MAX)


@given(st.binary(max_size=3000), st.integers(1, 50))
def test_any_bytes_are_few_lines_or_refused(data: bytes, piece: int) -> None:
    source = Bytes(data, piece)
    found = trio.run(read_all, Lines(source))
    assert len(found) <= LINES_MAX
    assert source.most_asked <= LINE_BYTES_MAX


@pytest.mark.parametrize(
    "data",
    [b"\x80\x80\x01", b"\xff" * 20, b"\x81\x08", b"\x00", b"\x02no", b"\x03\xff\xfe\n"],
    ids=["three bytes", "endless", "too long", "empty", "no end", "no text"],
)
async def test_what_is_no_line_is_refused_and_is_an_offence(data: bytes) -> None:
    lines = Lines(Bytes(data + bytes(10)))
    with pytest.raises(MultiselectCommunicatorError):
        await lines.read()
    assert not lines.ended


@pytest.mark.parametrize("error", [None, IOException("reset")])
async def test_a_stream_that_ends_is_no_offence(error: Exception | None) -> None:
    lines = Lines(Bytes(b"\x05he", error=error))
    with pytest.raises(MultiselectCommunicatorError):
        await lines.read()
    assert lines.ended


async def test_nobody_reads_more_lines_than_there_are_proposals() -> None:
    lines = Lines(Bytes(encoded("/no") * 100))
    assert len(await read_all(lines)) == LINES_MAX
