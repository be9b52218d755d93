"""Commands with odd paths, names and streams, and signals that end them, against real sockets and nodes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from swarmharness.execution.records import encode_record
from tests.integration.cli.test_node_command import Node
from tests.integration.cli.test_submit import Answer, ScriptedNode, serving

pytestmark = pytest.mark.processes

TIMEOUT_S = 60
ODD = os.fsdecode(b"caf\xe9")
CONFIG = "version = 1\n[execution]\nskills = []\n"


@pytest.fixture(autouse=True)
def hangup() -> Iterator[None]:
    """Let programs hear of SIGHUP, also where these tests were started with nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


def file_type(item: bytes) -> Answer:
    return encode_record(["txt", 1.0, "text/plain", "text"]), "", None


async def swarmharness(line: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    r"""Run a shell's line in which `"$@"` is the command."""
    return await trio.run_process(
        ["bash", "-c", line, "bash", sys.executable, "-m", "swarmharness", *arguments],
        capture_stdout=True,
        capture_stderr=True,
        check=False,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "PYTHONIOENCODING": "utf-8:strict", **environment},
    )


async def test_files_with_names_that_are_no_text_are_submitted_shown_and_written(tmp_path: Path) -> None:
    node, deep = ScriptedNode("file-type", file_type), tmp_path / ("d" * 120) / ODD
    picture, out = tmp_path / f"{ODD}.png", tmp_path / f"{ODD}.jsonl"
    picture.write_bytes(b"one")
    (tmp_path / f"{ODD}2.png").write_bytes(b"two")
    async with serving(node, deep):
        asked = ("submit", "file-type", str(picture), f"{tmp_path}/*2.png", "--data-dir", str(deep))
        done = await swarmharness('"$@"', *asked, "--out", str(out))
        assert (done.returncode, done.stderr) == (0, b"")
        assert [json.loads(line)["index"] for line in out.read_bytes().splitlines()] == [0, 1]
        _, params = next(call for call in node.calls if call[0] == "job.open")
        assert params["out"] == str(out)
        assert params["source"]["arguments"] == [str(picture), f"{tmp_path}/*2.png"]
        node.items, node.handed_out, node.ended = [], 0, False
        shown = await swarmharness('"$@"', *asked)
        assert shown.returncode == 0
        assert b"/caf\\xe9.png: txt" in shown.stdout


async def test_results_that_the_standard_output_does_not_take_end_with_a_sentence_and_the_way_on(
    tmp_path: Path,
) -> None:
    node = ScriptedNode()
    async with serving(node, tmp_path):
        done = await swarmharness(
            '"$@" >/dev/full', "submit", "text-embedding", "one", "two", "--data-dir", str(tmp_path)
        )
    assert done.returncode == 2
    way_on, error = done.stderr.splitlines()
    assert way_on == b"what was answered is kept: `swarmharness jobs resume j1` goes on"
    assert error == b"error: the standard output takes nothing: No space left on device"


async def test_messages_that_nobody_takes_stop_no_job(tmp_path: Path) -> None:
    node = ScriptedNode()
    asked = ("submit", "text-embedding", "one", "--progress", "json", "--json", "--data-dir", str(tmp_path))
    async with serving(node, tmp_path):
        for stderr in ("2>/dev/full", "2>&-"):
            node.items, node.handed_out, node.ended = [], 0, False
            done = await swarmharness(f'"$@" {stderr}', *asked)
            assert (done.returncode, json.loads(done.stdout)["output"]) == (0, [3.0, 1.0])


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM])
async def test_a_signal_that_ends_a_submission_cancels_its_job(tmp_path: Path, number: signal.Signals) -> None:
    node = ScriptedNode()
    async with serving(node, tmp_path), trio.open_nursery() as nursery:
        read, write = os.pipe()
        os.write(write, b"a text, and the input goes on\n")
        run = partial(trio.run_process, stdin=read, capture_stderr=True, check=False)
        command = [sys.executable, "-m", "swarmharness", "submit", "text-embedding", "--data-dir", str(tmp_path)]
        process: trio.Process = await nursery.start(run, command)
        await node.asked.wait()
        process.send_signal(number)
        with trio.fail_after(TIMEOUT_S):
            await node.cancelled.wait()
            assert await process.wait() == 128 + number
        os.close(write)
        os.close(read)


def test_a_node_is_found_wherever_it_lies_needs_no_stream_and_takes_leave_when_its_terminal_goes(
    tmp_path: Path,
) -> None:
    lost, other = tmp_path / ("d" * 120) / ODD, Node(_configured(tmp_path / "other"))
    _configured(lost)

    def ask(*arguments: str, runtime: str = "/nonexistent") -> Any:
        done = subprocess.run(
            [sys.executable, "-m", "swarmharness", *arguments, "--json", "--data-dir", str(lost)],
            capture_output=True,
            env={**os.environ, "XDG_RUNTIME_DIR": runtime},
            timeout=TIMEOUT_S,
        )
        return json.loads(done.stdout) if done.returncode == 0 else done.returncode

    line = 'exec "$@" <&- >&- 2>/dev/full'
    address = f"{other.ready['addresses'][0]}/p2p/{other.ready['peer_id']}"
    start = [sys.executable, "-m", "swarmharness", "node", "start", "--data-dir", str(lost), "--join", address]
    process = subprocess.Popen(["bash", "-c", line, "bash", *start], env={**os.environ, "XDG_RUNTIME_DIR": "/tmp"})
    try:
        while not (lost / "control.sock").exists():  # to ask is to start a program, which slows the node's own start
            assert process.poll() is None
            time.sleep(0.02)
        while isinstance(status := ask("node", "status"), int) or not status["registry"]["connected"]:
            assert process.poll() is None
        assert (lost / "control.sock").stat().st_mode & 0o777 == 0o600
        doctor = {finding["check"]: finding for finding in ask("doctor")["checks"]}
        assert doctor["node"]["verdict"] == "ok"
        process.send_signal(signal.SIGHUP)
        assert process.wait(TIMEOUT_S) == 0
        assert not (lost / "control.sock").exists()
        peers = json.loads(
            subprocess.run(
                [sys.executable, "-m", "swarmharness", "peers", "--json", "--data-dir", str(other.data_dir)],
                capture_output=True,
                check=True,
                timeout=TIMEOUT_S,
            ).stdout
        )
        assert [peer["reason"] for peer in peers if not peer["local"]] == ["the other node is stopping"]
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        other.close()


def _configured(path: Path) -> Path:
    path.mkdir(mode=0o700, parents=True)
    (path / "node.toml").write_text(CONFIG)
    return path
