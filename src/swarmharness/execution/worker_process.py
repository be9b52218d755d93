"""Starts one worker process, talks to it, watches it, and kills it; it decides nothing about batches or callers."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum
from functools import partial
from pathlib import Path
from typing import IO, TypeVar

import trio

from swarmharness.errors import ProtocolError
from swarmharness.execution.worker_messages import HEAD_BYTES, Message, frame, parse_body, parse_head

POLL_S = 0.05
"""How often a running worker is looked at; it also bounds how late a kill comes."""
REAP_TIMEOUT_S = 10.0
_RECEIVE_BYTES = 65_536
_log = logging.getLogger(__name__)
_T = TypeVar("_T")


class Cause(Enum):
    """Why a worker is gone."""

    CRASHED = "crashed"
    MEMORY = "memory"
    HUNG = "hung"


@dataclass(frozen=True, slots=True)
class Lost:
    """The worker died, or was killed, before it answered."""

    cause: Cause
    reason: str


class _LostSignalError(Exception):
    """Carries `Lost` out of the read and write loops; never leaves this module."""

    def __init__(self, lost: Lost) -> None:
        super().__init__(lost.reason)
        self.lost = lost


Overdue = Callable[[], str]
"""Returns why the worker must be killed now, or an empty string."""


class WorkerProcess:
    """A running worker. One exchange at a time."""

    def __init__(self, process: subprocess.Popen[bytes], stream: socket.socket, stderr: IO[bytes]) -> None:
        self._process = process
        self._stream = stream
        self._stderr = stderr
        self.memory_bytes_max = 0
        """Resident memory beyond which the worker is killed; 0 means no limit."""

    @classmethod
    def start(cls, *, niceness: int = 0) -> WorkerProcess:
        """Start a fresh interpreter. OSError when the system has no room for one.

        Not in a thread: the worker asks to die with the thread that started it. The call takes a millisecond or two.
        """
        ours, theirs = socket.socketpair()
        stderr = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the worker
        try:
            with theirs:
                command = (sys.executable, "-P", "-m", "swarmharness.execution.worker")
                process = subprocess.Popen(
                    [*command, str(theirs.fileno()), str(os.getpid()), str(niceness)],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=stderr,
                    pass_fds=[theirs.fileno()],
                    env=_environment(),
                    process_group=0,  # Ctrl-C is for the node, which then stops its workers
                )
        except BaseException:
            ours.close()
            stderr.close()
            raise
        ours.setblocking(False)
        return cls(process, ours, stderr)

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether the process still runs."""
        return self._process.poll() is None

    async def exchange(self, message: Message, overdue: Overdue) -> Message | Lost:
        """Send a message and return the answer, or how the worker was lost; a lost worker is dead when this returns.

        `overdue` is asked every `POLL_S`, and resident memory is compared with its limit as often. When cancelled,
        the worker is killed, since its answer would be taken for that of the next message.
        """
        try:
            await self._send(frame(message), overdue)
            return await self._receive(overdue)
        except _LostSignalError as error:
            self.kill()
            return error.lost
        except ProtocolError as error:
            self.kill()
            return Lost(Cause.CRASHED, f"it sent a damaged answer ({error})")
        except OSError:  # the other end is closed
            return await self._post_mortem()
        except BaseException:
            self.kill()
            raise

    def kill(self) -> None:
        """Kill the worker now; it holds nothing that could be lost."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()

    async def close(self) -> None:
        """Kill the worker and wait until it is gone; safe to call twice, and when cancelled."""
        self.kill()
        with trio.CancelScope(shield=True):
            await self._reap()
        trio.lowlevel.notify_closing(self._stream)
        self._stream.close()
        self._stderr.close()

    async def _send(self, data: bytes, overdue: Overdue) -> None:
        view = memoryview(data)
        while view:
            view = view[await self._retry(partial(self._stream.send, view), trio.lowlevel.wait_writable, overdue) :]
            if view:
                await trio.lowlevel.checkpoint()

    async def _receive(self, overdue: Overdue) -> Message | Lost:
        read = partial(self._stream.recv, _RECEIVE_BYTES)
        data = await self._retry(read, trio.lowlevel.wait_readable, overdue)
        while 0 < len(data) < HEAD_BYTES:
            more = await self._retry(read, trio.lowlevel.wait_readable, overdue)
            data = data + more if more else b""
        if not data:
            return await self._post_mortem()
        kind, length = parse_head(data)
        if len(data) > HEAD_BYTES + length:
            raise ProtocolError("more than one frame")
        if len(data) == HEAD_BYTES + length:
            return parse_body(kind, memoryview(data)[HEAD_BYTES:])
        body = memoryview(bytearray(length))
        at = len(data) - HEAD_BYTES
        body[:at] = data[HEAD_BYTES:]
        while at < length:
            await trio.lowlevel.checkpoint()  # a long answer must not keep the node's other tasks waiting
            count = await self._retry(partial(self._stream.recv_into, body[at:]), trio.lowlevel.wait_readable, overdue)
            if count == 0:
                return await self._post_mortem()
            at += count
        return parse_body(kind, body)

    async def _retry(
        self, operation: Callable[[], _T], wait: Callable[[socket.socket], Awaitable[None]], overdue: Overdue
    ) -> _T:
        """Return what the socket operation gives once it can, looking at the worker every `POLL_S` until then.

        The operation is tried first, without trio's own scheduling points: they double the cost of a small call.
        """
        while True:
            try:
                return operation()
            except BlockingIOError:
                pass
            with trio.move_on_after(POLL_S) as scope:
                await wait(self._stream)
            if scope.cancelled_caught:
                self._look(overdue)

    def _look(self, overdue: Overdue) -> None:
        resident_bytes = resident_memory_bytes(self.pid)
        if 0 < self.memory_bytes_max < resident_bytes:
            raise _LostSignalError(Lost(Cause.MEMORY, f"it held {resident_bytes // 2**20} MiB"))
        reason = overdue()
        if reason:
            raise _LostSignalError(Lost(Cause.HUNG, reason))

    async def _post_mortem(self) -> Lost:
        self.kill()
        await self._reap()
        words = self._last_words()
        if "bad_alloc" in words or "MemoryError" in words:
            return Lost(Cause.MEMORY, "an allocation was refused")
        code = self._process.returncode or 0
        names = {number.value: number.name for number in signal.Signals}
        how = f"killed by {names.get(-code, f'signal {-code}')}" if code < 0 else f"ended with status {code}"
        return Lost(Cause.CRASHED, f"{how}{': ' if words else ''}{words}")

    async def _reap(self) -> None:
        """Wait for the end of a killed process, in a thread since waiting blocks."""
        if self._process.poll() is not None:
            return
        try:
            await trio.to_thread.run_sync(self._process.wait, REAP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            _log.warning("worker %d does not end after SIGKILL; a driver may hold it", self.pid)

    def _last_words(self) -> str:
        """Return the last line that the worker wrote to stderr."""
        size = self._stderr.seek(0, os.SEEK_END)
        self._stderr.seek(max(0, size - 2000))
        lines = self._stderr.read().decode(errors="replace").split("\n")
        last = next((line.strip() for line in reversed(lines) if line.strip()), "")
        return "".join(letter for letter in last if letter.isprintable())[:300]


def resident_memory_bytes(pid: int) -> int:
    """Return the resident memory of a process; 0 when the system does not tell, or it is gone."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_bytes().split()[1])
    except (OSError, IndexError, ValueError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def _environment() -> dict[str, str]:
    """Return the worker's environment: ours, with the libraries' own thread pools off and few heaps."""
    return {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "MALLOC_ARENA_MAX": "2",
        "PYTHONUTF8": "1",
        "ORT_DISABLE_TELEMETRY": "1",  # only before the import is it wholly off
    }
