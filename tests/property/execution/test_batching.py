from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from swarmharness.execution.batching import PADDING_WORTH, Waiting, fill, group_by_length

WAITING = st.builds(Waiting, st.lists(st.integers(0, 100), min_size=1, max_size=6).map(tuple), st.booleans())


@given(st.lists(WAITING, max_size=8), st.integers(1, 10), st.integers(1, 200), st.booleans())
def test_a_batch_is_a_prefix_of_the_queue_within_its_limits(
    waiting: list[Waiting], batch_items: int, batch_bytes: int, merge: bool
) -> None:
    taken = fill(waiting, batch_items=batch_items, batch_bytes=batch_bytes, merge=merge)
    assert bool(taken) == bool(waiting)  # work is never left lying
    assert all(0 < count <= len(caller.sizes_bytes) for count, caller in zip(taken, waiting, strict=False))
    assert sum(taken) <= batch_items
    assert all(count == len(caller.sizes_bytes) for count, caller in zip(taken[:-1], waiting, strict=False))
    total = sum(sum(caller.sizes_bytes[:count]) for count, caller in zip(taken, waiting, strict=False))
    assert total <= batch_bytes or sum(taken) == 1
    if len(taken) > 1:
        assert merge
        assert not any(caller.alone for caller in waiting[: len(taken)])


@given(st.lists(st.integers(1, 300), max_size=60), st.integers(1, 600))
def test_grouping_by_length_keeps_every_item_and_bounds_the_padding(lengths: list[int], most_cells: int) -> None:
    groups = group_by_length(lengths, most_cells=most_cells)
    assert sorted(index for group in groups for index in group) == list(range(len(lengths)))
    for group in groups:
        longest = max(lengths[index] for index in group)
        padded = longest * len(group)
        assert padded <= most_cells or len(group) == 1
        assert padded <= PADDING_WORTH * sum(lengths[index] for index in group) + 1e-6
