from __future__ import annotations

import pytest

from swarmharness.errors import ConfigurationError
from swarmharness.owner.durations import parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("45m", 2700), ("2h", 7200), ("1h30m", 5400), (" 2D ", 172_800), ("1d1h1m1s", 90_061)],
)
def test_durations_are_read(text: str, seconds: int) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "2", "h", "0m", "-1h", "1.5h", "1h 30m", "30m1h", "367d", "9999999999h", "²h"])
def test_anything_else_is_refused_with_examples(text: str) -> None:
    with pytest.raises(ConfigurationError, match="not a duration such as 45m, 2h or 1h30m"):
        parse_duration(text)
