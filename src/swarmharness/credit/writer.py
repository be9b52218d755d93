"""The one local writer: numbers, signs and commits this node's half-entries in groups; it never calls a peer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import trio

from swarmharness.credit.accounts import Entry
from swarmharness.credit.chain import Place, opening, place_after
from swarmharness.credit.forks import ForkProof
from swarmharness.credit.receipt import Half, ReceiptBody, body_digest, sign_half
from swarmharness.credit.store import Game, ReceiptStore
from swarmharness.errors import RefusedError, SwarmError, UnavailableError
from swarmharness.identity import Signer
from swarmharness.ports import Clock

GROUP_MAX = 64
"""The most entries of one commit; a group's signatures take about 2 ms."""
QUEUE_MAX = 16_384
_SIGNATURES_PER_TURN = 8


@dataclass(slots=True, eq=False)
class _Write:
    body: ReceiptBody
    other: Half | None
    signs: bool
    game: Game | None = None
    done: trio.Event = field(default_factory=trio.Event)
    half: Half | None = None
    stored: bool = False
    error: SwarmError | None = None


class ChainWriter:
    """Gives every half its number when it signs, and lets no signature out before it is on disk (S-1).

    Calls that arrive during a commit share the next one, so none waits for more than two. The other party's half need
    not be on the disk at once: it can be asked for again. As with the store, a call that is cancelled is withdrawn, or
    ends as if it were not.
    """

    def __init__(
        self,
        store: ReceiptStore,
        signer: Signer,
        clock: Clock,
        *,
        on_fork: Callable[[ForkProof], None] = lambda proof: None,
        find_place: Callable[[], Awaitable[Place]] | None = None,
    ) -> None:
        self._on_fork = on_fork
        self._find_place = find_place or self._place_in_store
        self._store, self._signer, self._clock = store, signer, clock
        self._queue: list[_Write] = []
        self._wake = trio.Event()
        self._place: Place | None = None
        self._committing = False
        self._stopped = False

    async def sign(self, body: ReceiptBody, other: Half | None = None, *, game: Game | None = None) -> Half:
        """Return this node's half over `body`, stored, with its game and the other party's verified half if given."""
        half = (await self._write(_Write(body, other, signs=True, game=game))).half
        assert half is not None
        return half

    async def keep(self, body: ReceiptBody, other: Half) -> None:
        """Store the other party's verified half of an entry that this node signed before."""
        await self._write(_Write(body, other, signs=False))

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled; then whoever still waits gets an UnavailableError."""
        try:
            task_status.started()
            while True:
                await self._wake.wait()
                group, self._queue = self._queue[:GROUP_MAX], self._queue[GROUP_MAX:]
                if not self._queue:
                    self._wake = trio.Event()
                if not group:  # whoever called was cancelled
                    continue
                self._committing = True
                try:
                    await self._commit(group)
                finally:
                    self._committing = False
                    self._finish(group)
        finally:
            self._stopped = True
            self._finish(self._queue)

    async def _write(self, write: _Write) -> _Write:
        if self._stopped:
            raise UnavailableError("this node is stopping: its receipts are closed").for_peers()
        if len(self._queue) >= QUEUE_MAX:
            raise RefusedError(f"{QUEUE_MAX} receipts wait to be stored: is the disk too slow? try again later")
        if not self._write_now(write):
            await self._write_soon(write)
        if write.error is not None:
            raise write.error
        return write

    async def _write_soon(self, write: _Write) -> None:
        self._queue.append(write)
        self._wake.set()
        try:
            await write.done.wait()
        except trio.Cancelled:
            if write in self._queue:
                self._queue.remove(write)
                raise
            with trio.CancelScope(shield=True):  # it is being signed: what comes of it is to be counted
                await write.done.wait()

    def _write_now(self, write: _Write) -> bool:
        """Sign and commit at once if nobody else does, the place is known and the disk is quick; tell whether."""
        if self._queue or self._committing or write.game is not None or not self._store.quick(durable=write.signs):
            return False
        place = self._place
        if write.signs and place is None:
            return False
        try:
            if write.signs and place is not None:
                write.half = self._sign(write.body, place)
                place = place_after(write.half)
            proofs = self._store.commit_now([self._entry(write)], durable=write.signs)
        except SwarmError as error:
            self._place, write.error = None, error
        else:
            self._place, write.stored = place, True
            for proof in proofs:
                self._on_fork(proof)
        return True

    def _sign(self, body: ReceiptBody, place: Place) -> Half:
        number, previous = place.number, place.previous
        digest = body_digest(body)
        return sign_half(self._signer, digest, incarnation=place.incarnation, number=number, previous=previous)

    async def _commit(self, group: list[_Write]) -> None:
        try:
            place = self._place
            if place is None and any(write.signs for write in group):
                place = await self._find_place()
            games = {write.game.digest: write.game for write in group if write.game is not None}
            if games:
                await self._store.keep_games(list(games.values()))
            entries = []
            for index, write in enumerate(group):
                if write.signs:
                    assert place is not None
                    write.half = self._sign(write.body, place)
                    place = place_after(write.half)
                entries.append(self._entry(write))
                if index % _SIGNATURES_PER_TURN == _SIGNATURES_PER_TURN - 1:
                    await trio.lowlevel.checkpoint()
            signed = any(write.signs for write in group)
            proofs = await (self._store.commit(entries) if signed else self._store.commit_lightly(entries))
            self._place = place
            for proof in proofs:
                self._on_fork(proof)
            for write in group:
                write.stored = True
        except SwarmError as error:
            self._place = None  # whether the disk took part of it is unknown: ask it again before the next signature
            for write in group:
                write.error = error

    async def _place_in_store(self) -> Place:
        head = await self._store.head(self._signer.peer_id)
        sealed = await self._store.sealed()
        if head is None or head.content.incarnation <= sealed:
            return opening(max(0, sealed), self._clock.unix_us())
        return place_after(head)

    def _entry(self, write: _Write) -> Entry:
        body, halves = write.body, (write.half, write.other)
        requester_half, worker_half = halves if body.requester == self._signer.peer_id else halves[::-1]
        return Entry(body, requester_half, worker_half, self._clock.unix_us())

    def _finish(self, group: list[_Write]) -> None:
        for write in group:
            if not write.stored and write.error is None:
                write.error = UnavailableError("this node stopped before the receipt was stored").for_peers()
            write.done.set()
