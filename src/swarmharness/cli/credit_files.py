"""`swarmharness credit audit` and `export`: the store as a whole, read only, with and without a running node."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO, Protocol

import typer

from swarmharness.cli.options import DataDirOption, JsonOption, print_json, print_table
from swarmharness.errors import ErrorKind, InputError, UnavailableError

if TYPE_CHECKING:
    from swarmharness.credit.sqlite_audit import AuditReport

_UNITS_US = {"m": 60 * 10**6, "h": 3_600 * 10**6, "d": 86_400 * 10**6, "w": 604_800 * 10**6}


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


def export(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The file to write; it must not exist.")],
    since: Annotated[
        str | None,
        typer.Option("--since", metavar="WHEN", help="Only what is newer: 7d, 12h, or a date like 2026-05-01 (UTC)."),
    ] = None,
    data_dir: DataDirOption = None,
    json: JsonOption = False,
) -> None:
    """Write this node's receipts and fork proofs to a file, which `credit import` reads."""
    from swarmharness.credit.receipt import epoch_of
    from swarmharness.credit.sqlite_export import export as exported

    now_us = time.time_ns() // 1_000
    oldest_epoch = 0 if since is None else epoch_of(since_us(since, now_us))
    database = database_of(data_dir)
    with new_file(file) as output, progress("receipts") as shown:
        done = exported(database, output.write, now_us=now_us, oldest_epoch=oldest_epoch, progress=shown)
    if json:
        print_json({"file": str(file), **asdict(done)})
        return
    print(f"{done.entries} entries and {done.proofs} fork proofs are in {file}")
    if done.damaged:
        print(f"{done.damaged} damaged entries were left out: see `swarmharness credit audit`")


def since_us(text: str, now_us: int) -> int:
    """Return the moment that `--since` means, in microseconds of Unix time; raises InputError."""
    from datetime import UTC, datetime

    if text[:-1].isdecimal() and len(text) <= 8 and text[-1] in _UNITS_US:
        return max(0, now_us - int(text[:-1]) * _UNITS_US[text[-1]])
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise InputError(f"--since {text!r} is no span like 7d or 12h, nor a date like 2026-05-01") from None
    return max(0, int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1e6))


@contextmanager
def new_file(path: Path) -> Iterator[BinaryIO]:
    """Yield a file that gets its name when the block ends well, and is gone otherwise; refuses an existing one."""
    import tempfile

    if path.exists():
        raise InputError(f"{path} exists already: choose another name")
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # 0600: it says who knows whom
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}") from None
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except OSError as error:
        raise UnavailableError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        Path(temporary).unlink(missing_ok=True)


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
