from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing

from swarmharness.errors import UnavailableError
from swarmharness.execution.memory import MemorySkill
from swarmharness.execution.ports import ItemOutput
from swarmharness.jobs.memory_journal import MemoryJournal
from swarmharness.node.jobs_api import JobsApi
from swarmharness.routing.router import Choice, Router
from swarmharness.simulation.memory_swarm import memory_swarm

SLOW_ECHO = MemorySkill("echo", ItemOutput, service_us=2_000_000)


@pytest.mark.parametrize("items", [[], [b"a", b"b"]])
async def test_a_job_that_is_said_to_be_done_is_noted_as_done_whatever_its_dispatcher_waits_for(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch, items: list[bytes]
) -> None:
    async with memory_swarm(2, serving=1, skills=(SLOW_ECHO,)) as nodes, trio.open_nursery() as nursery:
        parts = nodes[0].parts
        parts.jobs.journal = MemoryJournal()
        api = JobsApi(parts)
        await nursery.start(api.run)
        opened = await api.methods["job.open"]({"skill": "echo"})
        held = {"job": opened["job"], "reader": opened["reader"]}
        choose, asked = Router.choose, 0

        async def choose_and_get_stuck(self: Router, *words: Any, **named: Any) -> tuple[Choice, ...]:
            nonlocal asked
            asked += 1
            if asked > 1:  # it has sent what there is, and looks for somebody to send it to once more
                await trio.sleep_forever()
            return await choose(self, *words, **named)

        monkeypatch.setattr(Router, "choose", choose_and_get_stuck)
        await api.methods["job.feed"]({**held, "items": items, "last": True})
        outputs: list[bytes] = []
        answer: dict[str, Any] = {"done": False}
        while not answer["done"]:
            answer = await api.methods["job.results"](held)
            outputs += [result["output"] for result in answer["results"]]
        assert outputs == items
        assert (asked > 1) == bool(items), "the dispatcher was busy when the last answer came"
        assert answer["state"] == "done"
        for _ in range(2):  # while the node holds the job, and afterwards
            (listed,) = (await api.methods["job.list"]({}))["jobs"]
            assert (listed["state"], listed["items_answered"]) == ("done", len(items))
            await trio.sleep(1)
        assert len(api) == 0
        nursery.cancel_scope.cancel()


async def test_results_say_what_the_node_cannot_write_down(autojump_clock: trio.testing.MockClock) -> None:
    async with memory_swarm(2, serving=1, skills=(SLOW_ECHO,)) as nodes, trio.open_nursery() as nursery:
        parts = nodes[0].parts
        api = JobsApi(parts)
        await nursery.start(api.run)
        opened = await api.methods["job.open"]({"skill": "echo"})
        held = {"job": opened["job"], "reader": opened["reader"]}
        assert (await api.methods["job.results"](held))["warning"] == ""
        parts.ports.receipts.health.failed(UnavailableError("the disk is full"))
        assert (await api.methods["job.results"](held))["warning"] == "the disk is full"
        nursery.cancel_scope.cancel()


async def test_what_is_shown_of_a_job_names_its_model_and_those_that_it_did_not_take(
    autojump_clock: trio.testing.MockClock,
) -> None:
    def skills(number: int) -> list[MemorySkill]:
        return [MemorySkill("echo", ItemOutput, model=f"model {number}")]

    async with memory_swarm(3, serving=2, skills=skills) as nodes, trio.open_nursery() as nursery:
        parts = nodes[0].parts
        parts.jobs.journal = MemoryJournal()
        api = JobsApi(parts)
        await nursery.start(api.run)
        digests = {skills(number)[0].info.model_digest.hex() for number in (1, 2)}
        for digest in sorted(digests):
            opened = await api.methods["job.open"]({"skill": f"echo@{digest[:8]}"})
            assert opened["model_digest"] == digest
            assert {model["model_digest"] for model in opened["models"]} == digests
            held = {"job": opened["job"], "reader": opened["reader"]}
            await api.methods["job.feed"]({**held, "items": [b"a"], "last": True})
            answer: dict[str, Any] = {"done": False}
            while not answer["done"]:
                answer = await api.methods["job.results"](held)
                assert all(result["model_digest"] == digest for result in answer["results"])
            shown = await api.methods["job.show"]({"job": opened["job"]})
            assert shown["job"]["model_digest"] == digest
            assert shown["chunks"][0]["why"]["model_digest"] == digest
        nursery.cancel_scope.cancel()
