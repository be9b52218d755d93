"""How simulated workers cheat about results: what they answer instead, and what work that saves; it sends nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

from swarmharness.simulation.randomness import SeededRandomness

FAKE_WORK_PERMILLE = 20
"""Making an answer up costs so much of the honest work."""
LAZY_WORK_PERMILLE = 500

Compute = Callable[[bytes], bytes]
"""The honest answer to an item."""


class Cheat(StrEnum):
    """What a cheat answers."""

    NOISE = "noise"
    """Random bytes, never the same twice."""
    STALE = "stale"
    """What it answered to an earlier item."""
    COPIED = "copied"
    """It computes the first item of a task and copies that answer to the others; a single item gets the one before."""
    LAZY = "lazy"
    """It computes half of each answer, and fills up with zeros."""
    WRONG = "wrong"
    """A wrong answer of its own, always the same; it saves no work."""
    CARTEL = "cartel"
    """The wrong answer on which its group agreed, and which its members give without work."""


@dataclass(slots=True)
class Cheater:
    """One node's way to cheat, on a share of its tasks."""

    cheat: Cheat
    mark: bytes
    """What makes the wrong answers of this node, or of its cartel, its own."""
    share_permille: int = 1000
    randomness: SeededRandomness = field(default_factory=lambda: SeededRandomness("cheat"))
    honest_tasks: int = 0
    """So many it does honestly first."""
    _last: bytes = b""

    def cheats_now(self) -> bool:
        """Decide about the next task."""
        if self.honest_tasks:
            self.honest_tasks -= 1
            return False
        return self.randomness.chance(self.share_permille)

    def work_permille(self, items: int) -> int:
        """Return how much of the honest work a task of so many items takes when it cheats."""
        match self.cheat:
            case Cheat.WRONG:
                return 1000
            case Cheat.LAZY:
                return LAZY_WORK_PERMILLE
            case Cheat.COPIED if items > 1:
                return max(FAKE_WORK_PERMILLE, 1000 // items)
            case _:
                return FAKE_WORK_PERMILLE

    def answers(self, items: tuple[bytes, ...], compute: Compute) -> list[bytes]:
        """Return the answers to a task on which it cheats."""
        size = len(compute(items[0]))
        match self.cheat:
            case Cheat.NOISE:
                return [self.randomness.token(size) for _ in items]
            case Cheat.STALE:
                return [self._last or bytes(size)] * len(items)
            case Cheat.COPIED:
                return [compute(items[0]) if len(items) > 1 else self._last or bytes(size)] * len(items)
            case Cheat.LAZY:
                return [compute(item)[: size // 2].ljust(size, b"\x00") for item in items]
            case Cheat.WRONG | Cheat.CARTEL:
                return [compute(self.mark + item) for item in items]

    def remember(self, answer: bytes) -> None:
        """Keep an honest answer, to give it again."""
        self._last = self._last or answer
