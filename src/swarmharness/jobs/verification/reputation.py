"""What is known of a peer's honesty in one skill: right answers in a row, strikes, how long it is shunned; pure.

One strike is forgiven each week, and a row of valid answers ends after a month without a check. Times are Unix seconds.
A clock that is set back forgives nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

REPUTATIONS_MAX = 16_384
ROW_S = 30 * 86_400
"""A row of valid answers this old says nothing any more: the peer is new again."""
FORGIVEN_S = 7 * 86_400
SHUN_FACTOR = 4
SHUN_S_MAX = 7 * 86_400
STRIKES_MAX = 100
VALID_MAX = 2**40


@dataclass(frozen=True, slots=True)
class Reputation:
    """One peer and skill."""

    valid_in_a_row: int = 0
    strikes: int = 0
    shunned_until_s: int = 0
    changed_s: int = 0

    def shunned(self, now_s: int) -> bool:
        """Tell whether the peer gets no task of this skill now."""
        return now_s < self.shunned_until_s


_STRANGER = Reputation()


def after_valid(old: Reputation, now_s: int, tasks: int = 1) -> Reputation:
    """Return the reputation after a check found so many tasks right."""
    valid = min(aged(old, now_s).valid_in_a_row + tasks, VALID_MAX)
    return replace(aged(old, now_s), valid_in_a_row=valid, changed_s=now_s)


def after_invalid(old: Reputation, now_s: int, shun_s: float) -> Reputation:
    """Return the reputation after an answer was found wrong: the row ends, and the peer is shunned for a while.

    Answers that were under way when the first one was found out add nothing.
    """
    if old.shunned(now_s):
        return replace(old, valid_in_a_row=0)
    strikes = min(aged(old, now_s).strikes + 1, STRIKES_MAX)
    wait_s = min(round(shun_s * SHUN_FACTOR ** min(strikes - 1, 32)), SHUN_S_MAX)
    return Reputation(0, strikes, now_s + wait_s, now_s)


def after_doubt(old: Reputation, now_s: int) -> Reputation:
    """Return the reputation after a dispute that nobody could settle: no strike, but a new row."""
    return replace(aged(old, now_s), valid_in_a_row=0, changed_s=now_s)


def aged(reputation: Reputation, now_s: int) -> Reputation:
    """Return what is left of a reputation now. A shunning that a set-back clock would prolong is cut to the longest."""
    age_s = max(0, now_s - reputation.changed_s)
    return replace(
        reputation,
        valid_in_a_row=reputation.valid_in_a_row if age_s < ROW_S else 0,
        strikes=max(0, reputation.strikes - age_s // FORGIVEN_S),
        shunned_until_s=min(reputation.shunned_until_s, now_s + SHUN_S_MAX),
    )


@dataclass(slots=True)
class Reputations:
    """All of them by (peer, skill); beyond the limit the least recently changed is forgotten: it is new again."""

    most: int = REPUTATIONS_MAX
    _known: dict[tuple[str, str], Reputation] = field(default_factory=dict)

    def __contains__(self, whose: tuple[str, str]) -> bool:
        """Whether anything is known of this (peer, skill)."""
        return whose in self._known

    def get(self, peer_id: str, skill: str, now_s: int) -> Reputation:
        """Return what is known now; a stranger's if nothing is."""
        known = self._known.get((peer_id, skill))
        return _STRANGER if known is None else aged(known, now_s)

    def put(self, peer_id: str, skill: str, reputation: Reputation) -> tuple[str, str] | None:
        """Keep a reputation; returns whose was forgotten for it, if one was."""
        self._known.pop((peer_id, skill), None)
        self._known[peer_id, skill] = reputation
        if len(self._known) <= self.most:
            return None
        oldest = next(iter(self._known))
        del self._known[oldest]
        return oldest

    def items(self) -> list[tuple[str, str, Reputation]]:
        """Return (peer, skill, reputation) of all, the least recently changed first."""
        return [(peer, skill, reputation) for (peer, skill), reputation in self._known.items()]
