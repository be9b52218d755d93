"""What peers may hold of one thing on channels, each and all together, strangers the lesser part; pure: it counts.

Who asks for more than that is refused. Bytes below channels, which nobody has asked for, are `yamux_node.py`'s: whoever
left them unread for the longest time loses them.

Both parts follow the dynamic threshold of Choudhury and Hahne (IEEE/ACM Trans. Netw. 6(2), 1998): what one peer holds
is bounded by what it leaves free, so there is room for one more, however many hold theirs.
"""

from __future__ import annotations

STRANGER_FACTOR = 2
"""A stranger may hold twice what it leaves of the strangers' part: two thirds, if nobody else holds any."""


class Budget:
    """What is left of one thing, such as bytes; `Share` takes of it."""

    __slots__ = ("free", "strangers_free")

    def __init__(self, most: int, strangers_most: int) -> None:
        self.free = most
        self.strangers_free = min(most, strangers_most)

    def share(self, *, known: bool = False) -> Share:
        """Return the share of one more peer, which holds nothing yet."""
        return Share(self, known=known)


class Share:
    """What one peer holds. A peer that this node knows, or whose answer it awaits, is limited by the whole alone."""

    __slots__ = ("_budget", "_known", "_strange", "held")

    def __init__(self, budget: Budget, *, known: bool) -> None:
        self._budget = budget
        self._known = known
        self._strange = 0
        self.held = 0

    def take(self, amount: int, *, awaited: bool = False) -> bool:
        """Set something aside, all or nothing; returns whether the peer may have it."""
        budget = self._budget
        if self.held + amount > budget.free - amount:
            return False
        if not (self._known or awaited):
            if self._strange + amount > STRANGER_FACTOR * (budget.strangers_free - amount):
                return False
            budget.strangers_free -= amount
            self._strange += amount
        budget.free -= amount
        self.held += amount
        return True

    def give_back(self, amount: int, *, awaited: bool = False) -> None:
        """Free what was taken; `awaited` as it was then."""
        budget = self._budget
        budget.free += amount
        self.held -= amount
        if not (self._known or awaited):
            budget.strangers_free += amount
            self._strange -= amount

    def know(self) -> None:
        """Have the peer be no stranger from now on."""
        if not self._known:
            self._known = True
            self._budget.strangers_free += self._strange
            self._strange = 0
