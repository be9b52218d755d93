"""SwarmCredit at work: settles with peers, keeps the books, and says who is served; the rules lie in pure modules."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence

import trio

from swarmharness.credit.accounts import Balance, HistoryEntry, history_of
from swarmharness.credit.admission import Policy
from swarmharness.credit.attribution.games import BatchGame
from swarmharness.credit.books import Books
from swarmharness.credit.forks import ForkProof
from swarmharness.credit.game_check import players_of
from swarmharness.credit.gate import Credit, Gate, Ticket
from swarmharness.credit.messages import GAME_BYTES_MAX, GAME_METHOD, GameAnswer, GameRequest
from swarmharness.credit.payee import Payee
from swarmharness.credit.payer import SETTLE_TIMEOUT_S, Payer
from swarmharness.credit.recall import Recall
from swarmharness.credit.receipt import Receipt, ReceiptBody
from swarmharness.credit.store import Invited, ReceiptStore
from swarmharness.credit.terms import TaskTerms
from swarmharness.credit.writer import ChainWriter
from swarmharness.errors import RefusedError, SwarmError
from swarmharness.identity import PeerId, Signer
from swarmharness.log_lines import by_peers
from swarmharness.network.ports import Request, Transport
from swarmharness.ports import Clock, Randomness
from swarmharness.protocol.codec import decode, encode
from swarmharness.refusals import Refusals, Tally

FORK = "a peer signed two histories"
USED_INVITE = "an invite that another peer has used"
CLOSING_S = 10.0
"""So long a node that stops waits for its disk to take what it owes; a disk that is well needs a few milliseconds."""

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
        refusals: Refusals | None = None,
    ) -> None:
        chosen = policy or Policy()
        self.refused = Tally(refusals)
        self._store, self._signer = store, signer
        me = signer.peer_id
        self._receipt_listeners: list[Callable[[Receipt], None]] = []
        self._fork_listeners: list[Callable[[ForkProof], None]] = []
        self._tokens: dict[bytes, PeerId] = {}
        self._redeeming = trio.Lock()
        self.books = Books(store, me, clock, horizon_epochs=chosen.horizon_epochs)
        self._gate = Gate(self.books, store, me, chosen, withholds=self.withholds, refused=self.refused)
        self._recall = Recall(store, signer, transport, clock)
        self._writer = ChainWriter(store, signer, clock, on_fork=self._on_fork, find_place=self._recall.place)
        self._payee = Payee(
            store,
            transport,
            clock,
            self._writer,
            refused=self.refused,
            horizon_epochs=chosen.horizon_epochs,
            signed_by=lambda requester: self.books.ledger.work(me, requester),
            on_receipt=self._tell,
        )
        self._payer = Payer(
            store, transport, clock, randomness, self._writer, refused=self.refused, on_receipt=self._tell
        )
        transport.handle(GAME_METHOD, self._handle_game)

    # --- admission

    async def admit(self, requester: PeerId, price_microcredits: int) -> Ticket:
        """Decide about a request and take what it costs; raises RefusedError, which says why not. See `Gate.admit`."""
        return await self._gate.admit(requester, price_microcredits)

    def undo(self, ticket: Ticket) -> None:
        """Give back what an admitted request took, because it was refused after all, before any work."""
        self._gate.undo(ticket)

    @property
    def policy(self) -> Policy:
        """What the operator decided, and the lines of used invites."""
        return self._gate.policy

    def set_policy(self, policy: Policy) -> None:
        """Put the operator's other decisions into force."""
        self._gate.set_policy(policy)

    def credit_of(self, peer: PeerId) -> Credit:
        """Return what covers requests of this peer here now."""
        return self._gate.credit_of(peer)

    def withholds(self, requester: PeerId) -> bool:
        """Tell whether a requester has owed its signature for too long: it is served last (C-13)."""
        return self._payee.withholds(requester)

    def received(self, receipts: Iterable[Receipt]) -> None:
        """Count receipts that were just stored and whose halves verify, own ones and those of others (C-4)."""
        self.books.received(receipts)

    def ban(self, peer: PeerId) -> None:
        """Serve a proved forker no more (C-16)."""
        self.books.ban(peer)

    # --- settlement

    def expect(self, terms: TaskTerms) -> None:
        """Remember a task that this node has just answered; only such tasks are settled, and each once."""
        self._payee.expect(terms)

    def owed(self, requester: PeerId) -> tuple[int, int]:
        """Return how many answered tasks, and micro-credits, this requester has not settled."""
        return self._payee.owed(requester)

    def settle_task(self, terms: TaskTerms) -> None:
        """Settle a task that a peer did for this node, alone or with others; never waits and never raises."""
        self._payer.settle_task(terms)

    def settle_game(self, game: BatchGame, shares: Sequence[Sequence[TaskTerms]]) -> None:
        """Settle a game of several workers: one receipt for the tasks of each, all naming the game (C-27).

        Each element of `shares` holds 1 to 20 tasks of one worker, skill and model, which get by the game what was
        agreed. Never waits and never raises.
        """
        self._payer.settle_game(game, shares)

    async def settle(self, body: ReceiptBody, *, timeout_s: float = SETTLE_TIMEOUT_S) -> Receipt:
        """Sign `body`, get the worker's half, and return the receipt when both are stored here.

        Raises InputError for a body that this node must not sign, the worker's refusal, or UnavailableError and
        DeadlineError; the half-entry then stays on disk (S-1) and is tried again by `run` of the next start.
        """
        return await self._payer.settle(body, timeout_s=timeout_s)

    def settle_later(self, body: ReceiptBody) -> None:
        """Settle in the background, with retries; never waits and never raises for what the peer does."""
        self._payer.settle_later(body)

    async def drain(self) -> None:
        """Wait until everything so far was settled, refused, or tried once and postponed."""
        await self._payer.drain()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Write, settle in the background and retry, and keep the books, until cancelled."""
        async with trio.open_nursery() as nursery:
            try:
                for invited in await self._store.invited():
                    self._gate.grant(invited.peer_id, invited.microcredits)
                    self._tokens[invited.token] = invited.peer_id
                await nursery.start(self._writer.run)
                await nursery.start(self._payee.run)
                await nursery.start(self._payer.run)
                nursery.start_soon(self._recall.run)
                nursery.start_soon(self.books.run)
                task_status.started()
                await trio.sleep_forever()
            finally:
                await self._close()

    async def _close(self) -> None:
        with trio.move_on_after(CLOSING_S, shield=True):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._closed, self._payee.save)
                nursery.start_soon(self._closed, self._gate.close)

    async def _closed(self, close: Callable[[], Awaitable[None]]) -> None:
        try:
            await close()
        except SwarmError as error:
            _log.warning("some of what was promised and is owed is not written down: %s", error)

    def _on_fork(self, proof: ForkProof) -> None:
        self.refused[FORK] += 1
        self.ban(proof.signer)
        _log.warning("%s signed two histories; the proof is kept", proof.signer, extra=by_peers())
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

    def watch_uncovered(self, now: Callable[[PeerId], Awaitable[None]], later: Callable[[PeerId], None]) -> None:
        """Wait for `now` before a peer's request is refused, and call `later` if it draws on the strangers' budget."""
        self._gate.be_shown, self._gate.be_shown_later = now, later

    # --- for people

    async def balance(self) -> Balance:
        """Return what this node earned and spent."""
        return await self._store.balance(self._signer.peer_id)

    async def history(self, limit: int) -> tuple[HistoryEntry, ...]:
        """Return this node's entries, newest first."""
        return history_of(self._signer.peer_id, await self._store.history(self._signer.peer_id, limit=limit))

    async def redeem(self, peer_id: PeerId, token: bytes, microcredits: int) -> None:
        """Give a peer the line of an invite of this node, once; RefusedError if another peer has used it."""
        async with self._redeeming:  # one after the other, so that nobody else gets it meanwhile
            owner = self._tokens.get(token)
            if owner is not None and owner != peer_id:
                self.refused[USED_INVITE] += 1
                raise RefusedError("this invite was used by another node; ask for one of your own")
            if owner is None:
                await self._store.keep_invited(Invited(token, peer_id, microcredits))
                self._tokens[token] = peer_id
                self._gate.grant(peer_id, microcredits)

    async def _handle_game(self, request: Request) -> bytes:
        wanted = decode(GameRequest, request.payload).digest
        found = await self._store.games([wanted])
        known = [game.text for game in found if request.peer_id in players_of(game.text)]
        return encode(GameAnswer(known[0] if known and len(known[0]) <= GAME_BYTES_MAX else b""))
