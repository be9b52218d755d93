"""The items of one job between being fed and being handed out, and whether a second reading gives the same; no plan.

What was fed is known by its digests in the journal, so that an input can be read again and compared without being held.
"""

from __future__ import annotations

from collections.abc import Sequence

from swarmharness.errors import InputChangedError
from swarmharness.execution.ports import Item
from swarmharness.jobs.journal import DIGEST_BYTES, UNKNOWN_DIGEST, UNUSABLE_DIGEST, Journal, input_digest

Numbered = list[tuple[int, Item]]


class Intake:
    """See the module. `fed` items are known; `cursor` is the index of the next one that is read."""

    def __init__(self, job_id: str, journal: Journal | None, *, fed: int, ended: bool) -> None:
        self._job_id = job_id
        self._journal = journal
        self.fed = fed
        self.ended = ended
        self.cursor = fed
        self.reading_again = False
        """The input is read from its start again, and is compared with what was fed."""
        self._held: dict[int, bytes] = {}
        self.held_bytes = 0

    def read_again(self) -> None:
        """Expect the input from its start."""
        self.cursor, self.reading_again = 0, True

    async def compare(self, items: Sequence[Item], *, last: bool) -> tuple[Numbered, Numbered]:
        """Return the next items as those that were fed before and those that are new.

        Raises InputChangedError if one differs, or if the input ends elsewhere than it did.
        """
        numbered = list(enumerate(items, start=self.cursor))
        known = [pair for pair in numbered if pair[0] < self.fed]
        new = [pair for pair in numbered if pair[0] >= self.fed]
        if known and self._journal is not None:
            digests = await self._journal.digests(self._job_id, known[0][0], len(known))
            for place, (index, item) in enumerate(known):
                before = digests[place * DIGEST_BYTES : (place + 1) * DIGEST_BYTES]
                if before not in (input_digest(item), UNKNOWN_DIGEST):
                    raise InputChangedError(self._difference(index, item, before), index)
        if new and self.ended:
            problem = f"the input had {self.fed} items before, and goes on after them now"
            raise InputChangedError(problem, self.fed)
        end = self.cursor + len(items)
        if last and end < self.fed:
            raise InputChangedError(f"the input ends after {end} items now, and had {self.fed} before", end)
        return known, new

    def _difference(self, index: int, item: Item, before: bytes) -> str:
        when = f"when job {self._job_id} first read it"
        if isinstance(item, str):
            return f"input {index} could be used {when}, and cannot be used now ({item})"
        if before == UNUSABLE_DIGEST:
            return f"input {index} could not be used {when}, and can be used now"
        return f"input {index} is not what it was {when}"

    def take_in(self, items: Sequence[Item], wanted: Numbered, new: Numbered, *, last: bool) -> None:
        """Go on behind `items`, which `compare` judged; hold those that are `wanted` and can be used."""
        self.cursor += len(items)
        self.fed += len(new)
        for index, item in wanted:
            if isinstance(item, bytes):
                self._held[index] = item
                self.held_bytes += len(item)
        if last:
            self.ended, self.reading_again = True, False

    def holds(self, index: int) -> bool:
        """Tell whether an item is held."""
        return index in self._held

    def item(self, index: int) -> bytes:
        """Return an item that is held."""
        return self._held[index]

    def handed_out(self, index: int) -> None:
        """Let go of an item whose result was handed out."""
        item = self._held.pop(index, None)
        if item is not None:
            self.held_bytes -= len(item)
