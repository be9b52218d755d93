"""The API on real services in virtual time: order, windows, errors, cancellation."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import fields
from typing import Any

import pytest
import trio
import trio.testing

from swarmharness.client.records import peers_of
from swarmharness.client.swarm import Swarm, Verify
from swarmharness.errors import (
    ConfigurationError,
    DeadlineError,
    InputError,
    PartialResultError,
    ProtocolError,
    RefusedError,
    UnavailableError,
)
from swarmharness.routing.rows import unknown_peer_row
from tests.unit.client.worlds import SKILL, world


def items(count: int, start: int = 0) -> list[bytes]:
    return [f"item {number}".encode() for number in range(start, start + count)]


async def test_one_input_gives_one_result(autojump_clock: trio.testing.MockClock) -> None:
    async with world() as here:
        result = await here.swarm.submit(SKILL, b"one")
        assert (result.index, result.output.label, result.peer) == (0, "one", here.worker.peer_id)
        assert result.receipt
        await here.until_no_job_is_open()


async def test_an_input_without_a_result_raises_its_error(autojump_clock: trio.testing.MockClock) -> None:
    async with world() as here:
        with pytest.raises(InputError, match=r"^a bad file$"):
            await here.swarm.submit(SKILL, b"bad")
        with pytest.raises(ProtocolError, match="sent no valid output"):
            await here.swarm.submit(SKILL, b"lie")
        with pytest.raises(InputError, match=r"write pathlib\.Path\('README.md'\)"):
            await here.swarm.submit(SKILL, "README.md")
        with pytest.raises(UnavailableError, match="no-such-skill"):
            await here.swarm.submit("no-such-skill", b"x")
        await here.until_no_job_is_open()


async def test_map_keeps_the_order_of_inputs(autojump_clock: trio.testing.MockClock) -> None:
    async with world() as here:
        results = await here.swarm.map(SKILL, items(500))
        assert [result.output.label for result in results] == [item.decode() for item in items(500)]
        assert [result.index for result in results] == list(range(500))
        assert await here.swarm.map(SKILL, []) == []


async def test_map_names_what_is_missing_and_keeps_the_rest(autojump_clock: trio.testing.MockClock) -> None:
    async with world() as here:
        inputs: list[Any] = [b"a", b"bad", "no bytes", b"d"]
        with pytest.raises(PartialResultError, match="2 of 4 inputs have no result, the first is input 1: a bad file"):
            await here.swarm.map(SKILL, inputs)
        results = await here.swarm.map(SKILL, inputs, on_error="return")
        assert [result.ok for result in results] == [True, False, False, True]
        with pytest.raises(PartialResultError) as caught:
            await here.swarm.map(SKILL, inputs)
        assert [result.index for result in caught.value.results] == [0, 1, 2, 3]
        with pytest.raises(InputError, match="none of 2 inputs has a result: a bad file"):
            await here.swarm.map(SKILL, [b"bad", b"bad 2"])


async def test_a_lazy_generator_is_read_no_further_than_the_window(autojump_clock: trio.testing.MockClock) -> None:
    pulled = 0

    def endless() -> Iterator[bytes]:
        nonlocal pulled
        while True:
            pulled += 1
            yield f"item {pulled - 1}".encode()

    async with world() as here:
        taken = 0
        async with here.swarm.stream(SKILL, endless(), window=100) as stream:
            async for result in stream:
                assert result.output.label == f"item {taken}"
                taken += 1
                assert pulled <= taken + 100
                if taken == 30:
                    await trio.sleep(30)  # time enough to read them all, if anybody would
                    assert pulled <= 30 + 100
                if taken == 1000:
                    break
        before = pulled
        await here.until_no_job_is_open()
        assert pulled == before


async def test_an_async_iterable_is_read_as_it_comes_and_closed(autojump_clock: trio.testing.MockClock) -> None:
    closed = False

    async def slow() -> AsyncIterator[bytes]:
        nonlocal closed
        try:
            for number in range(1_000_000):
                await trio.sleep(1)
                yield f"item {number}".encode()
        finally:
            closed = True

    async with world() as here:
        began = trio.current_time()
        async with here.swarm.stream(SKILL, slow()) as stream:
            first = await anext(stream)
            assert first.output.label == "item 0"
            assert trio.current_time() - began < 2, "the first result did not wait for a batch"
        await here.until_no_job_is_open()
        assert closed


async def test_what_the_iterable_raises_comes_after_the_results_before_it(
    autojump_clock: trio.testing.MockClock,
) -> None:
    def failing() -> Iterator[bytes]:
        yield from items(5)
        raise ZeroDivisionError("mine")

    async with world() as here:
        labels: list[str] = []

        async def read() -> None:
            async for result in here.swarm.stream(SKILL, failing()):
                labels.append(result.output.label)

        with pytest.raises(ZeroDivisionError, match="mine"):
            await read()
        assert labels == [item.decode() for item in items(5)]
        await here.until_no_job_is_open()


async def test_a_stream_stops_at_the_first_error_or_carries_it(autojump_clock: trio.testing.MockClock) -> None:
    async with world() as here:
        stream = here.swarm.stream(SKILL, [b"a", b"bad", b"c"])
        assert (await anext(stream)).index == 0
        with pytest.raises(InputError, match=r"^input 1: a bad file$"):
            await anext(stream)
        assert [result async for result in stream] == []
        carried = [result.ok async for result in here.swarm.stream(SKILL, [b"a", b"bad", b"c"], on_error="return")]
        assert carried == [True, False, True]
        await here.until_no_job_is_open()


async def test_a_stream_that_is_dropped_cancels_its_job(autojump_clock: trio.testing.MockClock) -> None:
    async with world() as here:
        async for result in here.swarm.stream(SKILL, iter(lambda: b"again", None), window=50):
            assert result.ok
            break
        await here.until_no_job_is_open()


async def test_a_stream_that_nobody_asked_opens_no_job(autojump_clock: trio.testing.MockClock) -> None:
    async with world() as here:
        stream = here.swarm.stream(SKILL, items(3))
        assert await here.jobs_open() == 0
        await stream.aclose()
        assert [result async for result in stream] == []


async def test_cancelling_the_caller_cancels_the_job(autojump_clock: trio.testing.MockClock) -> None:
    async with world() as here:
        with trio.move_on_after(0.5) as scope:
            await here.swarm.map(SKILL, items(100_000))
        assert scope.cancelled_caught
        await here.until_no_job_is_open()
        served = here.worker.parts.tasks.active
        assert served == 0


async def test_a_deadline_gives_every_input_a_result_all_the_same(autojump_clock: trio.testing.MockClock) -> None:
    def endless() -> Iterator[bytes]:
        for number in range(20_000):
            yield f"item {number}".encode()

    async with world() as here:
        results = await here.swarm.map(SKILL, endless(), deadline_s=1.0, on_error="return")
        assert [result.index for result in results] == list(range(20_000))
        answered = sum(result.ok for result in results)
        assert 0 < answered < 20_000
        assert {type(result.error) for result in results if not result.ok} == {DeadlineError}
        with pytest.raises(PartialResultError, match="inputs have no result"):
            await here.swarm.map(SKILL, items(20_000), deadline_s=1.0)
        await here.until_no_job_is_open()


async def test_a_budget_ends_a_job_with_what_it_paid_for(autojump_clock: trio.testing.MockClock) -> None:
    async with world() as here:
        results = await here.swarm.map(SKILL, items(50), budget_microcredits=20_000, on_error="return")
        assert [result.index for result in results] == list(range(50))
        assert sum(result.ok for result in results) == 20, "a result costs 1,000"
        assert {type(result.error) for result in results if not result.ok} == {RefusedError}
        with pytest.raises(RefusedError, match="1000"):
            await here.swarm.submit(SKILL, b"x", budget_microcredits=999)
        await here.until_no_job_is_open()


async def test_many_tasks_share_a_connection(autojump_clock: trio.testing.MockClock) -> None:
    async with world() as here:
        found: dict[int, str] = {}

        async def ask(number: int) -> None:
            found[number] = (await here.swarm.submit(SKILL, f"item {number}".encode())).output.label

        async with trio.open_nursery() as nursery:
            for number in range(400):
                nursery.start_soon(ask, number)
        assert found == {number: f"item {number}" for number in range(400)}


async def test_wrong_options_are_refused_before_anything_is_sent(autojump_clock: trio.testing.MockClock) -> None:
    async with world() as here:
        with pytest.raises(ConfigurationError, match="window=0"):
            here.swarm.stream(SKILL, [], window=0)
        wrong: Any = "ignore"
        with pytest.raises(ConfigurationError, match='allowed are "raise" and "return"'):
            await here.swarm.map(SKILL, [], on_error=wrong)
        unknown: Any = "sometimes"
        with pytest.raises(ConfigurationError, match="none, adaptive, always"):
            await here.swarm.submit(SKILL, b"x", verify=unknown)
        with pytest.raises(InputError, match="deadline"):
            await here.swarm.submit(SKILL, b"x", deadline_s=-1.0)
        assert await here.jobs_open() == 0


async def test_peers_and_credit_are_what_the_node_says(autojump_clock: trio.testing.MockClock) -> None:
    async with world() as here:
        await here.swarm.map(SKILL, items(10))
        await here.client.parts.credit.drain()
        worker = next(peer for peer in await here.swarm.peers() if not peer.local)
        assert (worker.peer_id, worker.usable, worker.reason) == (here.worker.peer_id, True, "")
        assert (worker.not_serving, worker.clock_ahead_s) == ("", 0)
        (skill,) = worker.skills
        assert (skill.name, skill.price_microcredits, skill.failures) == (SKILL, 1000, 0)
        assert skill.item_ms == pytest.approx(1.0, rel=0.5)
        credit = await here.swarm.credit()
        assert credit.spent_microcredits == 10_000 == -credit.net_microcredits
        assert [balance.peer_id for balance in credit.by_peer] == [here.worker.peer_id]
        assert credit.peer is None
        asked = await here.swarm.credit(here.worker.peer_id)
        assert asked.peer is not None
        assert asked.peer.peer_id == here.worker.peer_id
        with pytest.raises(InputError, match="peer"):
            await here.swarm.credit("nobody")


def test_a_peer_tells_what_the_command_tells() -> None:
    row = unknown_peer_row("a", "its clock is 400 s behind") | {"not_serving": "paused", "clock_ahead_s": -400}
    (peer,) = peers_of([row])
    assert (peer.reason, peer.not_serving, peer.clock_ahead_s) == (row["reason"], "paused", -400)
    renamed = {"peer": "peer_id", "round_trip_us": "round_trip_ms"}
    assert {renamed.get(name, name) for name in row} == {one.name for one in fields(peer)}
    (older,) = peers_of([{name: value for name, value in row.items() if name != "clock_ahead_s"}])
    assert older.clock_ahead_s is None


async def test_a_closed_swarm_says_so(autojump_clock: trio.testing.MockClock) -> None:
    async with world() as here:
        here.swarm.close()
        with pytest.raises(UnavailableError, match="connection is closed"):
            await here.swarm.submit(SKILL, b"x")
        with pytest.raises(UnavailableError, match="connection is closed"):
            await here.swarm.peers()


def test_the_verification_levels_are_those_of_the_command() -> None:
    assert Verify.__args__ == ("none", "adaptive", "always")  # type: ignore[attr-defined]


async def test_a_job_of_a_connection_that_is_closed_while_it_is_opened_is_cancelled(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with world() as here:
        call, begun = here.control.call, trio.Event()

        async def slowly(method: str, params: Mapping[str, Any], timeout_s: float = 10.0) -> Any:
            answer = await call(method, params, timeout_s)
            if method == "job.open":
                begun.set()
                await trio.sleep(1)  # the job is open, and its answer is on the way
            return answer

        monkeypatch.setattr(here.control, "call", slowly)
        async with trio.open_nursery() as connection:
            connection.start_soon(Swarm(here.control, connection).map, SKILL, items(100_000))
            await begun.wait()
            connection.cancel_scope.cancel()
        assert await here.jobs_open() == 0
