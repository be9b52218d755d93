"""Jobs with a journal, in virtual time: they survive what they run in, and every item is answered and paid once."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
import trio
import trio.testing

from swarmharness.credit.receipt import epoch_of
from swarmharness.errors import BudgetError, ErrorKind, InputChangedError, InputError, SwarmError
from swarmharness.execution.memory import MemorySkill
from swarmharness.execution.ports import Item, ItemOutput
from swarmharness.jobs.asking import RoutedTasks, TaskRunner
from swarmharness.jobs.context import JobContext, JobOptions
from swarmharness.jobs.job import Job
from swarmharness.jobs.journal import ItemResult, JobState
from swarmharness.jobs.memory_journal import MemoryJournal
from swarmharness.jobs.requester import TaskAnswer, TaskRequester
from swarmharness.jobs.service import JobService, JobSettings
from swarmharness.simulation.memory_swarm import MemoryNode, memory_swarm

SLOW_ECHO = MemorySkill("echo", ItemOutput, service_us=20_000)
PRICE = SLOW_ECHO.work_microcredits
ITEMS = [f"item {number}".encode() for number in range(300)]


def service_of(
    node: MemoryNode,
    journal: MemoryJournal,
    *,
    layers: Callable[[TaskRunner, JobContext], TaskRunner] = lambda runner, _: runner,
    settings: JobSettings | None = None,
) -> JobService:
    parts, ports = node.parts, node.parts.ports
    requester = TaskRequester(ports.transport, parts.credit, ports.clock, ports.randomness)
    service = JobService(
        parts.router,
        lambda context: layers(RoutedTasks(parts.router, requester, context.purse), context),
        ports.clock,
        settings or parts.settings.jobs,
        settle=requester.settle,
        journal=journal,
    )
    parts.credit.watch_own(lambda receipt: service.paid(receipt.body, ports.transport.peer_id))
    return service


async def collect(job: Job) -> list[ItemResult]:
    return [result async for result in job.results()]


async def paid_items(node: MemoryNode) -> int:
    await node.parts.credit.drain()
    return sum(entry.entry.body.items for entry in await node.parts.credit.history(10_000))


@asynccontextmanager
async def swarm(serving: int = 2) -> AsyncIterator[MemoryNode]:
    async with memory_swarm(serving + 1, serving=serving, skills=(SLOW_ECHO,)) as nodes:
        yield nodes[0]


@pytest.mark.parametrize("moment_s", [0.05, 0.3, 0.7, 1.4, 2.0])
@pytest.mark.parametrize("held", [False, True])
async def test_a_job_whose_node_died_gives_the_same_results_and_pays_for_each_item_once(
    autojump_clock: trio.testing.MockClock, moment_s: float, held: bool
) -> None:
    async with swarm() as node:
        journal = MemoryJournal(held=held)
        service = service_of(node, journal)
        with trio.move_on_after(moment_s):
            async with service.open("echo", job_id="j") as job, trio.open_nursery() as nursery:
                nursery.start_soon(_keep_now_and_then, journal)
                await job.feed(ITEMS[:200], last=False)
                await job.feed(ITEMS[200:], last=True)
                await collect(job)
                nursery.cancel_scope.cancel()
        journal.lose()
        if await journal.job("j") is None:
            return  # it died before anything was kept: there is nothing to resume
        journal.held = False
        async with service.resume("j", compare=True) as job:
            await job.feed(ITEMS, last=True)
            results = await collect(job)
        assert [result.output for result in results] == ITEMS
        # The receipts of answers that were kept and not settled are signed at the next start.
        history = await node.parts.credit.history(10_000)
        settled = (task for entry in history for task in entry.entry.body.tasks)
        await service.settle_owed(settled, node.parts.credit.settle_task)
        assert await paid_items(node) == len(ITEMS)
        assert await journal.owed() == []
        record = await journal.job("j")
        assert record is not None
        assert (record.state, record.items_answered) == (JobState.DONE, len(ITEMS))
        assert record.spent_microcredits == PRICE * len(ITEMS)


async def _keep_now_and_then(journal: MemoryJournal) -> None:
    while True:
        await trio.sleep(0.25)
        await journal.flush()


async def test_what_is_answered_is_not_done_again(autojump_clock: trio.testing.MockClock) -> None:
    asked: Counter[bytes] = Counter()

    def count(runner: TaskRunner, context: JobContext) -> TaskRunner:
        class Counting:
            async def run(self, peer_id, skill, items, *, timeout_s):  # type: ignore[no-untyped-def]
                answer = await runner.run(peer_id, skill, items, timeout_s=timeout_s)
                asked.update(items)
                return answer

        return Counting()

    async with swarm() as node:
        service = service_of(node, MemoryJournal(), layers=count)
        with trio.move_on_after(1.0):
            async with service.open("echo", job_id="j") as job:
                await job.feed(ITEMS, last=True)
                await collect(job)
        done = dict(asked)
        assert 0 < len(done) < len(ITEMS)
        async with service.resume("j", compare=True) as job:
            await job.feed(ITEMS, last=True)
            await collect(job)
        assert all(asked[item] == 1 for item in done)


@pytest.mark.parametrize(
    ("again", "index", "words"),
    [
        ([*ITEMS[:77], b"other", *ITEMS[78:]], 77, "input 77 is not what it was"),
        (ITEMS[:250], 250, "ends after 250 items now, and had 300"),
        ([*ITEMS, b"more"], 300, "had 300 items before, and goes on"),
    ],
)
async def test_an_input_that_changed_is_found_out_by_its_first_item(
    autojump_clock: trio.testing.MockClock, again: list[bytes], index: int, words: str
) -> None:
    async with swarm() as node:
        service = service_of(node, MemoryJournal())
        async with service.open("echo", job_id="j") as job:
            await job.feed(ITEMS, last=True)
            await job.wait(timeout_s=0.5)
        async with service.resume("j", compare=True) as job:
            with pytest.raises(InputChangedError, match=words) as error:  # noqa: PT012 - the batch that differs raises
                for start in range(0, len(again), 100):
                    batch = again[start : start + 100]
                    await job.feed(batch, last=start + 100 >= len(again))
            assert error.value.index == index


async def test_a_job_with_inputs_that_cannot_be_used_is_resumed_with_the_same_results(
    autojump_clock: trio.testing.MockClock,
) -> None:
    inputs: list[bytes | str] = ["nothing", *ITEMS[1:150], "a folder", *ITEMS[151:]]
    async with swarm() as node:
        service = service_of(node, MemoryJournal())
        with trio.move_on_after(1.0):
            async with service.open("echo", job_id="j") as job:
                await job.feed(inputs[:200], last=False)
                await collect(job)
        async with service.resume("j", compare=True) as job:
            assert 0 < job.progress.items_done < 200
            await job.feed(["for another reason", *inputs[1:]], last=True)
            results = await collect(job)
        assert job.record.state is JobState.DONE
        assert [result.output for result in results] == [b"" if isinstance(item, str) else item for item in inputs]
        wrong = [(result.index, result.error, result.error_kind) for result in results if result.error]
        assert wrong == [(0, "nothing", ErrorKind.INPUT), (150, "a folder", ErrorKind.INPUT)]
        assert await paid_items(node) == len(ITEMS) - 2


@pytest.mark.parametrize(
    ("before", "now", "words"),
    [
        ("no picture", b"a picture", "input 1 could not be used when job j first read it, and can be used now"),
        (b"a picture", "no picture", "could be used when job j first read it, and cannot be used now .no picture."),
    ],
)
async def test_an_input_that_was_mended_or_broken_meanwhile_is_said_to_be_so(
    autojump_clock: trio.testing.MockClock, before: Item, now: Item, words: str
) -> None:
    async with swarm() as node:
        service = service_of(node, MemoryJournal())
        async with service.open("echo", job_id="j") as job:
            await job.feed([b"one", before], last=True)
            await collect(job)
        async with service.resume("j", compare=True) as job:
            with pytest.raises(InputChangedError, match=words):
                await job.feed([b"one", now], last=True)


async def test_a_running_job_is_taken_over_from_its_start(autojump_clock: trio.testing.MockClock) -> None:
    async with swarm() as node:
        service = service_of(node, MemoryJournal())
        async with service.open("echo", job_id="j") as job:
            await job.feed(ITEMS, last=True)
            first = await job.take()
            while not first:
                await job.wait(timeout_s=1)
                first = await job.take()
            job.read_again(compare=True)  # the submitter died, and another one reads the same input
            await job.feed(ITEMS, last=True)
            results = await collect(job)
        assert [result.output for result in results] == ITEMS
        assert await paid_items(node) == len(ITEMS)


async def test_a_job_holds_a_window_of_items_and_no_more(autojump_clock: trio.testing.MockClock) -> None:
    async with swarm() as node:
        settings = replace(node.parts.settings.jobs, window_items=50)
        service = service_of(node, MemoryJournal(), settings=settings)
        async with service.open("echo", job_id="j") as job, trio.open_nursery() as nursery:
            fed = 0

            async def feed() -> None:
                nonlocal fed
                for start in range(0, len(ITEMS), 10):
                    await job.feed(ITEMS[start : start + 10], last=start + 10 >= len(ITEMS))
                    fed = start + 10

            nursery.start_soon(feed)
            await trio.sleep(30)
            assert fed == 50, "nobody takes results, so nothing more is taken in"
            assert job.progress.items_done == 50
            results = await collect(job)
        assert [result.output for result in results] == ITEMS


async def test_results_leave_memory_and_come_back_in_order(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("swarmharness.jobs.shelf.MEMORY_BYTES_MAX", 100)
    async with swarm() as node:
        service = service_of(node, MemoryJournal())
        async with service.open("echo", job_id="j") as job:
            await job.feed(ITEMS, last=True)
            while not job.resting:
                await job.wait(timeout_s=1)
            assert job._shelf._held_bytes <= 100 + 512 * 10
            results = await collect(job)
        assert [result.output for result in results] == ITEMS


# -- ends -------------------------------------------------------------------------------------------------------


async def test_a_budget_is_never_exceeded_and_what_it_paid_for_is_kept(autojump_clock: trio.testing.MockClock) -> None:
    async with swarm() as node:
        service = service_of(node, MemoryJournal())
        budget = PRICE * 100 + PRICE // 2
        async with service.open("echo", options=JobOptions(budget_microcredits=budget), job_id="j") as job:
            await job.feed(ITEMS, last=True)
            results = await collect(job)
        answered = [result for result in results if not result.error]
        missing = [result for result in results if result.error]
        assert (len(answered), len(missing)) == (100, 200)
        assert {result.error_kind for result in missing} == {ErrorKind.REFUSED}
        assert "is used up" in missing[0].error
        assert await paid_items(node) == 100
        record = await service.journal.job("j") if service.journal else None
        assert record is not None
        assert (record.state, record.spent_microcredits) == (JobState.BUDGET, PRICE * 100)
        with pytest.raises(BudgetError, match="--budget"):
            async with service.resume("j", compare=True, budget_microcredits=PRICE * 100):
                pass
        async with service.resume("j", compare=True, budget_microcredits=PRICE * 300) as job:
            await job.feed(ITEMS, last=True)
            assert [result.output for result in await collect(job)] == ITEMS
        assert await paid_items(node) == 300


async def test_a_budget_below_the_cheapest_price_names_peers_and_prices(autojump_clock: trio.testing.MockClock) -> None:
    async with swarm() as node:
        service = service_of(node, MemoryJournal())
        with pytest.raises(BudgetError, match=f"costs {PRICE} at 12D3KooW.*, {PRICE} at 12D3KooW") as error:
            async with service.open("echo", options=JobOptions(budget_microcredits=PRICE - 1), job_id="j"):
                pass
        assert error.value.kind is ErrorKind.REFUSED


async def test_a_deadline_ends_a_job_and_keeps_what_came(autojump_clock: trio.testing.MockClock) -> None:
    async with swarm() as node:
        settings = replace(node.parts.settings.jobs, deadline_s=1.0)
        service = service_of(node, MemoryJournal())
        async with service.open("echo", settings, job_id="j") as job:
            await job.feed(ITEMS, last=True)
            results = await collect(job)
            with pytest.raises(SwarmError, match="deadline of 1 s passed"):
                await job.feed([], last=True)
        answered = [result for result in results if not result.error]
        assert 0 < len(answered) < len(ITEMS)
        assert {result.error_kind for result in results if result.error} == {ErrorKind.DEADLINE}
        assert await paid_items(node) == len(answered)
        async with service.resume("j", replace(settings, deadline_s=60.0), compare=True) as job:
            await job.feed(ITEMS, last=True)
            assert [result.output for result in await collect(job)] == ITEMS


@pytest.mark.parametrize("jump_us", [-(10**13), 10**13])
async def test_a_wall_clock_that_jumps_neither_ends_nor_prolongs_a_job(
    autojump_clock: trio.testing.MockClock, jump_us: int
) -> None:
    async with swarm() as node:
        ports = node.parts.ports

        class Jumping:
            ahead_us = 0

            def unix_us(self) -> int:
                return ports.clock.unix_us() + self.ahead_us

            def monotonic_us(self) -> int:
                return ports.clock.monotonic_us()

        clock = Jumping()
        requester = TaskRequester(ports.transport, node.parts.credit, ports.clock, ports.randomness)
        settings = replace(node.parts.settings.jobs, deadline_s=1.0)
        service = JobService(
            node.parts.router,
            lambda context: RoutedTasks(node.parts.router, requester, context.purse),
            clock,
            settings,
            settle=requester.settle,
            journal=MemoryJournal(),
        )
        began = trio.current_time()
        async with service.open("echo", job_id="j") as job:
            await job.feed(ITEMS, last=True)
            await job.wait(timeout_s=0.2)
            clock.ahead_us = jump_us
            results = await collect(job)
        assert {result.error_kind for result in results if result.error} == {ErrorKind.DEADLINE}
        assert trio.current_time() - began == pytest.approx(1.0, abs=0.05)


# -- layers below ------------------------------------------------------------------------------------------------


async def test_answers_that_turn_out_wrong_are_done_again_and_not_paid(autojump_clock: trio.testing.MockClock) -> None:
    contexts: list[JobContext] = []
    wrong: list[TaskAnswer] = []

    def spoil(runner: TaskRunner, context: JobContext) -> TaskRunner:
        contexts.append(context)

        class Spoiling:
            async def run(self, peer_id, skill, items, *, timeout_s):  # type: ignore[no-untyped-def]
                answer = await runner.run(peer_id, skill, items, timeout_s=timeout_s)
                if len(wrong) < 2:
                    outputs = tuple(replace(output, data=b"noise") for output in answer.outputs)
                    answer = replace(answer, outputs=outputs)
                    wrong.append(answer)
                return answer

        return Spoiling()

    async with swarm() as node:
        journal = MemoryJournal(held=True)
        service = service_of(node, journal, layers=spoil)
        async with service.open("echo", options=JobOptions(budget_microcredits=PRICE * 300), job_id="j") as job:
            await job.feed(ITEMS, last=True)
            while len(wrong) < 2:
                await job.wait(timeout_s=1)
            spent = job.progress.spent_microcredits
            contexts[0].void([answer.receipt for answer in wrong])
            assert job.progress.spent_microcredits == spent - sum(answer.price_microcredits for answer in wrong)
            journal.held = False
            await journal.flush()
            results = await collect(job)
        assert [result.output for result in results] == ITEMS
        assert await paid_items(node) == 300
        tasks = {task for entry in await node.parts.credit.history(1000) for task in entry.entry.body.tasks}
        assert not tasks & {bytes.fromhex(answer.receipt) for answer in wrong}


async def test_an_answer_is_paid_for_once_it_is_kept_and_not_before(autojump_clock: trio.testing.MockClock) -> None:
    async with swarm() as node:
        journal = MemoryJournal(held=True)
        service = service_of(node, journal)
        async with service.open("echo", job_id="j") as job:
            await job.feed(ITEMS[:20], last=True)
            assert [result.output for result in await collect(job)] == ITEMS[:20], "nobody waits for the disk"
            assert await paid_items(node) == 0
            await journal.flush()
            assert await paid_items(node) == 20


async def test_what_was_owed_at_a_crash_is_settled_in_the_hour_of_the_next_start(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with swarm() as node:
        journal = MemoryJournal()
        requested = service_of(node, journal)
        requested._settle = lambda answer: None  # the node dies after the answer is kept, before it is paid
        async with requested.open("echo", job_id="j") as job:
            await job.feed(ITEMS[:20], last=True)
            await collect(job)
        assert await paid_items(node) == 0
        owed = await journal.owed()
        assert sum(terms.items for terms in owed) == 20
        service = service_of(node, journal)
        await service.settle_owed([owed[0].task], node.parts.credit.settle_task)
        assert await paid_items(node) == 20 - owed[0].items, "what has a receipt is not paid again"
        now = epoch_of(node.parts.ports.clock.unix_us())
        assert {entry.entry.body.epoch for entry in await node.parts.credit.history(100)} == {now}
        assert await journal.owed() == []


async def test_a_job_that_nobody_knows_cannot_be_resumed(autojump_clock: trio.testing.MockClock) -> None:
    async with swarm() as node:
        with pytest.raises(InputError, match="jobs list"):
            async with service_of(node, MemoryJournal()).resume("none", compare=False):
                pass
        with pytest.raises(InputError, match="keeps no journal"):
            async with node.parts.jobs.resume("none", compare=False):
                pass
