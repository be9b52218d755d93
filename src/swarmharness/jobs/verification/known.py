"""Items whose answers are known, to be mixed into other peers' tasks as spot checks; pure and bounded.

An answer is known when two independent peers or this node itself gave it, or when the user supplied it. It is used
on a peer once at most, and on peers that have not seen it: who has could tell it from the others.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from swarmharness.jobs.messages import Output
from swarmharness.registry.models import ModelKey

SKILLS_MAX = 64
ITEMS_MAX = 64
"""For each key."""
ITEM_BYTES_MAX = 64 * 1024
"""Of an item and of its answer: larger ones are not kept."""
SEEN_MAX = 64
"""An item that so many peers have seen is not used again."""
TASK_ITEMS_MIN = 8
"""Smaller tasks get no spot check: it would cost too much beside them."""
ONE_TASK_IN = 20

Key = tuple[ModelKey, bytes]
"""A skill's model, and parameters: a task that is told something else may have another answer."""


@dataclass(slots=True)
class KnownItem:
    """One item and its answer."""

    item: bytes
    output: Output
    certain: bool
    """Whether this node or the user gave the answer: then who answers otherwise is wrong without a further opinion."""
    seen: set[str] = field(default_factory=set)
    flags_known: bool = True
    """Whether the flags of the output are part of what is known."""


class KnownAnswers:
    """The known items by key, the oldest first."""

    def __init__(self) -> None:
        self._items: dict[Key, dict[bytes, KnownItem]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._items.values()))

    def add(
        self,
        key: Key,
        item: bytes,
        output: Output,
        *,
        seen: Iterable[str],
        certain: bool,
        flags_known: bool = True,
    ) -> bool:
        """Keep an item; the oldest makes room. False, and nothing is kept, for what is too large or has no answer."""
        if output.error or max(len(item), len(output.data)) > ITEM_BYTES_MAX:
            return False
        items = self._items.setdefault(key, {})
        items.pop(item, None)
        items[item] = KnownItem(item, output, certain, set(seen), flags_known)
        if len(items) > ITEMS_MAX:
            del items[next(iter(items))]
        if len(self._items) > SKILLS_MAX:
            del self._items[next(iter(self._items))]
        return True

    def take(self, key: Key, peer_id: str, draw: int) -> KnownItem | None:
        """Return one of the items that this peer has not seen, by a draw from a range of at least 2^32, or None.

        From now on it counts as seen by this peer.
        """
        fresh = [known for known in self._items.get(key, {}).values() if peer_id not in known.seen]
        if not fresh:
            return None
        known = fresh[draw % len(fresh)]
        known.seen.add(peer_id)
        if len(known.seen) >= SEEN_MAX:
            self.drop(key, known.item)
        return known

    def drop(self, key: Key, item: bytes) -> None:
        """Forget an item, for example because its answer is in doubt."""
        self._items.get(key, {}).pop(item, None)
