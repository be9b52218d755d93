"""Finds boxes of text in a probability map, and their reading order; arrays in, numbers out, no model and no image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

PIXEL_THRESHOLD = 0.2
BOX_THRESHOLD = 0.4
UNCLIP_RATIO = 1.4
SIDE_MIN = 3
SLOPE_WORTH = 0.3
"""Fall over its length, in parts of its thickness, from which a text is straightened before it is read."""
REGIONS_MAX = 3000


@dataclass(frozen=True, slots=True)
class Box:
    """An axis-aligned rectangle; right and bottom edges are exclusive."""

    x0: int
    y0: int
    x1: int
    y1: int

    @property
    def width(self) -> int:
        """Horizontal size."""
        return self.x1 - self.x0

    @property
    def height(self) -> int:
        """Vertical size."""
        return self.y1 - self.y0


@dataclass(frozen=True, slots=True)
class Line:
    """Where a piece of text stands: its box, and if it slopes, the strip inside the box that holds it."""

    box: Box
    slope: float = 0.0
    """How many pixels the text falls from one pixel to the next on its right; 0 unless that matters."""
    strip_top: float = 0.0
    """Where the strip begins, vertically, at the left edge of the box."""
    strip_height: int = 0


@dataclass(frozen=True, slots=True)
class Component:
    """A connected region of a map: its box, mean probability, pixels, and the line through its pixels."""

    box: Box
    score: float
    pixels: int
    slope: float
    middle_x: float
    middle_y: float


def find_lines(probability: Array, *, width: int, height: int) -> list[Line]:
    """Return the texts of a probability map, scaled to an image of `width` x `height`, in reading order.

    The map shows text shrunk towards its middle; each box is grown by the distance D = area · ratio / perimeter
    (Liao et al., Real-time Scene Text Detection with Differentiable Binarization, 2020, section 3.5).
    """
    rows, columns = probability.shape
    scale_x, scale_y = width / columns, height / rows
    lines = []
    for found in components(probability, PIXEL_THRESHOLD)[:REGIONS_MAX]:
        box = found.box
        if found.score < BOX_THRESHOLD or min(box.width, box.height) < SIDE_MIN:
            continue
        thickness = found.pixels / box.width
        sloped = box.width >= 2 * box.height and abs(found.slope) * box.width > SLOPE_WORTH * thickness
        tall = thickness if sloped else box.height
        grow = box.width * tall * UNCLIP_RATIO / (2 * (box.width + tall))
        grown = Box(
            max(0, round((box.x0 - grow) * scale_x)),
            max(0, round((box.y0 - grow) * scale_y)),
            min(width, round((box.x1 + grow) * scale_x)),
            min(height, round((box.y1 + grow) * scale_y)),
        )
        if min(grown.width, grown.height) < SIDE_MIN:
            continue
        if sloped:
            middle = found.middle_y + 0.5 + (grown.x0 / scale_x - found.middle_x) * found.slope
            strip_height = round((tall + 2 * grow) * scale_y)
            slope = found.slope * scale_y / scale_x
            lines.append(Line(grown, slope, middle * scale_y - strip_height / 2, strip_height))
        else:
            lines.append(Line(grown))
    return reading_order(lines)


def components(probability: Array, threshold: float) -> list[Component]:
    """Return each 8-connected region above the threshold, largest first."""
    rows, starts, ends = _runs(probability > threshold)
    if not len(rows):
        return []
    _, label = np.unique(_roots(rows, starts, ends), return_inverse=True)
    count = int(label.max()) + 1
    sums = np.concatenate([np.zeros((len(probability), 1)), np.cumsum(probability, axis=1, dtype=np.float64)], axis=1)

    def add(weights: Array) -> Array:
        return np.bincount(label, weights, count)

    lengths, middles = ends - starts, (starts + ends - 1) / 2
    pixels = add(lengths)
    score = add(sums[rows, ends] - sums[rows, starts]) / pixels
    mean_x, mean_y = add(lengths * middles) / pixels, add(lengths * rows) / pixels
    # A run of n pixels around m has the second moment n·m² + n(n²-1)/12; least squares then gives cov(x, y) / var(x).
    variance = add(lengths * middles**2 + lengths * (lengths**2 - 1) / 12) / pixels - mean_x**2
    covariance = add(lengths * middles * rows) / pixels - mean_x * mean_y
    slope = covariance / np.maximum(variance, 1e-9)
    x0, y0 = np.full(count, probability.shape[1]), np.full(count, probability.shape[0])
    x1, y1 = np.zeros(count, int), np.zeros(count, int)
    np.minimum.at(x0, label, starts)
    np.minimum.at(y0, label, rows)
    np.maximum.at(x1, label, ends)
    np.maximum.at(y1, label, rows + 1)
    return [
        Component(
            Box(int(x0[index]), int(y0[index]), int(x1[index]), int(y1[index])),
            float(score[index]),
            int(pixels[index]),
            float(slope[index]),
            float(mean_x[index]),
            float(mean_y[index]),
        )
        for index in np.argsort(-pixels, kind="stable")
    ]


def reading_order(lines: Sequence[Line]) -> list[Line]:
    """Return the texts row by row; those whose boxes' middles differ by at most half a height share a row."""
    rows: list[list[Line]] = []
    for line in sorted(lines, key=lambda line: (line.box.y0 + line.box.y1, line.box.x0)):
        if rows:
            first, box = rows[-1][0].box, line.box
            offset = abs((box.y0 + box.y1) - (first.y0 + first.y1)) / 2
            if offset <= min(box.height, first.height) / 2:
                rows[-1].append(line)
                continue
        rows.append([line])
    return [line for row in rows for line in sorted(row, key=lambda line: line.box.x0)]


def _runs(mask: Array) -> tuple[Array, Array, Array]:
    """Return row, start and end of each horizontal run of set pixels, row by row."""
    edges = np.diff(np.pad(mask.astype(np.int8), ((0, 0), (1, 1))), axis=1)
    rows, starts = np.nonzero(edges == 1)
    _, ends = np.nonzero(edges == -1)
    return rows, starts, ends


def _roots(rows: Array, starts: Array, ends: Array) -> list[int]:
    """Return for each run the first run of its region, by union-find over runs that touch in neighbouring rows."""
    parents = list(range(len(rows)))

    def root(run: int) -> int:
        while parents[run] != run:
            parents[run] = parents[parents[run]]
            run = parents[run]
        return run

    row_list, start_list, end_list = rows.tolist(), starts.tolist(), ends.tolist()
    above = 0
    for run, row in enumerate(row_list):
        while above < run and (
            row_list[above] < row - 1 or (row_list[above] == row - 1 and end_list[above] < start_list[run])
        ):
            above += 1
        other = above
        while other < run and row_list[other] == row - 1 and start_list[other] <= end_list[run]:
            first, second = root(other), root(run)
            parents[max(first, second)] = min(first, second)
            other += 1
    return [root(run) for run in range(len(row_list))]
