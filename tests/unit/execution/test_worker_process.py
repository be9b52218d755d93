"""The node's side of the conversation, with a process that says whatever the test makes it say."""

from __future__ import annotations

import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator

import pytest
import trio

from swarmharness.execution.worker_messages import Failed, Failure, Run, frame
from swarmharness.execution.worker_process import Cause, Lost, WorkerProcess

ANSWER = Failed(Failure.INTERNAL, "x" * 3000)


@pytest.fixture
def worker() -> Iterator[tuple[WorkerProcess, socket.socket]]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with theirs, tempfile.TemporaryFile() as stderr:
        process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        yield WorkerProcess(process, ours, stderr), theirs
        process.kill()
        process.wait()
    ours.close()


async def ask(worker: WorkerProcess) -> object:
    with trio.fail_after(30):
        return await worker.exchange(Run((b"item",)), lambda: "")


async def test_an_answer_in_many_pieces_is_put_together(worker: tuple[WorkerProcess, socket.socket]) -> None:
    process, theirs = worker

    async def speak() -> None:
        for byte in frame(ANSWER):
            theirs.send(bytes((byte,)))
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(speak)
        assert await ask(process) == ANSWER
    assert process.alive


@pytest.mark.parametrize("cut", [0, 3, 5, 100, -1])
async def test_a_truncated_answer_is_a_crash(worker: tuple[WorkerProcess, socket.socket], cut: int) -> None:
    process, theirs = worker
    theirs.sendall(frame(ANSWER)[:cut])
    theirs.shutdown(socket.SHUT_WR)
    lost = await ask(process)
    assert isinstance(lost, Lost)
    assert lost.cause is Cause.CRASHED
    assert not process.alive


@pytest.mark.parametrize(
    "data",
    [
        b"\xff" * 100,
        b"\x00\x00\x00\x00\x05",
        b"\x00\x00\x00\x02\x05\xc1",
        frame(ANSWER) + b"\x00",
        frame(ANSWER)[:4] + b"\x63" + frame(ANSWER)[5:],
    ],
    ids=["noise", "empty", "no MessagePack", "too much", "unknown kind"],
)
async def test_a_worker_that_sends_garbage_is_killed(worker: tuple[WorkerProcess, socket.socket], data: bytes) -> None:
    process, theirs = worker
    theirs.sendall(data)
    lost = await ask(process)
    assert isinstance(lost, Lost)
    assert lost.cause is Cause.CRASHED
    assert "damaged answer" in lost.reason
    await process.close()
    assert not process.alive


async def test_a_worker_that_reads_nothing_is_killed_when_it_is_overdue(
    worker: tuple[WorkerProcess, socket.socket],
) -> None:
    process, _ = worker
    looks: list[str] = []

    def overdue() -> str:
        looks.append("")
        return "long enough" if len(looks) == 3 else ""

    with trio.fail_after(30):
        lost = await process.exchange(Run((bytes(10_000_000),)), overdue)
    assert lost == Lost(Cause.HUNG, "long enough")


async def test_a_cancelled_exchange_leaves_no_worker_whose_answer_could_be_taken_for_anothers(
    worker: tuple[WorkerProcess, socket.socket],
) -> None:
    process, _ = worker
    with trio.move_on_after(0.05):
        await ask(process)
    await process.close()
    assert not process.alive


async def test_closing_twice_is_fine(worker: tuple[WorkerProcess, socket.socket]) -> None:
    process, _ = worker
    await process.close()
    await process.close()
