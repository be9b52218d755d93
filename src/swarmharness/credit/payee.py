"""The worker's side of settlement: remembers what it answered, checks what requesters state, signs; it never begins."""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Callable, Iterable
from dataclasses import replace

import trio

from swarmharness.credit.game_check import game_problem
from swarmharness.credit.messages import GAME_METHOD, SETTLE_METHOD, GameAnswer, GameRequest, SettleRequest
from swarmharness.credit.receipt import (
    EPOCH_US,
    ZERO_DIGEST,
    Half,
    Problem,
    Receipt,
    ReceiptBody,
    body_digest,
    body_problem,
    epoch_of,
    epoch_problem,
    half_problem,
)
from swarmharness.credit.store import Game, ReceiptStore
from swarmharness.credit.terms import TaskTerms, UnsettledTask, UnsettledTasks, differing_field, sole_game_text
from swarmharness.credit.writer import ChainWriter
from swarmharness.errors import RefusedError, SwarmError
from swarmharness.identity import PeerId
from swarmharness.network.ports import Request, Transport
from swarmharness.ports import Clock, SteadyTime
from swarmharness.protocol.codec import decode, encode
from swarmharness.refusals import Tally

WITHHELD_AFTER_US = 600_000_000
"""A requester that owes a signature for longer is served last, until it signs."""
WITHHELD_TOLERATED = 20
"""One part in so many of what a requester signed may stay unpaid: copies that came too late, a check that it lost."""
SAVED_AFTER_S = 0.2
"""Most tasks are settled before: only the others are written down."""
_STRUCK_OUT_AFTER_S = 60.0
"""What was written down and is settled is removed some time."""
_RETRIED_AFTER_S = 5.0
GAME_TIMEOUT_S = 5.0
HISTORY_SEARCHED = 4096
"""Own receipts among which those of tasks that the disk has as unsettled are looked for at the start."""

_log = logging.getLogger(__name__)


