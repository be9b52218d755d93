from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import pytest

from swarmharness.simulation.svg import bar_chart, line_chart, nice, short


def test_charts_are_well_formed_and_escape_names() -> None:
    for svg in (
        line_chart([0, 1, 2], {"a<b": [1, 5, 2], "c": [0, 0, 0]}, x_label="minutes", y_label="ms", dots=True),
        bar_chart({"a&b": 3, "owes": -2.5}, y_label="credits"),
        line_chart([], {}, x_label="", y_label=""),
        bar_chart({}, y_label=""),
    ):
        assert ElementTree.fromstring(svg).tag.endswith("svg")


def test_a_line_is_broken_where_there_is_nothing_to_show() -> None:
    svg = line_chart([0, 1, 2, 3, 4, 5], {"ms": [1, 2, None, 3, None, 4]}, x_label="minutes", y_label="ms")
    assert svg.count("<polyline") == 1
    assert svg.count("<circle") == 2


@pytest.mark.parametrize(
    ("value", "round_number"), [(0, 1), (0.033, 0.04), (1, 1), (1.1, 1.2), (37, 40), (50, 50), (9000, 10_000)]
)
def test_axes_end_at_round_numbers(value: float, round_number: float) -> None:
    assert nice(value) == pytest.approx(round_number)


@pytest.mark.parametrize(("value", "text"), [(0, "0"), (1234, "1.23k"), (-2e6, "-2M"), (12.3456, "12.3")])
def test_numbers_are_short(value: float, text: str) -> None:
    assert short(value) == text
