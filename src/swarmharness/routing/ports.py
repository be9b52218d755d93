"""The port through which the router knows its peers, and what it promises of a task; this module holds no code."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from swarmharness.identity import PeerId
from swarmharness.registry.advert import Advert
from swarmharness.registry.entry import Known


class SkillDirectory(Protocol):
    """What the router needs of SwarmRegistry."""

    async def candidates(self, skill: str) -> tuple[Advert, ...]:
        """Return the adverts of the nodes that can serve the skill now; the same object while nothing changes.

        Raises UnavailableError if there is none.
        """

    def known(self) -> tuple[Known, ...]:
        """Return every node with an advert, this one included."""

    def note_failure(self, peer_id: PeerId, reason: str) -> None:
        """Hear that a peer did not answer: it is no candidate until it does."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """What was expected of a task when it was sent."""

    wait_us: int
    """Before it would begin, by the peer's own account."""
    way_us: int
    """On the way, moving the input, opening the model."""
    total_us: int
    """Until its answer would be here, all corrections included."""
