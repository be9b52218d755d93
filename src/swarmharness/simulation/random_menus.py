"""The values that random scenarios are made of, for every role, fault and setting of a scenario; it draws nothing.

A key that is neither in a menu nor in `DRAWN` or `NOT_VARIED` fails a test: whoever adds one says what is tried of it.
Defaults are in no menu, since a key keeps its default unless it is varied. What would cost seconds of the processor
with a few nodes is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Menu = Mapping[str, tuple[Any, ...]]

MINUTES = (3, 4, 5, 7, 9, 12, 15, 30)
"""Of virtual time; the longest leaves the time of peace after which R-3 and S-4 are judged."""
REQUESTS = (100, 200, 300, 400)
"""Of all groups together."""
SKILLS = ("reading", "drawing", "talking")

NETWORK: Menu = {
    "delay_ms": (0.1, 1.0, 30.0, 100.0, 400.0),
    "spread": (1.0, 20.0),
    "jitter_percent": (0, 100, 500),
    "mbit_per_s": (0.5, 5.0, 1000.0),
    "loss_permille": (1, 10, 50),
    "duplicate_permille": (10, 100, 500),
}
NODE: Menu = {
    "router": ("random", "round-robin", "least-outstanding", "two-choices", "peak-ewma", "prequal"),
    "refresh_s": (10.0, 30.0, 120.0),
    "peers_per_skill_max": (1, 2, 4),
    "enough_peers": (1, 2, 4),
    "task_timeout_s": (0.5, 2.0, 10.0),
    "stranger_budget_microcredits": (0, 500_000, 5_000_000, 2**53),
    "verify": ("adaptive", "always"),
    "replicas": (3, 4),
    "horizon_hours": (1, 2),
}
SKILL: Menu = {
    "work_ms": (1.0, 5.0, 200.0, 1000.0, 4000.0),
    "price_percent": (1, 20, 500),
    "law": ("fixed", "heavy"),
    "item_bytes": (16, 20_000, 300_000),
    "output_bytes": (8, 5_000, 300_000),
}
GROUP: Menu = {
    "cheats_percent": (5, 20, 50),
    "cheats_after": (3, 12, 40),
    "chooses_every_s": (15.0, 60.0),
    "serves_until_s": (90.0, 200.0, 400.0),
    "slots": (2, 4, 16),
    "speed": (0.05, 0.3, 4.0, 20.0),
    "speed_spread": (3.0, 20.0),
    "speed_sigma": (0.5, 1.5),
    "proficiency_sigma": (0.5, 1.5),
    "slowed_every_s": (30.0, 120.0),
    "slowed_for_s": (3.0, 60.0),
    "slowed_percent": (1, 5),
    "items": (2, 5, 12, 40),
    "attempts": (1, 3),
    "pays": (False,),
    "deadline_s": (0.5, 2.0, 30.0, 120.0),
    "starts_s": (20.0, 60.0, 150.0),
    "session_s": (30.0, 100.0, 300.0),
    "session_law": ("fixed", "exponential"),
    "away_s": (1.0, 10.0, 200.0),
    "crash_permille": (0, 1000),
    "clock_skew_s": (1.0, 60.0, 250.0, 400.0, 5000.0),
    "clock_drift_ppm": (50, 1000, 10_000),
    "disk_ms": (0.0, 20.0, 300.0, 2000.0),
}
FAULT: Menu = {
    "for_s": (0.0, 5.0, 20.0, 120.0, 300.0),
    "percent": (1, 25, 75, 100),
}
AMOUNTS: Mapping[str, tuple[int, ...]] = {
    "partition": (0,),
    "one-way": (0,),
    "loss": (50, 200, 500, 1000),
    "delay": (50, 500, 3000, 20_000),
    "reorder": (20, 200, 2000, 10_000),
    "duplicate": (50, 300, 1000),
    "clog": (0,),
    "crash": (0, 0, 1, 3, 10),
    "stop": (0,),
    "restore": (20, 100, 400, 3600),
    "slow-disk": (50, 500, 2000, 8000),
    "slow-node": (50, 10, 1),
    "clock": (-4000, -200, -20, 20, 200, 4000, 80_000),
    "surge": (10, 300),
}
"""By kind of fault; see `Fault.amount` for the units."""

SERVES: frozenset[str] = frozenset(
    ("load-liar", "speed-liar", "noise", "stale", "copied", "lazy", "wrong", "cartel", "refuser", "eclipse")
)
"""Roles that are nothing without a skill."""
ASKS: frozenset[str] = frozenset(("withholder", "sybil"))
"""Roles that are nothing without requests."""

DRAWN: Mapping[str, frozenset[str]] = {
    "Group": frozenset(("count", "role", "serves", "requests_per_hour", "skill")),
    "Fault": frozenset(("kind", "at_s", "groups", "amount")),
    "Expectation": frozenset(("converges_s",)),
}
"""Keys that follow from the whole, and are no choice from a menu."""
NOT_VARIED: Mapping[str, frozenset[str]] = {
    # A random swarm promises no service, and S-4's time of peace is the stated one.
    "Expectation": frozenset(
        (
            "answered_permille",
            "latency_p50_ms",
            "latency_p99_ms",
            "agrees_s",
            "starved_permille",
            "wrong_permille",
            "cheats_income_permille",
            "specialised_permille",
        )
    ),
}
