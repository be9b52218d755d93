"""However bytes are cut, they are the same frames; and bytes of any kind are frames or a ProtocolError."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from swarmharness.errors import ProtocolError
from swarmharness.network.yamux_frames import DATA, FrameReader, Header, header

FRAMES = st.one_of(
    st.tuples(st.just(DATA), st.integers(0, 15), st.integers(0, 2**32 - 1), st.binary(max_size=60)),
    st.tuples(st.integers(1, 3), st.integers(0, 15), st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1)),
)


def read(reader: FrameReader, data: bytes, cuts: list[int]) -> list[Header | bytes]:
    """Return the events of data that comes in pieces, pieces of one body joined."""
    places = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    joined: list[Header | bytes] = []
    for start, end in pairwise(places):
        for event in reader.read(data[start:end]):
            if isinstance(event, bytes) and joined and isinstance(joined[-1], bytes):
                joined[-1] += event
            else:
                joined.append(event)
    return joined


@given(st.lists(FRAMES, max_size=12), st.lists(st.integers(0, 2000), max_size=20))
def test_frames_are_the_same_however_they_are_cut(frames: list[tuple[int, int, int, object]], cuts: list[int]) -> None:
    data = b""
    expected: list[Header | bytes] = []
    for kind, flags, number, rest in frames:
        body = rest if isinstance(rest, bytes) else b""
        length = rest if isinstance(rest, int) else len(body)
        data += header(kind, flags, number, length) + body
        expected.append(Header(kind, flags, number, length))
        if body:
            expected.append(body)
    assert read(FrameReader(), data, cuts) == expected


@given(st.binary(max_size=400), st.lists(st.integers(0, 400), max_size=8))
def test_any_bytes_are_frames_or_a_clear_error_and_little_is_kept(data: bytes, cuts: list[int]) -> None:
    reader = FrameReader()
    try:
        events = read(reader, data, cuts)
    except ProtocolError:
        return
    assert sum(len(event) if isinstance(event, bytes) else 12 for event in events) > len(data) - 12
