from __future__ import annotations

import pytest

from swarmharness.errors import InputError, ModelFailureError, RefusedError
from swarmharness.execution.call_queue import CallQueue
from swarmharness.execution.ports import ItemOutput
from swarmharness.execution.skill import parse_manifest
from tests.unit.execution import builders


def queue(*, items_max: int = 100, bytes_max: int = 1000, **keys: object) -> CallQueue:
    keys = {"batch_items": 4, **keys}
    manifest = parse_manifest(builders.manifest_text(b"x", **keys), "skill.toml")  # type: ignore[arg-type]
    return CallQueue(manifest, items_max=items_max, bytes_max=bytes_max)


def outputs(*items: bytes) -> tuple[ItemOutput, ...]:
    return tuple(ItemOutput(item.upper()) for item in items)


def test_a_long_call_is_answered_in_parts_and_shares_the_last_with_the_next() -> None:
    calls = queue()
    long, short = calls.join((b"a", b"b", b"c", b"d", b"e")), calls.join((b"f",))
    batch = calls.next_batch()
    assert batch.items == (b"a", b"b", b"c", b"d")
    calls.answer(batch, outputs(*batch.items), 400)
    assert not long.done.is_set()
    batch = calls.next_batch()
    assert batch.items == (b"e", b"f")
    calls.answer(batch, outputs(*batch.items), 100)
    assert [output.data for output in long.outputs] == [b"A", b"B", b"C", b"D", b"E"]
    assert [output.data for output in short.outputs] == [b"F"]
    assert (long.service_us, short.service_us) == (450, 50)
    assert long.done.is_set()
    assert len(calls) == 0


def test_a_lost_batch_blames_nobody_until_each_was_run_alone() -> None:
    calls = queue()
    first, second = calls.join((b"a",)), calls.join((b"b",))
    error = ModelFailureError("crash")
    calls.fail(calls.next_batch(), error)
    assert not first.done.is_set()
    batch = calls.next_batch()
    assert batch.items == (b"a",)
    calls.fail(batch, error)
    assert first.error is error
    assert calls.next_batch().items == (b"b",)
    assert second.error is None


def test_only_calls_with_the_same_parameters_share_a_batch_and_none_waits_for_more_than_those_before_it() -> None:
    calls = queue()
    made = [calls.join((bytes((97 + number,)),), parameters=told) for number, told in enumerate((b"", b"x", b"", b"x"))]
    batch = calls.next_batch()
    assert (batch.items, batch.parameters) == ((b"a", b"c"), b"")
    calls.answer(batch, outputs(*batch.items), 2)
    batch = calls.next_batch()
    assert (batch.items, batch.parameters) == ((b"b", b"d"), b"x")
    calls.answer(batch, outputs(*batch.items), 2)
    assert [call.outputs[0].data for call in made] == [b"A", b"B", b"C", b"D"]


def test_who_left_is_neither_run_nor_blamed() -> None:
    calls = queue()
    first, second = calls.join((b"a",)), calls.join((b"b",))
    batch = calls.next_batch()
    calls.leave(first)
    assert batch.waiting == [second]
    calls.fail(batch, ModelFailureError("crash"))
    assert first.error is None
    assert calls.next_batch().items == (b"b",)


def test_a_model_that_depends_on_its_batch_gets_each_call_whole() -> None:
    calls = queue(batch_invariant=False)
    calls.join((b"a", b"b"))
    calls.join((b"c",))
    assert calls.next_batch().items == (b"a", b"b")
    with pytest.raises(InputError, match="5 items, but results depend on the batch and one has at most 4"):
        calls.join((b"x",) * 5)


def test_items_and_bytes_that_wait_are_limited() -> None:
    calls = queue(items_max=3, bytes_max=100)
    calls.join((b"a", b"b"))
    with pytest.raises(RefusedError, match=r"the queue of toy is full \(2 items\)"):
        calls.join((b"c", b"d"))
    with pytest.raises(RefusedError, match="is full"):
        calls.join((bytes(99),))
    calls.join((bytes(98),))


def test_an_item_beyond_the_limit_is_refused_before_it_waits() -> None:
    calls = queue(bytes_max=2**40)
    with pytest.raises(InputError, match="an item has 67108865 bytes; at most 67108864"):
        calls.join((bytes(64 * 2**20 + 1),))


def test_without_a_worker_everyone_is_told() -> None:
    calls = queue()
    waiting = [calls.join((b"a",)), calls.join((b"b",))]
    error = ModelFailureError("no worker")
    calls.fail_all(error)
    assert [call.error for call in waiting] == [error, error]
    assert calls.queued_items == 0


def test_the_smallest_priority_is_first_and_a_call_keeps_its_place_until_it_is_answered_c_13() -> None:
    calls = queue()
    long = calls.join((b"a", b"b", b"c", b"d", b"e", b"f"), (2, 0, 1))
    batch = calls.next_batch()
    late, early, first = (
        calls.join((b"x",), (2, 0, 3)),
        calls.join((b"y",), (1, -50, 4)),
        calls.join((b"z",)),
    )
    calls.answer(batch, outputs(*batch.items), 400)
    batch = calls.next_batch()
    assert batch.items == (b"z", b"y", b"e", b"f")
    calls.answer(batch, outputs(*batch.items), 400)
    assert [call.done.is_set() for call in (first, early, long, late)] == [True, True, True, False]
    assert [output.data for output in long.outputs] == [b"A", b"B", b"C", b"D", b"E", b"F"]


def test_equal_priorities_are_served_in_the_order_of_arrival() -> None:
    calls = queue()
    for item in (b"a", b"b", b"c"):
        calls.join((item,), (1,))
    assert calls.next_batch().items == (b"a", b"b", b"c")
