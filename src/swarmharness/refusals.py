"""What a node refused lately, by reason and peer, so that whoever it hurts can be told; it refuses nothing itself.

Every refusal is counted by its reason, and by whom it concerns (`attacks.py`). One that makes a command of some user
fail also says who was refused and why, and is kept until it is solved, or an hour has passed without it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from swarmharness.attacks import KEPT_US, Action, Attack, Attacks

RECENT_MAX = 64
TWIN_REMEDY = "stop one of the two, or give it a data directory and a key of its own"
REASONS_MAX = 256
OTHER = "other"
"""Counts what is refused for further reasons than `REASONS_MAX`."""
TEXT_CHARS_MAX = 400


class Reason(StrEnum):
    """Refusals that hurt a user; the names are also those of counters."""

    CLOCK = "clock"
    """The other node's clock is too far from this one's."""
    SEQUENCE = "sequence"
    """An advert has a lower number than one that is known already (R-1)."""
    MALFORMED_ADVERT = "malformed advert"
    ADVERT = "advert"
    """An advert is another node's, expired, or there is no room for it."""
    TWIN = "another node with this key"
    """Two running nodes use one identity."""
    ACCESS = "access"
    """The allow list or the deny list excludes the peer."""
    HELLO = "hello"
    """The peer does not speak this protocol, or only other versions of it."""
    SERVICE = "libp2p service"
    """A service of the base library failed and was started again; who is told is this node's own user."""


HIDING = frozenset({Reason.CLOCK, Reason.SEQUENCE, Reason.MALFORMED_ADVERT, Reason.ADVERT})
"""Reasons for which a node that is there is not known here."""
MILD = (
    Reason.CLOCK,
    Reason.SEQUENCE,
    Reason.ADVERT,
    Reason.TWIN,
    Reason.ACCESS,
    "bulk memory",
    "bulk rate",
    "connection: broken handshake",
    "connection: no place",
    "DHT: no address",  # behind NAT
    "DHT: no place",
    "muxer: stream",  # too many, or opened too fast
    "muxer: unread bytes",
    "overload",
    "stream: many of",
    "stream: no place",
    "stream: too slow",
    "unknown method",
)
"""How refusals begin that also meet honest peers, when they are busy, slow, outdated or not wanted."""
ACTIONS = {
    Reason.ACCESS: Action.CONNECTION,
    Reason.HELLO: Action.STREAM,
    "bulk rate": Action.STREAM,
    "bulk size": Action.STREAM,
    "bulk stream": Action.STREAM,
    "DHT: message": Action.STREAM,
    "DHT: no address": Action.STREAM,
    "DHT: no place": Action.STREAM,
    "DHT: record": Action.STREAM,
    "DHT: requests": Action.STREAM,
    "DHT: silent": Action.STREAM,
    "DHT: value": Action.STREAM,
    "digest": Action.STREAM,
    "frame": Action.CONNECTION,
    "libp2p listener": Action.CONNECTION,
    "libp2p stream": Action.STREAM,
    "libp2p task": Action.CONNECTION,
    "muxer: frame": Action.CONNECTION,
    "muxer: frames": Action.SLOWED,
    "muxer: pings": Action.CONNECTION,
    "muxer: stream opens": Action.SLOWED,
    "muxer: streams": Action.STREAM,
    "muxer: unread bytes": Action.STREAM,
    "muxer: window": Action.CONNECTION,
}
"""What is done about a refusal; those of connections and streams end them, and for others the refusal is all."""
_ENDED = {"connection": Action.CONNECTION, "stream": Action.STREAM}


@dataclass(frozen=True, slots=True)
class Refusal:
    """What was refused of one peer for one reason."""

    reason: str
    peer_id: str
    text: str
    """One line for a person."""
    count: int
    first_us: int
    last_us: int
    numbers: Mapping[str, int] = field(default_factory=dict)
    """Figures of the last one, by name and unit."""


