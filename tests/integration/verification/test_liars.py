"""Real node processes, two of which answer wrongly."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio

from swarmharness.errors import UnavailableError
from swarmharness.execution.items import shorten_file, to_json
from swarmharness.execution.skill import Kind
from swarmharness.node.control import open_control
from swarmharness.node.process import NodeGroup, NodeLaunch, NodeProcess

pytestmark = [pytest.mark.processes, pytest.mark.models]

SKILL = "file-type"
WORKER = 'version = 1\n\n[execution]\nthreads = 1\nskills = ["file-type"]\n'
CLIENT = "version = 1\n\n[execution]\nskills = []\n"
SAMPLES = (
    b'#!/bin/sh\nset -e\nfor f in *.txt; do echo "$f %d"; done\n',
    b"import os\n\ndef main() -> None:\n    print(os.getcwd(), %d)\n\nmain()\n",
    b"<html><head><title>%d</title></head><body><p>text</p></body></html>\n",
)
LABELS = ("shell", "python", "html")
LIAR = Path(__file__).with_name("lying_node.py")


class Swarm:
    """A client, honest workers and liars."""

    def __init__(self, folder: Path, group: NodeGroup, lies: list[str], honest: int) -> None:
        (self.client,) = group.start(NodeLaunch(folder / "client", config=CLIENT))
        join = (self.client.join_address,)
        liars = [
            NodeLaunch(folder / f"liar-{number}", join, config=WORKER, program=(str(LIAR), lie))
            for number, lie in enumerate(lies)
        ]
        workers = [NodeLaunch(folder / f"worker-{number}", join, config=WORKER) for number in range(honest)]
        started = group.start(*liars, *workers)
        self.liars, self.honest = started[: len(lies)], started[len(lies) :]
        self.count = len(started)

    async def ready(self) -> None:
        known = 0
        with trio.fail_after(60):
            while known < self.count:
                await trio.sleep(0.1)
                try:
                    async with open_control(self.client.data_dir) as control:
                        known = len((await control.call("router.explain", {"skill": SKILL}))["candidates"])
                except* UnavailableError:
                    pass  # nobody has called back yet

    def lied(self, result: dict[str, Any]) -> bool:
        return result["peer"] in {liar.peer_id for liar in self.liars}


@pytest.fixture
def group() -> Iterator[NodeGroup]:
    with NodeGroup() as nodes:
        yield nodes


def inputs(count: int) -> list[bytes]:
    return [shorten_file(SAMPLES[number % len(SAMPLES)] % number) for number in range(count)]


async def submit(node: NodeProcess, items: list[bytes], **options: Any) -> list[dict[str, Any]]:
    results: list[dict[str, Any]] = []
    with trio.fail_after(90):
        async with open_control(node.data_dir) as control:
            opened = await control.call("job.open", {"skill": SKILL, "deadline_s": 80.0, **options})
            await control.call("job.feed", {"job": opened["job"], "items": items, "last": True})
            done = False
            while not done:
                answer = await control.call("job.results", {"job": opened["job"]})
                results += answer["results"]
                done = answer["done"]
    return results


async def test_always_lets_no_lie_through_and_a_third_decides_v_1(tmp_path: Path, group: NodeGroup) -> None:
    swarm = Swarm(tmp_path, group, ["one", "two"], honest=3)
    await swarm.ready()
    items = inputs(120)
    results = await submit(swarm.client, items, verify="always")
    assert [result["error"] for result in results] == [""] * len(items)
    labels = [to_json(Kind.FILE_TYPE, result["output"])["label"] for result in results]
    assert labels == [LABELS[number % len(LABELS)] for number in range(len(items))]
    assert all(result["verified"] for result in results)
    assert not any(swarm.lied(result) for result in results)
    # Both gave wrong answers, so that a third had to decide, and both were found out.
    async with open_control(swarm.client.data_dir) as control:
        checks = (await control.call("node.status", {}))["verification"]
    assert checks["peers_shunned"] == 2
    assert checks["answers_found_wrong"] >= 2


async def test_within_200_tasks_of_adaptive_the_liars_get_less_than_one_in_a_hundred(
    tmp_path: Path, group: NodeGroup
) -> None:
    swarm = Swarm(tmp_path, group, ["one", "two"], honest=3)
    await swarm.ready()
    wrong = 0
    by_liars: list[bool] = []
    for item in inputs(200):
        (result,) = await submit(swarm.client, [item], verify="adaptive")
        assert result["error"] == ""
        wrong += b"lie-" in result["output"]
        by_liars.append(swarm.lied(result))
    assert wrong == 0  # new peers are checked before anybody gets their answers
    assert sum(by_liars[100:]) / 100 < 0.01
    shunned = await shunned_by(swarm.client)
    assert shunned >= 1  # a liar that was never asked has not been found out
    assert swarm.client.stop() == 0
    join = (swarm.honest[0].join_address,)
    (again,) = group.start(NodeLaunch(tmp_path / "client", join, config=CLIENT))
    assert await shunned_by(again) == shunned


async def shunned_by(node: NodeProcess) -> int:
    async with open_control(node.data_dir) as control:
        return int((await control.call("node.status", {}))["verification"]["peers_shunned"])
