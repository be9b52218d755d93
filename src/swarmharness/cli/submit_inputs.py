"""Finds what a user submits, as arguments, files, globs or lines, and yields it as items; it never runs anything.

A skill on texts takes arguments literally and files by line; every other skill takes each file as one item.
"""

from __future__ import annotations

import glob
import os
import stat
import sys
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from io import BufferedReader
from pathlib import Path
from typing import Any, BinaryIO

from swarmharness.errors import ConfigurationError, InputError
from swarmharness.execution.items import ITEM_BYTES_MAX, item_from_text, items_from_file
from swarmharness.execution.skill import Kind

STDIN = "-"
LABEL_CHARS_MAX = 60
LABELS_KEPT = 1024
SIZED_EVERY = 256
"""How often it is looked how far a file was read."""


class Inputs:
    """What the command line names. Building it checks what can be checked before anything is sent."""

    def __init__(self, arguments: Sequence[str], files: Sequence[str], stdin: BufferedReader | None = None) -> None:
        # Not sys.stdin: a thread may still wait for it when the program ends, and Python aborts if it holds that lock.
        self._stdin = stdin or open(0, "rb", closefd=False)  # noqa: SIM115
        self._arguments = tuple(arguments)
        self._files = tuple(files)
        self._starts: list[int] = []
        self._names: list[str] = []
        self._by_line: list[bool] = []
        self._count = 0
        self._read_bytes = 0
        self._total_bytes: int | None = None
        if not self._arguments and not self._files:
            if self._stdin.isatty():
                raise ConfigurationError("nothing to submit: give INPUT, --input FILE, or pipe lines in")
            self._files = (STDIN,)
        for number, argument in enumerate(self._arguments, 1):
            if not argument.strip():
                raise InputError(f"input {number} is empty")
        for name in self._files:
            if name == STDIN:
                if not self._stdin.peek(1):
                    raise InputError("the standard input is empty: there is nothing to submit")
            elif not glob.has_magic(name):
                _check_file(Path(name))

    @property
    def source(self) -> dict[str, Any]:
        """What names these inputs, so that another command can read them again."""
        return {"folder": os.getcwd(), "arguments": list(self._arguments), "files": list(self._files)}  # noqa: PTH109

    @property
    def repeatable(self) -> bool:
        """Whether they can be read a second time by themselves: standard input cannot."""
        return STDIN not in self._files

    def estimated_total(self, items_read: int) -> int | None:
        """Return about how many items there are, by the share of the files' bytes that was read; None if unknown."""
        if not self._total_bytes or not self._read_bytes:
            return None
        return max(items_read, round(items_read * self._total_bytes / self._read_bytes))

    def items(self, kind: Kind) -> Iterator[bytes]:
        """Yield the items in order; raises InputError that names the argument, file or line at fault."""
        for item in self._texts(kind) if kind is Kind.TEXT_EMBEDDING else self._whole_files(kind):
            self._count += 1
            yield item
        if self._count == 0:
            raise InputError("the input is empty: there is nothing to submit")

    def label(self, index: int) -> str:
        """Return what a person calls the item with this index; indices never go far back."""
        if index >= self._count:
            return f"item {index}"  # a resumed job hands out results before their inputs were read again
        place = bisect_right(self._starts, index) - 1
        if place > LABELS_KEPT:  # nobody asks for earlier ones
            for kept in (self._starts, self._names, self._by_line):
                del kept[:place]
            place = 0
        if place < 0:
            return f"item {index}"
        name = self._names[place]
        return f"{name}, text {index - self._starts[place] + 1}" if self._by_line[place] else name

    def _begin(self, name: str, *, by_line: bool = False) -> None:
        self._starts.append(self._count)
        self._names.append(name)
        self._by_line.append(by_line)

    def _texts(self, kind: Kind) -> Iterator[bytes]:
        for argument in self._arguments:
            if Path(argument).is_file():
                print(f"note: {argument} is taken as a text; `--input {argument}` reads the file", file=sys.stderr)
            shown = argument if len(argument) <= LABEL_CHARS_MAX else argument[: LABEL_CHARS_MAX - 1] + "…"
            self._begin(f'"{shown}"')
            yield item_from_text(kind, argument)
        self._total_bytes = self._named_bytes()
        for name in self._files:
            if name == STDIN:
                self._begin("standard input", by_line=True)
                yield from _lines(self._stdin, "standard input")
                continue
            for path in _expand(name):
                self._begin(str(path), by_line=True)
                with path.open("rb") as file:
                    yield from self._unchanged_lines(file, path)

    def _named_bytes(self) -> int | None:
        """Return the bytes of all named files; None if that says nothing about how much is to come."""
        if STDIN in self._files:
            return None
        found = [path.stat() for name in self._files for path in _expand(name)]
        return sum(each.st_size for each in found) if all(stat.S_ISREG(each.st_mode) for each in found) else None

    def _unchanged_lines(self, file: BinaryIO, path: Path) -> Iterator[bytes]:
        """Yield the lines of a file; InputError if it is not the same at its end as at its beginning."""
        before = os.fstat(file.fileno())
        read_before = self._read_bytes
        for line in _lines(file, str(path)):
            if self._total_bytes is not None and not self._count % SIZED_EVERY:
                self._read_bytes = read_before + file.tell()
            yield line
        if not stat.S_ISREG(before.st_mode):  # a pipe has no second reading
            return
        after = path.stat()
        if _version(after) != _version(before) or _version(os.fstat(file.fileno())) != _version(before):
            raise InputError(
                f"{path} changed while it was read, no later than at text {self._count - self._starts[-1]}:"
                " `swarmharness jobs resume` reads it again and names the first line that differs"
            )
        self._read_bytes = read_before + before.st_size

    def _whole_files(self, kind: Kind) -> Iterator[bytes]:
        named = [name for name in self._files if name != STDIN]
        if STDIN in self._files:
            named += [line.decode(errors="surrogateescape") for line in _lines(self._stdin, "standard input")]
        paths = [path for name in [*self._arguments, *named] for path in _expand(name)]
        for path in paths:
            items = items_from_file(kind, str(path), _read(path))
            self._begin(str(path), by_line=len(items) > 1)
            yield from items


def _version(found: os.stat_result) -> tuple[int, int, int]:
    """Return what changes when a file does."""
    return found.st_ino, found.st_size, found.st_mtime_ns


def _expand(name: str) -> list[Path]:
    path = Path(name)
    if not path.exists() and glob.has_magic(name):
        matches = sorted(glob.glob(name, recursive=True))  # noqa: PTH207 - Path.glob takes no absolute pattern
        files = [Path(match) for match in matches if Path(match).is_file()]
        if not files:
            raise InputError(f"no file matches {name}")
        return files
    _check_file(path)
    return [path]


def _check_file(path: Path) -> None:
    try:
        if path.is_dir():
            raise InputError(f'{path} is a folder; name its files: "{path}/*"')
        with path.open("rb"):
            return
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from None


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            before = os.fstat(file.fileno())
            data = file.read()
            changed = _version(os.fstat(file.fileno())) != _version(before)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
    if changed:
        raise InputError(f"{path} changed while it was read")
    return data


def _lines(file: BinaryIO, name: str) -> Iterator[bytes]:
    """Yield the lines that hold something, without the white space around them."""
    while line := file.readline(ITEM_BYTES_MAX + 1):
        if len(line) > ITEM_BYTES_MAX:
            raise InputError(f"{name}: a line is longer than {ITEM_BYTES_MAX} bytes")
        if text := line.strip():
            yield text
