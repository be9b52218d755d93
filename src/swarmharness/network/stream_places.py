"""How many streams of others a node serves at a time; pure: it is told and asked, and closes nothing itself.

A stream is negotiating until it has named its protocol, and then takes one of that protocol's places. Places are
counted by protocol, by protocol and peer, by peer, and in all. Where all are taken, whoever has the most gives one up.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What a stream is for; the names are also those of keys and in counters."""

    NEGOTIATING = "negotiating"
    CHANNEL = "channel"
    BULK = "bulk"
    DHT = "dht"
    BROADCAST = "broadcast"
    IDENTIFY = "identify"
    PUSH = "push"
    PING = "ping"


LASTING = frozenset({Kind.CHANNEL, Kind.BULK, Kind.BROADCAST})
"""Streams that are worth something for long: none of them gives way to a peer that would then have as many."""


@dataclass(frozen=True, slots=True)
class StreamLimits:
    """Limits of streams that peers open; each is a key of `[limits]`, where it is explained."""

    streams_max: int = 4096
    streams_per_peer_max: int = 128
    negotiating_max: int = 256
    negotiating_per_peer_max: int = 80
    negotiating_timeout_s: float = 10.0
    refused_streams_per_minute: int = 15
    refused_streams_burst: int = 6
    channel_streams_max: int = 1024
    channel_streams_per_peer_max: int = 4
    bulk_streams_max: int = 1024
    bulk_streams_per_peer_max: int = 64
    dht_streams_max: int = 512
    dht_streams_per_peer_max: int = 16
    broadcast_streams_max: int = 1024
    broadcast_streams_per_peer_max: int = 2
    identify_streams_max: int = 256
    identify_streams_per_peer_max: int = 4
    identify_timeout_s: float = 10.0
    identify_per_s: int = 1
    identify_burst: int = 8
    push_streams_max: int = 128
    push_streams_per_peer_max: int = 4
    ping_streams_max: int = 256
    ping_streams_per_peer_max: int = 2
    ping_per_s: int = 2
    ping_burst: int = 32

    def of(self, kind: Kind) -> tuple[int, int]:
        """Return how many streams of a kind there may be, in all and of one peer."""
        name = kind if kind is Kind.NEGOTIATING else f"{kind}_streams"
        return getattr(self, f"{name}_max"), getattr(self, f"{name}_per_peer_max")


class StreamDrop(StrEnum):
    """Why a stream was refused or ended; the names are those of counters, most with the kind behind them."""

    PEER = "stream: many of one peer"
    KIND = "stream: many of one peer and kind"
    FULL = "stream: no place"
    """All places are taken, or whoever came later had fewer."""
    UNNAMED = "stream: no protocol"
    """It named none that is served, or not in time."""
    SLOW = "stream: too slow"
    """It was there for a question or an answer, and that did not pass in time."""
    OFTEN = "stream: too often"
    """Its peer opens streams of this kind faster than anybody needs."""
    MALFORMED = "stream: malformed"
    """It brought what is no message of its kind."""
    SIZE = "stream: too large"
    """It announced more bytes than a message of its kind can have."""


Verdict = tuple[StreamDrop | None, Hashable | None]
"""Why a stream has to go, or else which other one has to, if any."""


class StreamPlaces:
    """The streams that peers have open here, by whatever the caller knows them by."""

    def __init__(self, limits: StreamLimits) -> None:
        self._limits = limits
        self._of: dict[Hashable, tuple[Kind, str]] = {}
        self._kinds: dict[Kind, dict[str, dict[Hashable, None]]] = {kind: {} for kind in Kind}
        self._number: Counter[Kind] = Counter()
        self._peers: dict[str, dict[Hashable, None]] = {}

    def __len__(self) -> int:
        return len(self._of)

    def counts(self) -> dict[str, int]:
        """Return how many there are of each kind."""
        return {str(kind): self._number[kind] for kind in Kind}

    def enter(self, key: Hashable, peer_id: str) -> Verdict:
        """Note a stream that a peer opened: it is negotiating, unless it is refused."""
        limits, own = self._limits, self._peers.get(peer_id, {})
        if len(own) >= limits.streams_per_peer_max:
            return StreamDrop.PEER, None
        drop, victim = self._room(Kind.NEGOTIATING, peer_id)
        if drop is None and victim is None and len(self._of) >= limits.streams_max:
            victim = _from_busiest(self._peers, len(own), even=False)
            drop = StreamDrop.FULL if victim is None else None
        if drop is None:
            self._add(key, Kind.NEGOTIATING, peer_id)
        return drop, victim

    def move(self, key: Hashable, kind: Kind) -> Verdict:
        """Note that a stream has named its protocol; if it has to go it keeps the place it has until it leaves."""
        place = self._of.get(key)
        if place is None:
            return None, None
        drop, victim = self._room(kind, place[1])
        if drop is None:
            self.leave(key)
            self._add(key, kind, place[1])
        return drop, victim

    def leave(self, key: Hashable) -> None:
        """Note that a stream is over."""
        place = self._of.pop(key, None)
        if place is None:
            return
        kind, peer_id = place
        self._number[kind] -= 1
        for held in (self._kinds[kind], self._peers):
            del held[peer_id][key]
            if not held[peer_id]:
                del held[peer_id]

    def _add(self, key: Hashable, kind: Kind, peer_id: str) -> None:
        self._of[key] = kind, peer_id
        self._number[kind] += 1
        for held in (self._kinds[kind], self._peers):
            held.setdefault(peer_id, {})[key] = None

    def _room(self, kind: Kind, peer_id: str) -> Verdict:
        most, of_one_peer = self._limits.of(kind)
        held = self._kinds[kind]
        own = len(held.get(peer_id, ()))
        if own >= of_one_peer:
            return StreamDrop.KIND, None
        if self._number[kind] < most:
            return None, None
        victim = _from_busiest(held, own, even=kind not in LASTING)
        return (StreamDrop.FULL, None) if victim is None else (None, victim)


def _from_busiest(held: dict[str, dict[Hashable, None]], own: int, *, even: bool) -> Hashable | None:
    """Return the oldest stream of the peer that has the most, if it has more than a newcomer with `own` others.

    With `even`, also if it then has as many: what is there for a moment gives way to what came later.
    """
    busiest = max(held.values(), key=len)
    return next(iter(busiest)) if len(busiest) > own + (not even) else None
