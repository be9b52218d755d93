from __future__ import annotations

import contextlib
import itertools

from hypothesis import given
from hypothesis import strategies as st

from swarmharness.errors import ProtocolError
from swarmharness.protocol.frame import (
    Frame,
    FrameDecoder,
    FrameKind,
    encode_frame,
    encode_request,
    parse_close,
    parse_error,
    parse_request,
    parse_u64,
    parse_window,
)

LIMIT = 300

frames = st.builds(
    Frame,
    st.sampled_from([int(kind) for kind in FrameKind]),
    st.integers(0, 2**32 - 1),
    st.binary(max_size=LIMIT - 9),
)


def chunked(data: bytes, cuts: list[int]) -> list[bytes]:
    places = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(places)]


def outcome(chunks: list[bytes]) -> tuple[list[Frame], str]:
    decoder = FrameDecoder(LIMIT)
    found: list[Frame] = []
    for chunk in chunks:
        try:
            found += decoder.feed(chunk)
        except ProtocolError as error:
            return found, str(error)
        assert decoder.buffered_bytes < LIMIT
    return found, ""


@given(st.lists(frames, max_size=20), st.lists(st.integers(min_value=0)))
def test_frames_survive_any_chunking(sent: list[Frame], cuts: list[int]) -> None:
    data = b"".join(encode_frame(*frame) for frame in sent)
    assert outcome(chunked(data, cuts)) == (sent, "")


@given(st.binary(max_size=600))
def test_any_bytes_give_frames_or_a_protocol_error_and_nothing_else(data: bytes) -> None:
    outcome([data])


@given(st.lists(frames, max_size=5), st.binary(max_size=40), st.lists(st.integers(min_value=0)))
def test_garbage_after_frames_is_refused_alike_in_any_chunking(sent: list[Frame], tail: bytes, cuts: list[int]) -> None:
    data = b"".join(encode_frame(*frame) for frame in sent) + tail
    whole, refused = outcome([data])
    cut, refused_cut = outcome(chunked(data, cuts))
    assert bool(refused) == bool(refused_cut)
    # a bad frame also hides the good ones before it in its chunk: the channel ends either way
    assert cut == whole if not refused else whole == cut[: len(whole)]


@given(st.integers(0, 2**32 - 1), st.text(min_size=1, max_size=60), st.binary(max_size=100))
def test_requests_survive(timeout_ms: int, method: str, payload: bytes) -> None:
    name = method.encode(errors="ignore")
    if name:
        frame = encode_request(FrameKind.REQUEST, 1, timeout_ms, name, payload)
        assert parse_request(frame[9:]) == (timeout_ms, name.decode(), payload)


@given(st.binary(max_size=60))
def test_any_body_is_parsed_or_refused(body: bytes) -> None:
    for parse in (parse_request, parse_error, parse_close, parse_window, parse_u64):
        with contextlib.suppress(ProtocolError):
            parse(body)
