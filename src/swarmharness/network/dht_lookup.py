"""What one iterative look-up in a DHT took, so that the real one and its twin can be compared; it looks nothing up."""

from __future__ import annotations

from dataclasses import dataclass

LOOKUPS_KEPT = 1_024


@dataclass(frozen=True, slots=True)
class Lookup:
    """One search for the nodes closest to a place."""

    hops: int
    """Rounds of parallel queries, one after the other."""
    queried: int
    failed: int
