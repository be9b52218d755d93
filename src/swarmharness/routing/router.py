"""SwarmRouter: joins the registry's adverts with what was measured, and answers "which peers, in which order".

It keeps state and clock; the pure modules beside it judge. It sends nothing: probes and gossip report by `note_load`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from swarmharness.errors import ErrorKind, InputError, PeerLostError, SwarmError
from swarmharness.identity import PeerId
from swarmharness.ports import Clock, Randomness
from swarmharness.registry.advert import Advert, SkillAdvert
from swarmharness.registry.entry import Known
from swarmharness.registry.models import ModelKey
from swarmharness.routing.candidate import CandidateView, RouteRequest, Snapshot
from swarmharness.routing.decisions import SHOWN_MAX, Decision, DecisionLog
from swarmharness.routing.estimates import LoadReport
from swarmharness.routing.explain import Explanation, explain
from swarmharness.routing.exploring import preferred
from swarmharness.routing.fixedpoint import MICRO
from swarmharness.routing.locality import Nearness
from swarmharness.routing.pheromone import UsualTimes
from swarmharness.routing.policy import RoutingPolicy
from swarmharness.routing.ports import Prediction, SkillDirectory
from swarmharness.routing.records import Record, Records, view_of
from swarmharness.routing.rows import Model, models_of, peer_rows
from swarmharness.routing.table import Choice, KeptTable, SkillTable
from swarmharness.routing.trust import Trust
from swarmharness.routing.utility import time_parts_us

__all__ = ["Choice", "Prediction", "Router", "SkillDirectory"]

CHOICES_MAX = 128
TABLES_MAX = 64
AGE_FLOOR_US = 20_000
AGE_PER_ROW_US = 3_000
"""Rows whose cost changes by time alone are compiled again this seldom, so that it stays near 2% of a core."""
COMPILED_EVERY_US = 300_000_000
"""All rows are compiled again so often, although nothing was heard of their peers: ways get slower, or faster."""
FAINT_MICRO = 10_000
"""So little pheromone moves a cost by less than 1%, and no row is compiled again because it evaporates."""
JITTER_PERMILLE = 200


class Router:
    """See the module. `round_trip_us` and `allowed` ask the network, `shunned` the checks; all must be cheap."""

    probes = True
    """Whether peers are probed for it."""
    hedges = True
    """Whether late requests may get a second copy."""

    def __init__(
        self,
        directory: SkillDirectory,
        policy: RoutingPolicy,
        clock: Clock,
        randomness: Randomness,
        *,
        own_id: PeerId,
        round_trip_us: Callable[[PeerId], int | None],
        allowed: Callable[[PeerId], bool] = lambda _: True,
        shunned: Callable[[PeerId, str], bool] = lambda *_: False,
    ) -> None:
        self._directory = directory
        self._policy = policy
        self._clock = clock
        self._randomness = randomness
        self._own_id = own_id
        self._round_trip_us = round_trip_us
        self._allowed = allowed
        self._shunned = shunned
        self._records = Records()
        self._tables: dict[str, KeptTable] = {}
        self._usual_times = UsualTimes()
        self._nearness = Nearness()
        self._viewed: tuple[Record, Choice, int, CandidateView] | None = None
        self._on_sent: list[Callable[[ModelKey], None]] = []
        self.decisions = DecisionLog()  # by the id of their task, for whoever asks afterwards

    # -- deciding ---------------------------------------------------------------------------------------------

    async def choose(
        self,
        skill: str,
        items: int = 1,
        *,
        exclude: frozenset[PeerId] = frozenset(),
        model_digest: bytes = b"",
        takes: Sequence[str] = (),
        input_bytes: int = 0,
        limit: int = CHOICES_MAX,
        explores: bool = True,
    ) -> tuple[Choice, ...]:
        """Return whom to send a task of `items` to, best first; possibly nobody, if all candidates are excluded.

        With a `model_digest`, only those that serve this model; else of all models that go by the skill's name. Only
        peers that take all of the parameters in `takes` count. Without `explores`, for who only wants to know, nothing
        is left to chance.
        Raises UnavailableError if no node is known to serve the skill.
        """
        adverts = await self._directory.candidates(skill)
        rows = self._fresh_rows(skill, adverts)
        order = rows.order(
            items, exclude=exclude, model_digest=model_digest, takes=takes, input_bytes=input_bytes, limit=limit
        )
        if len(order) < 2 or not explores:
            return order

        def newcomers() -> list[int]:
            return [place for place, choice in enumerate(order) if self._is_new(choice)]

        first = preferred(len(order), newcomers, self._policy, self._randomness.below)
        return order if not first else (order[first], *order[:first], *order[first + 1 :])

    @property
    def policy(self) -> RoutingPolicy:
        """The policy in force."""
        return self._policy

    def set_policy(self, policy: RoutingPolicy) -> None:
        """Decide by another policy from now on; what was measured stays."""
        self._policy = policy
        self._tables.clear()

    # -- hearing what happened --------------------------------------------------------------------------------

    def note_sent(self, peer_id: PeerId, model: ModelKey, items: int, *, input_bytes: int = 0) -> Prediction | None:
        """Hear that a task was sent; exactly one of the next four follows it.

        Returns what was expected of it, to be compared with its answer; None if no decision knew the peer.
        """
        now_us = self._clock.monotonic_us()
        prediction = self._predict(peer_id, model, items, input_bytes, now_us)
        self._records.sent(peer_id, model, self._policy, items=items, now_us=now_us)
        self._changed(peer_id, model)
        for listener in self._on_sent:
            listener(model)
        return prediction

    def watch_sends(self, listener: Callable[[ModelKey], None]) -> None:
        """Call `listener`, which must not block, with the model of every task that is sent from now on."""
        self._on_sent.append(listener)

    def note_answer(
        self,
        peer_id: PeerId,
        model: ModelKey,
        *,
        items: int,
        service_us: int,
        queued_items: int,
        elapsed_us: int,
        prediction: Prediction | None = None,
        input_bytes: int = 0,
    ) -> None:
        """Hear that a task was answered: the worker's own time and queue, and the time that passed here.

        With the `prediction` that `note_sent` returned, the peer's accounts are checked against what happened.
        """
        now_us = self._clock.monotonic_us()
        network_us = 0 if peer_id == self._own_id else self._round_trip_us(peer_id) or 0
        known_us = service_us + network_us + (prediction.wait_us if prediction else 0)
        self._nearness.note_answer(peer_id, model, input_bytes=input_bytes, way_us=elapsed_us - known_us, now_us=now_us)
        self._records.answered(
            peer_id,
            model,
            self._policy,
            items=items,
            service_us=service_us,
            queued_items=queued_items,
            elapsed_us=elapsed_us,
            now_us=now_us,
            network_us=network_us if prediction is None else prediction.way_us,
            predicted_wait_us=None if prediction is None else prediction.wait_us,
            quality_micro=self._usual_times.quality_micro(model, elapsed_us // max(1, items)),
        )
        self._changed(peer_id, model)

    def note_given_up(self, peer_id: PeerId, model: ModelKey, items: int) -> None:
        """Hear that a task was cancelled, or failed through its own items: that says nothing about the peer."""
        self._records.given_up(peer_id, model, self._policy, items=items)
        self._changed(peer_id, model)

    def note_failure(self, peer_id: PeerId, model: ModelKey, items: int, error: SwarmError) -> None:
        """Hear that a task failed; a lost peer is reported to the registry too, and bad input is nobody's fault."""
        if isinstance(error, InputError):
            self.note_given_up(peer_id, model, items)
            return
        self._fail(peer_id, model, items)
        # A worker that has no such skill any more, or another model, has a newer advert than we do.
        if isinstance(error, PeerLostError) or error.kind is ErrorKind.UNAVAILABLE:
            self._directory.note_failure(peer_id, str(error))

    def note_invalid(self, peer_id: PeerId, model: ModelKey, items: int, reason: str) -> None:
        """Hear that an answer was not valid: the peer loses trust, and the task counts as failed."""
        self._records.invalid(peer_id, model, self._policy, now_us=self._clock.monotonic_us())
        self._fail(peer_id, model, items)

    def note_valid(self, peer_id: PeerId, model: ModelKey) -> None:
        """Hear that an answer, noted before, was verified and is right: the peer gains trust and pheromone."""
        self._records.valid(peer_id, model, self._policy, now_us=self._clock.monotonic_us())
        self._changed(peer_id, model)

    def note_load(self, peer_id: PeerId, model: ModelKey, report: LoadReport) -> None:
        """Hear a peer's account of its load outside an answer (a probe, gossip)."""
        self._records.heard(peer_id, model, self._policy, report, now_us=self._clock.monotonic_us())
        self._changed(peer_id, model)

    def offered(self, peer_id: PeerId, skill: str) -> ModelKey | None:
        """Return with which model the peer serves the skill; None if no decision considered it."""
        table = self._tables.get(skill)
        choice = None if table is None else table.rows.find(peer_id)
        return None if choice is None else choice.skill.model

    def expected_us(self, peer_id: PeerId, model: ModelKey, items: int, *, input_bytes: int = 0) -> int | None:
        """Return when a task sent now would be answered, counted from now; None if no decision knew the peer."""
        prediction = self._predict(peer_id, model, items, input_bytes, self._clock.monotonic_us())
        return None if prediction is None else prediction.total_us

    def load_milli(self, model: ModelKey) -> int:
        """Return the usual work under way for each slot of the peers that may get tasks, in thousandths."""
        table = self._tables.get(model.skill)
        return 0 if table is None else self._records.load_milli(table.rows.usable(model.digest), self._policy)

    def stale_peers(self, model: ModelKey, *, older_than_us: int) -> list[PeerId]:
        """Return the other peers that may get tasks of a model and whose last account is older; none if never asked."""
        table, since_us = self._tables.get(model.skill), self._clock.monotonic_us() - older_than_us
        return [] if table is None else self._records.unheard(table.rows.usable(model.digest), self._policy, since_us)

    def believe(self, peer_id: PeerId, model: ModelKey, trust: Trust) -> None:
        """Take up trust that was learnt before this start."""
        self._records.believe(peer_id, model, self._policy, trust)
        self._changed(peer_id, model)

    def trust_of(self, peer_id: PeerId, model: ModelKey) -> Trust:
        """Return the trust in a peer's answers by a model; with no digest, by one that it was never seen with."""
        if not model.digest:
            return self._records.trust_at_first(peer_id, model.skill, self._policy)
        return self._records.get(peer_id, model, self._policy).trust

    # -- showing ----------------------------------------------------------------------------------------------

    def snapshot(self, skill: str, model_digest: bytes = b"") -> Snapshot:
        """Return all that a decision about the skill would see now, unusable peers included; of one model, if given."""
        now_us, wanted = self._clock.monotonic_us(), model_digest.hex()
        views = tuple(self._known_view(known, skill, now_us) for known in self._directory.known())
        return Snapshot(skill, tuple(view for view in views if not wanted or view.model_digest == wanted))

    def explain(self, skill: str, items: int = 1, input_bytes: int = 0, *, model_digest: bytes = b"") -> Explanation:
        """Return the decision that `choose` would take now, but for exploration, with its reasons."""
        request = RouteRequest(skill, items, model_digest=model_digest.hex(), input_bytes=input_bytes)
        return explain(self.snapshot(skill), self._policy, request)

    def models(self, skill: str) -> tuple[Model, ...]:
        """Return the models that go by a skill's name, those of most nodes first."""
        return models_of(self._directory.known(), skill, own_id=self._own_id)

    def decision(
        self, peer_id: PeerId, model: ModelKey, items: int = 1, *, input_bytes: int = 0, limit: int = SHOWN_MAX
    ) -> Decision:
        """Return what sending a task now rests on: `peer_id` and the best `limit` that serve the model. It is cheap."""
        request = RouteRequest(model.skill, items, model_digest=model.digest.hex(), input_bytes=input_bytes)
        now_us, table = self._clock.monotonic_us(), self._tables.get(model.skill)
        if table is None:
            return Decision(request, peer_id, (), 0, 0, self._policy, self._clock.unix_us())
        rows = self._fresh_rows(model.skill, table.adverts)
        order = rows.order(items, model_digest=model.digest, input_bytes=input_bytes, limit=limit)
        shown = {choice.peer_id: choice for choice in order}
        ranked = len(shown)
        if peer_id in rows:
            shown.setdefault(peer_id, rows.choice(peer_id))
        views = tuple(self._view_now(choice, now_us) for choice in shown.values())
        considered = rows.count(model.digest)
        return Decision(request, peer_id, views, ranked, considered, self._policy, self._clock.unix_us())

    def peers(self) -> list[dict[str, Any]]:
        """Return one row of plain values for each known node, for `swarmharness peers`."""
        known, now_us, way_us = self._directory.known(), self._clock.monotonic_us(), self._round_trip_us
        return peer_rows(known, self._records, self._policy, own_id=self._own_id, round_trip_us=way_us, now_us=now_us)

    # -- parts ------------------------------------------------------------------------------------------------

    def _is_new(self, choice: Choice) -> bool:
        estimate = self._records.get(choice.peer_id, choice.skill.model, self._policy).estimate
        return not choice.local and estimate.service_us is None and not estimate.outstanding_items

    def _predict(
        self, peer_id: PeerId, model: ModelKey, items: int, input_bytes: int, now_us: int
    ) -> Prediction | None:
        table = self._tables.get(model.skill)
        choice = None if table is None else table.rows.find(peer_id)
        if choice is None or choice.skill.model_digest != model.digest:
            return None
        view = self._view_now(choice, now_us)
        parts = time_parts_us(view, self._policy, items, input_bytes)
        way_us = parts["network"] + parts["input"] + parts["model"]
        return Prediction(parts["wait"] - view.hidden_us, way_us, sum(parts.values()))

    def _fail(self, peer_id: PeerId, model: ModelKey, items: int) -> None:
        jitter, now_us = self._randomness.below(JITTER_PERMILLE), self._clock.monotonic_us()
        self._records.failed(peer_id, model, self._policy, items=items, now_us=now_us, jitter_permille=jitter)
        self._changed(peer_id, model)

    def _changed(self, peer_id: PeerId, model: ModelKey) -> None:
        table = self._tables.get(model.skill)
        if table is not None and peer_id in table.rows:
            table.dirty.add(peer_id)

    def _fresh_rows(self, skill: str, adverts: tuple[Advert, ...]) -> SkillTable:
        now_us = self._clock.monotonic_us()
        table = self._tables.get(skill)
        if table is None or table.adverts is not adverts:
            table = self._new_table(skill, adverts, now_us)
        if table.aging and now_us - table.aged_us >= max(AGE_FLOOR_US, AGE_PER_ROW_US * len(table.aging)):
            table.aged_us = now_us
            table.dirty |= table.aging
        for peer_id in table.dirty:
            self._compile(table, table.rows.choice(peer_id).skill, peer_id, now_us)
        table.dirty.clear()
        return table.rows

    def _new_table(self, skill: str, adverts: tuple[Advert, ...], now_us: int) -> KeptTable:
        """Return the table of these adverts; rows whose advert is the one of before are taken over as they are."""
        old = self._tables.pop(skill, None)
        if old is not None and now_us - old.compiled_us >= COMPILED_EVERY_US:
            old = None
        choices, dirty = [], set()
        for advert in adverts:
            offer, peer_id = advert.skill(skill), PeerId(advert.peer_id)
            if offer is None:
                continue
            if old is not None and (before := old.rows.find(peer_id)) is not None and before.skill is offer:
                choices.append(before)
                continue
            self._records.advertised(peer_id, offer, self._policy, sequence=advert.sequence, now_us=now_us)
            choices.append(self._choice(peer_id, offer, self._records.get(peer_id, offer.model, self._policy)))
            dirty.add(peer_id)
        rows = SkillTable(choices)
        table = self._tables[skill] = KeptTable(adverts, rows, dirty, set(), now_us, now_us)
        if old is not None:
            table.take_over(old)
        if len(self._tables) > TABLES_MAX:
            del self._tables[next(iter(self._tables))]
        return table

    def _compile(self, table: KeptTable, offer: SkillAdvert, peer_id: PeerId, now_us: int) -> None:
        record = self._records.get(peer_id, offer.model, self._policy)
        view = self._view(peer_id, offer, record, now_us)
        table.rows.set_row(self._choice(peer_id, offer, record), view, self._policy)
        if view.fades(self._policy) or record.breaker.openings or abs(view.pheromone_micro - MICRO) > FAINT_MICRO:
            table.aging.add(peer_id)
        else:
            table.aging.discard(peer_id)

    def _choice(self, peer_id: PeerId, offer: SkillAdvert, record: Record) -> Choice:
        measured = record.estimate.service_us
        return Choice(peer_id, offer, offer.service_us if measured is None else measured, peer_id == self._own_id)

    def _view_now(self, choice: Choice, now_us: int) -> CandidateView:
        """Return the peer as it is now; what a task is sent upon is asked for several times at one instant."""
        record = self._records.get(choice.peer_id, choice.skill.model, self._policy)
        if self._viewed is None or self._viewed[0] is not record or self._viewed[1:3] != (choice, now_us):
            self._viewed = record, choice, now_us, self._view(choice.peer_id, choice.skill, record, now_us)
        return self._viewed[3]

    def _view(
        self, peer_id: PeerId, offer: SkillAdvert, record: Record, now_us: int, unreachable: str | None = None
    ) -> CandidateView:
        local = peer_id == self._own_id
        return view_of(
            peer_id,
            offer,
            record,
            self._policy,
            local=local,
            allowed=local or self._allowed(peer_id),
            shunned=not local and self._shunned(peer_id, offer.name),
            round_trip_us=self._round_trip_us(peer_id),
            now_us=now_us,
            unreachable=unreachable,
            warm=self._nearness.is_warm(peer_id, offer.model, now_us),
            bandwidth_bytes_s=self._nearness.bandwidth_bytes_s(peer_id),
        )

    def _known_view(self, known: Known, skill: str, now_us: int) -> CandidateView:
        peer_id, offer = PeerId(known.advert.peer_id), known.advert.skill(skill)
        if offer is None:
            return CandidateView(peer_id, local=peer_id == self._own_id, offers=False)
        record = self._records.get(peer_id, offer.model, self._policy)
        view = self._view(peer_id, offer, record, now_us, None if known.usable else known.reason)
        return view._replace(not_serving=known.advert.not_serving_text) if known.advert.not_serving else view
