"""What a provider heard of others' demand for its skills: who asked, what was refused, how it stands with them; pure.

It is bounded, and forgets after a quarter of an hour. What requesters say of this node is their claim.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from swarmharness.routing.standing import Standing

LATELY_US = 900_000_000
LATELY_TEXT = "the last 15 min"
SKILLS_MAX = 64
PEERS_MAX = 64

T = TypeVar("T")


@dataclass(slots=True)
class _ByPeer(Generic[T]):
    """The last that each peer did, the latest last."""

    last: dict[str, tuple[int, T]] = field(default_factory=dict)

    def put(self, peer_id: str, value: T, now_us: int) -> None:
        self.last.pop(peer_id, None)
        self.last[peer_id] = (now_us, value)
        if len(self.last) > PEERS_MAX:
            del self.last[next(iter(self.last))]

    def get(self, peer_id: str, now_us: int, default: T) -> T:
        at_us, value = self.last.get(peer_id, (-LATELY_US, default))
        return value if now_us - at_us < LATELY_US else default

    def lately(self, now_us: int) -> list[T]:
        return [value for at_us, value in self.last.values() if now_us - at_us < LATELY_US]


@dataclass(slots=True)
class _Skill:
    looked: _ByPeer[None] = field(default_factory=_ByPeer)
    served: _ByPeer[int] = field(default_factory=_ByPeer)  # items
    refused: _ByPeer[tuple[int, str]] = field(default_factory=_ByPeer)  # proposals, and the last reason
    standings: _ByPeer[Standing] = field(default_factory=_ByPeer)


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What else may keep work away from a node."""

    limits: tuple[str, ...] = ()
    """Why its owner's limits keep it from serving others now."""
    connected: int = 0
    clock: str = ""
    """What is wrong with its clock, or those of others."""
    loopback_only: bool = False
    """It listens on this machine alone."""


class Demand:
    """By skill. Only other nodes' doings are told to it."""

    def __init__(self) -> None:
        self._skills: dict[str, _Skill] = {}

    def looked_for(self, peer_id: str, skill: str, now_us: int) -> None:
        """Hear that a node looked for providers of a skill."""
        self._of(skill).looked.put(peer_id, None, now_us)

    def served(self, peer_id: str, skill: str, items: int, now_us: int) -> None:
        """Hear that items of a node were answered."""
        served = self._of(skill).served
        served.put(peer_id, served.get(peer_id, now_us, 0) + items, now_us)

    def refused(self, peer_id: str, skill: str, reason: str, now_us: int) -> None:
        """Hear that a node's proposal was refused."""
        refused = self._of(skill).refused
        refused.put(peer_id, (refused.get(peer_id, now_us, (0, ""))[0] + 1, reason), now_us)

    def told(self, peer_id: str, skill: str, standing: Standing, now_us: int) -> None:
        """Hear how this node stands with a requester that just sent a task somewhere."""
        self._of(skill).standings.put(peer_id, standing, now_us)

    def account(self, skill: str, now_us: int, around: Circumstances) -> dict[str, Any]:
        """Return plain values: a `state` in one word, why in one line, and the figures behind it."""
        known = self._skills.get(skill, _Skill())
        served, refused = known.served.lately(now_us), known.refused.lately(now_us)
        standings, looked = known.standings.lately(now_us), known.looked.lately(now_us)
        state, text = _verdict(served, refused, standings, len(looked), around)
        return {
            "state": state,
            "text": text,
            "items": sum(served),
            "requesters": len(served),
            "refused": sum(count for count, _ in refused),
            "looked_for_by": len(looked),
            "told": [
                {"why": one.word, "expected_ms": one.expected_us / 1000, "best_ms": one.best_us / 1000}
                for one in standings
            ],
        }

    def _of(self, skill: str) -> _Skill:
        known = self._skills.pop(skill, None) or _Skill()
        self._skills[skill] = known
        if len(self._skills) > SKILLS_MAX:
            del self._skills[next(iter(self._skills))]
        return known


def _verdict(
    served: list[int], refused: list[tuple[int, str]], standings: list[Standing], looked: int, around: Circumstances
) -> tuple[str, str]:
    """Return the first reason of those that hold, by how much it explains."""
    if around.limits:
        return "limits", f"others are not served: {'; '.join(around.limits)}"
    if served:
        return "works", f"{_count(sum(served), 'item')} for {_count(len(served), 'node')} in {LATELY_TEXT}"
    if not around.connected:
        return "not reachable", "no other node is connected"
    if around.clock:
        return "clock", around.clock
    if refused:
        proposals = sum(count for count, _ in refused)
        return "refused", f"{_count(proposals, 'proposal')} refused in {LATELY_TEXT}; the last: {refused[-1][1]}"
    if standings:
        last = _most_common(standings)
        return last.word, f"{_count(len(standings), 'node')} asked: {last.text}"
    where = "; this node listens on this machine alone, see --listen" if around.loopback_only else ""
    if looked:
        return "known", f"{_count(looked, 'node')} looked for it, and sent nothing yet{where}"
    return "nobody asked", f"nobody asked for it in {LATELY_TEXT}{where}"


def _most_common(standings: list[Standing]) -> Standing:
    """Return the last one that says what most say."""
    word = Counter(one.word for one in standings).most_common(1)[0][0]
    return next(one for one in reversed(standings) if one.word == word)


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
