from __future__ import annotations

import pytest

from swarmharness.errors import ErrorKind, ProtocolError
from swarmharness.protocol.frame import (
    TEXT_BYTES_MAX,
    U32_MAX,
    Frame,
    FrameDecoder,
    FrameKind,
    encode_close,
    encode_error,
    encode_frame,
    encode_request,
    encode_u64,
    encode_window,
    parse_close,
    parse_error,
    parse_request,
    parse_u64,
    parse_window,
)

LIMIT = 1024


def decode(data: bytes) -> list[Frame]:
    return FrameDecoder(LIMIT).feed(data)


def test_a_frame_has_the_layout_of_the_architecture_page() -> None:
    assert encode_frame(FrameKind.RESPONSE, 0x01020304, b"ab") == bytes.fromhex("00000007 03 01020304 6162")


def test_a_request_has_the_layout_of_the_architecture_page() -> None:
    frame = encode_request(FrameKind.REQUEST, 1, 3000, b"task.run", b"xy")
    assert frame == bytes.fromhex("00000014 02 00000001 00000bb8 08") + b"task.run" + b"xy"
    assert parse_request(decode(frame)[0].body) == (3000, "task.run", b"xy")


def test_several_frames_in_one_chunk_come_out_in_order() -> None:
    frames = [Frame(FrameKind.RESPONSE, number, b"x" * number) for number in range(5)]
    assert decode(b"".join(encode_frame(*frame) for frame in frames)) == frames


def test_a_frame_comes_out_with_its_last_byte() -> None:
    decoder = FrameDecoder(LIMIT)
    data = encode_frame(FrameKind.REQUEST, 7, b"body")
    for byte in data[:-1]:
        assert decoder.feed(bytes((byte,))) == []
    assert decoder.feed(data[-1:]) == [Frame(FrameKind.REQUEST, 7, b"body")]
    assert decoder.buffered_bytes == 0


def test_the_largest_frame_passes() -> None:
    body = bytes(LIMIT - 9)
    assert decode(encode_frame(FrameKind.RESPONSE, 0, body))[0].body == body


def test_n2_a_frame_above_the_limit_is_refused_by_its_length_alone() -> None:
    decoder = FrameDecoder(LIMIT)
    with pytest.raises(ProtocolError, match="frame of 1021 bytes"):
        decoder.feed((LIMIT - 3).to_bytes(4, "big"))
    assert decoder.buffered_bytes == 0


@pytest.mark.parametrize("length", [0, 1, 4])
def test_a_frame_too_short_for_its_header_is_refused(length: int) -> None:
    with pytest.raises(ProtocolError, match=f"frame of {length} bytes"):
        decode(length.to_bytes(4, "big") + bytes(8))


@pytest.mark.parametrize("kind", [0, 12, 255])
def test_an_unknown_kind_is_refused(kind: int) -> None:
    with pytest.raises(ProtocolError, match=f"unknown kind {kind}"):
        decode(encode_frame(kind, 0))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "0 bytes, at least 5"),
        (bytes(4), "4 bytes, at least 5"),
        (bytes(5), "method of 0 bytes"),
        (bytes(4) + b"\x03ab", "method of 3 bytes does not fit 2 bytes"),
        (bytes(4) + b"\x02\xff\xfe", "not UTF-8"),
    ],
)
def test_a_malformed_request_is_refused(body: bytes, message: str) -> None:
    with pytest.raises(ProtocolError, match=message):
        parse_request(body)


def test_an_error_carries_its_kind_and_one_line() -> None:
    (frame,) = decode(encode_error(9, ErrorKind.REFUSED, "no:\n  out of\tcredit"))
    assert parse_error(frame.body) == (ErrorKind.REFUSED, "no: out of credit")


def test_a_long_message_is_cut_at_a_character() -> None:
    (frame,) = FrameDecoder(10_000).feed(encode_error(9, 1, "é" * TEXT_BYTES_MAX))
    assert parse_error(frame.body) == (1, "é" * (TEXT_BYTES_MAX // 2))


def test_malformed_texts_are_refused() -> None:
    with pytest.raises(ProtocolError, match="empty"):
        parse_error(b"")
    with pytest.raises(ProtocolError, match="not UTF-8"):
        parse_close(b"\xff")
    with pytest.raises(ProtocolError, match="allowed are"):
        parse_close(bytes(TEXT_BYTES_MAX + 1))


def test_a_farewell_carries_its_reason() -> None:
    assert parse_close(decode(encode_close("until tomorrow"))[0].body) == "until tomorrow"


def test_numbers_survive() -> None:
    assert parse_window(decode(encode_window(U32_MAX))[0].body) == U32_MAX
    assert parse_u64(decode(encode_u64(FrameKind.PING, 0, 2**64 - 1))[0].body) == 2**64 - 1


def test_numbers_of_another_size_are_refused() -> None:
    with pytest.raises(ProtocolError, match="3 bytes instead of 4"):
        parse_window(bytes(3))
    with pytest.raises(ProtocolError, match="got 9 bytes"):
        parse_u64(bytes(9))


def test_what_a_peer_says_is_one_line_and_steers_no_terminal() -> None:
    assert parse_close("\x1b[2Jbye\nnow\u202e".encode()) == r"\x1b[2Jbye now\u202e"
    assert parse_error(b"\x05\xc2\x9bno") == (5, r"\x9bno")
