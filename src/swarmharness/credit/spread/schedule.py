"""When to reconcile with whom; pure, time and chance come in as arguments."""

from __future__ import annotations

from collections.abc import Collection

from swarmharness.identity import PeerId


class Schedule:
    """The next reconciliation of every peer that is connected or was a partner lately."""

    def __init__(self, me: PeerId, *, period_us: int, stagger_us: int, most_us: int | None = None) -> None:
        self._me, self._period_us, self._stagger_us = me, period_us, stagger_us
        self._most_us = max(period_us, most_us or period_us)
        self._periods_us: dict[PeerId, int] = {}
        self._due: dict[PeerId, int] = {}
        self._heard: dict[PeerId, int] = {}

    def met(self, peer: PeerId, now_us: int, chance: int) -> None:
        """A peer connected, or became a partner: soon, but not both sides at once; `chance` is below the stagger."""
        self._heard.pop(peer, None)
        self._periods_us.pop(peer, None)
        wait_us = chance if self._me < peer else 2 * self._stagger_us + 2 * chance
        self._due[peer] = min(now_us + wait_us, self._due.get(peer, now_us + wait_us))

    def disconnected(self, peer: PeerId) -> None:
        """A peer is gone: nothing is due until it comes back, and then soon."""
        self._due.pop(peer, None)
        self._heard.pop(peer, None)
        self._periods_us.pop(peer, None)

    def heard(self, peer: PeerId, now_us: int) -> None:
        """A peer began a reconciliation itself, which serves both."""
        self._heard[peer] = now_us

    def done(self, peer: PeerId, now_us: int, chance: int, *, again: bool) -> None:
        """One ended: the next is due after half to one and a half periods, or soon if it could not bring everything.

        The period of a peer doubles each time. `chance` is below `period_us`.
        """
        if again:
            self._due[peer] = now_us + self._stagger_us + chance * self._stagger_us // self._period_us
            return
        period_us = self._periods_us.get(peer, self._period_us)
        self._periods_us[peer] = min(2 * period_us, self._most_us)
        self._due[peer] = now_us + period_us // 2 + chance * period_us // self._period_us

    def take_due(self, now_us: int, busy: Collection[PeerId], limit: int) -> list[PeerId]:
        """Return whom to reconcile with now, the longest due first; those that just did so themselves come later."""
        for peer, due_us in list(self._due.items()):
            heard_us = self._heard.get(peer)
            period_us = self._periods_us.get(peer, self._period_us)
            if due_us <= now_us and heard_us is not None and now_us - heard_us < period_us // 2:
                self._due[peer] = heard_us + period_us
                self._periods_us[peer] = min(2 * period_us, self._most_us)
        found = sorted((due_us, peer) for peer, due_us in self._due.items() if due_us <= now_us and peer not in busy)
        chosen = [peer for _, peer in found[: max(0, limit)]]
        for peer in chosen:
            del self._due[peer]
        return chosen

    def next_due_us(self, busy: Collection[PeerId]) -> int | None:
        """Return when the next one is due with a peer that is not busy, or None."""
        return min((due_us for peer, due_us in self._due.items() if peer not in busy), default=None)
