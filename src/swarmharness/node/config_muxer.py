"""The keys of `[limits]` about the multiplexer, which carries all streams of a connection; it enforces nothing."""

from __future__ import annotations

from dataclasses import dataclass

from swarmharness.network.limits import Limits
from swarmharness.node.config_schema import key
from swarmharness.node.config_streams import StreamsConfig

_LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class MuxerConfig(StreamsConfig):
    """A part of `[limits]`."""

    silent_streams_max: int = key(
        _LIMITS.silent_streams_max,
        "Streams on which nothing was said yet, over all connections; beyond it, whoever has the most loses one.",
        least=64,
        most=1_048_576,
    )
    streams_per_connection_max: int = key(
        _LIMITS.streams_per_connection_max,
        "Streams that another node may have open over one connection; further ones are reset.",
        least=16,
        most=65_536,
    )
    stream_opens_per_s: int = key(
        _LIMITS.stream_opens_per_s,
        "Streams that strangers of one network may open a second, twice as many at once; a node that is known\n"
        "may open 16 times as many. Whoever is faster waits.",
        least=1,
        most=65_536,
    )
    stream_window_bytes_max: int = key(
        _LIMITS.stream_window_bytes_max,
        "Bytes that a stream may have on the way: as many as a long, fast link needs for one round trip.",
        least=262_144,
        most=67_108_864,
    )
    unread_bytes_max: int = key(
        _LIMITS.unread_bytes_max,
        "Bytes that have arrived on all streams and that nothing here has read yet. Beyond it the streams are reset\n"
        "that have not been read for the longest time.",
        least=4_194_304,
        most=17_179_869_184,
    )
    unread_bytes_per_connection_max: int = key(
        _LIMITS.unread_bytes_per_connection_max, "The same over one connection.", least=1_048_576, most=17_179_869_184
    )
    muxer_frames_per_s: int = key(
        _LIMITS.muxer_frames_per_s,
        "Frames of the multiplexer a second from one network of strangers, or from one node that is known; beyond it\n"
        "they are read later. One node that calls without a pause sends about half as many.",
        least=100,
        most=10_000_000,
    )
    muxer_pings_per_s: int = key(
        _LIMITS.muxer_pings_per_s,
        "Pings of the multiplexer that another node may send a second; beyond it its connection is closed.",
        least=1,
        most=65_536,
    )
    turn_ms: float = key(
        _LIMITS.turn_ms,
        "Milliseconds of processor time for which one connection is read before another has its turn.",
        least=0.1,
        most=100,
    )
