"""What benchmarks share: rows with their goals, interleaved measuring and child processes; it measures nothing itself.

A benchmark is a module `benchmarks/bench_<name>.py` with `NAME`, `DESCRIPTION` and `run(quick) -> list[Row]`. A figure
means little on its own, so each comes with a floor: the least that the same work costs on the same machine, in the same
minute.
"""

from __future__ import annotations

import argparse
import importlib
import math
import os
import pkgutil
import queue
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol, cast, runtime_checkable

READY_DEADLINE_S = 60.0
STOP_DEADLINE_S = 10.0


@dataclass(frozen=True, slots=True)
class Row:
    """One figure. `ratio` is value / floor; `met` is None where the issue sets no goal."""

    name: str
    value: float
    unit: str
    floor: float | None
    ratio: float | None
    goal: str
    met: bool | None


class Benchmark(Protocol):
    """What a module `bench_<name>.py` holds."""

    NAME: str
    DESCRIPTION: str

    def run(self, quick: bool) -> list[Row]:
        """Measure; `quick` asks for a rough answer within seconds."""


@runtime_checkable
class Choosable(Protocol):
    """What such a module holds besides if its runs can be chosen among."""

    def add_options(self, parser: argparse._ArgumentGroup) -> None:
        """Add options to the command line."""

    def configure(self, options: argparse.Namespace) -> None:
        """Take what was chosen, before `run`."""


def judge(
    name: str,
    value: float,
    unit: str,
    *,
    floor: float | None = None,
    at_most: float | None = None,
    at_least: float | None = None,
    ratio_at_most: float | None = None,
    ratio_at_least: float | None = None,
) -> Row:
    """Return the row of a figure, with its goal in words and whether the figure meets every bound given."""
    ratio = value / floor if floor else None
    bounds = [
        (value, "<=", at_most, f" {unit}"),
        (value, ">=", at_least, f" {unit}"),
        (ratio, "<=", ratio_at_most, " x floor"),
        (ratio, ">=", ratio_at_least, " x floor"),
    ]
    goals: list[str] = []
    met: list[bool] = []
    for figure, sign, bound, of in bounds:
        if bound is None:
            continue
        if figure is None or not math.isfinite(figure):
            raise ValueError(f"{name}: a goal of {sign} {bound}{of} needs a finite figure, not {figure}")
        goals.append(f"{sign} {bound:g}{of}")
        met.append(figure <= bound if sign == "<=" else figure >= bound)
    return Row(name, value, unit, floor, ratio, " and ".join(goals), all(met) if met else None)


def discover() -> dict[str, Benchmark]:
    """Import every `bench_*.py` beside this module; the result is sorted by NAME."""
    here = Path(__file__).parent
    names = [module.name for module in pkgutil.iter_modules([str(here)]) if module.name.startswith("bench_")]
    modules = [cast(Benchmark, importlib.import_module(f"benchmarks.{name}")) for name in names]
    return {module.NAME: module for module in sorted(modules, key=lambda module: module.NAME)}


def median(values: Sequence[float]) -> float:
    """Return the middle value: one slow round on a shared machine does not move it."""
    return statistics.median(values)


def interleave(*measures: Callable[[], float], rounds: int) -> tuple[float, ...]:
    """Run every measure once a round and return their medians, so that what slows the machine slows them all.

    Each round begins with another measure: none always runs first, on a cold cache.
    """
    seen: list[list[float]] = [[] for _ in measures]
    for turn in range(rounds):
        for index in _rotated(len(measures), turn):
            seen[index].append(measures[index]())
    return tuple(median(values) for values in seen)


async def interleave_async(*measures: Callable[[], Awaitable[float]], rounds: int) -> tuple[float, ...]:
    """Do as `interleave`, for measures that run inside one event loop."""
    seen: list[list[float]] = [[] for _ in measures]
    for turn in range(rounds):
        for index in _rotated(len(measures), turn):
            seen[index].append(await measures[index]())
    return tuple(median(values) for values in seen)


def _rotated(count: int, turn: int) -> list[int]:
    return [(turn + offset) % count for offset in range(count)]


class Child:
    """A running child process whose standard output is read line by line, each with a deadline."""

    def __init__(self, process: subprocess.Popen[str], errors: IO[str]) -> None:
        self._process = process
        self._errors = errors
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def line(self, *, deadline_s: float = READY_DEADLINE_S) -> str:
        """Return the next line of its output; RuntimeError, with what it said on stderr, if none comes in time."""
        try:
            line = self._lines.get(timeout=deadline_s)
        except queue.Empty:
            raise RuntimeError(f"{self._name()} said nothing in {deadline_s:g} s\n{self.errors()}") from None
        if line is None:
            raise RuntimeError(f"{self._name()} ended (status {self._process.poll()})\n{self.errors()}")
        return line

    def wait_for(self, text: str, *, deadline_s: float = READY_DEADLINE_S) -> str:
        """Skip lines until one contains `text`, and return that one."""
        end = time.monotonic() + deadline_s
        while True:
            line = self.line(deadline_s=max(end - time.monotonic(), 0.001))
            if text in line:
                return line

    def send(self, line: str) -> None:
        """Write one line to its standard input."""
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def errors(self) -> str:
        """Return the end of what it has written to stderr."""
        self._errors.seek(0)
        return self._errors.read()[-4000:]

    def stop(self) -> None:
        """End it: SIGTERM, then SIGKILL if it has not gone when the deadline passes."""
        self._process.terminate()
        try:
            self._process.wait(STOP_DEADLINE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()

    def _name(self) -> str:
        return " ".join(map(str, cast("list[str]", self._process.args)))[:120]

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line.rstrip("\n"))
        self._lines.put(None)


@contextmanager
def child(command: Sequence[str], *, environment: Mapping[str, str] | None = None) -> Iterator[Child]:
    """Start a child process and stop it on leaving; `environment` is added to this process's own."""
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            list(command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **(environment or {})},
        )
        running = Child(process, errors)
        try:
            yield running
        finally:
            running.stop()


def python_child(code: str, *arguments: str) -> list[str]:
    """Return the command that runs `code` in a fresh interpreter of this environment."""
    return [sys.executable, "-c", code, *arguments]


def process_tree(pid: int) -> list[int]:
    """Return a process and all its descendants (Linux only)."""
    found = [pid]
    for parent in found:
        for tasks in Path(f"/proc/{parent}/task").glob("*/children"):
            found.extend(int(word) for word in tasks.read_text().split())
    return found


def rss_mib(pid: int) -> float:
    """Return the resident memory of a process with its descendants, in MiB; pages they share count for each."""
    page_bytes = os.sysconf("SC_PAGE_SIZE")
    pages = [int(Path(f"/proc/{one}/statm").read_text().split()[1]) for one in process_tree(pid)]
    return sum(pages) * page_bytes / 2**20


def cpu_s(pid: int) -> float:
    """Return the processor time that a process and its descendants have used, user and system, in seconds."""
    ticks = 0
    for one in process_tree(pid):
        fields = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])  # utime and stime: fields 14 and 15 of proc(5)
    return ticks / os.sysconf("SC_CLK_TCK")
