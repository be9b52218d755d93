"""The keys of `[limits]` about streams, which is what peers speak on over a connection; it enforces nothing."""

from __future__ import annotations

from dataclasses import dataclass, fields

from swarmharness.network.stream_places import StreamLimits
from swarmharness.node.config_connections import ConnectionsConfig
from swarmharness.node.config_schema import key

_STREAMS = StreamLimits()


@dataclass(frozen=True, slots=True)
class StreamsConfig(ConnectionsConfig):
    """A part of `[limits]`."""

    streams_max: int = key(
        _STREAMS.streams_max,
        "Streams that other nodes have open here, of all kinds. Where places are short, here and below, the node\n"
        "that has the most gives one up.",
        least=64,
        most=1_048_576,
    )
    streams_per_peer_max: int = key(_STREAMS.streams_per_peer_max, "The same of one node.", least=16, most=65_536)
    negotiating_max: int = key(
        _STREAMS.negotiating_max, "Streams that have not said yet what they are for.", least=16, most=65_536
    )
    negotiating_per_peer_max: int = key(
        _STREAMS.negotiating_per_peer_max, "The same of one node.", least=4, most=65_536
    )
    negotiating_timeout_s: float = key(
        _STREAMS.negotiating_timeout_s, "Seconds in which a stream must say what it is for.", least=1, most=600
    )
    refused_streams_per_minute: int = key(
        _STREAMS.refused_streams_per_minute,
        "Streams of one node that may be refused a minute, for whatever reason; beyond it none is looked at.",
        least=1,
        most=10_000,
    )
    refused_streams_burst: int = key(
        _STREAMS.refused_streams_burst, "So many at once, after a pause.", least=1, most=100_000
    )
    channel_streams_max: int = key(
        _STREAMS.channel_streams_max, "Streams that carry a channel: one for each node.", least=8, most=65_536
    )
    channel_streams_per_peer_max: int = key(
        _STREAMS.channel_streams_per_peer_max, "The same of one node.", least=2, most=1024
    )
    bulk_streams_max: int = key(
        _STREAMS.bulk_streams_max, "Streams that carry a large payload each.", least=8, most=65_536
    )
    bulk_streams_per_peer_max: int = key(
        _STREAMS.bulk_streams_per_peer_max, "The same of one node.", least=1, most=1024
    )
    dht_streams_max: int = key(_STREAMS.dht_streams_max, "Streams with questions to the DHT.", least=8, most=65_536)
    dht_streams_per_peer_max: int = key(_STREAMS.dht_streams_per_peer_max, "The same of one node.", least=1, most=1024)
    broadcast_streams_max: int = key(
        _STREAMS.broadcast_streams_max, "Streams that carry broadcasts: one for each node.", least=8, most=65_536
    )
    broadcast_streams_per_peer_max: int = key(
        _STREAMS.broadcast_streams_per_peer_max, "The same of one node.", least=1, most=1024
    )
    identify_streams_max: int = key(
        _STREAMS.identify_streams_max, "Streams that ask who this node is (libp2p's identify).", least=8, most=65_536
    )
    identify_streams_per_peer_max: int = key(
        _STREAMS.identify_streams_per_peer_max, "The same of one node.", least=1, most=1024
    )
    identify_timeout_s: float = key(
        _STREAMS.identify_timeout_s,
        "Seconds that such an answer, or what a node says of itself, may take.",
        least=1,
        most=600,
    )
    identify_per_s: int = key(
        _STREAMS.identify_per_s, "So often a second one node may ask, or say anew who it is.", least=1, most=1000
    )
    identify_burst: int = key(_STREAMS.identify_burst, "So often at once, after a pause.", least=2, most=10_000)
    push_streams_max: int = key(
        _STREAMS.push_streams_max, "Streams on which nodes say who they are (identify/push).", least=8, most=65_536
    )
    push_streams_per_peer_max: int = key(
        _STREAMS.push_streams_per_peer_max, "The same of one node.", least=1, most=1024
    )
    ping_streams_max: int = key(_STREAMS.ping_streams_max, "Streams of libp2p's ping.", least=8, most=65_536)
    ping_streams_per_peer_max: int = key(
        _STREAMS.ping_streams_per_peer_max, "The same of one node.", least=1, most=1024
    )
    ping_per_s: int = key(
        _STREAMS.ping_per_s, "Pings a second of one node that are answered at once.", least=1, most=1000
    )
    ping_burst: int = key(_STREAMS.ping_burst, "So many at once, after a pause.", least=1, most=10_000)

    @property
    def streams(self) -> StreamLimits:
        """What the network goes by."""
        return StreamLimits(**{item.name: getattr(self, item.name) for item in fields(StreamLimits)})
