"""Exchanges the HELLOs that open a channel; on failure it closes the stream, and it accepts nothing before HELLO."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import trio

from swarmharness.errors import DeadlineError, PeerLostError, ProtocolError, cause_text
from swarmharness.network.byte_stream import STREAM_ERRORS, ByteStream
from swarmharness.network.settings import ChannelSettings
from swarmharness.protocol import codec
from swarmharness.protocol.frame import Frame, FrameDecoder, FrameKind, encode_close, encode_frame, parse_close
from swarmharness.protocol.handshake import CHANNEL_VERSION, Hello, agree

_READ_BYTES = 64 * 1024
HELLO_BYTES_MAX = 16 * 1024
"""More is not waited for: whoever sends it has not said hello yet."""


async def greet(
    stream: ByteStream, decoder: FrameDecoder, settings: ChannelSettings, refuse: Callable[[str], None]
) -> tuple[Hello, list[Frame]]:
    """Return the peer's HELLO and the frames that came with it.

    Raises ProtocolError, PeerLostError or DeadlineError.
    """
    try:
        with trio.fail_after(settings.hello_timeout_s):
            return await _exchange(stream, decoder, settings)
    except BaseException as error:
        with trio.CancelScope(shield=True, deadline=trio.current_time() + settings.close_timeout_s):
            with contextlib.suppress(*STREAM_ERRORS):
                if isinstance(error, ProtocolError):
                    refuse("hello")
                    await stream.send_all(encode_close(cause_text(error)))
                await stream.aclose()
        if isinstance(error, trio.TooSlowError):
            raise DeadlineError(f"no hello from the peer within {settings.hello_timeout_s:g} s") from None
        if isinstance(error, STREAM_ERRORS):
            raise PeerLostError("the stream broke before the peer said hello") from None
        raise


async def _exchange(stream: ByteStream, decoder: FrameDecoder, settings: ChannelSettings) -> tuple[Hello, list[Frame]]:
    ours = Hello((CHANNEL_VERSION,), settings.software, settings.window_bytes)
    await stream.send_all(encode_frame(FrameKind.HELLO, 0, codec.encode(ours)))
    frames: list[Frame] = []
    while not frames:
        data = await stream.receive_some(_READ_BYTES)
        if not data:
            raise PeerLostError("the peer closed the stream instead of saying hello: it may refuse us")
        frames = decoder.feed(data)
        if not frames and decoder.buffered_bytes > HELLO_BYTES_MAX:
            raise ProtocolError(f"the peer's hello has more than {HELLO_BYTES_MAX} bytes")
    first = frames.pop(0)
    if first.kind == FrameKind.CLOSE:
        raise PeerLostError(f"the peer hung up: {parse_close(first.body)}")
    if first.kind != FrameKind.HELLO:
        raise ProtocolError(f"the peer's first frame is of kind {first.kind}, not HELLO")
    theirs = codec.decode(Hello, first.body)
    agree(ours.versions, theirs.versions)
    return theirs, frames
