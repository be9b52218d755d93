"""Skills that come, are mended and go while a node runs, cores that are taken away, and a machine that travels."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from swarmharness.execution.catalog import read_skill
from swarmharness.execution.model_store import ModelStore
from swarmharness.node.control import open_control
from swarmharness.node.data_dir import model_folder
from swarmharness.node.process import SERVES_ANYWHERE, NodeProcess
from swarmharness.pytest_plugin import ProcessSwarm
from tests.unit.execution import builders

pytestmark = pytest.mark.processes

WITHIN_S = 5.0
CONFIG = "version = 1\n" + SERVES_ANYWHERE


async def call(node: NodeProcess, method: str) -> Any:
    async with open_control(node.data_dir) as control:
        return await control.call(method, {})


async def seen_by(client: NodeProcess, worker: NodeProcess) -> dict[str, Any]:
    """What the worker's advert says, as another node has it."""
    rows = [row for row in await call(client, "peers.list") if row["peer"] == worker.peer_id and row["usable"]]
    return {"skills": [skill["skill"] for skill in rows[0]["skills"]], "cores": rows[0]["cores"]} if rows else {}


async def until(ask: Callable[[], Awaitable[Any]], true: Callable[[Any], bool], limit_s: float) -> float:
    """Wait until the answer is the wanted one; returns how long that took."""
    began_s, found = trio.current_time(), None
    with trio.move_on_after(limit_s):
        while True:
            found = await ask()
            if found and true(found):
                return trio.current_time() - began_s
            await trio.sleep(0.05)
    raise AssertionError(f"still {found} after {limit_s:g} s")


async def test_what_is_added_mended_or_removed_while_a_node_runs_is_offered_or_withdrawn(
    process_swarm: ProcessSwarm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))  # none of the shipped models
    folder = builders.skill_folder(tmp_path / "made", builders.doubling())
    client, worker = process_swarm(2, config=CONFIG)
    advert = partial(seen_by, client, worker)
    await until(advert, lambda found: found["skills"] == [], 30)
    for words in (["add", str(folder)], ["pull", "toy"]):
        command = [sys.executable, "-m", "swarmharness", "skills", *words, "--data-dir", str(worker.data_dir.path)]
        await trio.run_process(command, capture_stdout=True, stdin=subprocess.DEVNULL)
    await until(advert, lambda found: found["skills"] == ["toy"], WITHIN_S)

    store, (file,) = ModelStore(model_folder()), read_skill(folder).manifest.files
    good = store.path(file.sha256).read_bytes()
    store.path(file.sha256).write_bytes(good[:-1])  # a disk that lost the end of it
    await until(advert, lambda found: found["skills"] == [], WITHIN_S)
    store.path(file.sha256).write_bytes(good)
    await until(advert, lambda found: found["skills"] == ["toy"], WITHIN_S)

    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(worker.process.pid, {min(os.sched_getaffinity(worker.process.pid))})
        await until(advert, lambda found: found["cores"] == 1, 20)

    shutil.rmtree(worker.data_dir.skills_folder / "toy")
    await until(advert, lambda found: found["skills"] == [], WITHIN_S)


def zone(offset_s: int) -> bytes:
    """A zone file (RFC 9636, version 1) that never changes its offset."""
    head = b"TZif" + bytes(16) + struct.pack(">6l", 0, 0, 0, 0, 1, 4)
    return head + struct.pack(">lBB", offset_s, 0, 0) + b"TST\0"


async def test_the_schedule_of_a_running_node_follows_its_machine_into_another_time_zone(
    process_swarm: ProcessSwarm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    localtime, noon_s = tmp_path / "localtime", 12 * 3600
    here_s = noon_s - int(time.time()) % 86_400  # so that it is about noon here
    localtime.write_bytes(zone(here_s))
    monkeypatch.setenv("TZ", f":{localtime}")
    (node,) = process_swarm(1, skills=[], config=CONFIG + 'check_s = 0.2\nschedule = ["daily 06:00-18:00"]\n')

    async def serves() -> dict[str, Any]:
        return dict((await call(node, "node.status"))["owner"])

    assert (await serves())["serves_others"] is True
    (tmp_path / "new").write_bytes(zone(here_s + (noon_s if here_s < 0 else -noon_s)))  # midnight
    (tmp_path / "new").replace(localtime)
    await until(serves, lambda owner: owner["told_to_others"] == "schedule", 60)
