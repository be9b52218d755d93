from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import pytest
import trio
from trio.testing import MockClock

from swarmharness.credit.admission import Policy
from swarmharness.credit.receipt import receipt_problem
from swarmharness.errors import ErrorKind
from swarmharness.execution.memory import MemorySkill
from swarmharness.execution.ports import ItemOutput
from swarmharness.jobs.context import JobOptions
from swarmharness.jobs.plan import PlanSettings
from swarmharness.jobs.service import ItemResult
from swarmharness.jobs.verification.reputation import Reputation
from swarmharness.node.parts import NodeSettings
from swarmharness.registry.models import model_key
from swarmharness.simulation.memory_swarm import MemoryNode, memory_swarm
from swarmharness.simulation.virtual_time import NodeClock

PRICE = 1_000
THINK = model_key("think", MemorySkill("think", ItemOutput).info.model_digest)
RICH = NodeSettings(admission=Policy(stranger_budget_microcredits=10**12))


def right(item: bytes) -> bytes:
    return b"right " + item


@dataclass
class Crew:
    """Nodes of a swarm with the answers that they give; node 0 asks and serves nothing unless told."""

    answers: dict[int, Callable[[bytes], bytes]] = field(default_factory=dict)
    executed: Counter[int] = field(default_factory=Counter)

    def skills(self, number: int) -> Sequence[MemorySkill]:
        answer = self.answers.get(number, right)

        def run(item: bytes) -> ItemOutput:
            self.executed[number] += 1
            return ItemOutput(answer(item))

        return (MemorySkill("think", run, work_microcredits=PRICE),)


def lie(name: str) -> Callable[[bytes], bytes]:
    return lambda item: f"wrong {name} ".encode() + item


async def submit(node: MemoryNode, items: Sequence[bytes], verify: str, replicas: int = 2) -> list[ItemResult]:
    options = JobOptions(verify=verify, replicas=replicas)
    settings = replace(node.parts.settings.jobs, deadline_s=120.0)
    async with node.parts.jobs.open("think", settings, options=options) as job:
        await job.feed(items, last=True)
        return [result async for result in job.results()]


def items(count: int) -> list[bytes]:
    return [f"item {number}".encode() for number in range(count)]


async def test_always_hands_up_nothing_that_no_second_peer_confirmed_v_1(autojump_clock: MockClock) -> None:
    crew = Crew({1: lie("one"), 2: lie("two")})
    async with memory_swarm(6, serving=5, skills=crew.skills, settings=RICH) as nodes:
        results = await submit(nodes[0], items(200), "always")
        assert [result.output for result in results] == [right(item) for item in items(200)]


async def test_always_without_a_second_node_says_what_is_missing(autojump_clock: MockClock) -> None:
    crew = Crew()
    async with memory_swarm(2, serving=1, skills=crew.skills, settings=RICH) as nodes:
        (result,) = await submit(nodes[0], [b"a"], "always")
        assert trio.current_time() < 60
    assert result.error_kind is ErrorKind.UNAVAILABLE
    assert "no second node serves 'think' with the same model" in result.error
    assert crew.executed == Counter()


async def test_none_never_asks_twice(autojump_clock: MockClock) -> None:
    crew = Crew()
    async with memory_swarm(4, serving=3, skills=crew.skills, settings=RICH) as nodes:
        for item in items(30):
            await submit(nodes[0], [item], "none")
    assert crew.executed.total() == 30


async def test_adaptive_with_nobody_to_check_hands_up_what_there_is(autojump_clock: MockClock) -> None:
    crew = Crew()
    async with memory_swarm(2, serving=1, skills=crew.skills, settings=RICH) as nodes:
        results = await submit(nodes[0], items(50), "adaptive")
        assert [result.output for result in results] == [right(item) for item in items(50)]
        await nodes[0].parts.credit.drain()
        assert (await nodes[1].parts.credit.balance()).earned_microcredits == 50 * PRICE


async def test_nodes_that_all_disagree_leave_an_error_and_no_guess(autojump_clock: MockClock) -> None:
    crew = Crew({number: lie(str(number)) for number in range(1, 7)})
    async with memory_swarm(7, serving=6, skills=crew.skills, settings=RICH) as nodes:
        results = await submit(nodes[0], items(1), "always")
        assert results[0].output == b""
        assert results[0].error_kind is ErrorKind.INTERNAL
        assert "disagree" in results[0].error
        await nodes[0].parts.credit.drain()
        assert (await nodes[0].parts.credit.balance()).spent_microcredits == 0


async def test_the_workers_that_agree_are_paid_by_one_game_and_the_liar_is_not(autojump_clock: MockClock) -> None:
    crew = Crew({1: lie("one")})
    async with memory_swarm(4, serving=3, skills=crew.skills, settings=RICH) as nodes:
        for number in range(12):
            await submit(nodes[0], [f"single {number}".encode()], "always")
        await nodes[0].parts.verification.finish()
        await nodes[0].parts.credit.drain()
        history = await nodes[0].parts.credit.history(100)
        assert not [entry for entry in history if entry.entry.body.worker == nodes[1].peer_id]
        assert len(history) == 24
        for entry in history:
            assert entry.entry.receipt is not None
            assert receipt_problem(entry.entry.receipt) is None
            assert entry.entry.body.price_microcredits == 2 * PRICE
            assert entry.entry.body.share_microcredits == PRICE
        assert nodes[0].parts.verification.judging.standings.shunned(nodes[1].peer_id, "think")


