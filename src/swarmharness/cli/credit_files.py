"""`swarmharness credit audit`, `export` and `import`: the store as a whole; it judges and stores nothing by itself."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import typer

from swarmharness.cli.options import DataDirOption, JsonOption, print_json, print_table
from swarmharness.errors import ErrorKind, UnavailableError

if TYPE_CHECKING:
    from swarmharness.credit.sqlite_audit import AuditReport


class _Progress(Protocol):
    def __call__(self, done: int, total: int, /) -> None: ...


def audit(data_dir: DataDirOption = None, json: JsonOption = False) -> None:
    """Check every signature, chain, share and sum in this node's store; status 0 if all is well, else 3.

    Works with and without a running node, and changes nothing.
    """
    from swarmharness.credit.sqlite_audit import audit as audited

    began = time.monotonic()
    with progress("receipts") as shown:
        report = audited(database_of(data_dir), shown)
    duration_s = time.monotonic() - began
    if json:
        print_json({**report.as_dict(), "duration_s": round(duration_s, 3)})
    else:
        _print_audit(report, duration_s)
    if report.problems_total:
        raise typer.Exit(int(ErrorKind.INPUT))


def _print_audit(report: AuditReport, duration_s: float) -> None:
    if report.problems:
        rows = [(one.kind.value, one.receipt or "-", one.peer_id or "-", one.text) for one in report.problems]
        print_table("", ("problem", "receipt", "peer", ""), rows)
    if report.problems_total > len(report.problems):
        print(f"… and {report.problems_total - len(report.problems)} more problems")
    print(
        f"{report.receipts} receipts and {report.half_entries} half-entries in {report.epochs} epochs, "
        f"{report.halves} halves in {report.chains} chains: looked at in {duration_s:.1f} s"
    )
    print(f"games: {report.games_recomputed} shares recomputed, {report.games_unknown} whose game is not here")
    gaps = sum(count for kind, count in report.found.items() if not kind.is_problem)
    if gaps:
        print(f"gaps: {gaps}; receipts that are not here, or not yet; that is nobody's fault")
    if report.forkers:
        print(f"signed two histories: {', '.join(sorted(report.forkers))}")
    print("everything is as it should be" if not report.problems_total else f"{report.problems_total} problems")


def database_of(data_dir: Path | None) -> Path:
    """Return the receipt database of a data directory; raises UnavailableError if there is none."""
    from swarmharness.node.data_dir import DataDir

    database = DataDir.at(data_dir).database
    if not database.exists():
        raise UnavailableError(f"there is no receipt database in {database.parent}: has a node run there?")
    return database


@contextmanager
def progress(unit: str) -> Iterator[_Progress]:
    """Yield what shows progress on standard error if that is a terminal, else something that shows nothing."""
    if not sys.stderr.isatty():
        yield lambda done, total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        shown = bar.add_task(unit, total=None)
        yield lambda done, total: bar.update(shown, completed=done, total=total)
