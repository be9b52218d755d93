"""Shows on standard error how far a submission is: a bar, lines or JSON events; it never reads or writes results."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from swarmharness.cli.options import one_line

MODES = ("auto", "bar", "lines", "json", "none")
LINE_EVERY_S = 10.0
EVENT_EVERY_S = 1.0


@dataclass(frozen=True, slots=True)
class Status:
    """Where a submission stands. `items_total` is None while nobody can know it; `exact` tells it from an estimate."""

    items_done: int
    items_total: int | None
    exact: bool
    peers: int
    spent_microcredits: int
    elapsed_s: float
    items_per_s: float
    waiting_for: str = ""
    """What the job waits for while nobody can go on with it."""

    @property
    def left_s(self) -> float | None:
        """How long it will take at this rate."""
        if self.items_total is None or not self.items_per_s:
            return None
        return max(0, self.items_total - self.items_done) / self.items_per_s


class ProgressBar(Protocol):
    """Shows where a job stands."""

    def update(self, progress: Mapping[str, Any], *, total: int | None, exact: bool) -> None:
        """Show what `job.results` reported, and how many items there are, if that is known or can be guessed."""


class _Silent:
    def update(self, progress: Mapping[str, Any], *, total: int | None, exact: bool) -> None:
        """Show nothing."""


class _Paced:
    """Tells its status to `show` so often, the first time after one such pause."""

    def __init__(self, show: Callable[[Status], None], every_s: float, clock: Callable[[], float]) -> None:
        self._show, self._every_s, self._clock = show, every_s, clock
        self._began_s = self._shown_s = clock()
        self._done_before: int | None = None

    def update(self, progress: Mapping[str, Any], *, total: int | None, exact: bool) -> None:
        """See `ProgressBar`."""
        now_s = self._clock()
        done = progress["items_done"]
        if self._done_before is None:
            self._done_before = done if progress.get("resumed") else 0
        if now_s - self._shown_s < self._every_s:
            return
        self._shown_s = now_s
        elapsed_s = now_s - self._began_s
        rate = (done - self._done_before) / max(elapsed_s, 1e-3)
        spent = progress.get("spent_microcredits", 0)
        waiting_for = progress.get("waiting_for", "")
        self._show(Status(done, total, exact, len(progress["peers"]), spent, elapsed_s, rate, waiting_for))


@contextmanager
def progress_bar(skill: str, mode: str = "auto", clock: Callable[[], float] = time.monotonic) -> Iterator[ProgressBar]:
    """Yield what shows the progress: by itself a bar on a terminal, and elsewhere a line every ten seconds."""
    if mode == "auto":
        mode = "bar" if sys.stderr.isatty() else "lines"
    if mode == "none":
        yield _Silent()
    elif mode == "json":
        yield _Paced(_event, EVENT_EVERY_S, clock)
    elif mode == "lines":
        yield _Paced(lambda status: print(f"{skill}: {line(status)}", file=sys.stderr), LINE_EVERY_S, clock)
    else:
        with _rich_bar(skill, clock) as bar:
            yield bar


def line(status: Status) -> str:
    """Return a status for a person."""
    total = "" if status.items_total is None else f" of {'' if status.exact else 'about '}{status.items_total:,}"
    return f"{status.items_done:,}{total} done, {state_text(status)}"


def state_text(status: Status) -> str:
    """Return how fast it goes on, or what it waits for."""
    if status.waiting_for:
        return f"waiting for {one_line(status.waiting_for)}"
    left = "" if status.left_s is None else f", {duration_text(status.left_s)} left"
    return f"{rate_text(status.items_per_s)} items/s, {status.peers} peers{left}"


def rate_text(per_s: float) -> str:
    """Return a rate with the digits that say something."""
    return f"{per_s:,.0f}" if per_s >= 10 else f"{per_s:.1f}"


def duration_text(seconds: float) -> str:
    """Return a duration in its two largest units."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def _event(status: Status) -> None:
    left_s = status.left_s
    event = {
        "event": "progress",
        "items_done": status.items_done,
        "items_total": status.items_total,
        "exact": status.exact,
        "items_per_s": round(status.items_per_s, 3),
        "peers": status.peers,
        "spent_microcredits": status.spent_microcredits,
        "elapsed_s": round(status.elapsed_s, 3),
        "left_s": None if left_s is None or status.waiting_for else round(left_s, 1),
        "waiting_for": status.waiting_for or None,
    }
    print(json.dumps(event, separators=(",", ":")), file=sys.stderr, flush=True)


@contextmanager
def _rich_bar(skill: str, clock: Callable[[], float]) -> Iterator[ProgressBar]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[state]}", markup=False),
    )
    # Results that are printed on the same terminal go above the bar; in a pipe they must go there untouched.
    bar = Progress(*columns, console=Console(stderr=True), transient=True, redirect_stdout=sys.stdout.isatty())
    with bar:
        task = bar.add_task(skill, total=None, state="")

        def show(status: Status) -> None:
            bar.update(task, completed=status.items_done, total=status.items_total, state=state_text(status))

        yield _Paced(show, 0.0, clock)
