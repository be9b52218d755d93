"""One job, one model: whatever happens to its peers, no job mixes the answers of two models that go by one name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import pytest
import trio
import trio.testing

from swarmharness.credit.admission import Policy
from swarmharness.errors import ConfigurationError, UnavailableError
from swarmharness.execution.memory import MemorySkill
from swarmharness.execution.ports import ItemOutput
from swarmharness.jobs.alarms import Alarms
from swarmharness.jobs.context import JobOptions
from swarmharness.jobs.hedging import HedgedTasks
from swarmharness.jobs.job import Job
from swarmharness.jobs.journal import ItemResult
from swarmharness.jobs.memory_journal import MemoryJournal
from swarmharness.node.parts import NodeSettings
from swarmharness.routing.hedging import HedgeBudget
from swarmharness.routing.policy import RoutingPolicy
from swarmharness.simulation.memory_swarm import MemoryNode, memory_swarm
from tests.unit.jobs.test_durable_jobs import service_of
from tests.unit.jobs.test_hedging import Script

RICH = NodeSettings(admission=Policy(stranger_budget_microcredits=10**12))
ITEMS = [f"item {number}".encode() for number in range(400)]


def skill(model: str, *, service_us: int = 1_000, price: int = 1_000) -> MemorySkill:
    """A skill whose answers tell which model gave them."""
    return MemorySkill("think", lambda item: ItemOutput(model.encode() + b" " + item), service_us, price, model=model)


def crew(models: Mapping[int, MemorySkill]) -> Callable[[int], Sequence[MemorySkill]]:
    return lambda number: (models[number],) if number in models else ()


def digest_of(model: str) -> bytes:
    return skill(model).info.model_digest


def models_in(results: Sequence[ItemResult]) -> Counter[bytes]:
    return Counter(result.output.split(b" ")[0] for result in results)


async def collect(job: Job) -> list[ItemResult]:
    return [result async for result in job.results()]


async def submit(
    node: MemoryNode, verify: str = "none", *, name: str = "think", items: Sequence[bytes] = ITEMS, replicas: int = 1
) -> list[ItemResult]:
    options = JobOptions(verify, replicas)
    async with node.parts.jobs.open(name, options=options) as job:
        await job.feed(items, last=True)
        return await collect(job)


@pytest.mark.parametrize("verify", ["none", "adaptive", "always"])
async def test_four_peers_with_two_models_answer_a_job_with_one_of_them(
    autojump_clock: trio.testing.MockClock, verify: str
) -> None:
    models = {1: skill("one"), 2: skill("two"), 3: skill("one"), 4: skill("two")}
    async with memory_swarm(5, skills=crew(models), settings=RICH) as nodes:
        results = await submit(nodes[0], verify)
        assert len(models_in(results)) == 1
        assert models_in(results).total() == len(ITEMS)
        assert len({result.peer for result in results}) == 2


@pytest.mark.parametrize(("verify", "model"), [("none", b"strange"), ("adaptive", b"usual"), ("always", b"usual")])
async def test_a_fast_stranger_with_a_model_of_its_own_gets_no_job_that_is_checked(
    autojump_clock: trio.testing.MockClock, verify: str, model: bytes
) -> None:
    models = {1: skill("strange", service_us=10), **{number: skill("usual", service_us=5_000) for number in (2, 3, 4)}}
    async with memory_swarm(5, skills=crew(models), settings=RICH) as nodes:
        assert set(models_in(await submit(nodes[0], verify, items=ITEMS[:40]))) == {model}


async def test_a_node_with_the_skill_takes_its_own_model(autojump_clock: trio.testing.MockClock) -> None:
    models = {0: skill("own", service_us=20_000), **{number: skill("other", service_us=10) for number in (1, 2, 3)}}
    async with memory_swarm(4, skills=crew(models), settings=RICH) as nodes:
        for verify in ("none", "adaptive", "always"):
            assert set(models_in(await submit(nodes[0], verify, items=ITEMS[:40]))) == {b"own"}


async def test_a_job_whose_model_vanished_waits_for_it_and_names_it_when_its_time_is_up(
    autojump_clock: trio.testing.MockClock,
) -> None:
    models = {1: skill("gone", service_us=50_000, price=1), 2: skill("other"), 3: skill("other")}
    async with memory_swarm(4, skills=crew(models), settings=RICH) as nodes:
        settings = replace(nodes[0].parts.settings.jobs, deadline_s=60.0)
        async with nodes[0].parts.jobs.open(f"think@{digest_of('gone').hex()}", settings) as job:
            await job.feed(ITEMS, last=True)
            while not job.progress.items_done:
                await job.wait(timeout_s=1)
            nodes[1].kill()
            await trio.sleep(20)
            assert digest_of("gone").hex()[:12] in job.progress.waiting_for
            results = await collect(job)
        answered = [result for result in results if result.output]
        assert set(models_in(answered)) == {b"gone"}
        assert len(answered) < len(ITEMS)
        assert digest_of("gone").hex()[:12] in results[-1].error


async def test_a_job_that_nobody_served_yet_ends_when_its_model_vanishes_and_names_it(
    autojump_clock: trio.testing.MockClock,
) -> None:
    models = {1: skill("gone"), 2: skill("other"), 3: skill("other")}
    async with memory_swarm(4, skills=crew(models), settings=RICH) as nodes:
        async with nodes[0].parts.jobs.open(f"think@{digest_of('gone').hex()[:8]}") as job:
            nodes[1].kill()
            await job.feed(ITEMS[:3], last=True)
            results = await collect(job)
        assert all(digest_of("gone").hex()[:12] in result.error for result in results)
        assert trio.current_time() < 60


@pytest.mark.parametrize("stays", [True, False])
async def test_a_job_that_is_resumed_goes_on_with_its_model(
    autojump_clock: trio.testing.MockClock, stays: bool
) -> None:
    models = {1: skill("mine", service_us=20_000), 2: skill("other", service_us=20_000)}
    async with memory_swarm(4, skills=crew({**models, 3: models[1]}), settings=RICH) as nodes:
        journal = MemoryJournal()
        service = service_of(nodes[0], journal, settings=replace(nodes[0].parts.settings.jobs, deadline_s=30.0))
        with trio.move_on_after(0.5):
            async with service.open(f"think@{digest_of('mine').hex()}", job_id="j") as job:
                await job.feed(ITEMS, last=True)
                await collect(job)
        record = await journal.job("j")
        assert record is not None
        assert record.model_digest == digest_of("mine")
        assert 0 < record.items_answered < len(ITEMS)
        if not stays:  # then only the other model is served
            nodes[1].kill()
            nodes[3].kill()
        async with service.resume("j", compare=True) as job:
            await job.feed(ITEMS, last=True)
            results = await collect(job)
        answered = [result for result in results if result.output]
        assert set(models_in(answered)) == {b"mine"}
        assert (len(answered) == len(ITEMS)) is stays
        assert stays or digest_of("mine").hex()[:12] in results[-1].error


async def test_a_second_copy_goes_to_the_same_model_however_fast_others_are(
    autojump_clock: trio.testing.MockClock,
) -> None:
    models = {number: skill("quick", service_us=10) for number in (1, 2, 3)}
    slow = {number: skill("slow", service_us=30_000) for number in (4, 5)}
    async with memory_swarm(6, skills=crew({**models, **slow}), settings=RICH) as nodes, trio.open_nursery() as nursery:
        router, alarms = nodes[0].parts.router, Alarms()
        router.set_policy(RoutingPolicy(hedge_least_ms=1_000, explore_share=0))
        nursery.start_soon(alarms.run)
        first, second = await router.choose("think", model_digest=digest_of("slow"))
        script = Script({first.peer_id: 5.0, second.peer_id: 0.1, **{node.peer_id: 0.01 for node in nodes[1:4]}})
        tasks = HedgedTasks(router, script, HedgeBudget(), alarms, drop=lambda _: None)
        answer = await tasks.run(first.peer_id, first.skill, (b"x",), timeout_s=30)
        assert script.asked == [first.peer_id, second.peer_id]
        assert answer.peer_id == second.peer_id
        nursery.cancel_scope.cancel()


async def test_a_failed_check_counts_against_a_peer_for_every_model_of_the_skill(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with memory_swarm(3, skills=crew({1: skill("one"), 2: skill("one")}), settings=RICH) as nodes:
        verification, router = nodes[0].parts.verification, nodes[0].parts.router
        standings, liar = verification.judging.standings, nodes[1].peer_id
        (first, *_) = await router.choose("think")
        before = router.trust_of(liar, first.skill.model).micro
        other = first.skill.model._replace(digest=digest_of("another"))
        standings.valid(liar, other, 30)
        standings.invalid(liar, first.skill.model, "it was wrong")
        assert [choice.peer_id for choice in await router.choose("think")] == [nodes[2].peer_id]
        assert standings.get(liar, other).valid_in_a_row == 0
        assert standings.get(liar, other).strikes == 1
        assert router.trust_of(liar, other).micro < before + 500_000
        unseen = first.skill.model._replace(digest=digest_of("never seen"))
        assert router.trust_of(liar, unseen).micro < before
        assert standings.get(liar, unseen).strikes == 1


async def test_digits_that_no_or_several_models_begin_with_are_refused(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with memory_swarm(3, skills=crew({1: skill("one"), 2: skill("two")}), settings=RICH) as nodes:
        assert set(models_in(await submit(nodes[0], name=f"think@{digest_of('two').hex()[:8].upper()}"))) == {b"two"}
        nodes[1].kill()
        await trio.sleep(20)
        with pytest.raises(UnavailableError, match="can be asked now") as refusal:
            await submit(nodes[0], name=f"think@{digest_of('one').hex()}")
        assert "another one" not in str(refusal.value), "nobody asked for the other model"
        with pytest.raises(UnavailableError, match=r"served are .*1 node.*1 node"):
            await submit(nodes[0], name="think@00000000")
        for digits in ("", "1234567", "x" * 8, "0" * 65):
            with pytest.raises(ConfigurationError, match="8 to 64 hexadecimal"):
                await submit(nodes[0], name=f"think@{digits}")


async def test_a_budget_takes_a_model_that_it_can_pay_for(autojump_clock: trio.testing.MockClock) -> None:
    models = {1: skill("dear", service_us=10, price=10_000), 2: skill("cheap", service_us=9_000, price=10)}
    async with memory_swarm(3, skills=crew(models), settings=RICH) as nodes:
        async with nodes[0].parts.jobs.open("think", options=JobOptions(budget_microcredits=500)) as job:
            await job.feed(ITEMS[:20], last=True)
            assert set(models_in(await collect(job))) == {b"cheap"}
