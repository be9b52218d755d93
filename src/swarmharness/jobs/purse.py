"""A job's money: what it may spend, what is promised to tasks under way, what is spent; it never goes below zero.

Every layer that sends a task asks the purse first, for the first copy as for a hedge or a replica, so that the budget
holds whatever all of them do together. Pure; one task of the event loop uses it at a time.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Purse:
    """Amounts are micro-credits. `limit_microcredits` None is a purse without a bottom."""

    limit_microcredits: int | None = None
    spent_microcredits: int = 0
    reserved_microcredits: int = 0

    @property
    def free_microcredits(self) -> int | None:
        """What can still be reserved; None where there is no limit."""
        if self.limit_microcredits is None:
            return None
        return max(0, self.limit_microcredits - self.spent_microcredits - self.reserved_microcredits)

    def reserve(self, price_microcredits: int) -> bool:
        """Set the price of one task aside before it is sent; False, and nothing changes, if that is not there."""
        free = self.free_microcredits
        if price_microcredits < 0 or (free is not None and price_microcredits > free):
            return False
        self.reserved_microcredits += price_microcredits
        return True

    def spend(self, price_microcredits: int) -> None:
        """Pay what was reserved: the task's answer was taken."""
        self._unreserve(price_microcredits)
        self.spent_microcredits += price_microcredits

    def release(self, price_microcredits: int) -> None:
        """Give back what was reserved: the task brought no answer, or one that is not paid."""
        self._unreserve(price_microcredits)

    def refund(self, price_microcredits: int) -> None:
        """Take back what was spent: the answer turned out wrong before it was settled."""
        if not 0 <= price_microcredits <= self.spent_microcredits:
            raise ValueError(f"{price_microcredits} were not spent")
        self.spent_microcredits -= price_microcredits

    def _unreserve(self, price_microcredits: int) -> None:
        if not 0 <= price_microcredits <= self.reserved_microcredits:
            raise ValueError(f"{price_microcredits} were not reserved")
        self.reserved_microcredits -= price_microcredits
