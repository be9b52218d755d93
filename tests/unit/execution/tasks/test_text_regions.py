from __future__ import annotations

import numpy as np

from swarmharness.execution.tasks.text_regions import Box, components, find_boxes, reading_order


def picture(*rows: str) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    return np.array([[int(letter) / 10 for letter in row] for row in rows], np.float32)


def test_regions_that_touch_at_a_corner_are_one_and_larger_ones_come_first() -> None:
    found = components(picture("900008", "090008", "000000", "009990"), 0.5)
    assert [(box, round(score, 3)) for box, score in found] == [
        (Box(2, 3, 5, 4), 0.9),
        (Box(0, 0, 2, 2), 0.9),
        (Box(5, 0, 6, 2), 0.8),
    ]


def test_a_region_that_closes_from_two_sides_is_one() -> None:
    (only,) = components(picture("909", "909", "999"), 0.5)
    assert only[0] == Box(0, 0, 3, 3)


def test_a_spiral_is_one_region() -> None:
    assert len(components(picture("99999", "00009", "99909", "90009", "99999"), 0.5)) == 1


def test_an_empty_map_has_no_regions() -> None:
    assert components(picture("000", "000"), 0.5) == []
    assert find_boxes(picture("000", "000"), width=30, height=20) == []


def test_a_box_grows_by_area_over_perimeter_is_scaled_and_stays_inside() -> None:
    probability = np.zeros((100, 200), np.float32)
    probability[40:50, 50:150] = 1  # grows by 100 * 10 * 1.4 / 220 = 6.36
    assert find_boxes(probability, width=400, height=100) == [Box(87, 34, 313, 56)]
    probability[:] = 0
    probability[0:10, 0:200] = 1
    assert find_boxes(probability, width=200, height=100) == [Box(0, 0, 200, 17)]


def test_faint_and_tiny_regions_are_no_text() -> None:
    probability = np.zeros((100, 200), np.float32)
    probability[10:20, 10:100] = 0.3  # above the threshold of a pixel, below that of a box
    probability[50:52, 10:100] = 1
    assert find_boxes(probability, width=200, height=100) == []


def test_text_is_read_line_by_line_even_when_its_boxes_are_uneven() -> None:
    right, left = Box(100, 0, 150, 20), Box(0, 4, 90, 24)
    below, far_below = Box(0, 30, 50, 50), Box(0, 200, 50, 220)
    assert reading_order([far_below, right, below, left]) == [left, right, below, far_below]
