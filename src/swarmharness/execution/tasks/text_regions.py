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


def find_boxes(probability: Array, *, width: int, height: int) -> list[Box]:
    """Return the boxes of a text probability map, scaled to an image of `width` x `height`, in reading order.

    The map shows text shrunk towards its middle; each box is grown by the distance D = area · ratio / perimeter
    (Liao et al., Real-time Scene Text Detection with Differentiable Binarization, 2020, section 3.5).
    """
    rows, columns = probability.shape
    scale_x, scale_y = width / columns, height / rows
    boxes = []
    for box, score in components(probability, PIXEL_THRESHOLD)[:REGIONS_MAX]:
        if score < BOX_THRESHOLD or min(box.width, box.height) < SIDE_MIN:
            continue
        grow = box.width * box.height * UNCLIP_RATIO / (2 * (box.width + box.height))
        grown = Box(
            max(0, round((box.x0 - grow) * scale_x)),
            max(0, round((box.y0 - grow) * scale_y)),
            min(width, round((box.x1 + grow) * scale_x)),
            min(height, round((box.y1 + grow) * scale_y)),
        )
        if min(grown.width, grown.height) >= SIDE_MIN:
            boxes.append(grown)
    return reading_order(boxes)


def components(probability: Array, threshold: float) -> list[tuple[Box, float]]:
    """Return the bounding box and mean probability of each 8-connected region above the threshold, largest first."""
    rows, starts, ends = _runs(probability > threshold)
    if not len(rows):
        return []
    _, label = np.unique(_roots(rows, starts, ends), return_inverse=True)
    count = int(label.max()) + 1
    sums = np.concatenate([np.zeros((len(probability), 1)), np.cumsum(probability, axis=1, dtype=np.float64)], axis=1)
    total = np.bincount(label, sums[rows, ends] - sums[rows, starts], count)
    pixels = np.bincount(label, ends - starts, count)
    x0, y0 = np.full(count, probability.shape[1]), np.full(count, probability.shape[0])
    x1, y1 = np.zeros(count, int), np.zeros(count, int)
    np.minimum.at(x0, label, starts)
    np.minimum.at(y0, label, rows)
    np.maximum.at(x1, label, ends)
    np.maximum.at(y1, label, rows + 1)
    order = np.argsort(-pixels, kind="stable")
    return [(Box(int(x0[i]), int(y0[i]), int(x1[i]), int(y1[i])), float(total[i] / pixels[i])) for i in order]


def reading_order(boxes: Sequence[Box]) -> list[Box]:
    """Return the boxes line by line; boxes whose middles differ by at most half a height share a line."""
    lines: list[list[Box]] = []
    for box in sorted(boxes, key=lambda box: (box.y0 + box.y1, box.x0)):
        if lines:
            first = lines[-1][0]
            offset = abs((box.y0 + box.y1) - (first.y0 + first.y1)) / 2
            if offset <= min(box.height, first.height) / 2:
                lines[-1].append(box)
                continue
        lines.append([box])
    return [box for line in lines for box in sorted(line, key=lambda box: box.x0)]


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
