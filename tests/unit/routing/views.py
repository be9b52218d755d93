"""Candidates for the tests of routing."""

from __future__ import annotations

from typing import Any

from swarmharness.routing.candidate import CandidateView, RouteRequest

REQUEST = RouteRequest("text-embedding")


def view(peer_id: str, **known: Any) -> CandidateView:
    """Return an ordinary candidate: measured at 5 ms an item, 1 ms away, idle."""
    plain: dict[str, Any] = {
        "measured_us": 5_000,
        "round_trip_us": 1_000,
        "batch_items_max": 32,
        "price_microcredits": 20_000,
    }
    return CandidateView(peer_id, **{**plain, **known})
