"""What outlives a node's process: a log of its receipt store and small files; it can be slow, frozen, or lose its end.

A store in memory is rebuilt from the log at each start, so that a restart is a replay. Changes are written as the
thread of the real store writes them: one at a time, in the order in which they were asked for, to the end once begun.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import trio

from swarmharness.credit.accounts import Entry
from swarmharness.credit.chain import Floor
from swarmharness.credit.forks import ForkProof
from swarmharness.credit.holds import Hold
from swarmharness.credit.memory_store import MemoryReceiptStore
from swarmharness.credit.store import Game, Invited
from swarmharness.credit.terms import UnsettledTask
from swarmharness.errors import UnavailableError
from swarmharness.network.ports import PeerAddress
from swarmharness.network.turns import Turns
from swarmharness.registry.stores import PEERS_MAX, LoadedPeers
from swarmharness.simulation.network import Sleep
from swarmharness.simulation.randomness import SeededRandomness

Committed = Callable[[Sequence[Entry]], None]


@dataclass(frozen=True, slots=True)
class Write:
    """One durable change of a store: which method, and with what."""

    at_us: int
    method: str
    arguments: tuple[Any, ...]

    @property
    def entries(self) -> tuple[Entry, ...]:
        """The entries that it holds, if any."""
        return tuple(self.arguments[0]) if self.method == "commit" else ()


@dataclass(slots=True)
class SimulatedDisk:
    """`frozen` while no process runs: a write that had begun then is lost, or kept, by chance."""

    randomness: SeededRandomness
    mean_write_us: int
    slower_us: int = 0
    frozen: bool = True
    interrupted: bool = False
    """See `ReceiptStore`: the power failed, and no floor is set since."""
    floor: Floor | None = None
    """The last that was set."""
    moved: bool = False
    """See `ReceiptStore`, for the next start."""
    log: list[Write] = field(default_factory=list)
    peers: tuple[PeerAddress, ...] = ()
    sequence: int = 0
    pending: list[Write] = field(default_factory=list)
    """What is being written, and what waits for its turn."""
    _turns: Turns = field(default_factory=Turns)
    _writing: trio.CancelScope | None = None

    async def write(self, write: Write, sleep: Sleep) -> None:
        """Have a change in the log when this returns, or raise and have it nowhere.

        Cancelled while it waits for its turn, it is withdrawn; what has begun is waited for. A crash alone ends that.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        self.pending.append(write)
        try:
            async with self._turns:
                self._check_frozen()
                with trio.CancelScope(shield=True) as self._writing:
                    await sleep((self.randomness.exponential(self.mean_write_us) + self.slower_us) / 1e6)
                self._writing = None
                if self.frozen:  # what became of the write was for `crash` to say
                    await trio.lowlevel.checkpoint_if_cancelled()
                self._check_frozen()
                self.log.append(write)
        finally:
            self.pending.remove(write)

    @property
    def promising(self) -> bool:
        """Whether holds are being written down, or wait for it."""
        return any(write.method == "keep_holds" for write in self.pending)

    def _check_frozen(self) -> None:
        if self.frozen:
            raise UnavailableError("the disk is gone")

    def crash(self, *, lost_writes: int = 0) -> tuple[list[Write], list[Write]]:
        """The process is gone: the write that had begun may have reached the disk; a lying disk loses its last ones.

        Returns what thus reached the disk with nobody to hear of it, and what was lost.
        """
        self.frozen = True
        reached = self.pending[:1] if self._writing is not None and self.randomness.chance(500) else []
        if self._writing is not None:
            self._writing.cancel()
        self.log += reached
        self.interrupted = self.interrupted or lost_writes > 0
        kept = max(0, len(self.log) - lost_writes)
        lost, self.log = self.log[kept:], self.log[:kept]
        return [] if lost else reached, lost

    def restore(self, before_us: int) -> list[Write]:
        """Put back the receipts of an old backup; returns the writes that it lacks."""
        self.moved = self.interrupted = True
        lost = [write for write in self.log if write.at_us > before_us]
        self.log = [write for write in self.log if write.at_us <= before_us]
        return lost

    # -- the registry's stores

    async def load(self) -> LoadedPeers:
        """See `PeerStore`."""
        return LoadedPeers(self.peers)

    async def save(self, peers: Sequence[PeerAddress]) -> None:
        """See `PeerStore`."""
        if self.frozen:
            raise OSError("the disk is gone")
        self.peers = tuple(peers)[:PEERS_MAX]


