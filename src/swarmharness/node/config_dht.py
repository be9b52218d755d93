"""The keys of `[limits]` about what this node answers and keeps for the DHT; it enforces nothing."""

from __future__ import annotations

from dataclasses import dataclass

from swarmharness.network.limits import Limits
from swarmharness.node.config_muxer import MuxerConfig
from swarmharness.node.config_schema import key

_LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class DhtConfig(MuxerConfig):
    """A part of `[limits]`."""

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
