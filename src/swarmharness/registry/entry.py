"""What a directory keeps of one node, and what it tells others; plain data."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from swarmharness.registry.advert import Advert, SignedAdvert


class Learned(Enum):
    """What an accepted advert was."""

    NEW = "new"
    CHANGED = "changed"
    REFRESHED = "refreshed"


@dataclass(frozen=True, slots=True)
class Entry:
    """One node as this directory knows it."""

    advert: Advert
    signed: SignedAdvert
    confirmed: bool
    """Whether the node itself ever answered; otherwise a third one spoke of it."""
    heard_us: int
    """When it last answered, or when it was first spoken of."""
    due_us: int
    """When to ask it again."""
    expires_us: int
    """When the advert has no more time left, of what it had by the clock of when it came."""
    failures: int = 0
    """Failures since it last answered; any makes it no candidate."""
    reason: str = ""
    """Why the last attempt failed."""

    @property
    def usable(self) -> bool:
        """Whether the node answered when it was last needed."""
        return self.confirmed and self.failures == 0


@dataclass(frozen=True, slots=True)
class Known:
    """One node as others in this program see it."""

    advert: Advert
    usable: bool
    reason: str
    """Why it is not usable; empty if it is."""


@dataclass(frozen=True, slots=True)
class Absence:
    """A peer without an advert here that could not be reached, for example a stale provider record."""

    failures: int
    until_us: int
