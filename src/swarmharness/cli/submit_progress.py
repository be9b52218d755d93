"""The progress bar of `submit`: items, rate and peers in use, on a terminal only; it never reads or writes results."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol


class ProgressBar(Protocol):
    """Shows where a job stands."""

    def update(self, progress: Mapping[str, Any], *, input_ended: bool) -> None:
        """Show what `job.results` reported."""


class _Silent:
    def update(self, progress: Mapping[str, Any], *, input_ended: bool) -> None:
        """Standard error is not a terminal."""


@contextmanager
def progress_bar(skill: str) -> Iterator[ProgressBar]:
    """Yield a bar on standard error, or one that shows nothing if that is not a terminal."""
    if not sys.stderr.isatty():
        yield _Silent()
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]} items/s, {task.fields[peers]} peers"),
        TimeRemainingColumn(),
    )
    # Results that are printed on the same terminal go above the bar; in a pipe they must go there untouched.
    bar = Progress(*columns, console=Console(stderr=True), transient=True, redirect_stdout=sys.stdout.isatty())
    with bar:
        yield _Bar(bar, bar.add_task(skill, total=None, rate="-", peers=0))


class _Bar:
    def __init__(self, bar: Any, task_id: Any) -> None:
        self._bar = bar
        self._task_id = task_id
        self._started_s = time.monotonic()

    def update(self, progress: Mapping[str, Any], *, input_ended: bool) -> None:
        done = progress["items_done"]
        rate = done / max(time.monotonic() - self._started_s, 1e-3)
        self._bar.update(
            self._task_id,
            completed=done,
            total=progress["items_total"] if input_ended else None,
            rate=f"{rate:.0f}" if rate >= 10 else f"{rate:.1f}",
            peers=len(progress["peers"]),
        )