class Refusals:
    """Counts all; keeps the last ones of `RECENT_MAX` reasons and peers. `now_us` is a monotonic clock.

    A crowd has no room of others: the oldest of the reason with the most entries goes.
    """

    def __init__(self, now_us: Callable[[], int] = lambda: 0) -> None:
        self.counts: Counter[str] = Counter()
        self._now_us = now_us
        self._recent: dict[tuple[str, str], Refusal] = {}
        self._attacks = Attacks()
        self.host_of: Callable[[str], str] = lambda peer_id: ""
        """Where a peer is connected from; empty if nobody knows."""

    def note(
        self,
        reason: str,
        peer_id: str = "",
        text: str = "",
        *,
        host: str = "",
        action: Action | None = None,
        **numbers: int,
    ) -> None:
        """Count a refusal; with a text it is kept, to be told.

        It concerns a peer, or whoever is at the address `host`, or nobody. `action` is what is done about it, if that
        is not what is usual for the reason.
        """
        self.counts[reason if reason in self.counts or len(self.counts) < REASONS_MAX else OTHER] += 1
        self.blame(reason, peer_id, host=host, action=action)
        if text:
            self.tell(reason, peer_id, text, **numbers)

    def blame(
        self, reason: str, peer_id: str, *, host: str = "", action: Action | None = None, mild: bool = False
    ) -> None:
        """Note whom a refusal concerns that is counted elsewhere; `mild` is one that honest peers meet too."""
        host = host or (self.host_of(peer_id) if peer_id else "")
        if peer_id or host:
            mild = mild or reason.startswith(MILD)
            self._attacks.note(reason, peer_id, host, action or _usual(reason), self._now_us(), mild=mild)

    def tell(self, reason: str, peer_id: str, text: str, **numbers: int) -> None:
        """Keep why something was refused that is counted elsewhere."""
        now_us = self._now_us()
        old = self._recent.pop((reason, peer_id), None)
        count, first_us = (1, now_us) if old is None else (old.count + 1, old.first_us)
        self._recent[reason, peer_id] = Refusal(reason, peer_id, shown(text), count, first_us, now_us, numbers)
        if len(self._recent) > RECENT_MAX:
            ((crowded, _),) = Counter(kept for kept, _ in self._recent).most_common(1)
            del self._recent[next(key for key in self._recent if key[0] == crowded)]

    def solved(self, reason: str, peer_id: str) -> bool:
        """Forget what was kept of a peer for a reason; returns whether there was anything."""
        return self._recent.pop((reason, peer_id), None) is not None

    def recent(self, reasons: Iterable[str] | None = None) -> tuple[Refusal, ...]:
        """Return what was refused within the last hour, for these reasons or for any, the latest first."""
        oldest_us = self._now_us() - KEPT_US
        wanted = None if reasons is None else frozenset(reasons)
        found = (one for one in self._recent.values() if wanted is None or one.reason in wanted)
        return tuple(reversed([one for one in found if one.last_us > oldest_us]))

    def attacks(self) -> list[Attack]:
        """Return who was refused too often within the last hour for an accident, the greatest first."""
        return self._attacks.current(self._now_us())

    def attack_rows(self, now_unix_s: int) -> list[dict[str, Any]]:
        """Return the attacks as plain values for JSON; `now_unix_s` is the same instant by the wall clock."""
        now_us = self._now_us()
        return [
            {
                "from": one.source,
                "reason": str(one.reason),
                "count": one.count,
                "since_unix_s": now_unix_s - (now_us - one.since_us) // 1_000_000,
                "action": str(one.action),
            }
            for one in self.attacks()
        ]

    def rows(self, now_unix_s: int) -> list[dict[str, Any]]:
        """Return the recent ones as plain values for JSON; `now_unix_s` is the same instant by the wall clock."""
        now_us = self._now_us()
        return [
            {
                "reason": str(one.reason),
                "peer": one.peer_id,
                "text": one.text,
                "count": one.count,
                "since_unix_s": now_unix_s - (now_us - one.first_us) // 1_000_000,
                "last_unix_s": now_unix_s - (now_us - one.last_us) // 1_000_000,
                **one.numbers,
            }
            for one in self.recent()
        ]


class Tally(Counter[str]):
    """Refusals of one service by reason, which may also be told whom each concerns."""

    def __init__(self, refusals: Refusals | None = None) -> None:
        super().__init__()
        self._refusals = refusals

    def note(self, reason: str, peer_id: str, *, mild: bool = False) -> None:
        """Count a refusal of a peer; `mild` is one that honest peers meet too."""
        self[reason] += 1
        self.blame(reason, peer_id, mild=mild)

    def blame(self, reason: str, peer_id: str, *, mild: bool = False) -> None:
        """Say whom refusals concern that are counted one by one."""
        if self._refusals is not None:
            self._refusals.blame(reason, peer_id, mild=mild)


def _usual(reason: str) -> Action:
    return ACTIONS.get(reason) or _ENDED.get(reason.partition(": ")[0], Action.REFUSED)


def shown(text: str, chars_max: int = TEXT_CHARS_MAX) -> str:
    """Return a text as one line that a terminal may be shown: it may hold what a peer wrote."""
    line = " ".join(text[: 4 * chars_max].split())[:chars_max]
    return line if line.isprintable() else "".join(one if one.isprintable() else "?" for one in line)
