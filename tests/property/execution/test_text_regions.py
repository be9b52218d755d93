from __future__ import annotations

from dataclasses import astuple
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as numpy_strategies

from swarmharness.execution.kinds.text_regions import Box, components


def flood(mask: Any) -> list[Box]:
    """The box of each 8-connected region, found the slow way."""
    left = {(int(y), int(x)) for y, x in zip(*np.nonzero(mask), strict=True)}
    regions = []
    while left:
        waiting, region = [left.pop()], []
        while waiting:
            y, x = waiting.pop()
            region.append((y, x))
            near = {(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} & left
            left -= near
            waiting.extend(near)
        ys, xs = zip(*region, strict=True)
        regions.append(Box(min(xs), min(ys), max(xs) + 1, max(ys) + 1))
    return regions


@given(numpy_strategies.arrays(np.bool_, st.tuples(st.integers(1, 12), st.integers(1, 12))))
def test_components_are_those_of_a_flood_fill(mask: Any) -> None:
    found = components(mask.astype(np.float32), 0.5)
    assert sorted(map(astuple, (region.box for region in found))) == sorted(map(astuple, flood(mask)))
    assert sum(region.pixels for region in found) == int(mask.sum())
    assert all(abs(region.score - 1) < 1e-6 for region in found)
