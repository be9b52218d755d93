"""The keys of `[limits]` about connections, from the first byte on; it enforces nothing."""

from __future__ import annotations

from dataclasses import dataclass

from swarmharness.network.limits import Limits
from swarmharness.node.config_schema import key

_LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class ConnectionsConfig:
    """A part of `[limits]`."""

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
        "Connections that have not proven who they are. When all places are taken, one that has had 3 s makes room,\n"
        "or one of a network that has more than the newcomer's.",
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
    dials_max: int = key(
        _LIMITS.dials_max, "Nodes that this one tries to reach at a time; further ones wait.", least=8, most=65_536
    )
    reconnects_max: int = key(
        _LIMITS.reconnects_max,
        "How many of them because their connection was lost: after a failure of the network that may be all.",
        least=1,
        most=65_536,
    )
