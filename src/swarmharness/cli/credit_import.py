"""`swarmharness credit import`: hands a file to the running node, or to the store of one that does not run."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO

import typer

from swarmharness.cli.options import DataDirOption, JsonOption, print_json
from swarmharness.errors import InputError, PartialResultError, UnavailableError

if TYPE_CHECKING:
    from swarmharness.credit.archive import Block
    from swarmharness.credit.importing import Imported

_Take = Callable[["Block"], Awaitable[dict[str, Any]]]
_TIMEOUT_S = 60.0


def import_receipts(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A file that `credit export` wrote.")],
    data_dir: DataDirOption = None,
    json: JsonOption = False,
) -> None:
    """Take receipts from a file, each after all its signatures were checked; status 7 if some were refused."""
    from swarmharness.cli.connection import run_async
    from swarmharness.credit.archive import read_archive

    with _opened(file) as source:
        for _ in read_archive(source.read):
            pass  # nothing is stored before all of the file is known to be whole
        source.seek(0)
        done = run_async(lambda: _import(source, data_dir))
    if json:
        print_json(done.as_dict())
    else:
        print(f"new {done.new}, known already {done.known}, new fork proofs {done.proofs}")
        for reason, count in sorted(done.refused.items()):
            print(f"refused {count}: {reason}")
    if done.refused:
        raise PartialResultError(f"{sum(done.refused.values())} entries of {file} were refused, the others are stored")


async def _import(source: BinaryIO, data_dir: Path | None) -> Imported:
    from swarmharness.node.control import open_control
    from swarmharness.node.data_dir import DataDir

    directory = DataDir.at(data_dir)
    try:
        async with open_control(directory) as control:

            async def take(block: Block) -> dict[str, Any]:
                answer: dict[str, Any] = await control.call("credit.import", _params(block), _TIMEOUT_S)
                return answer

            return await _each(source, take)
    except UnavailableError:
        if not directory.identity_file.exists():
            raise UnavailableError(f"there is no node in {directory.path}: start one there once") from None
    with directory.lock():
        return await _into_store(source, directory.database, directory.identity().peer_id)


async def _into_store(source: BinaryIO, database: Path, me: Any) -> Imported:
    from swarmharness.credit.archive import Entries, Games, Proofs
    from swarmharness.credit.importing import Imported, Importer
    from swarmharness.credit.sqlite_store import open_sqlite_store
    from swarmharness.ports import SystemClock

    clock = SystemClock()
    async with open_sqlite_store(database, owner=me, unix_us=clock.unix_us()) as store:
        importer = Importer(store, me, clock, running=False)

        async def take(block: Block) -> dict[str, Any]:
            done = Imported()
            if isinstance(block, Entries):
                done = await importer.take(block.entries)
            elif isinstance(block, Proofs):
                done = await importer.take_proofs(block.proofs)
            elif isinstance(block, Games):
                done = await importer.take_games(block.games)
            return done.as_dict()

        return await _each(source, take)


async def _each(source: BinaryIO, take: _Take) -> Imported:
    from swarmharness.credit.archive import Header, read_archive
    from swarmharness.credit.importing import Imported

    total = Imported()
    for block in read_archive(source.read):
        if not isinstance(block, Header):
            total.add(await take(block))
    return total


def _params(block: Block) -> dict[str, Any]:
    from swarmharness.protocol.codec import encode

    return {"kind": type(block).__name__.lower(), "block": encode(block)}


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    try:
        with path.open("rb") as file:
            yield file
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from None