async def test_adaptive_checks_all_of_a_new_peer_and_one_batch_in_twenty_of_a_proven_one(
    autojump_clock: MockClock,
) -> None:
    crew = Crew()
    async with memory_swarm(3, serving=2, skills=crew.skills, settings=RICH) as nodes:
        for number in range(10):
            await submit(nodes[0], [f"new {number}".encode()], "adaptive")
        assert crew.executed.total() == 20
        crew.executed.clear()
        for number in range(400):
            (result,) = await submit(nodes[0], [f"proven {number}".encode()], "adaptive")
            assert result.output == right(f"proven {number}".encode())
        await nodes[0].parts.verification.finish()
        assert 400 < crew.executed.total() <= 440 + 2
        await nodes[0].parts.credit.drain()
        paid = (await nodes[0].parts.credit.balance()).spent_microcredits
        assert paid == PRICE * (20 + crew.executed.total())


async def test_a_failed_check_voids_the_whole_batch_v_2(autojump_clock: MockClock) -> None:
    cheat = {"now": False}

    def turncoat(item: bytes) -> bytes:
        return b"wrong " + item if cheat["now"] else right(item)

    crew = Crew({1: turncoat})
    async with memory_swarm(5, serving=4, skills=crew.skills, settings=RICH) as nodes:
        number = 0
        verification, credit = nodes[0].parts.verification, nodes[0].parts.credit
        standings = verification.judging.standings
        while standings.get(nodes[1].peer_id, THINK).valid_in_a_row < 10:
            await submit(nodes[0], [f"good {number}/{part}".encode() for part in range(64)], "adaptive")
            number += 1
            assert number < 100
        await verification.finish()
        await credit.drain()
        earned = (await nodes[1].parts.credit.balance()).earned_microcredits
        assert earned > 0
        cheat["now"] = True
        wrong: set[str] = set()
        while not standings.shunned(nodes[1].peer_id, "think"):
            results = await submit(nodes[0], [f"bad {number}/{part}".encode() for part in range(64)], "adaptive")
            wrong |= {result.receipt for result in results if not result.output.startswith(b"right")}
            number += 1
            assert number < 200
        await verification.finish()
        await credit.drain()
        assert (await nodes[1].parts.credit.balance()).earned_microcredits == earned
        assert len(wrong) <= 20 + 2  # a full batch, and what was under way while it was checked
        after = await submit(nodes[0], items(300), "adaptive")
        assert nodes[1].peer_id not in {result.peer for result in after}


async def test_a_budget_pays_for_the_checks_too(autojump_clock: MockClock) -> None:
    crew = Crew()
    async with memory_swarm(4, serving=3, skills=crew.skills, settings=RICH) as nodes:
        settings = replace(nodes[0].parts.settings.jobs, deadline_s=120.0)
        options = JobOptions("always", 2, budget_microcredits=41 * PRICE)
        async with nodes[0].parts.jobs.open("think", settings, options=options) as job:
            await job.feed(items(100), last=True)
            results = [result async for result in job.results()]
        answered = [result for result in results if not result.error]
        assert 0 < len(answered) <= 20
        assert all("budget" in result.error for result in results if result.error)
        await nodes[0].parts.verification.finish()
        await nodes[0].parts.credit.drain()
        assert (await nodes[0].parts.credit.balance()).spent_microcredits == 2 * PRICE * len(answered)
    assert crew.executed.total() <= 41


@pytest.mark.parametrize("replicas", [2, 3])
async def test_so_many_replicas_answer_each_task_of_always(autojump_clock: MockClock, replicas: int) -> None:
    crew = Crew()
    async with memory_swarm(5, serving=4, skills=crew.skills, settings=RICH) as nodes:
        for item in items(10):
            await submit(nodes[0], [item], "always", replicas)
    assert crew.executed.total() == 10 * replicas


async def test_own_peers_are_believed_by_adaptive(autojump_clock: MockClock) -> None:
    crew = Crew()
    async with memory_swarm(3, serving=2, skills=crew.skills, settings=RICH) as nodes:
        own = frozenset(node.peer_id for node in nodes)
        nodes[0].parts.credit.set_policy(Policy(own=own, stranger_budget_microcredits=10**12))
        await submit(nodes[0], items(60), "adaptive")
    assert crew.executed.total() == 60


async def test_the_own_node_decides_a_dispute_beyond_doubt(autojump_clock: MockClock) -> None:
    crew = Crew({1: lie("same"), 2: lie("same")})
    async with memory_swarm(3, serving=3, skills=crew.skills, settings=RICH) as nodes:
        results = await submit(nodes[0], items(40), "always")
        assert all(result.peer == nodes[0].peer_id or result.output.startswith(b"wrong") for result in results)


async def test_what_a_void_batch_answered_and_nobody_has_read_is_done_again(autojump_clock: MockClock) -> None:
    crew = Crew({1: lie("turncoat")})
    async with memory_swarm(5, serving=4, skills=crew.skills, settings=RICH) as nodes:
        verification = nodes[0].parts.verification
        for node in nodes[1:]:  # proven, so that answers are handed up before they are checked
            verification.judging.standings._put_row(
                node.peer_id, THINK, Reputation(20, changed_s=NodeClock().unix_us() // 10**6)
            )
        many = replace(nodes[0].parts.settings.jobs, plan=PlanSettings(first_chunk_items=8, chunk_items_max=8))
        async with nodes[0].parts.jobs.open("think", many, options=JobOptions("adaptive", 2)) as job:
            await job.feed(items(3000), last=False)
            with trio.fail_after(60):
                while not verification.judging.counted["tasks_voided"]:
                    await trio.sleep(0.1)
            await job.feed(items(3000)[:1], last=True)
            results = [result async for result in job.results()]
        wrong = [result for result in results if not result.output.startswith(b"right")]
        assert verification.judging.standings.shunned(nodes[1].peer_id, "think")
        assert wrong == []
