"""Writes trace records to a file, from a thread, with one file of the past beside it; it never holds up the node."""

from __future__ import annotations

import logging
import os
from collections import deque
from pathlib import Path

import trio

from swarmharness.routing.trace import TraceRecord, to_line

FLUSH_S = 0.25
WAITING_MAX = 8192
"""Records in memory; beyond it they are dropped, and counted."""

_log = logging.getLogger(__name__)


class TraceFile:
    """A `TraceSink`. `switch` it on and off at any time; `run` writes."""

    def __init__(self) -> None:
        self._path: Path | None = None
        self._bytes_max = 0
        self._waiting: deque[TraceRecord] = deque()
        self._wake = trio.Event()
        self._failing = False
        self.dropped = 0
        """Records that could not be kept."""

    def switch(self, path: Path | None, *, bytes_max: int) -> None:
        """Write to `path` from now on, or nowhere; beyond `bytes_max` the file becomes `<path>.1`, for a new one."""
        self._path, self._bytes_max = path, bytes_max
        self._failing = False

    @property
    def recording(self) -> bool:
        """See `TraceSink`."""
        return self._path is not None

    def add(self, record: TraceRecord) -> None:
        """See `TraceSink`."""
        if len(self._waiting) >= WAITING_MAX:
            self.dropped += 1
            return
        self._waiting.append(record)
        self._wake.set()

    async def run(self) -> None:
        """Write what comes until cancelled, and then the rest."""
        try:
            while True:
                await self._wake.wait()
                await trio.sleep(FLUSH_S)
                await self._flush()
        finally:
            with trio.CancelScope(shield=True), trio.move_on_after(1):
                await self._flush()

    async def _flush(self) -> None:
        records, path = list(self._waiting), self._path
        self._waiting.clear()
        self._wake = trio.Event()
        if path is None or not records:
            return
        try:
            await trio.to_thread.run_sync(_append, path, records, self._bytes_max)
            self._failing = False
        except OSError as error:
            self.dropped += len(records)
            if not self._failing:
                _log.warning("the trace %s cannot be written: %s", path, error.strerror or error)
            self._failing = True


def _append(path: Path, records: list[TraceRecord], bytes_max: int) -> None:
    data = "".join(map(to_line, records)).encode()
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        size_bytes = os.fstat(descriptor).st_size
        if size_bytes and size_bytes + len(data) > bytes_max:
            os.close(descriptor)
            path.replace(path.with_name(path.name + ".1"))
            descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        written = 0
        while written < len(data):
            written += os.write(descriptor, data[written:])
    finally:
        os.close(descriptor)
