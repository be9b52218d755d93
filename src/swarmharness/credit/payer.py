"""The requester's side of settlement: groups tasks, signs, gets the worker's half, tries again; it never waits."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence

import trio

from swarmharness.credit.attribution.games import BatchGame, game_digest, game_text
from swarmharness.credit.grouping import Grouping, Kind, kind_of
from swarmharness.credit.messages import SETTLE_METHOD, SettleRequest
from swarmharness.credit.receipt import (
    EPOCH_US,
    Half,
    Problem,
    Receipt,
    ReceiptBody,
    body_problem,
    epoch_of,
    epoch_problem,
    half_problem,
)
from swarmharness.credit.retry import RetrySchedule, Settlement
from swarmharness.credit.store import Game, ReceiptStore
from swarmharness.credit.terms import TaskTerms, settlement_body, sole_game_text
from swarmharness.credit.writer import ChainWriter
from swarmharness.errors import DeadlineError, InputError, ProtocolError, SwarmError, UnavailableError
from swarmharness.identity import PeerId
from swarmharness.log_lines import by_peers
from swarmharness.network.ports import PeerEvent, Transport
from swarmharness.ports import Clock, Randomness
from swarmharness.protocol.codec import decode, encode

SETTLE_TIMEOUT_S = 10.0
BACKLOG_MAX = 16_384
_IN_FLIGHT_MAX = 4_096
_JITTER_US = 500_000
_RESUMED_EPOCHS = 24
_RESUMED_MAX = 4_096

_log = logging.getLogger(__name__)


class _New:
    """A settlement that is not signed yet."""

    __slots__ = ("body", "game", "kind")

    def __init__(self, body: ReceiptBody, game: Game | None, kind: Kind | None) -> None:
        self.body, self.game, self.kind = body, game, kind


class Payer:
    """Settles what this node had others do."""

    def __init__(
        self,
        store: ReceiptStore,
        transport: Transport,
        clock: Clock,
        randomness: Randomness,
        writer: ChainWriter,
        *,
        refused: Counter[str],
        on_receipt: Callable[[Receipt], object],
    ) -> None:
        self._store, self._transport, self._clock, self._randomness = store, transport, clock, randomness
        self._writer, self._refused, self._on_receipt = writer, refused, on_receipt
        self._grouping = Grouping()
        self._backlog: list[_New] = []
        self._retries = RetrySchedule()
        self._settling = 0
        self._earlier = trio.Event()
        """Set when something is due before what `run` waits for."""
        self._progress = trio.lowlevel.ParkingLot()
        """Where `drain` waits for the end of a settlement."""
        self._nursery: trio.Nursery | None = None
        transport.watch(self._on_peer)

    async def settle(self, body: ReceiptBody, *, timeout_s: float = SETTLE_TIMEOUT_S) -> Receipt:
        """See `CreditService.settle`."""
        return await self._exchange(await self._signed(body, None), timeout_s)

    def settle_later(self, body: ReceiptBody) -> None:
        """See `CreditService.settle_later`."""
        self._queue(_New(body, None, None))

    def settle_task(self, terms: TaskTerms) -> None:
        """See `CreditService.settle_task`."""
        leaving = self._grouping.add(terms, self._clock.monotonic_us())
        if leaving:
            self._queue_tasks(leaving)
        else:
            self._earlier.set()  # it leaves after a moment in any case

    def settle_game(self, game: BatchGame, shares: Sequence[Sequence[TaskTerms]]) -> None:
        """See `CreditService.settle_game`."""
        text = game_text(game)
        for tasks in shares:
            body = settlement_body(tasks, game=game_digest(game), price_microcredits=game.price)
            self._queue(_New(body, Game(body.game_digest, body.epoch, text), None))

    async def drain(self) -> None:
        """See `CreditService.drain`."""
        while self._backlog or self._settling or self._grouping:
            await self._progress.park()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Settle in the background and retry, until cancelled."""
        async with trio.open_nursery() as nursery:
            await self._resume()
            self._nursery = nursery
            task_status.started()
            try:
                while True:
                    await self._start_and_wait(nursery)
            finally:
                self._nursery = None

    async def _start_and_wait(self, nursery: trio.Nursery) -> None:
        """Start what is due, and return when the next is."""
        now_us = self._clock.monotonic_us()
        for tasks in self._grouping.due(now_us):
            self._queue_tasks(tasks)
        self._start_due(nursery)
        waits = [due for due in (self._retries.next_due_us(), self._grouping.next_due_us()) if due is not None]
        wait_s = max(0, min(waits) - now_us) / 1e6 if waits and self._settling < _IN_FLIGHT_MAX else 1e9
        with trio.move_on_after(wait_s):
            await self._earlier.wait()
        self._earlier = trio.Event()

    def _queue_tasks(self, tasks: Sequence[TaskTerms]) -> None:
        if not tasks:
            return
        body, game = settlement_body(tasks), None
        if len(tasks) > 1:  # that of a single task follows from its receipt
            text = sole_game_text(body.worker, tuple(task.share_microcredits for task in tasks))
            game = Game(body.game_digest, body.epoch, text)
        self._queue(_New(body, game, kind_of(tasks[0])))

    def _queue(self, new: _New) -> None:
        if len(self._backlog) >= BACKLOG_MAX:
            self._refused["the settlement backlog is full"] += 1
            _log.error("a receipt is dropped: %d settlements wait already; is the disk too slow?", BACKLOG_MAX)
            self._ended(new.kind)
            return
        self._backlog.append(new)
        if self._nursery is not None:
            self._start_due(self._nursery)

    def _start_due(self, nursery: trio.Nursery) -> None:
        room = _IN_FLIGHT_MAX - self._settling
        new, self._backlog = self._backlog[:room], self._backlog[room:]
        due = self._retries.take_due(now_us=self._clock.monotonic_us(), limit=room - len(new))
        self._settling += len(new) + len(due)
        for one in new:
            nursery.start_soon(self._settle_new, one)
        for settlement, attempts in due:
            nursery.start_soon(self._try, settlement, attempts)

    async def _settle_new(self, new: _New) -> None:
        try:
            settlement = await self._signed(new.body, new.game)
        except SwarmError as error:
            _log.error("a receipt for %s was not signed: %s", new.body.worker, error)
            self._settled_one()
        else:
            await self._try(settlement, 0)
        finally:
            self._ended(new.kind)

    def _ended(self, kind: Kind | None) -> None:
        if kind is not None:
            self._queue_tasks(self._grouping.ended(kind))
            self._progress.unpark_all()

    async def _try(self, settlement: Settlement, attempts: int) -> None:
        try:
            await self._exchange(settlement, SETTLE_TIMEOUT_S)
        except (UnavailableError, DeadlineError) as error:
            _log.info("settlement with %s is tried again later: %s", settlement.body.worker, error, extra=by_peers())
            self._postpone(settlement, attempts + 1)
        except SwarmError as error:
            _log.warning("settlement with %s failed: %s", settlement.body.worker, error, extra=by_peers())
        finally:
            self._settled_one()

    def _settled_one(self) -> None:
        if self._settling == _IN_FLIGHT_MAX:
            self._earlier.set()  # there is room for what has to wait for it
        self._settling -= 1
        self._progress.unpark_all()

    async def _signed(self, body: ReceiptBody, game: Game | None) -> Settlement:
        now = epoch_of(self._clock.unix_us())
        problem = body_problem(body) or epoch_problem(body, oldest=now, newest=now)
        if problem is not None or body.requester != self._transport.peer_id:
            raise InputError(f"this node does not sign the receipt: {problem or Problem.WRONG_SIGNER}")
        return Settlement(body, await self._writer.sign(body, game=game))

    async def _exchange(self, settlement: Settlement, timeout_s: float) -> Receipt:
        body, own = settlement.body, settlement.half
        worker = PeerId(body.worker)
        request = encode(SettleRequest(body, own))
        other = decode(Half, await self._transport.call(worker, SETTLE_METHOD, request, timeout_s=timeout_s))
        problem = half_problem(other, own.content.body_digest, worker)
        if problem is not None:
            self._refused[problem] += 1
            raise ProtocolError(f"{worker} answered a settlement with an invalid half: {problem}")
        await self._writer.keep(body, other)
        receipt = Receipt(body, own, other)
        self._on_receipt(receipt)
        return receipt

    async def _resume(self) -> None:
        oldest_us = self._clock.unix_us() - _RESUMED_EPOCHS * EPOCH_US
        entries = await self._store.unfinished(self._transport.peer_id, stored_after_us=oldest_us, limit=_RESUMED_MAX)
        for entry in entries:
            if entry.requester_half is not None:
                self._postpone(Settlement(entry.body, entry.requester_half), 0)

    def _postpone(self, settlement: Settlement, attempts: int) -> None:
        self._retries.postpone(
            settlement,
            attempts=attempts,
            now_us=self._clock.monotonic_us(),
            jitter_us=self._randomness.below(_JITTER_US),
        )
        self._earlier.set()

    def _on_peer(self, event: PeerEvent) -> None:
        if event.connected and self._retries.hasten(event.peer_id, now_us=self._clock.monotonic_us()):
            self._earlier.set()
