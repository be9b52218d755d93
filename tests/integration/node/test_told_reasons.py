"""Real processes that cannot work together say why, on both sides: a wrong clock, one key twice, a missing model."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio

from swarmharness.node.control import open_control
from swarmharness.node.process import NodeGroup, NodeLaunch, NodeProcess

pytestmark = pytest.mark.processes

SKILL = "doubling"
AHEAD_S = 4000
SHIFTED = (str(Path(__file__).with_name("shifted_node.py")), str(AHEAD_S))
NOTHING = "version = 1\n[execution]\nskills = []\n"
WAIT_S = 60


@pytest.fixture
def group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[NodeGroup]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with NodeGroup() as nodes:
        yield nodes


def command(node: NodeProcess, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "swarmharness", *arguments, "--data-dir", str(node.data_dir.path)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        env={**os.environ, "COLUMNS": "200"},
    )


async def problems_of(node: NodeProcess, subject: str) -> list[str]:
    async with open_control(node.data_dir) as control:
        status: dict[str, Any] = await control.call("node.status", {})
    return [problem["text"] for problem in status["registry"]["problems"] if problem["subject"] == subject]


def wait_for_problem(node: NodeProcess, subject: str) -> str:
    async def wait() -> str:
        with trio.fail_after(WAIT_S):
            while not (found := await problems_of(node, subject)):
                await trio.sleep(0.1)
        return found[0]

    return trio.run(wait)


def any_second(text: str) -> str:
    """Return a text in which a difference of clocks is the same from one look to the next."""
    return re.sub(r"\b\d+ s ", "N s ", text)


def test_a_wrong_clock_is_named_by_every_command_on_both_sides(tmp_path: Path, group: NodeGroup) -> None:
    (right,) = group.start(NodeLaunch(tmp_path / "right", config=NOTHING))
    (wrong,) = group.start(NodeLaunch(tmp_path / "wrong", (right.join_address,), config=NOTHING, program=SHIFTED))
    for node, other, words in ((right, wrong, "ahead of"), (wrong, right, "behind")):
        text = wait_for_problem(node, "clock")
        sentence = f"the clock of {other.peer_id} is "
        assert text.startswith(sentence)
        ahead_s = int(text.removeprefix(sentence).split(" s ")[0])
        assert abs(ahead_s - AHEAD_S) <= 2
        assert f" s {words} this node's" in text
        shown = command(node, "submit", SKILL, "x")
        assert (shown.returncode, any_second(text) in any_second(shown.stderr)) == (4, True), shown.stderr
        doctor = json.loads(command(node, "doctor", "--json").stdout)["checks"]
        (check,) = [check for check in doctor if check["detail"].startswith("clock: ")]
        assert (check["check"], check["verdict"]) == ("node", "warn")
        assert any_second(text) in any_second(check["detail"])
        assert "timedatectl" in check["remedy"]
    assert f"{wrong.peer_id}  the clock of {wrong.peer_id} is " in command(right, "peers").stdout
    (row,) = [row for row in json.loads(command(wrong, "peers", "--json").stdout) if row["peer"] == right.peer_id]
    assert abs(row["clock_ahead_s"] + AHEAD_S) <= 2
    assert not row["usable"]
    assert "the clock of" in command(wrong, "node", "status").stdout
    status = json.loads(command(right, "node", "status", "--json").stdout)
    assert status["refused_messages"]["clock"] >= 1
    assert {one["peer"] for one in status["refusals"] if one["reason"] == "clock"} == {wrong.peer_id}


def test_a_second_machine_with_the_same_key_is_found_out(tmp_path: Path, group: NodeGroup) -> None:
    (middle,) = group.start(NodeLaunch(tmp_path / "middle", config=NOTHING))
    (first,) = group.start(NodeLaunch(tmp_path / "first", (middle.join_address,), config=NOTHING))
    (tmp_path / "second").mkdir(mode=0o700)
    shutil.copy2(tmp_path / "first" / "identity.key", tmp_path / "second")  # as if the directory had been copied
    (second,) = group.start(NodeLaunch(tmp_path / "second", (middle.join_address,), config=NOTHING))
    assert first.peer_id == second.peer_id
    assert "uses this node's key" in wait_for_problem(first, "another node with this key")
    assert first.peer_id in wait_for_problem(middle, "another node with this key")
    doctor = command(first, "doctor").stdout
    assert "mend it: stop one of the two, or give it a data directory and a key of its own" in doctor


def test_a_node_without_any_model_says_so_when_it_is_ready_and_to_whoever_submits(
    tmp_path: Path, group: NodeGroup
) -> None:
    (node,) = group.start(NodeLaunch(tmp_path / "n"))
    submitted = command(node, "submit", "text-embedding", "x")
    assert submitted.returncode == 4
    assert submitted.stderr.count("\n") == 1
    reason = "its model is not on this machine: swarmharness skills pull text-embedding"
    assert f"this node has it and does not offer it: {reason}" in submitted.stderr
    every = "not offered: file-type, image-ocr, text-embedding: its model is not on this machine"
    assert every in command(node, "doctor").stdout