class Payee:
    """Serves `task.settle`."""

    def __init__(
        self,
        store: ReceiptStore,
        transport: Transport,
        clock: Clock,
        writer: ChainWriter,
        *,
        refused: Tally,
        horizon_epochs: int,
        signed_by: Callable[[PeerId], int],
        on_receipt: Callable[[Receipt], object],
    ) -> None:
        self._store, self._transport, self._clock, self._writer = store, transport, clock, writer
        self._refused, self._horizon_us, self._on_receipt = refused, horizon_epochs * EPOCH_US, on_receipt
        self._time, self._signed_by = SteadyTime(clock), signed_by
        self._started_us = self._time.unix_us()
        self._unsettled = UnsettledTasks()
        self._fresh: dict[tuple[str, bytes], UnsettledTask] = {}
        """Not on the disk yet."""
        self._saved: dict[tuple[str, bytes], UnsettledTask] = {}
        """What the disk has, settled or not."""
        self._saving = trio.Lock()
        self._pause = trio.CancelScope()
        """Ends when something is to be written down, or to be struck out."""
        self._saved_at_s = -math.inf
        self._answering: dict[bytes, trio.Event] = {}
        transport.handle(SETTLE_METHOD, self._handle_settle)

    def expect(self, terms: TaskTerms) -> None:
        """Remember a task that this node has just answered; only such tasks are settled, and each once."""
        task = UnsettledTask(terms, self._time.unix_us())
        self._unsettled.add(task)
        self._fresh[task.key] = task
        if len(self._fresh) == 1:
            self._plan()

    def owed(self, requester: PeerId) -> tuple[int, int]:
        """Return how many answered tasks, and micro-credits, this requester has not settled."""
        return self._unsettled.owed(requester)

    def withholds(self, requester: PeerId) -> bool:
        """Tell whether a requester owes too much for too long, not counting when this node was off (C-13)."""
        due_us = self._time.unix_us() - WITHHELD_AFTER_US
        tolerated = self._signed_by(requester) // WITHHELD_TOLERATED
        return self._started_us < due_us and self._unsettled.owes_more_than(
            requester, tolerated, answered_before_us=due_us
        )

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Take up what was unsettled at the last end, and write down what remains unsettled, for ever."""
        await self._load()
        task_status.started()
        while True:
            with trio.CancelScope() as self._pause:
                self._plan()
                await trio.sleep_forever()
            try:
                await self.save()
            except SwarmError as error:
                _log.error("tasks that are not paid yet cannot be written down: %s", error)
                await trio.sleep(_RETRIED_AFTER_S)

    async def _load(self) -> None:
        """Take up what is unsettled; what has a receipt already was settled before its row could be struck out."""
        on_disk = await self._store.unsettled()
        me = self._transport.peer_id
        entries = await self._store.history(me, limit=HISTORY_SEARCHED) if on_disk else []
        signed = (entry.body for entry in entries if entry.body.worker == me and entry.worker_half is not None)
        paid = {(body.requester, task) for body in signed for task in body.tasks}
        now_us = self._time.unix_us()
        for kept in on_disk:
            task = replace(kept, answered_us=min(kept.answered_us, now_us))  # the clock may have been set back
            self._saved[task.key] = task
            if task.key not in paid and task.answered_us > now_us - self._horizon_us:
                self._unsettled.add(task)

    def _plan(self) -> None:
        write_down_s = trio.current_time() + SAVED_AFTER_S if self._fresh else math.inf
        strike_out_s = self._saved_at_s + _STRUCK_OUT_AFTER_S if self._saved else math.inf
        self._pause.deadline = min(write_down_s, strike_out_s)

    async def save(self) -> None:
        """Write down what is unsettled, and strike out what was settled or is too old; what fails is tried again."""
        async with self._saving:  # the next one sees what this one wrote
            self._saved_at_s = trio.current_time()
            oldest_us = self._time.unix_us() - self._horizon_us
            self._unsettled.settled([task for task in self._unsettled if task.answered_us < oldest_us])
            self._fresh = {key: task for key, task in self._fresh.items() if task in self._unsettled}
            new = list(self._fresh.values())
            gone = [task for task in self._saved.values() if task not in self._unsettled]
            if new or gone:
                await self._store.keep_unsettled([self._dated(task) for task in new], gone)
                self._written(new, gone)

    def _written(self, new: Iterable[UnsettledTask], gone: Iterable[UnsettledTask]) -> None:
        """Remember what the disk has; tasks may have been answered and settled while it was written."""
        for task in new:
            self._saved[task.key] = task
            if self._fresh.get(task.key) is task:
                del self._fresh[task.key]
        for task in gone:
            del self._saved[task.key]

    def _dated(self, task: UnsettledTask) -> UnsettledTask:
        """Return a task with the date that the next start will understand, if the clock was set since this one."""
        return replace(task, answered_us=max(0, task.answered_us + self._time.correction_us()))

    async def _handle_settle(self, request: Request) -> bytes:
        message = decode(SettleRequest, request.payload)
        body = message.body
        digest = body_digest(body)
        if body.requester != request.peer_id or body.worker != self._transport.peer_id:
            raise self._refusal(request.peer_id, Problem.WRONG_SIGNER)
        problem = body_problem(body) or half_problem(message.half, digest, body.requester)
        if problem is not None:
            raise self._refusal(request.peer_id, problem)
        while digest in self._answering:  # the same request twice at once: the second gets the first one's half
            await self._answering[digest].wait()
        done = self._answering[digest] = trio.Event()
        try:
            return encode(await self._answer(body, digest, message.half))
        finally:
            del self._answering[digest]
            done.set()

    async def _answer(self, body: ReceiptBody, digest: bytes, requester_half: Half) -> Half:
        tasks = self._unsettled.take(body.requester, body.tasks)
        if tasks is None:
            known = await self._store.entry(digest)
            if known is None or known.worker_half is None:
                raise self._refusal(body.requester, Problem.UNKNOWN_TASK)
            return known.worker_half  # its answer was lost on the way
        try:
            terms = [task.terms for task in tasks]
            now = epoch_of(self._clock.unix_us())
            problem = epoch_problem(body, oldest=min(task.epoch for task in terms), newest=now)
            if problem is not None:
                raise self._refusal(body.requester, problem)
            different = differing_field(body, terms)
            if different is not None:
                raise self._refusal(body.requester, Problem.OTHER_TERMS, f": {different}")
            game = await self._game_of(body, terms)
            half = await self._writer.sign(body, requester_half, game=game)
            self._unsettled.settled(tasks)
            for task in tasks:
                self._fresh.pop(task.key, None)
            if not self._fresh:
                self._plan()
            self._on_receipt(Receipt(body, requester_half, half))
            return half
        finally:
            self._unsettled.give_back(tasks)

    async def _game_of(self, body: ReceiptBody, tasks: list[TaskTerms]) -> Game | None:
        """Return the game to keep beside the receipt; refuses one that does not give this worker its share (C-3)."""
        if body.game_digest == ZERO_DIGEST and body.price_microcredits == body.share_microcredits:
            return None
        alone = sole_game_text(body.worker, tuple(task.share_microcredits for task in tasks))
        if hashlib.sha256(alone).digest() == body.game_digest:
            if body.price_microcredits != body.share_microcredits:
                raise self._refusal(body.requester, Problem.WRONG_GAME, ": it was done alone, for the whole price")
            # That of a single task follows from its receipt.
            return Game(body.game_digest, body.epoch, alone) if len(tasks) > 1 else None
        asked = encode(GameRequest(body.game_digest))
        answer = await self._transport.call(PeerId(body.requester), GAME_METHOD, asked, timeout_s=GAME_TIMEOUT_S)
        text = decode(GameAnswer, answer).text
        wrong = game_problem(body, text)
        if wrong is not None:
            raise self._refusal(body.requester, Problem.WRONG_GAME, f": {wrong}")
        return Game(body.game_digest, body.epoch, text)

    def _refusal(self, requester: str, problem: Problem, detail: str = "") -> RefusedError:
        self._refused.note(problem, requester)
        return RefusedError(f"this receipt is not signed here: {problem}{detail}")
