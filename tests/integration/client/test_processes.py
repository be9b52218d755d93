"""The Python API against real nodes on loopback: two workers, a client, and what goes wrong between them."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import trio

import swarmharness
from swarmharness.demo.corpus import load_corpus
from swarmharness.node.control import open_control
from swarmharness.node.process import NodeProcess
from swarmharness.pytest_plugin import ProcessSwarm

pytestmark = [pytest.mark.processes, pytest.mark.models]

SKILL = "text-embedding"
ONE_THREAD = "version = 1\n\n[execution]\nthreads = 1\n"
ASKING = "version = 1\n\n[execution]\nskills = []\n"
CLOSE = 1e-4
"""MiniLM computes in float32; a result may differ in its last bits with the batch it was in."""


@pytest.fixture
def node(process_swarm: ProcessSwarm) -> NodeProcess:
    return process_swarm(1, skills=[SKILL], config=ONE_THREAD)[0]


async def jobs_open(node: NodeProcess) -> int:
    async with open_control(node.data_dir) as control:
        return int((await control.call("node.status", {}))["jobs_open"])


def until_no_job_is_open(node: NodeProcess) -> None:
    deadline = time.monotonic() + 30
    while trio.run(jobs_open, node):
        assert time.monotonic() < deadline, "the job was not cancelled"
        time.sleep(0.05)


def until_served(swarm: swarmharness.SyncSwarm, workers: int) -> None:
    deadline = time.monotonic() + 60
    while sum(any(skill.name == SKILL for skill in peer.skills) for peer in swarm.peers()) < workers:
        assert time.monotonic() < deadline, "the workers were not found"
        time.sleep(0.05)


def distance(one: swarmharness.Result, other: swarmharness.Result) -> float:
    return float(np.abs(one.output - other.output).max())


def test_500_texts_on_two_workers_come_back_in_order_and_right(process_swarm: ProcessSwarm) -> None:
    workers = process_swarm(2, skills=[SKILL], config=ONE_THREAD)
    client = process_swarm(1, config=ASKING)[0]
    texts = [gloss for _, gloss in load_corpus()[:500]]
    with swarmharness.connect_sync(data_dir=client.data_dir.path) as swarm:
        swarm.submit(SKILL, "so that the skill is looked up")
        until_served(swarm, 2)
        results = swarm.map(SKILL, texts)
        assert [result.index for result in results] == list(range(500))
        assert {result.peer for result in results} == {worker.peer_id for worker in workers}
        assert all(result.output.shape == (384,) for result in results)
        with swarmharness.connect_sync(data_dir=workers[0].data_dir.path) as alone:
            for index in (0, 123, 499):
                assert distance(results[index], alone.submit(SKILL, texts[index])) < CLOSE


def test_a_lazy_generator_is_pulled_no_further_than_the_window(node: NodeProcess) -> None:
    pulled = 0

    def endless() -> Iterator[str]:
        nonlocal pulled
        while True:
            pulled += 1
            yield f"text {pulled}"

    with swarmharness.connect_sync(data_dir=node.data_dir.path) as swarm:
        for taken, result in enumerate(swarm.stream(SKILL, endless(), window=64), 1):
            assert result.index == taken - 1
            assert pulled <= taken + 64
            if taken == 200:
                break
        until_no_job_is_open(node)
        assert pulled <= 200 + 64


def test_inputs_are_read_in_the_thread_of_the_caller(node: NodeProcess) -> None:
    threads = set()

    def texts() -> Iterator[str]:
        for number in range(10):
            threads.add(threading.current_thread())
            yield f"text {number}"

    with swarmharness.connect_sync(data_dir=node.data_dir.path) as swarm:
        assert len(list(swarm.stream(SKILL, texts()))) == 10
    assert threads == {threading.current_thread()}


async def test_leaving_the_block_in_the_middle_cancels_the_job_and_keeps_the_exception(node: NodeProcess) -> None:
    async def leave() -> None:
        async with swarmharness.connect(data_dir=node.data_dir.path) as swarm:
            stream = swarm.stream(SKILL, (f"text {number}" for number in range(1_000_000)), window=64)
            assert (await anext(stream)).ok
            assert await jobs_open(node) == 1
            raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        await leave()
    with trio.fail_after(30):
        while await jobs_open(node):
            await trio.sleep(0.05)


async def test_a_cancelled_block_cancels_its_jobs_on_the_node(node: NodeProcess) -> None:
    with trio.CancelScope() as scope:
        async with swarmharness.connect(data_dir=node.data_dir.path) as swarm:
            async for result in swarm.stream(SKILL, (f"text {number}" for number in range(1_000_000)), window=64):
                if result.index == 20:
                    scope.cancel()
    assert scope.cancelled_caught
    with trio.fail_after(30):
        while await jobs_open(node):
            await trio.sleep(0.05)


async def test_a_job_that_another_command_cancels_is_an_error(node: NodeProcess) -> None:
    async with swarmharness.connect(data_dir=node.data_dir.path) as swarm, open_control(node.data_dir) as control:
        stream = swarm.stream(SKILL, (f"text {number}" for number in range(1_000_000)), window=64)
        assert (await anext(stream)).ok
        (job,) = (await control.call("job.list", {}))["jobs"]
        await control.call("job.cancel", {"job": job["job"]})

        async def read() -> None:
            async for result in stream:
                assert result.ok

        with pytest.raises(swarmharness.SwarmError, match="cancelled"):
            await read()


def test_without_a_node_the_error_says_what_to_start(tmp_path: Path) -> None:
    with pytest.raises(swarmharness.UnavailableError, match=r"`swarmharness node start .*or name a swarm with join="):
        swarmharness.connect_sync(data_dir=tmp_path / "nothing")

    async def connect() -> None:
        async with swarmharness.connect(data_dir=tmp_path / "nothing"):
            pass

    with pytest.raises(swarmharness.UnavailableError, match="no node runs on"):
        trio.run(connect)


def test_without_trio_the_error_names_the_other_door(tmp_path: Path) -> None:
    async def connect() -> None:
        async with swarmharness.connect(data_dir=tmp_path):
            pass

    with pytest.raises(swarmharness.ConfigurationError, match="elsewhere, as in a script"):
        asyncio.run(connect())


def test_what_cannot_be_joined_is_named_before_anything_happens(tmp_path: Path) -> None:
    with pytest.raises(swarmharness.ConfigurationError, match="join='nonsense' cannot be used"):
        swarmharness.connect_sync(data_dir=tmp_path, join="nonsense")
    assert list(tmp_path.iterdir()) == []


def test_without_a_node_an_address_makes_this_process_a_client(node: NodeProcess, tmp_path: Path) -> None:
    with swarmharness.connect_sync(data_dir=tmp_path / "client", join=node.join_address) as swarm:
        result = swarm.submit(SKILL, "a hen")
        assert result.peer == node.peer_id
        assert result.receipt
        (local,) = [peer for peer in swarm.peers() if peer.local]
        assert local.peer_id not in ("", node.peer_id)


def test_a_node_that_dies_in_the_middle_is_an_error_at_once_and_results_are_kept(node: NodeProcess) -> None:
    def texts() -> Iterator[str]:
        for number in range(100_000):
            if number == 5_000:
                node.kill()
            yield f"text {number}"

    swarm = swarmharness.connect_sync(data_dir=node.data_dir.path)
    assert swarm.map(SKILL, ["warm"])[0].ok
    stream = swarm.stream(SKILL, texts(), window=4_999)
    assert next(stream).ok
    with pytest.raises(swarmharness.PeerLostError, match="the node went away"):
        for _ in stream:
            pass
    with pytest.raises(swarmharness.UnavailableError):
        swarm.submit(SKILL, "x")
    swarm.close()


def test_a_connection_serves_many_threads_beside_a_running_asyncio_loop(node: NodeProcess) -> None:
    async def main(swarm: swarmharness.SyncSwarm) -> list[list[int]]:
        async def ask(number: int) -> list[int]:
            texts = [f"text {number} {index}" for index in range(20)]
            results = await asyncio.to_thread(swarm.map, SKILL, texts)
            return [result.index for result in results]

        return await asyncio.gather(*(ask(number) for number in range(8)))

    with swarmharness.connect_sync(data_dir=node.data_dir.path) as swarm:
        assert asyncio.run(main(swarm)) == [list(range(20))] * 8


def test_a_closed_connection_says_so_and_wakes_whoever_waits(node: NodeProcess) -> None:
    swarm = swarmharness.connect_sync(data_dir=node.data_dir.path)
    failures: list[BaseException] = []
    began = threading.Event()

    def texts() -> Iterator[str]:
        for number in range(10**9):
            began.set()
            yield f"text {number}"

    def work() -> None:
        try:
            for _ in swarm.stream(SKILL, texts()):
                pass
        except swarmharness.SwarmError as error:
            failures.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    began.wait(60)
    swarm.close()
    thread.join(60)
    assert not thread.is_alive()
    assert [type(failure) for failure in failures] == [swarmharness.UnavailableError]
    with pytest.raises(swarmharness.UnavailableError, match="connection is closed"):
        swarm.submit(SKILL, "x")
    until_no_job_is_open(node)


INTERRUPTED = """
import signal, sys, swarmharness
signal.signal(signal.SIGINT, signal.default_int_handler)  # tests may run where Ctrl-C is ignored, as behind `&`
try:
    with swarmharness.connect_sync(data_dir=sys.argv[1]) as swarm:
        print(swarm.submit("text-embedding", "ready").ok, flush=True)
        swarm.map("text-embedding", (f"text {number}" for number in range(10**9)))
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


def test_ctrl_c_ends_a_call_and_its_job(node: NodeProcess) -> None:
    command = [sys.executable, "-c", INTERRUPTED, str(node.data_dir.path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "True\n"
        deadline = time.monotonic() + 30
        while not trio.run(jobs_open, node):
            assert time.monotonic() < deadline
        os.kill(program.pid, signal.SIGINT)
        out, err = program.communicate(timeout=30)
    assert (out, err, program.returncode) == ("interrupted\n", "", 0)
    until_no_job_is_open(node)


def test_a_typed_program_runs_as_it_is_checked(node: NodeProcess) -> None:
    program = Path(__file__).with_name("user_program.py")
    done = subprocess.run([sys.executable, program, node.data_dir.path], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert done.stdout.startswith("2 True\n1 of 2 inputs have no result, the first is input 1: the text is empty")
