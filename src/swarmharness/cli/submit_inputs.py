"""Finds what a user submits, as arguments, files, globs or lines, and yields it as items; it never runs anything.

A skill on texts takes arguments literally and files by line; every other skill takes each file as one item.
"""

from __future__ import annotations

import glob
import sys
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO

from swarmharness.errors import ConfigurationError, InputError
from swarmharness.execution.items import ITEM_BYTES_MAX, item_from_text, items_from_file
from swarmharness.execution.skill import Task

STDIN = "-"
LABEL_CHARS_MAX = 60


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

    def items(self, task: Task) -> Iterator[bytes]:
        """Yield the items in order; raises InputError that names the argument, file or line at fault."""
        for item in self._texts(task) if task is Task.TEXT_EMBEDDING else self._whole_files(task):
            self._count += 1
            yield item
        if self._count == 0:
            raise InputError("the input is empty: there is nothing to submit")

    def label(self, index: int) -> str:
        """Return what a person calls the item with this index, once it was yielded."""
        place = bisect_right(self._starts, index) - 1
        name = self._names[place]
        return f"{name}, text {index - self._starts[place] + 1}" if self._by_line[place] else name

    def _begin(self, name: str, *, by_line: bool = False) -> None:
        self._starts.append(self._count)
        self._names.append(name)
        self._by_line.append(by_line)

    def _texts(self, task: Task) -> Iterator[bytes]:
        for argument in self._arguments:
            if Path(argument).is_file():
                print(f"note: {argument} is taken as a text; `--input {argument}` reads the file", file=sys.stderr)
            shown = argument if len(argument) <= LABEL_CHARS_MAX else argument[: LABEL_CHARS_MAX - 1] + "…"
            self._begin(f'"{shown}"')
            yield item_from_text(task, argument)
        for name in self._files:
            if name == STDIN:
                self._begin("standard input", by_line=True)
                yield from _lines(self._stdin, "standard input")
                continue
            for path in _expand(name):
                self._begin(str(path), by_line=True)
                with path.open("rb") as file:
                    yield from _lines(file, str(path))

    def _whole_files(self, task: Task) -> Iterator[bytes]:
        named = [name for name in self._files if name != STDIN]
        if STDIN in self._files:
            named += [line.decode(errors="surrogateescape") for line in _lines(self._stdin, "standard input")]
        paths = [path for name in [*self._arguments, *named] for path in _expand(name)]
        for path in paths:
            items = items_from_file(task, str(path), _read(path))
            self._begin(str(path), by_line=len(items) > 1)
            yield from items


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
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None


def _lines(file: BinaryIO, name: str) -> Iterator[bytes]:
    """Yield the lines that hold something, without the white space around them."""
    while line := file.readline(ITEM_BYTES_MAX + 1):
        if len(line) > ITEM_BYTES_MAX:
            raise InputError(f"{name}: a line is longer than {ITEM_BYTES_MAX} bytes")
        if text := line.strip():
            yield text
