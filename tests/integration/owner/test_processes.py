"""Owner first with real node processes on loopback, driven as their owners drive them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from swarmharness.demo.corpus import load_corpus
from swarmharness.execution.items import item_from_text
from swarmharness.execution.skill import Kind
from swarmharness.node.control import open_control
from swarmharness.node.process import NodeGroup, NodeLaunch, NodeProcess
from swarmharness.pytest_plugin import ProcessSwarm

pytestmark = [pytest.mark.processes, pytest.mark.models]

SKILL = "text-embedding"
WORKER = """\
version = 1

[execution]
threads = 1

[owner]
on_battery = true
battery_min_percent = 0
memory_available_min_mib = 0
check_s = 0.2
drain_s = 1
calm_s = 0.2
"""
ASKING = "version = 1\n\n[execution]\nskills = []\n"


def command(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "swarmharness", *map(str, arguments)], capture_output=True, text=True, check=False
    )


def owner_command(node: NodeProcess, *arguments: str) -> dict[str, Any]:
    done = command("node", *arguments, "--json", "--data-dir", node.data_dir.path)
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


async def call(node: NodeProcess, method: str, **params: Any) -> Any:
    async with open_control(node.data_dir) as control:
        return await control.call(method, params)


async def wait_for_row(client: NodeProcess, worker: NodeProcess, *, not_serving: str) -> None:
    with trio.fail_after(60):
        while True:
            rows = [row for row in await call(client, "peers.list") if row["peer"] == worker.peer_id]
            if rows and rows[0]["usable"] and rows[0]["skills"] and rows[0]["not_serving"] == not_serving:
                return
            await trio.sleep(0.05)


async def wait_until_judged(node: NodeProcess, *, serves: bool) -> dict[str, Any]:
    with trio.fail_after(60):
        while True:
            owner: dict[str, Any] = (await call(node, "node.status"))["owner"]
            if owner["serves_others"] is serves:
                return owner
            await trio.sleep(0.05)


def rewrite(node: NodeProcess, owner: str) -> None:
    text = WORKER.partition("[owner]")[0] + "[owner]\n" + owner
    temporary = node.data_dir.path / "node.toml.new"
    temporary.write_text(text)
    temporary.replace(node.data_dir.config_file)


async def test_an_owner_pauses_in_mid_job_and_the_other_worker_completes_it(process_swarm: ProcessSwarm) -> None:
    paused, other = process_swarm(2, skills=[SKILL], config=WORKER)
    client = process_swarm(1, config=ASKING)[0]
    await call(client, "router.explain", skill=SKILL)
    for worker in (paused, other):
        await wait_for_row(client, worker, not_serving="")
    glosses = [gloss for _, gloss in load_corpus()[:600]]
    items = [item_from_text(Kind.TEXT_EMBEDDING, gloss) for gloss in glosses]
    outputs = 0
    told: dict[str, Any] = {}
    async with open_control(client.data_dir) as control:
        job = (await control.call("job.open", {"skill": SKILL, "deadline_s": 90.0}))["job"]
        await control.call("job.feed", {"job": job, "items": items, "last": True})
        done = False
        while not done:
            answer = await control.call("job.results", {"job": job})
            done = answer["done"]
            for result in answer["results"]:
                assert (result["index"], result["error"]) == (outputs, "")
                outputs += 1
            if not told and answer["progress"]["peers"].get(paused.peer_id):
                told = await trio.to_thread.run_sync(lambda: owner_command(paused, "pause"))
    assert outputs == len(glosses)
    assert answer["progress"]["peers"].keys() == {paused.peer_id, other.peer_id}
    assert (told["event"], told["told_to_others"]) == ("paused", "paused")
    await wait_for_row(client, paused, not_serving="its owner paused it")
    listing = await trio.to_thread.run_sync(lambda: command("peers", "--data-dir", client.data_dir.path))
    assert "usable, not serving: its owner paused it" in listing.stdout
    other.kill()
    mine = await trio.to_thread.run_sync(
        lambda: command("submit", SKILL, "a hen", "--json", "--data-dir", paused.data_dir.path)
    )
    assert json.loads(mine.stdout)["peer"] == paused.peer_id, "the owner is served"
    nobody = await trio.to_thread.run_sync(lambda: command("submit", SKILL, "x", "--data-dir", client.data_dir.path))
    assert nobody.returncode == 4
    assert "its owner paused it" in nobody.stderr
    resumed = await trio.to_thread.run_sync(lambda: owner_command(paused, "resume"))
    assert (resumed["event"], resumed["serves_others"], resumed["reasons"]) == ("resumed", True, [])
    await wait_for_row(client, paused, not_serving="")
    again = await trio.to_thread.run_sync(
        lambda: command("submit", SKILL, "a hen", "--json", "--data-dir", client.data_dir.path)
    )
    assert json.loads(again.stdout)["peer"] == paused.peer_id


def test_a_pause_survives_a_power_cut_and_its_file_goes_with_it(tmp_path: Path) -> None:
    launch = NodeLaunch(tmp_path / "n", skills=("file-type",), config=WORKER)
    with NodeGroup() as group:
        first = group.start(launch)[0]
        shown = command("node", "pause", "--for", "2h", "--data-dir", first.data_dir.path)
        assert shown.returncode == 0
        assert shown.stdout == ""
        assert "paused by the owner until " in shown.stderr
        first.kill()
        second = group.start(launch)[0]
        status = json.loads(command("node", "status", "--json", "--data-dir", second.data_dir.path).stdout)
        (reason,) = status["owner"]["reasons"]
        assert reason.startswith("paused by the owner until ")
        assert second.stop() == 0
        (second.data_dir.path / "pause.json").write_bytes(b"damaged by a power cut")
        third = group.start(launch)[0]
        assert owner_command(third, "status")["owner"]["reasons"] == ["paused by the owner until `node resume`"]
        checks = json.loads(command("doctor", "--json", "--data-dir", third.data_dir.path).stdout)["checks"]
        (warning,) = [check["detail"] for check in checks if check["check"] == "owner"]
        assert warning == "others are not served: paused by the owner until `node resume`"
        assert owner_command(third, "status")["skills"][0]["provider"] == "", "no model was loaded meanwhile"
        assert owner_command(third, "resume")["serves_others"] is True
        deadline = time.monotonic() + 60
        while not owner_command(third, "status")["skills"][0]["provider"] and time.monotonic() < deadline:
            time.sleep(0.05)
        assert owner_command(third, "status")["skills"][0]["provider"] == "CPUExecutionProvider"
        assert not (third.data_dir.path / "pause.json").exists()


async def test_a_pause_for_a_while_ends_by_itself(process_swarm: ProcessSwarm) -> None:
    node = process_swarm(1, skills=["file-type"], config=WORKER)[0]
    await call(node, "node.pause", for_s=1)
    await wait_until_judged(node, serves=True)
    with trio.fail_after(10):
        while (node.data_dir.path / "pause.json").exists():
            await trio.sleep(0.02)


@pytest.mark.parametrize("word", ["2", "-1h", "forever", "400d"])
def test_a_pause_of_no_length_is_refused(tmp_path: Path, word: str) -> None:
    done = command("node", "pause", "--for", word, "--data-dir", tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith(f'error: --for: "{word}" is not a duration such as 45m, 2h or 1h30m')
    assert done.stderr.count("\n") == 1


async def test_limits_take_effect_while_the_node_runs_and_a_busy_machine_says_why(process_swarm: ProcessSwarm) -> None:
    worker = process_swarm(1, skills=[SKILL], config=WORKER)[0]
    client = process_swarm(1, config=ASKING)[0]
    await call(client, "router.explain", skill=SKILL)
    await wait_for_row(client, worker, not_serving="")
    rewrite(worker, "memory_available_min_mib = 1048576\ncheck_s = 0.2\ncalm_s = 0.2\n")
    owner = await wait_until_judged(worker, serves=False)
    (reason,) = owner["reasons"]
    assert reason.endswith(" MiB of memory left, limit 1048576 MiB")
    assert owner["readings"]["memory_available_mib"] > 0
    await wait_for_row(client, worker, not_serving="its owner needs its memory")
    done = await trio.to_thread.run_sync(lambda: command("submit", SKILL, "x", "--data-dir", client.data_dir.path))
    assert (done.returncode, done.stderr.count("\n")) == (4, 1)
    assert "its owner needs its memory" in done.stderr
    explained = await call(client, "router.explain", skill=SKILL)
    (row,) = [row for row in explained["candidates"] if row["peer"] == worker.peer_id]
    assert row["excluded"] == "it serves nobody now: its owner needs its memory"
    rewrite(worker, 'schedule = ["noon"]\n')
    log = worker.data_dir.path / "node.log"
    with trio.fail_after(20):
        while "stays as it was: " not in log.read_text():
            await trio.sleep(0.05)
    assert '[owner] schedule has "noon", which has "noon" where a day should be' in log.read_text()
    rewrite(worker, "memory_available_min_mib = 0\non_battery = true\nbattery_min_percent = 0\n")
    await wait_until_judged(worker, serves=True)
    await wait_for_row(client, worker, not_serving="")


async def test_outside_its_hours_a_node_starts_closed(tmp_path: Path) -> None:
    today = time.localtime()
    day = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")[(today.tm_wday + 3) % 7]
    config = WORKER + f'schedule = ["{day} 12:00-13:00"]\n'
    with NodeGroup() as group:
        (node,) = await trio.to_thread.run_sync(
            lambda: group.start(NodeLaunch(tmp_path / "n", skills=("file-type",), config=config))
        )
        owner = (await call(node, "node.status"))["owner"]
        assert owner["reasons"] == [f"outside its hours; the next begin {day} 12:00"]
        assert owner["told_to_others"] == "schedule"


def test_work_of_other_programs_closes_a_node(process_swarm: ProcessSwarm) -> None:
    node = process_swarm(1, skills=["file-type"], config=WORKER)[0]
    share = max(1.0, 25 / (os.cpu_count() or 1))
    rewrite(node, f"cpu_others_max_percent = {share}\ncheck_s = 0.6\ncalm_s = 0.1\non_battery = true\n")
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as stranger:
        try:
            owner = trio.run(partial(wait_until_judged, node, serves=False))
        finally:
            stranger.kill()
    assert owner["told_to_others"] == "cpu"
    assert owner["reasons"][0].startswith("others use ")
