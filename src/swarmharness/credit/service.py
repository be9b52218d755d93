"""SwarmCredit at work: settles with peers, keeps the books, and says who is served; the rules lie in pure modules."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable

import trio

from swarmharness.credit.accounts import Balance, HistoryEntry, history_of
from swarmharness.credit.admission import Policy
from swarmharness.credit.books import Books
from swarmharness.credit.forks import ForkProof
from swarmharness.credit.gate import Credit, Gate, Ticket
from swarmharness.credit.messages import SETTLE_METHOD, SettleRequest
from swarmharness.credit.receipt import (
    EPOCH_US,
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
from swarmharness.credit.retry import RetrySchedule, Settlement
from swarmharness.credit.store import ReceiptStore
from swarmharness.credit.terms import TaskTerms, UnsettledTasks, differing_field
from swarmharness.credit.writer import ChainWriter
from swarmharness.errors import DeadlineError, InputError, ProtocolError, RefusedError, SwarmError, UnavailableError
from swarmharness.identity import PeerId, Signer
from swarmharness.network.ports import PeerEvent, Request, Transport
from swarmharness.ports import Clock, Randomness
from swarmharness.protocol.codec import decode, encode

SETTLE_TIMEOUT_S = 10.0
BACKLOG_MAX = 16_384
_IN_FLIGHT_MAX = 4_096
MALFORMED = "malformed"
FORK = "a peer signed two histories"
_JITTER_US = 500_000
_CLOSING_S = 1.0
_RESUMED_EPOCHS = 24
_RESUMED_MAX = 4_096

_log = logging.getLogger(__name__)


class CreditService:
    """Settlement, books and admission of one node. `refused` counts, by reason, what it did not believe or serve."""

    def __init__(
        self,
        store: ReceiptStore,
        signer: Signer,
        transport: Transport,
        clock: Clock,
        randomness: Randomness,
        *,
        policy: Policy | None = None,
    ) -> None:
        chosen = policy or Policy()
        self.refused: Counter[str] = Counter()
        self._store, self._signer, self._transport = store, signer, transport
        self._clock, self._randomness = clock, randomness
        self._writer = ChainWriter(store, signer, clock, on_fork=self._on_fork)
        self._unsettled = UnsettledTasks()
        me = signer.peer_id
        self.books = Books(store, me, clock, horizon_epochs=chosen.horizon_epochs)
        self._gate = Gate(self.books, store, me, chosen, withholds=self.withholds, refused=self.refused)
        self._answering: dict[bytes, trio.Event] = {}
        self._backlog: list[ReceiptBody] = []
        self._retries = RetrySchedule()
        self._settling = 0
        self._changed = trio.Event()
        self._receipt_listeners: list[Callable[[Receipt], None]] = []
        self._fork_listeners: list[Callable[[ForkProof], None]] = []
        transport.handle(SETTLE_METHOD, self._handle_settle)
        transport.watch(self._on_peer)

    # --- admission

    async def admit(self, requester: PeerId, price_microcredits: int) -> Ticket:
        """Decide about a request and take what it costs; raises RefusedError, which says why not. See `Gate.admit`."""
        return await self._gate.admit(requester, price_microcredits)

    def undo(self, ticket: Ticket) -> None:
        """Give back what an admitted request took, because it was refused after all, before any work."""
        self._gate.undo(ticket)

    def set_policy(self, policy: Policy) -> None:
        """Put the operator's other decisions into force."""
        self._gate.set_policy(policy)

    def credit_of(self, peer: PeerId) -> Credit:
        """Return what covers requests of this peer here now."""
        return self._gate.credit_of(peer)

    def withholds(self, requester: PeerId) -> bool:
        """Tell whether a requester has owed its signature for too long: it is served last (C-13)."""
        return False

    def received(self, receipts: Iterable[Receipt]) -> None:
        """Count receipts that were just stored and whose halves verify, own ones and those of others (C-4)."""
        self.books.received(receipts)

    def ban(self, peer: PeerId) -> None:
        """Serve a proved forker no more (C-16)."""
        self.books.ban(peer)

    # --- the worker's side

    def expect(self, terms: TaskTerms) -> None:
        """Remember a task that this node has just answered; only such tasks are settled, and each once."""
        self._unsettled.add(terms)

    def owed(self, requester: PeerId) -> tuple[int, int]:
        """Return how many answered tasks, and micro-credits, this requester has not settled."""
        return self._unsettled.owed(requester)

    async def _handle_settle(self, request: Request) -> bytes:
        try:
            message = decode(SettleRequest, request.payload)
        except ProtocolError:
            self.refused[MALFORMED] += 1
            raise
        body = message.body
        digest = body_digest(body)
        if body.requester != request.peer_id or body.worker != self._signer.peer_id:
            raise self._refusal(Problem.WRONG_SIGNER)
        problem = body_problem(body) or half_problem(message.half, digest, body.requester)
        if problem is not None:
            raise self._refusal(problem)
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
                raise self._refusal(Problem.UNKNOWN_TASK)
            return known.worker_half  # its answer was lost on the way
        half = None
        try:
            now = epoch_of(self._clock.unix_us())
            problem = epoch_problem(body, oldest=min(task.epoch for task in tasks), newest=now)
            if problem is not None:
                raise self._refusal(problem)
            different = differing_field(body, tasks)
            if different is not None:
                raise self._refusal(Problem.OTHER_TERMS, f": {different}")
            half = await self._writer.sign(body, requester_half)
            self._tell(Receipt(body, requester_half, half))
            return half
        finally:
            if half is None:
                for task in tasks:
                    self._unsettled.add(task)

    # --- the requester's side

    async def settle(self, body: ReceiptBody, *, timeout_s: float = SETTLE_TIMEOUT_S) -> Receipt:
        """Sign `body`, get the worker's half, and return the receipt when both are stored here.

        Raises InputError for a body that this node must not sign, the worker's refusal, or UnavailableError and
        DeadlineError; the half-entry then stays on disk (S-1) and is tried again by `run` of the next start.
        """
        return await self._exchange(await self._signed(body), timeout_s)

    def settle_later(self, body: ReceiptBody) -> None:
        """Settle in the background, with retries; never waits and never raises for what the peer does."""
        if len(self._backlog) >= BACKLOG_MAX:
            self.refused["the settlement backlog is full"] += 1
            _log.error("a receipt is dropped: %d settlements wait already; is the disk too slow?", BACKLOG_MAX)
            return
        self._backlog.append(body)
        self._changed.set()

    async def drain(self) -> None:
        """Wait until every `settle_later` so far was settled, refused, or tried once and postponed."""
        while self._backlog or self._settling:
            await self._changed.wait()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Write, settle in the background and retry, until cancelled."""
        async with trio.open_nursery() as nursery:
            await nursery.start(self._writer.run)
            await self._resume()
            nursery.start_soon(self.books.run)
            task_status.started()
            try:
                while True:
                    self._start_due(nursery)
                    due_us = self._retries.next_due_us()
                    wait_s = 1e9 if due_us is None else max(0, due_us - self._clock.monotonic_us()) / 1e6
                    if self._settling >= _IN_FLIGHT_MAX:
                        wait_s = 1e9
                    with trio.move_on_after(wait_s):
                        await self._changed.wait()
                    self._changed = trio.Event()
            finally:
                await self._close()

    async def _close(self) -> None:
        with trio.move_on_after(_CLOSING_S, shield=True):
            try:
                await self._gate.close()
            except SwarmError as error:
                _log.warning("what was reserved for requests stays taken: %s", error)

    def _start_due(self, nursery: trio.Nursery) -> None:
        room = _IN_FLIGHT_MAX - self._settling
        bodies, self._backlog = self._backlog[:room], self._backlog[room:]
        due = self._retries.take_due(now_us=self._clock.monotonic_us(), limit=room - len(bodies))
        self._settling += len(bodies) + len(due)
        for body in bodies:
            nursery.start_soon(self._settle_new, body)
        for settlement, attempts in due:
            nursery.start_soon(self._try, settlement, attempts)

    async def _settle_new(self, body: ReceiptBody) -> None:
        try:
            settlement = await self._signed(body)
        except SwarmError as error:
            _log.error("a receipt for %s was not signed: %s", body.worker, error)
            self._settled_one()
            return
        await self._try(settlement, 0)

    async def _try(self, settlement: Settlement, attempts: int) -> None:
        try:
            await self._exchange(settlement, SETTLE_TIMEOUT_S)
        except (UnavailableError, DeadlineError) as error:
            _log.info("settlement with %s is tried again later: %s", settlement.body.worker, error)
            self._postpone(settlement, attempts + 1)
        except SwarmError as error:
            _log.warning("settlement with %s failed: %s", settlement.body.worker, error)
        finally:
            self._settled_one()

    def _settled_one(self) -> None:
        self._settling -= 1
        self._changed.set()

    async def _signed(self, body: ReceiptBody) -> Settlement:
        now = epoch_of(self._clock.unix_us())
        problem = body_problem(body) or epoch_problem(body, oldest=now, newest=now)
        if problem is not None or body.requester != self._signer.peer_id:
            raise InputError(f"this node does not sign the receipt: {problem or Problem.WRONG_SIGNER}")
        return Settlement(body, await self._writer.sign(body))

    async def _exchange(self, settlement: Settlement, timeout_s: float) -> Receipt:
        body, own = settlement.body, settlement.half
        worker = PeerId(body.worker)
        request = encode(SettleRequest(body, own))
        other = decode(Half, await self._transport.call(worker, SETTLE_METHOD, request, timeout_s=timeout_s))
        problem = half_problem(other, own.content.body_digest, worker)
        if problem is not None:
            self.refused[problem] += 1
            raise ProtocolError(f"{worker} answered a settlement with an invalid half: {problem}")
        await self._writer.keep(body, other)
        return self._tell(Receipt(body, own, other))

    async def _resume(self) -> None:
        oldest_us = self._clock.unix_us() - _RESUMED_EPOCHS * EPOCH_US
        entries = await self._store.unfinished(self._signer.peer_id, stored_after_us=oldest_us, limit=_RESUMED_MAX)
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

    def _on_peer(self, event: PeerEvent) -> None:
        if event.connected:
            self._retries.hasten(event.peer_id, now_us=self._clock.monotonic_us())
            self._changed.set()

    def _on_fork(self, proof: ForkProof) -> None:
        self.refused[FORK] += 1
        self.ban(proof.signer)
        _log.warning("%s signed two histories; the proof is kept", proof.signer)
        for listener in self._fork_listeners:
            listener(proof)

    def _tell(self, receipt: Receipt) -> Receipt:
        self.received([receipt])
        for listener in self._receipt_listeners:
            listener(receipt)
        return receipt

    def watch_own(
        self, on_receipt: Callable[[Receipt], None], on_fork: Callable[[ForkProof], None] = lambda proof: None
    ) -> None:
        """Call these, which must not block, with each receipt of this node once it is stored, and each fork found."""
        self._receipt_listeners.append(on_receipt)
        self._fork_listeners.append(on_fork)

    # --- for people

    async def balance(self) -> Balance:
        """Return what this node earned and spent."""
        return await self._store.balance(self._signer.peer_id)

    async def history(self, limit: int) -> tuple[HistoryEntry, ...]:
        """Return this node's entries, newest first."""
        return history_of(self._signer.peer_id, await self._store.history(self._signer.peer_id, limit=limit))

    def _refusal(self, problem: Problem, detail: str = "") -> RefusedError:
        self.refused[problem] += 1
        return RefusedError(f"this receipt is not signed here: {problem}{detail}")
