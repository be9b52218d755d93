"""Keeps what checks told of each peer and model, on disk too, and tells the router; what follows is decided purely."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import trio

from swarmharness.errors import SwarmError, cause_text
from swarmharness.identity import PeerId
from swarmharness.jobs.verification import reputation
from swarmharness.jobs.verification.policy import VerificationSettings, batch_tasks
from swarmharness.jobs.verification.reputation import Reputation, Reputations, Whose, whole
from swarmharness.log_lines import by_peers
from swarmharness.ports import Clock, SteadyTime
from swarmharness.registry.models import ModelKey, model_key
from swarmharness.routing.router import Router
from swarmharness.routing.trust import Trust

SAVED_AFTER_S = 1.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Remembered:
    """One peer and model, or skill as a whole, as the disk holds it."""

    peer_id: str
    model: ModelKey
    reputation: Reputation
    trust: Trust


class ReputationStore(Protocol):
    """Where standings outlive the process."""

    async def load(self) -> list[Remembered]:
        """Return all, the least recently changed first."""

    async def save(self, changed: Sequence[Remembered], gone: Sequence[Whose]) -> None:
        """Keep what changed, and forget some."""


class MemoryReputationStore:
    """Forgets when the process ends, or remembers between two services of one test."""

    def __init__(self) -> None:
        self.rows: dict[Whose, Remembered] = {}

    async def load(self) -> list[Remembered]:
        """See `ReputationStore`."""
        return list(self.rows.values())

    async def save(self, changed: Sequence[Remembered], gone: Sequence[Whose]) -> None:
        """See `ReputationStore`."""
        for row in changed:
            self.rows.pop((row.peer_id, row.model), None)
            self.rows[row.peer_id, row.model] = row
        for key in gone:
            self.rows.pop(key, None)


class Standings:
    """The honesty of every peer with every model, as this node found it."""

    def __init__(self, clock: Clock, settings: VerificationSettings, store: ReputationStore) -> None:
        self._time, self._settings, self._store = SteadyTime(clock), settings, store
        self._known = Reputations()
        self._router: Router | None = None
        self._changed: set[Whose] = set()
        self._gone: set[Whose] = set()
        self._wake = trio.Event()

    def attach(self, router: Router) -> None:
        """Tell this router of every result from now on."""
        self._router = router

    # -- asking ---------------------------------------------------------------------------------------------------

    def get(self, peer_id: str, model: ModelKey) -> Reputation:
        """Return what is known now."""
        return self._known.get(peer_id, model, self._now_s())

    def batch_tasks(self, peer_id: str, model: ModelKey) -> int:
        """Return how many answers of this peer one check covers; see `policy.batch_tasks`."""
        return batch_tasks(self.get(peer_id, model).valid_in_a_row)

    def shunned(self, peer_id: str, skill: str) -> bool:
        """Tell whether the peer gave wrong answers and gets no task of this skill now, whatever its model."""
        key = model_key(skill, b"")
        if (peer_id, key) not in self._known:
            return False
        now_s = self._now_s()
        return self._known.get(peer_id, key, now_s).shunned(now_s)

    def rows(self) -> list[tuple[str, ModelKey, Reputation]]:
        """Return (peer, model, reputation) of all that is kept."""
        return self._known.items()

    # -- hearing --------------------------------------------------------------------------------------------------

    def valid(self, peer_id: PeerId, model: ModelKey, tasks: int = 1) -> None:
        """Hear that a check found so many tasks right, by one that was compared."""
        self._put_row(peer_id, model, reputation.after_valid(self.get(peer_id, model), self._now_s(), tasks))
        if self._router is not None:
            self._router.note_valid(peer_id, model)

    def invalid(self, peer_id: PeerId, model: ModelKey, reason: str) -> None:
        """Hear that an answer was wrong; it counts for every model of the skill."""
        skill = whole(model)
        before = self.get(peer_id, skill)
        after = reputation.after_invalid(before, self._now_s(), self._settings.shun_s)
        self._put((peer_id, skill), after)
        for known in self._known.models(peer_id, model.skill):
            self._put((peer_id, known), Reputation(changed_s=self._now_s()))
        if after.strikes > before.strikes:
            shunned_s = after.shunned_until_s - self._now_s()
            _log.warning(
                "%s gave a wrong answer for %s (%s): shunned for %d s",
                peer_id,
                model.skill,
                reason,
                shunned_s,
                extra=by_peers(),
            )
        if self._router is not None:
            self._router.note_invalid(peer_id, model, 0, reason)

    def doubt(self, peer_id: PeerId, model: ModelKey) -> None:
        """Hear that an answer was disputed, and nobody could tell who was right."""
        self._put_row(peer_id, model, reputation.after_doubt(self.get(peer_id, model), self._now_s()))

    def _put_row(self, peer_id: str, model: ModelKey, new: Reputation) -> None:
        """Keep a row of valid answers with its model, and nowhere else."""
        skill = peer_id, whole(model)
        before = self._known.kept(skill)
        if before.valid_in_a_row:
            self._put(skill, replace(before, valid_in_a_row=0))
        self._put((peer_id, model), Reputation(new.valid_in_a_row, changed_s=new.changed_s))

    def _put(self, whose: Whose, new: Reputation) -> None:
        forgotten = self._known.put(whose, new)
        self._changed.add(whose)
        self._gone.discard(whose)
        if forgotten is not None:
            self._changed.discard(forgotten)
            self._gone.add(forgotten)
        self._wake.set()

    # -- the disk -------------------------------------------------------------------------------------------------

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Take up what is on disk, then write down what changes, for ever, and once more at the end."""
        await self._load()
        task_status.started()
        try:
            while True:
                await self._wake.wait()
                self._wake = trio.Event()
                await trio.sleep(SAVED_AFTER_S)
                await self.save()
        finally:
            with trio.move_on_after(1, shield=True):
                await self.save()

    async def save(self) -> None:
        """Write down what has changed; a disk that fails costs memory of peers, and nothing else."""
        changed, self._changed = self._changed, set()
        gone, self._gone = self._gone, set()
        if not changed and not gone:
            return
        try:
            await self._store.save([self._row(*key) for key in changed], list(gone))
        except BaseException as error:  # also when it is cancelled: whoever stops saves once more
            self._changed |= changed - self._gone  # what was learnt meanwhile is newer
            self._gone |= gone - self._changed
            if not isinstance(error, SwarmError):
                raise
            _log.error("what was learnt about peers is not written down: %s", cause_text(error))

    def _row(self, peer_id: str, model: ModelKey) -> Remembered:
        trust = Trust(0, 0) if self._router is None else self._router.trust_of(PeerId(peer_id), model)
        correction_s = round(self._time.correction_us() / 1e6)
        return Remembered(peer_id, model, reputation.moved(self._known.kept((peer_id, model)), correction_s), trust)

    async def _load(self) -> None:
        try:
            rows = await self._store.load()
        except SwarmError as error:
            _log.error("what was learnt about peers cannot be read, so all are new: %s", error)
            return
        for row in rows:
            taken_up = reputation.taken_up(row.reputation, self._now_s())
            self._known.put((row.peer_id, row.model), taken_up)
            age_s = self._now_s() - taken_up.changed_s
            if self._router is not None and age_s < reputation.ROW_S and row.trust.valid_micro > 0:
                self._router.believe(PeerId(row.peer_id), row.model, row.trust)

    def _now_s(self) -> int:
        return self._time.unix_us() // 1_000_000
