"""Real node processes on loopback, driven as a user drives them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import trio

from swarmharness.demo.corpus import load_corpus
from swarmharness.execution.items import item_from_text
from swarmharness.execution.skill import Kind
from swarmharness.node.control import open_control
from swarmharness.node.process import NodeProcess
from swarmharness.pytest_plugin import ProcessSwarm

pytestmark = [pytest.mark.processes, pytest.mark.models]

ONE_THREAD = "version = 1\n\n[execution]\nthreads = 1\n"
ASKING = "version = 1\n\n[execution]\nskills = []\n"
CLOSE = 1e-4
"""MiniLM computes in float32; a result may differ in its last bits with the batch it was in."""


def command(*arguments: str | Path, text: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "swarmharness", *map(str, arguments)],
        input=text,
        capture_output=True,
        text=True,
        check=False,
    )


def submit(node: NodeProcess, *arguments: str, text: str | None = None) -> list[dict[str, Any]]:
    done = command("submit", *arguments, "--json", "--data-dir", node.data_dir.path, text=text)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def distance(one: Sequence[float], other: Sequence[float]) -> float:
    return max(abs(a - b) for a, b in zip(one, other, strict=True))


async def call(node: NodeProcess, method: str, **params: Any) -> Any:
    async with open_control(node.data_dir) as control:
        return await control.call(method, params)


async def wait_until_served(client: NodeProcess, skill: str, workers: int) -> None:
    with trio.fail_after(60):
        while True:
            answer = await call(client, "router.explain", skill=skill)
            if sum(candidate["position"] is not None for candidate in answer["candidates"]) >= workers:
                return
            await trio.sleep(0.05)


def test_a_client_finds_a_worker_and_gets_the_same_vector_as_the_model_gives(process_swarm: ProcessSwarm) -> None:
    worker = process_swarm(1, skills=["text-embedding"], config=ONE_THREAD)[0]
    client = process_swarm(1, config=ASKING)[0]
    (first, second) = submit(client, "text-embedding", "a hen", "a rooster")
    assert (first["index"], second["index"]) == (0, 1)
    assert first["peer"] == second["peer"] == worker.peer_id
    assert len(first["output"]) == 384
    alone = submit(worker, "text-embedding", "a hen")
    assert distance(alone[0]["output"], first["output"]) < CLOSE


async def test_both_parties_keep_the_same_co_signed_receipt(process_swarm: ProcessSwarm) -> None:
    worker = process_swarm(1, skills=["text-embedding"], config=ONE_THREAD)[0]
    client = process_swarm(1, config=ASKING)[0]
    (result,) = await trio.to_thread.run_sync(lambda: submit(client, "text-embedding", "a receipt"))
    with trio.fail_after(20):
        while True:
            spent = (await call(client, "credit.history", limit=5))["entries"]
            earned = (await call(worker, "credit.history", limit=5))["entries"]
            if [e["state"] for e in spent] == [e["state"] for e in earned] == ["receipt"]:
                break
            await trio.sleep(0.05)
    assert spent[0]["receipt"] == earned[0]["receipt"]
    assert spent[0]["tasks"] == [result["receipt"]], "results name their task, by which the receipt is found"
    assert (spent[0]["role"], earned[0]["role"]) == ("requester", "worker")
    balances = [await call(node, "credit.balance") for node in (client, worker)]
    assert balances[0]["net_microcredits"] == -balances[1]["net_microcredits"] < 0


async def test_a_job_survives_the_death_of_a_worker_and_keeps_its_order(process_swarm: ProcessSwarm) -> None:
    workers = process_swarm(3, skills=["text-embedding"], config=ONE_THREAD)
    client = process_swarm(1, config=ASKING)[0]
    await wait_until_served(client, "text-embedding", 3)
    glosses = [gloss for _, gloss in load_corpus()[:400]]
    items = [item_from_text(Kind.TEXT_EMBEDDING, gloss) for gloss in glosses]
    outputs: dict[int, bytes] = {}
    peers: set[str] = set()
    async with open_control(client.data_dir) as control:
        job = (await control.call("job.open", {"skill": "text-embedding", "deadline_s": 90.0}))["job"]
        await control.call("job.feed", {"job": job, "items": items, "last": True})
        done = False
        while not done:
            answer = await control.call("job.results", {"job": job})
            done = answer["done"]
            for result in answer["results"]:
                assert result["error"] == ""
                assert result["index"] == len(outputs)
                outputs[result["index"]] = result["output"]
                peers.add(result["peer"])
            if answer["progress"]["items_done"] > 40:
                workers[0].kill()
    assert len(outputs) == len(glosses)
    assert peers <= {worker.peer_id for worker in workers}
    assert len(peers) > 1


async def test_a_frozen_worker_does_not_hold_a_job_up(process_swarm: ProcessSwarm) -> None:
    frozen, _ = process_swarm(2, skills=["text-embedding"], config=ONE_THREAD)
    client = process_swarm(1, config=ASKING)[0]
    await wait_until_served(client, "text-embedding", 2)
    frozen.pause()
    texts = "\n".join(gloss for _, gloss in load_corpus()[:60])
    results = await trio.to_thread.run_sync(lambda: submit(client, "text-embedding", "--deadline", "60", text=texts))
    assert [result["index"] for result in results] == list(range(60))
    frozen.resume()


def test_the_peer_id_and_the_addresses_survive_a_restart(process_swarm: ProcessSwarm, tmp_path: Path) -> None:
    from swarmharness.node.process import NodeGroup, NodeLaunch

    launch = NodeLaunch(tmp_path / "again", config=ASKING)
    with NodeGroup() as group:
        before = group.start(launch)[0]
        assert before.stop() == 0
        after = group.start(launch)[0]
    assert (before.peer_id, before.addresses) == (after.peer_id, after.addresses)


def test_a_second_node_on_the_same_data_directory_is_refused(process_swarm: ProcessSwarm) -> None:
    node = process_swarm(1, config=ASKING)[0]
    second = command("node", "start", "--data-dir", node.data_dir.path)
    assert second.returncode == 2
    assert "is in use by the node with pid" in second.stderr


def test_an_unknown_skill_suggests_the_nearest_name(process_swarm: ProcessSwarm) -> None:
    process_swarm(1, skills=["text-embedding"], config=ONE_THREAD)
    client = process_swarm(1, config=ASKING)[0]
    submit(client, "text-embedding", "so that the client knows the name")
    done = command("submit", "text-embeding", "x", "--data-dir", client.data_dir.path)
    assert done.returncode == 4
    assert "text-embedding" in done.stderr


def test_a_restarted_client_finds_its_peers_again_without_join(process_swarm: ProcessSwarm, tmp_path: Path) -> None:
    from swarmharness.node.process import NodeGroup, NodeLaunch

    worker = process_swarm(1, skills=["text-embedding"], config=ONE_THREAD)[0]
    with NodeGroup() as group:
        first = group.start(NodeLaunch(tmp_path / "client", join=(worker.join_address,), config=ASKING))[0]
        assert len(submit(first, "text-embedding", "hello")) == 1
        first.stop()
        second = group.start(NodeLaunch(tmp_path / "client", config=ASKING))[0]
        assert len(submit(second, "text-embedding", "hello again")) == 1


def test_submit_without_a_node_joins_for_a_moment(process_swarm: ProcessSwarm, tmp_path: Path) -> None:
    worker = process_swarm(1, skills=["text-embedding"], config=ONE_THREAD)[0]
    done = command(
        "submit", "text-embedding", "hi", "--json", "--data-dir", tmp_path / "me", "--join", worker.join_address
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["peer"] == worker.peer_id


async def test_routing_weights_take_effect_without_a_restart(process_swarm: ProcessSwarm) -> None:
    node = process_swarm(1, skills=["file-type"])[0]
    before = await call(node, "router.explain", skill="file-type")
    assert before["form"] == "completion"
    await trio.Path(node.data_dir.config_file).write_text('version = 1\n\n[routing]\nform = "additive"\n')
    with trio.fail_after(20):
        while (await call(node, "router.explain", skill="file-type"))["form"] != "additive":
            await trio.sleep(0.05)
    await trio.Path(node.data_dir.config_file).write_text('version = 1\n\n[routing]\nform = "best"\n')
    with trio.fail_after(20):
        while "stays as it was" not in (node.data_dir.path / "node.log").read_text():
            await trio.sleep(0.05)
    assert (await call(node, "router.explain", skill="file-type"))["form"] == "additive"


async def test_a_peer_that_is_denied_while_the_node_runs_is_cut_off(process_swarm: ProcessSwarm) -> None:
    node, other = process_swarm(2, skills=["file-type"])
    deny = f'version = 1\n\n[network]\ndeny = ["{other.peer_id}"]\n'
    await trio.Path(node.data_dir.config_file).write_text(deny)
    with trio.fail_after(20):
        while (await call(node, "node.status"))["registry"]["connected"]:
            await trio.sleep(0.05)
    await trio.Path(node.data_dir.config_file).write_text("version = 1\n")
    with trio.fail_after(60):
        while not (await call(node, "node.status"))["registry"]["connected"]:
            await trio.sleep(0.05)
