"""Remembers who asked this node lately, so that changes can be pushed to them; bounded, pure, no clock."""

from __future__ import annotations

from dataclasses import dataclass, field

from swarmharness.identity import PeerId

ASKERS_MAX = 128
SKILLS_MAX = 64
PUSHES_MAX = 64
WINDOW_US = 10_000_000


@dataclass(slots=True)
class Askers:
    """Peers that asked for one thing, until when each wants to hear of it; the latest last."""

    kept_us: int
    most: int = ASKERS_MAX
    _until: dict[PeerId, int] = field(default_factory=dict)

    def add(self, peer_id: PeerId, now_us: int) -> None:
        """Note that a peer asked."""
        self._until.pop(peer_id, None)
        self._until[peer_id] = now_us + self.kept_us
        if len(self._until) > self.most:
            del self._until[next(iter(self._until))]

    def current(self, now_us: int) -> tuple[PeerId, ...]:
        """Return those who still want to hear."""
        return tuple(peer for peer, until_us in self._until.items() if until_us > now_us)


@dataclass(slots=True)
class Finders:
    """Askers by skill."""

    kept_us: int
    _skills: dict[str, Askers] = field(default_factory=dict)

    def add(self, skill: str, peer_id: PeerId, now_us: int) -> None:
        """Note that a peer looks for a skill."""
        askers = self._skills.pop(skill, None) or Askers(self.kept_us)
        self._skills[skill] = askers
        askers.add(peer_id, now_us)
        if len(self._skills) > SKILLS_MAX:
            del self._skills[next(iter(self._skills))]

    def of(self, skill: str, now_us: int) -> tuple[PeerId, ...]:
        """Return who looks for a skill."""
        askers = self._skills.get(skill)
        return () if askers is None else askers.current(now_us)


@dataclass(slots=True)
class PushLimit:
    """At most 64 pushes from one peer in 10 seconds: each costs a signature check here."""

    _windows: dict[PeerId, tuple[int, int]] = field(default_factory=dict)

    def admit(self, peer_id: PeerId, now_us: int) -> bool:
        """Count a push, and tell whether it is within the limit."""
        started_us, count = self._windows.pop(peer_id, (now_us, 0))
        if now_us - started_us >= WINDOW_US:
            started_us, count = now_us, 0
        self._windows[peer_id] = (started_us, count + 1)
        if len(self._windows) > 4096:
            del self._windows[next(iter(self._windows))]
        return count < PUSHES_MAX