@dataclass(slots=True)
class SimulatedSequence:
    """`SequenceStore` on a simulated disk."""

    disk: SimulatedDisk

    async def load(self) -> int:
        """See `SequenceStore`."""
        return self.disk.sequence

    async def save(self, sequence: int) -> None:
        """See `SequenceStore`."""
        if self.disk.frozen:
            raise OSError("the disk is gone")
        self.disk.sequence = sequence


async def replay(log: Sequence[Write], store: MemoryReceiptStore) -> None:
    """Do to a store in memory what a log says; it never waits for anything."""
    for write in log:
        await getattr(MemoryReceiptStore, write.method)(store, *write.arguments)


class SimulatedReceiptStore(MemoryReceiptStore):
    """`ReceiptStore` whose changes take the disk's time, and count once they are in its log."""

    def __init__(self, disk: SimulatedDisk, sleep: Sleep, now_us: Callable[[], int], committed: Committed) -> None:
        super().__init__()
        self._disk, self._sleep, self._now_us = disk, sleep, now_us
        self._committed = committed
        self._moved, disk.moved = disk.moved, False

    @property
    def moved(self) -> bool:
        """See `ReceiptStore`."""
        return self._moved

    @property
    def interrupted(self) -> bool:
        """See `ReceiptStore`."""
        return self._disk.interrupted

    @classmethod
    async def replay(
        cls, disk: SimulatedDisk, sleep: Sleep, now_us: Callable[[], int], committed: Committed
    ) -> SimulatedReceiptStore:
        """Return the store that a disk holds."""
        store = cls(disk, sleep, now_us, committed)
        await replay(disk.log, store)
        return store

    async def commit(self, entries: Sequence[Entry]) -> tuple[ForkProof, ...]:
        """See `ReceiptStore`."""
        await self._write("commit", tuple(entries))
        proofs = self.put(entries)
        self._committed(entries)
        return proofs

    async def keep_fork(self, proof: ForkProof) -> bool:
        """See `ReceiptStore`."""
        await self._write("keep_fork", proof)
        return await super().keep_fork(proof)

    async def keep_holds(self, holds: Sequence[Hold]) -> None:
        """See `ReceiptStore`."""
        await self._write("keep_holds", tuple(holds))
        await super().keep_holds(holds)

    async def keep_unsettled(self, new: Sequence[UnsettledTask], settled: Sequence[UnsettledTask]) -> None:
        """See `ReceiptStore`."""
        await self._write("keep_unsettled", tuple(new), tuple(settled))
        await super().keep_unsettled(new, settled)

    async def keep_games(self, games: Sequence[Game]) -> None:
        """See `ReceiptStore`."""
        await self._write("keep_games", tuple(games))
        await super().keep_games(games)

    async def keep_invited(self, invited: Invited) -> None:
        """See `ReceiptStore`."""
        await self._write("keep_invited", invited)
        await super().keep_invited(invited)

    async def set_floor(self, floor: Floor) -> None:
        """See `ReceiptStore`."""
        await self._write("set_floor", floor)
        self._disk.interrupted, self._disk.floor = False, floor
        await super().set_floor(floor)

    async def seal(self, incarnation: int) -> None:
        """See `ReceiptStore`."""
        await self._write("seal", incarnation)
        await super().seal(incarnation)

    async def _write(self, method: str, *arguments: Any) -> None:
        await self._disk.write(Write(self._now_us(), method, arguments), self._sleep)
