"""Parameters of a job reach the peers that know them, and no other; what an answer is flagged with comes back."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace

import pytest
import trio.testing

from swarmharness.errors import ConfigurationError, UnavailableError
from swarmharness.execution.memory import MemorySkill
from swarmharness.execution.parameters import decode_parameters
from swarmharness.execution.ports import TRUNCATED, ItemOutput, SkillInfo
from swarmharness.jobs.context import JobOptions
from swarmharness.jobs.journal import ItemResult
from swarmharness.jobs.memory_journal import MemoryJournal
from swarmharness.jobs.service import JobSettings
from swarmharness.simulation.memory_swarm import MemoryNode, memory_swarm

ITEMS = [f"{number:04}".encode() * (1 + number % 2) for number in range(40)]
SPLIT = {"on_long": "split-mean"}


@dataclass(frozen=True, slots=True)
class Embedder(MemorySkill):
    """Takes four letters of a text; `told` counts what each node was told."""

    knows: bool = True
    told: Counter[str] = field(default_factory=Counter)

    @property
    def info(self) -> SkillInfo:
        return replace(super(Embedder, self).info, parameters=("on_long",) if self.knows else ())

    def answer(self, item: bytes, parameters: bytes) -> ItemOutput:
        how = decode_parameters(parameters).get("on_long", "truncate")
        self.told[how] += 1
        if how == "split-mean" or len(item) <= 4:
            return ItemOutput(item)
        return ItemOutput(item[:4], flags=TRUNCATED)


def embedder(*, knows: bool = True) -> Embedder:
    return Embedder("embed", ItemOutput, kind="text-embedding", knows=knows)


async def run(node: MemoryNode, told: dict[str, str], *, verify: str = "none") -> list[ItemResult]:
    async with node.parts.jobs.open("embed", options=JobOptions(verify), parameters=told) as job:
        await job.feed(ITEMS, last=True)
        return [result async for result in job.results()]


async def test_an_answer_says_that_a_part_of_its_item_was_left_out(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with memory_swarm(2, serving=1, skills=(embedder(),)) as nodes:
        results = await run(nodes[0], {})
        assert [result.truncated for result in results] == [len(item) > 4 for item in ITEMS]
        await nodes[0].parts.credit.drain()
        assert (await nodes[1].parts.credit.balance()).earned_microcredits, "flags are within what both have signed"
        results = await run(nodes[0], SPLIT)
        assert [result.output for result in results] == ITEMS
        assert not any(result.truncated for result in results)
        await nodes[0].parts.credit.drain()


async def test_only_peers_that_advertise_a_parameter_are_told_it(autojump_clock: trio.testing.MockClock) -> None:
    older, newer = embedder(knows=False), embedder()
    async with memory_swarm(3, serving=2, skills=lambda number: (older if number == 1 else newer,)) as nodes:
        results = await run(nodes[0], SPLIT)
        assert {result.peer for result in results} == {nodes[2].peer_id}
        assert not older.told
        results = await run(nodes[0], {})
        assert {result.peer for result in results} == {nodes[1].peer_id, nodes[2].peer_id}
        assert set(older.told) == {"truncate"}


async def test_a_job_whose_parameters_nobody_takes_is_refused_at_once(autojump_clock: trio.testing.MockClock) -> None:
    async with memory_swarm(2, serving=1, skills=(embedder(knows=False),)) as nodes:
        with pytest.raises(UnavailableError, match="no node that serves 'embed' takes the parameter on_long"):
            await run(nodes[0], SPLIT)
        with pytest.raises(ConfigurationError, match="did you mean 'on_long'"):
            await run(nodes[0], {"on_lnog": "error"})


async def test_a_peer_that_takes_none_is_not_sent_them_even_by_mistake(autojump_clock: trio.testing.MockClock) -> None:
    from swarmharness.jobs.requester import TaskRequester

    async with memory_swarm(2, serving=1, skills=(embedder(knows=False),)) as nodes:
        parts = nodes[0].parts
        requester = TaskRequester(parts.ports.transport, parts.credit, parts.ports.clock, parts.ports.randomness)
        (choice,) = await parts.router.choose("embed")
        with pytest.raises(UnavailableError, match="does not take the parameters"):
            await requester.run(
                choice.peer_id, choice.skill, (b"x",), timeout_s=5, parameters=b"\x81\xa7on_long\xa5error"
            )


@pytest.mark.parametrize("told", [{}, SPLIT])
async def test_checks_ask_the_same_and_compare_what_answers_are_flagged_with(
    autojump_clock: trio.testing.MockClock, told: dict[str, str]
) -> None:
    class Denier(Embedder):
        """Hides that it truncated."""

        def answer(self, item: bytes, parameters: bytes) -> ItemOutput:
            return replace(Embedder.answer(self, item, parameters), flags=0)

    liar = Denier("embed", ItemOutput, kind="text-embedding")
    skills = [embedder() for _ in range(4)]
    async with memory_swarm(4, serving=3, skills=lambda number: (liar if number == 1 else skills[number],)) as nodes:
        results = await run(nodes[0], told, verify="always")
        assert [result.truncated for result in results] == [not told and len(item) > 4 for item in ITEMS]
        assert all(result.verified for result in results)
        wrong = nodes[0].parts.verification.judging.counted["answers_found_wrong"]
        assert not (told and wrong), "where nothing is left out, nobody is wrong to say so"
        for skill in (*skills[2:], liar):
            assert set(skill.told) <= {"split-mean" if told else "truncate"}


async def test_peers_of_an_earlier_release_are_not_compared_with_those_that_set_flags(
    autojump_clock: trio.testing.MockClock,
) -> None:
    older, newer = embedder(knows=False), embedder()
    async with memory_swarm(5, serving=4, skills=lambda number: (older if number % 2 else newer,)) as nodes:
        results = await run(nodes[0], {}, verify="always")
        assert all(result.verified for result in results)
        assert not nodes[0].parts.verification.judging.counted["answers_found_wrong"]


async def test_a_job_that_is_taken_up_again_tells_the_same(autojump_clock: trio.testing.MockClock) -> None:
    skill, journal = embedder(), MemoryJournal()
    async with memory_swarm(2, serving=1, skills=(skill,)) as nodes:
        jobs = nodes[0].parts.jobs
        jobs.journal = journal
        settings = JobSettings(deadline_s=30)
        async with jobs.open("embed", settings, parameters=SPLIT, job_id="j") as job:
            await job.feed(ITEMS[:10], last=False)
        told = skill.told.total()
        async with jobs.resume("j", compare=True) as job:
            await job.feed(ITEMS, last=True)
            results = [result async for result in job.results()]
        assert [result.output for result in results] == ITEMS
        assert set(skill.told) == {"split-mean"}
        assert skill.told.total() >= told
        record = await journal.job("j")
        assert record is not None
        assert record.as_dict()["parameters"] == SPLIT
