"""Says in a few lines for people who attacks a node; it judges nobody, and takes what `node.status` answers."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

LINES_MAX = 3
REASONS_SHOWN = 3


def attack_lines(attacks: Sequence[Mapping[str, Any]], *, lines_max: int = LINES_MAX) -> list[str]:
    """Return one line for each of the greatest sources, and in the last one how many more there are."""
    by_source: dict[str, list[Mapping[str, Any]]] = {}
    for attack in attacks:
        by_source.setdefault(attack["from"], []).append(attack)
    sources = sorted(by_source.items(), key=lambda item: (-_total(item[1]), item[0]))
    if len(sources) <= lines_max:
        return [_line(source, rows) for source, rows in sources]
    rest = [rows for _, rows in sources[lines_max - 1 :]]
    more = f"and {len(rest)} more sources, {sum(map(_total, rest)):,} times: --json has them"
    return [*(_line(source, rows) for source, rows in sources[: lines_max - 1]), more]


def _line(source: str, attacks: Sequence[Mapping[str, Any]]) -> str:
    greatest = sorted(attacks, key=lambda row: (-row["count"], row["reason"]))
    shown = [f"{row['reason']} {row['count']:,} times" for row in greatest[:REASONS_SHOWN]]
    more = f" and {len(attacks) - REASONS_SHOWN} more reasons" if len(attacks) > REASONS_SHOWN else ""
    since = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(min(row["since_unix_s"] for row in attacks)))
    done = ", ".join(dict.fromkeys(str(row["action"]) for row in greatest))
    return f"{source}: {', '.join(shown)}{more} since {since} ({done})"


def _total(attacks: Sequence[Mapping[str, Any]]) -> int:
    return sum(row["count"] for row in attacks)
