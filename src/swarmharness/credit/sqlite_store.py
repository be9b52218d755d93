"""`ReceiptStore` on SQLite, off the event loop: one writing thread at a time, one reading; it holds no SQL."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar

import trio

from swarmharness.credit.accounts import Balance, Entry
from swarmharness.credit.chain import Floor
from swarmharness.credit.forks import ForkProof
from swarmharness.credit.holds import Hold
from swarmharness.credit.incarnations import Sighting
from swarmharness.credit.ledger import Claim
from swarmharness.credit.receipt import Half
from swarmharness.credit.sqlite_file import ReceiptFile
from swarmharness.credit.store import PRUNED_AT_ONCE, Game, Invited, StoreHealth
from swarmharness.credit.terms import UnsettledTask
from swarmharness.errors import DamagedFileError, SwarmError, UnavailableError
from swarmharness.identity import PeerId
from swarmharness.sqlite_connection import set_aside

T = TypeVar("T")

QUICK_S = 0.002
"""A commit that took longer on the event loop is followed by none for `SLOW_PAUSE_S`."""
SLOW_PAUSE_S = 1.0
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
PAUSE_S = 0.0005
"""Whoever wants to commit sooner than this after the last one is part of a crowd."""

_log = logging.getLogger(__name__)


class SqliteReceiptStore:
    """See `ReceiptStore`; made by `open_sqlite_store`."""

    def __init__(self, writer: ReceiptFile, reader: ReceiptFile, set_aside: Path | None) -> None:
        self.health = StoreHealth()
        self.set_aside = set_aside
        """Where a damaged predecessor was moved, or None."""
        self._writer, self._writing = writer, trio.CapacityLimiter(1)
        self._reader, self._reading = reader, trio.CapacityLimiter(1)
        self._not_quick_until_s = {False: 0.0, True: 0.0}

    async def commit(self, entries: Sequence[Entry]) -> tuple[ForkProof, ...]:
        """See `ReceiptStore`."""
        return await self._write(partial(self._writer.commit, entries))

    async def commit_lightly(self, entries: Sequence[Entry]) -> tuple[ForkProof, ...]:
        """See `ReceiptStore`."""
        return await self._write(partial(self._writer.commit, entries, durable=False))

    def quick(self, *, durable: bool) -> bool:
        """See `ReceiptStore`; in a crowd a thread is worth its while, since it commits many at once."""
        return time.monotonic() >= self._not_quick_until_s[durable] and not self._writing.borrowed_tokens

    def commit_now(self, entries: Sequence[Entry], *, durable: bool) -> tuple[ForkProof, ...]:
        """See `ReceiptStore`; where the disk is quick this takes half as long as a thread would."""
        began_s = time.monotonic()
        with self._noting():
            proofs = self._writer.commit(entries, durable=durable)
        ended_s = time.monotonic()
        pause_s = PAUSE_S if ended_s - began_s <= QUICK_S else SLOW_PAUSE_S
        self._not_quick_until_s[durable] = ended_s + pause_s
        return proofs

    async def head(self, signer: PeerId) -> Half | None:
        """See `ReceiptStore`."""
        return await self._read(partial(self._reader.head, signer))

    async def entry(self, digest: bytes) -> Entry | None:
        """See `ReceiptStore`."""
        return await self._read(partial(self._reader.entry, digest))

    async def unfinished(self, requester: PeerId, *, stored_after_us: int, limit: int) -> list[Entry]:
        """See `ReceiptStore`."""
        return await self._read(partial(self._reader.unfinished, requester, stored_after_us, limit))

    async def balance(self, peer_id: PeerId) -> Balance:
        """See `ReceiptStore`."""
        return await self._read(partial(self._reader.balance, peer_id))

    async def history(self, peer_id: PeerId, *, limit: int) -> list[Entry]:
        """See `ReceiptStore`."""
        return await self._read(partial(self._reader.history, peer_id, limit))

    async def claims(self, *, oldest_epoch: int) -> list[Claim]:
        """See `ReceiptStore`."""
        return await self._read(partial(self._reader.claims, oldest_epoch))

    async def claims_page(self, *, oldest_epoch: int, after: int, limit: int) -> tuple[list[Claim], int]:
        """See `ReceiptStore`."""
        return await self._read(partial(self._reader.claims_page, oldest_epoch, after, limit))

    async def sightings(self, *, oldest_epoch: int, newest_epoch: int) -> list[Sighting]:
        """See `ReceiptStore`."""
        return await self._read(partial(self._reader.sightings, oldest_epoch, newest_epoch))

    async def forks(self) -> list[ForkProof]:
        """See `ReceiptStore`."""
        return await self._read(self._reader.forks)

    async def keep_fork(self, proof: ForkProof) -> bool:
        """See `ReceiptStore`."""
        return await self._write(partial(self._writer.keep_fork, proof))

    async def holds(self, *, oldest_epoch: int) -> list[Hold]:
        """See `ReceiptStore`."""
        return await self._read(partial(self._reader.holds, oldest_epoch))

    async def keep_holds(self, holds: Sequence[Hold]) -> None:
        """See `ReceiptStore`."""
        await self._write(partial(self._writer.keep_holds, holds))

    async def prune(self, own: PeerId, *, oldest_epoch: int, limit: int = PRUNED_AT_ONCE) -> int:
        """See `ReceiptStore`."""
        return await self._write(partial(self._writer.prune, own, oldest_epoch, limit))

    async def entries(self, digests: Sequence[bytes]) -> list[Entry]:
        """See `ReceiptStore`."""
        return await self._read(partial(self._reader.entries, digests))

    async def heads(self, signers: Sequence[str]) -> list[Half]:
        """See `ReceiptStore`."""
        return await self._read(partial(self._reader.heads, signers))

    async def entries_after(self, signer: str, incarnation: int, number: int, *, limit: int) -> list[Entry]:
        """See `ReceiptStore`."""
        return await self._read(partial(self._reader.entries_after, signer, incarnation, number, limit))

    async def known_below(self, places: Sequence[tuple[str, int, int]]) -> list[int]:
        """See `ReceiptStore`."""
        return await self._read(partial(self._reader.known_below, places))

    @property
    def moved(self) -> bool:
        """See `ReceiptStore`."""
        return self._writer.moved

    @property
    def interrupted(self) -> bool:
        """See `ReceiptStore`."""
        return self._writer.interrupted

    async def partners(self, peer_id: PeerId, *, limit: int) -> list[PeerId]:
        """See `ReceiptStore`."""
        return await self._read(partial(self._reader.partners, peer_id, limit))

    async def unsettled(self) -> list[UnsettledTask]:
        """See `ReceiptStore`."""
        return await self._read(self._reader.unsettled)

    async def keep_unsettled(self, new: Sequence[UnsettledTask], settled: Sequence[UnsettledTask]) -> None:
        """See `ReceiptStore`."""
        await self._write(partial(self._writer.keep_unsettled, new, settled))

    async def games(self, digests: Sequence[bytes]) -> list[Game]:
        """See `ReceiptStore`."""
        return await self._read(partial(self._reader.games, digests))

    async def keep_games(self, games: Sequence[Game]) -> None:
        """See `ReceiptStore`."""
        await self._write(partial(self._writer.keep_games, games))

    async def invited(self) -> list[Invited]:
        """See `ReceiptStore`."""
        return await self._read(self._reader.invited)

    async def keep_invited(self, invited: Invited) -> None:
        """See `ReceiptStore`."""
        await self._write(partial(self._writer.keep_invited, invited))

    async def set_floor(self, floor: Floor) -> None:
        """See `ReceiptStore`."""
        await self._write(partial(self._writer.set_floor, floor))

    async def floor(self) -> Floor | None:
        """See `ReceiptStore`."""
        return await self._read(self._reader.floor)

    async def seal(self, incarnation: int) -> None:
        """See `ReceiptStore`."""
        await self._write(partial(self._writer.seal, incarnation))

    async def sealed(self) -> int:
        """See `ReceiptStore`."""
        return await self._read(self._reader.sealed)

    async def try_write(self) -> None:
        """See `ReceiptStore`."""
        await self._write(self._writer.try_write)

    async def _write(self, change: Callable[[], T]) -> T:
        with self._noting():
            return await trio.to_thread.run_sync(change, limiter=self._writing)

    @contextmanager
    def _noting(self) -> Iterator[None]:
        """Note whether the disk took what is written in the block."""
        try:
            yield
        except SwarmError as error:
            self.health.failed(error)
            raise _for_callers(error) from error
        self.health.worked()

    async def _read(self, query: Callable[[], T]) -> T:
        try:
            return await trio.to_thread.run_sync(query, limiter=self._reading)
        except DamagedFileError as error:
            raise _for_callers(error) from error


def _for_callers(error: SwarmError) -> SwarmError:
    """Return damage as what it is to whoever asked: not their bad input, and to be tried again later."""
    return UnavailableError(str(error)) if isinstance(error, DamagedFileError) else error


@asynccontextmanager
async def open_sqlite_store(path: Path, *, owner: PeerId, unix_us: int) -> AsyncIterator[SqliteReceiptStore]:
    """Open, and at the end close, the database at `path`.

    A damaged one is renamed to `<name>.damaged-<unix_us>` with a warning, and an empty one is started: the node
    then signs a new incarnation of its chain, and its partners give back what they have.
    """
    writer, aside = await trio.to_thread.run_sync(_open, path, unix_us)
    try:
        await trio.to_thread.run_sync(writer.set_owner, owner)
        await trio.to_thread.run_sync(writer.settle_in, _boot() or f"unknown, at {unix_us}")
        if aside is not None:
            await trio.to_thread.run_sync(writer.seal, unix_us)  # what peers give back is not to be continued
        reader = await trio.to_thread.run_sync(partial(ReceiptFile, path, read_only=True))
        try:
            yield SqliteReceiptStore(writer, reader, aside)
        finally:
            reader.close()
        writer.settle_out()
    finally:
        writer.close()


def _boot() -> str:
    """Return what names the time since the machine was started, or nothing where it cannot be known."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return ""


def _open(path: Path, unix_us: int) -> tuple[ReceiptFile, Path | None]:
    try:
        return ReceiptFile(path), None
    except DamagedFileError:
        aside = set_aside(path, unix_us)
        _log.warning("the receipt database %s was damaged: it is now %s, and an empty one is started", path, aside)
    return ReceiptFile(path), aside
