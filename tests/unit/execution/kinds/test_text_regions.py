from __future__ import annotations

import numpy as np

from swarmharness.execution.kinds.text_regions import Box, Line, components, find_lines, reading_order


def picture(*rows: str) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    return np.array([[int(letter) / 10 for letter in row] for row in rows], np.float32)


def test_regions_that_touch_at_a_corner_are_one_and_larger_ones_come_first() -> None:
    found = components(picture("900008", "090008", "000000", "009990"), 0.5)
    assert [(region.box, round(region.score, 3)) for region in found] == [
        (Box(2, 3, 5, 4), 0.9),
        (Box(0, 0, 2, 2), 0.9),
        (Box(5, 0, 6, 2), 0.8),
    ]


def test_a_region_that_closes_from_two_sides_is_one() -> None:
    (only,) = components(picture("909", "909", "999"), 0.5)
    assert only.box == Box(0, 0, 3, 3)


def test_a_spiral_is_one_region() -> None:
    assert len(components(picture("99999", "00009", "99909", "90009", "99999"), 0.5)) == 1


def test_an_empty_map_has_no_regions() -> None:
    assert components(picture("000", "000"), 0.5) == []
    assert find_lines(picture("000", "000"), width=30, height=20) == []


def test_a_box_grows_by_area_over_perimeter_is_scaled_and_stays_inside() -> None:
    probability = np.zeros((100, 200), np.float32)
    probability[40:50, 50:150] = 1  # grows by 100 * 10 * 1.4 / 220 = 6.36
    assert find_lines(probability, width=400, height=100) == [Line(Box(87, 34, 313, 56))]
    probability[:] = 0
    probability[0:10, 0:200] = 1
    assert find_lines(probability, width=200, height=100) == [Line(Box(0, 0, 200, 17))]


def test_faint_and_tiny_regions_are_no_text() -> None:
    probability = np.zeros((100, 200), np.float32)
    probability[10:20, 10:100] = 0.3  # above the threshold of a pixel, below that of a box
    probability[50:52, 10:100] = 1
    assert find_lines(probability, width=200, height=100) == []


def test_text_is_read_line_by_line_even_when_its_boxes_are_uneven() -> None:
    right, left = Line(Box(100, 0, 150, 20)), Line(Box(0, 4, 90, 24))
    below, far_below = Line(Box(0, 30, 50, 50)), Line(Box(0, 200, 50, 220))
    assert reading_order([far_below, right, below, left]) == [left, right, below, far_below]


def test_the_line_through_a_region_is_found() -> None:
    probability = np.zeros((60, 200), np.float32)
    for x in range(10, 190):
        middle = 10 + x // 10
        probability[middle : middle + 10, x] = 1
    (region,) = components(probability, 0.5)
    assert abs(region.slope - 0.1) < 0.001
    assert abs(region.middle_x - 99.5) < 0.001
    assert region.pixels == 1800
    (line,) = find_lines(probability, width=200, height=120)  # twice as high as the map
    assert abs(line.slope - 0.2) < 0.002
    assert line.strip_height == 47  # thickness 10, grown by 6.63 at either side, twice
    assert abs(line.strip_top + line.strip_height / 2 - 2 * (14.5 + 0.1 * line.box.x0)) < 1


def test_a_slope_that_hardly_shows_is_left_alone() -> None:
    probability = np.zeros((60, 200), np.float32)
    probability[20:30, 10:100] = 1
    probability[21:31, 100:190] = 1
    (line,) = find_lines(probability, width=200, height=60)
    assert line.slope == 0
