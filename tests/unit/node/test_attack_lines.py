from __future__ import annotations

from typing import Any

from swarmharness.node.attack_lines import attack_lines


def attack(
    source: str, count: int, reason: str = "malformed", action: str = "refused", since: int = 0
) -> dict[str, Any]:
    return {"from": source, "reason": reason, "count": count, "since_unix_s": since, "action": action}


def test_each_source_has_one_line_with_its_greatest_reasons() -> None:
    rows = [
        attack("a", 20, "hello", "stream reset", since=3600),
        attack("a", 12_059, since=7200),
        attack("a", 30, "oversized"),
        attack("a", 25, "frame", "stream reset"),
        attack("192.0.2.0/24", 99, "connection: no hello", "connection closed"),
    ]
    assert attack_lines(rows) == [
        "a: malformed 12,059 times, oversized 30 times, frame 25 times and 1 more reasons"
        " since 1970-01-01 00:00 UTC (refused, stream reset)",
        "192.0.2.0/24: connection: no hello 99 times since 1970-01-01 00:00 UTC (connection closed)",
    ]


def test_three_lines_are_the_most() -> None:
    rows = [attack(str(number), 100 - number) for number in range(64)]
    lines = attack_lines(rows)
    assert [line.split(":")[0] for line in lines[:2]] == ["0", "1"]
    assert lines[2:] == [f"and 62 more sources, {sum(range(37, 99)):,} times: --json has them"]
    assert len(attack_lines(rows[:3])) == 3
    assert len(attack_lines(rows, lines_max=2)) == 2
    assert attack_lines([]) == []
