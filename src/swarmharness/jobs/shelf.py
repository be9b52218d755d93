"""Results of one job from their answer until they are handed out in input order; it never asks for work.

Those that are on disk may leave memory: only a bit of each stays, and it is read back when its turn comes. Without a
journal all of them stay in memory, and the job's window bounds them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from swarmharness.jobs.journal import ItemResult, Journal

MEMORY_BYTES_MAX = 32 * 2**20
READ_ITEMS = 1024
READ_BYTES = 4 * 2**20


class Shelf:
    """The results of one job. `count` is how many items have one."""

    def __init__(self, job_id: str, journal: Journal | None) -> None:
        self._job_id = job_id
        self._journal = journal
        self._held: dict[int, ItemResult] = {}
        self._held_bytes = 0
        self._on_disk = bytearray()
        self.count = 0

    def __contains__(self, index: int) -> bool:
        return index in self._held or self._is_on_disk(index)

    def recall(self, bits: bytearray) -> None:
        """Take over the answers that a journal has, as a bitmap (see `Journal.answered_bits`)."""
        self._on_disk = bits
        self.count = int.from_bytes(bits, "little").bit_count()

    def put(self, results: Iterable[ItemResult]) -> None:
        """Take new results."""
        for result in results:
            self._held[result.index] = result
            self._held_bytes += len(result.output)
            self.count += 1

    def kept(self, indices: Sequence[int]) -> None:
        """Hear that these results are on disk."""
        for index in indices:
            self._set_on_disk(index, True)
        if self._held_bytes > MEMORY_BYTES_MAX:
            for index in indices:
                self._forget(index)

    def remove(self, index: int) -> bool:
        """Drop a result that turned out wrong; False if there is none."""
        if index not in self:
            return False
        self._forget(index)
        self._set_on_disk(index, False)
        self.count -= 1
        return True

    async def take(self, index: int, count_max: int) -> list[ItemResult]:
        """Return the results from an index on that follow each other, as many as are at hand, and drop them.

        A result that the journal has lost, because its file was damaged, is at hand no more: `index in` tells.
        """
        if index not in self._held and self._is_on_disk(index) and self._journal is not None:
            most = min(count_max, READ_ITEMS)
            found = await self._journal.results(self._job_id, index, count=most, size_bytes=READ_BYTES)
            if not found:
                self.remove(index)
            return found
        taken: list[ItemResult] = []
        size_bytes = 0
        while len(taken) < count_max and size_bytes < READ_BYTES:
            result = self._forget(index + len(taken))
            if result is None:
                break
            taken.append(result)
            size_bytes += len(result.output)
        return taken

    def put_down(self) -> None:
        """Forget what is in memory and on disk too: the results are handed out from the start again."""
        for index in [index for index in self._held if self._is_on_disk(index)]:
            self._forget(index)

    def _forget(self, index: int) -> ItemResult | None:
        result = self._held.pop(index, None)
        if result is not None:
            self._held_bytes -= len(result.output)
        return result

    def _is_on_disk(self, index: int) -> bool:
        return index >> 3 < len(self._on_disk) and bool(self._on_disk[index >> 3] & 1 << (index & 7))

    def _set_on_disk(self, index: int, there: bool) -> None:
        place = index >> 3
        if there:
            if place >= len(self._on_disk):
                self._on_disk.extend(bytes(place + 1 - len(self._on_disk)))
            self._on_disk[place] |= 1 << (index & 7)
        elif place < len(self._on_disk):
            self._on_disk[place] &= ~(1 << (index & 7)) & 0xFF
