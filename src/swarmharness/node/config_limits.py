"""The keys of `[limits]`: how much of a node strangers may take up; it enforces nothing."""

from __future__ import annotations

from dataclasses import dataclass, fields

from swarmharness.network.limits import Limits
from swarmharness.node.config_schema import key
from swarmharness.node.config_streams import StreamsConfig

_LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class LimitsConfig(StreamsConfig):
    """`[limits]`."""

    connections_max: int = key(
        _LIMITS.connections_max,
        "Connections to other nodes. Beyond it the least useful goes: first those without a channel, of strangers,\n"
        "the longest unused.",
        least=8,
        most=65_536,
    )
    connections_reserved: int = key(
        _LIMITS.connections_reserved,
        "How many of them are for nodes that this one knows: those that this file names, and those with which it has\n"
        "receipts.",
        least=0,
        most=65_536,
    )
    connections_per_address_max: int = key(
        _LIMITS.connections_per_address_max, "Connections of strangers from one address.", least=1, most=65_536
    )
    connections_per_network_max: int = key(
        _LIMITS.connections_per_network_max,
        "Connections of strangers from one network: a /24, or a /56 of IPv6.",
        least=1,
        most=65_536,
    )
    half_open_max: int = key(
        _LIMITS.half_open_max,
        "Connections that have not proven who they are; beyond it the oldest goes, of the network that has the most.",
        least=4,
        most=65_536,
    )
    half_open_per_address_max: int = key(
        _LIMITS.half_open_per_address_max, "The same from one address; further ones are refused.", least=1, most=65_536
    )
    half_open_per_network_max: int = key(
        _LIMITS.half_open_per_network_max, "The same from one network; further ones are refused.", least=1, most=65_536
    )
    hello_timeout_s: float = key(
        _LIMITS.hello_timeout_s,
        "Seconds in which a connection must prove who it is, and then again in which it must be of use.",
        least=1,
        most=600,
    )
    idle_timeout_s: float = key(
        _LIMITS.idle_timeout_s,
        "Seconds after which a connection without a channel is closed, counted from its last use for look-ups.",
        least=1,
        most=3600,
    )
    loopback: bool = key(
        _LIMITS.loopback, "Count programs on this machine under their addresses, too, as nodes elsewhere are."
    )
    peers_remembered_max: int = key(
        _LIMITS.peers_remembered_max,
        "Nodes whose addresses are remembered, besides those that are connected or that this file names.",
        least=16,
        most=1_048_576,
    )

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

    dht_requests_per_s: int = key(
        _LIMITS.dht_requests_per_s,
        "Questions to the DHT a second from one network, or from one node where networks are not counted.",
        least=1,
        most=65_536,
    )
    dht_records_max: int = key(
        _LIMITS.dht_records_max,
        "Who provides what: records that this node keeps for the DHT, of about a kilobyte each. Beyond it the network\n"
        "with the most records loses one.",
        least=256,
        most=16_777_216,
    )
    dht_records_per_key_max: int = key(_LIMITS.dht_records_per_key_max, "The same of one key.", least=8, most=65_536)
    dht_records_per_peer_max: int = key(_LIMITS.dht_records_per_peer_max, "The same of one node.", least=8, most=65_536)
    dials_max: int = key(
        _LIMITS.dials_max, "Nodes that this one tries to reach at a time; further ones wait.", least=8, most=65_536
    )
    reconnects_max: int = key(
        _LIMITS.reconnects_max,
        "How many of them because their connection was lost: after a failure of the network that may be all.",
        least=1,
        most=65_536,
    )
    strangers_payload_mib: int = key(
        _LIMITS.strangers_payload_mib,
        "Memory in MiB for what all strangers together send in calls, wait to be answered, and do not read; one may\n"
        "have two thirds of what the others leave. Nodes that this one knows share twice network.bulk_max_mib.",
        least=1,
        most=1_048_576,
    )
    calls_max: int = key(_LIMITS.calls_max, "Calls of others in progress here.", least=16, most=1_048_576)
    calls_of_strangers_max: int = key(
        _LIMITS.calls_of_strangers_max, "How many of them strangers may have together.", least=16, most=1_048_576
    )
    call_time_max_s: float = key(
        _LIMITS.call_time_max_s,
        "Seconds that one call may take here, however long its caller would wait.",
        least=60,
        most=2_592_000,
    )
    work_known_percent: float = key(
        _LIMITS.work_known_percent,
        "Share of the processor's time that one known node's calls may take before it waits for others that wait;\n"
        "alone it may have all. What calls cost is estimated.",
        least=0.1,
        most=100,
    )
    work_stranger_percent: float = key(_LIMITS.work_stranger_percent, "The same for one stranger.", least=0.1, most=100)
    work_strangers_percent: float = key(
        _LIMITS.work_strangers_percent, "The same for all strangers together.", least=0.1, most=100
    )

    @property
    def settings(self) -> Limits:
        """What the network goes by."""
        return Limits(**{item.name: getattr(self, item.name) for item in fields(Limits)})
