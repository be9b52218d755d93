"""Shows how far models are fetched, a bar a file or package on stderr; nothing where that is no terminal."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from swarmharness.execution.model_store import Progress


def fetch_progress(name: str) -> AbstractContextManager[Progress | None]:
    """Show bars for the skill of this name as long as the block lasts."""
    return _Bars(name) if sys.stderr.isatty() else nullcontext()


class _Bars(AbstractContextManager["Progress"]):
    """One bar a file or package, on stderr."""

    def __init__(self, skill: str) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
        self._progress = Progress(*columns, console=Console(stderr=True), transient=True)
        self._skill = skill
        self._bars: dict[str, Any] = {}

    def __enter__(self) -> Progress:
        self._progress.start()
        return self._advance

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def _advance(self, name: str, done_bytes: int, all_bytes: int) -> None:
        if name not in self._bars:
            self._bars[name] = self._progress.add_task(f"{self._skill}: {name}", total=None)
        self._progress.update(self._bars[name], completed=done_bytes, total=all_bytes or None)
