"""What is known of a peer's honesty: right answers in a row by model, strikes and shunning by skill; pure.

Who was found wrong with one model of a skill is shunned for all of them, and begins its row anew with each: another
model would be but another name.
One strike is forgiven each week, and a row of valid answers ends after a month without a check. Times are Unix seconds
that nobody sets back (`ports.SteadyTime`); what a disk holds by another clock is `taken_up` first.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from swarmharness.registry.models import ModelKey, model_key

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
    """One peer with one model, or with a skill as a whole."""

    valid_in_a_row: int = 0
    strikes: int = 0
    shunned_until_s: int = 0
    changed_s: int = 0

    def shunned(self, now_s: int) -> bool:
        """Tell whether the peer gets no task of this skill now."""
        return now_s < self.shunned_until_s


Whose = tuple[str, ModelKey]
"""A peer and a model; without a digest, the skill as a whole."""

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
    """Return what is left of a reputation now."""
    age_s = max(0, now_s - reputation.changed_s)
    return replace(
        reputation,
        valid_in_a_row=reputation.valid_in_a_row if age_s < ROW_S else 0,
        strikes=max(0, reputation.strikes - age_s // FORGIVEN_S),
    )


def taken_up(kept: Reputation, now_s: int) -> Reputation:
    """Return what was kept, by the clock of now: if that was set back since, no time has passed."""
    bounded = replace(kept, shunned_until_s=min(kept.shunned_until_s, kept.changed_s + SHUN_S_MAX))
    return moved(bounded, min(0, now_s - kept.changed_s))


def moved(reputation: Reputation, by_s: int) -> Reputation:
    """Return the same reputation by a clock that shows so many seconds more."""
    shunned_until_s, changed_s = (max(0, time + by_s) for time in (reputation.shunned_until_s, reputation.changed_s))
    return replace(reputation, shunned_until_s=shunned_until_s, changed_s=changed_s)


@dataclass(slots=True)
class Reputations:
    """All of them; beyond the limit the least recently changed is forgotten: it is new again.

    Strikes and shunning are kept with the skill as a whole. A row of valid answers that is kept there is from before
    models were told apart; the first model that is judged takes it over.
    """

    most: int = REPUTATIONS_MAX
    _known: dict[Whose, Reputation] = field(default_factory=dict)

    def __contains__(self, whose: Whose) -> bool:
        """Whether anything is kept of just this."""
        return whose in self._known

    def kept(self, whose: Whose) -> Reputation:
        """Return what is kept of just this, a stranger's if nothing is."""
        return self._known.get(whose, _STRANGER)

    def get(self, peer_id: str, model: ModelKey, now_s: int) -> Reputation:
        """Return what follows now for a peer with a model; `changed_s` is that of the row of valid answers."""
        skill = aged(self.kept((peer_id, whole(model))), now_s)
        own = self._known.get((peer_id, model))
        if own is None:
            return skill
        return replace(skill, valid_in_a_row=aged(own, now_s).valid_in_a_row, changed_s=own.changed_s)

    def put(self, whose: Whose, reputation: Reputation) -> Whose | None:
        """Keep a reputation; returns whose was forgotten for it, if one was."""
        self._known.pop(whose, None)
        self._known[whose] = reputation
        if len(self._known) <= self.most:
            return None
        oldest = next(iter(self._known))
        del self._known[oldest]
        return oldest

    def models(self, peer_id: str, skill: str) -> list[ModelKey]:
        """Return the models of a skill of which something is kept."""
        return [model for peer, model in self._known if peer == peer_id and model.skill == skill and model.digest]

    def items(self) -> list[tuple[str, ModelKey, Reputation]]:
        """Return (peer, model, reputation) of all, the least recently changed first."""
        return [(peer, model, reputation) for (peer, model), reputation in self._known.items()]


def whole(model: ModelKey) -> ModelKey:
    """Return the skill of a model as a whole."""
    return model_key(model.skill, b"")
