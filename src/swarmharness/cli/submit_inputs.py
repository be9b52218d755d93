"""Finds what a user submits, as arguments, files, globs or lines, and yields it as items; it never runs anything.

A skill on texts takes arguments literally and files by line; every other skill takes each file as one item. What does
not exist is refused before anything is sent. What exists and cannot be used is an item all the same: its reason is.
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

from swarmharness.cli.input_lines import lines
from swarmharness.errors import ConfigurationError, InputError
from swarmharness.execution.item_files import item_from_path, version_of
from swarmharness.execution.items import item_bytes_max, item_from_text
from swarmharness.execution.ports import Item
from swarmharness.execution.skill import Kind
from swarmharness.hints import quoted
from swarmharness.text_bytes import SHOW

STDIN = "-"
STDIN_NAME = "standard input"
LABEL_CHARS_MAX = 60
LABELS_KEPT = 65_536
"""More items than a job holds between being read and being handed out."""
NAME_BYTES_MAX = 64 * 1024
SIZED_EVERY = 256
"""How often it is looked how far a file was read."""


class Inputs:
    """What the command line names. Building it, and `begin`, check what can be checked before anything is sent."""

    def __init__(
        self,
        arguments: Sequence[str],
        files: Sequence[str],
        stdin: BufferedReader | None = None,
        *,
        skip_blank: bool = False,
    ) -> None:
        # Not sys.stdin: a thread may still wait for it when the program ends, and Python aborts if it holds that lock.
        self._stdin = stdin or open(0, "rb", closefd=False)  # noqa: SIM115
        self._arguments = tuple(arguments)
        self._files = tuple(files)
        self._skip_blank = skip_blank
        self._listed: list[Path | str] = []
        self._starts: list[int] = []
        self._names: list[str] = []
        self._lines: list[int | None] = []
        self._count = 0
        self._read_bytes = 0
        self._total_bytes: int | None = None
        self.blank_skipped = 0
        """How many blank lines were left out."""
        if not self._arguments and not self._files:
            if self._stdin.isatty():
                raise ConfigurationError("nothing to submit: give INPUT, --input FILE, or pipe lines in")
            self._files = (STDIN,)
        if not self._files and not any(map(str.strip, self._arguments)):
            raise InputError("input 1 is empty: there is nothing to submit")
        for name in self._files:
            if name == STDIN:
                if not self._stdin.peek(1):
                    raise InputError("the standard input is empty: there is nothing to submit")
            else:
                _expand(name)

    @property
    def source(self) -> dict[str, Any]:
        """What names these inputs, so that another command can read them again."""
        named = {"folder": os.getcwd(), "arguments": list(self._arguments), "files": list(self._files)}  # noqa: PTH109
        return {**named, "skip_blank": self._skip_blank}

    def estimated_total(self, items_read: int) -> int | None:
        """Return about how many items there are, by the share of the files' bytes that was read; None if unknown."""
        if not self._total_bytes or not self._read_bytes:
            return None
        return max(items_read, round(items_read * self._total_bytes / self._read_bytes))

    def begin(self, kind: Kind) -> None:
        """Find what is named, for a skill of this kind; raises InputError for what does not exist, or if it is nothing.

        It may wait for the end of standard input.
        """
        if kind is Kind.TEXT_EMBEDDING:
            self._total_bytes = self._named_bytes()
            if self._total_bytes == 0 and not self._arguments:
                raise InputError("the input is empty: there is nothing to submit")
            return
        for number, argument in enumerate(self._arguments, 1):
            if not argument.strip():
                raise InputError(f"input {number} is empty")
        for name in (*self._arguments, *(name for name in self._files if name != STDIN)):
            self._listed += _expand(name)
        if STDIN in self._files:
            for number, line in lines(self._stdin, STDIN_NAME, bytes_max=NAME_BYTES_MAX):
                if isinstance(line, bytes):
                    self._listed += _expand(os.fsdecode(line))
                elif line is not None or not self._skips_blank():
                    self._listed.append(line or _blank(number, STDIN_NAME))

    def items(self, kind: Kind) -> Iterator[Item]:
        """Yield the items in order, in place of one that cannot be used the reason; call `begin` before.

        Raises InputError for a file of texts that changed while it was read.
        """
        for item in self._texts(kind) if kind is Kind.TEXT_EMBEDDING else self._whole_files(kind):
            self._count += 1
            yield item if isinstance(item, bytes) else _text(item)
        if self._count == 0:
            raise InputError("the input is empty: there is nothing to submit")

    def label(self, index: int) -> str:
        """Return what a person calls the item with this index; indices never go far back."""
        if index >= self._count:
            return f"item {index}"  # a resumed job hands out results before their inputs were read again
        place = bisect_right(self._starts, index) - 1
        if place < 0:
            return f"item {index}"
        first_line = self._lines[place]
        name = self._names[place]
        return name if first_line is None else f"{name}, line {first_line + index - self._starts[place]}"

    def _begin(self, name: str, *, line: int | None = None) -> None:
        """Say that what comes next is called so; `line` is the number of the first of many lines."""
        if len(self._starts) >= 2 * LABELS_KEPT:  # nobody asks for earlier ones
            for kept in (self._starts, self._names, self._lines):
                del kept[:LABELS_KEPT]
        self._starts.append(self._count)
        self._names.append(name)
        self._lines.append(line)

    def _texts(self, kind: Kind) -> Iterator[Item]:
        for number, argument in enumerate(self._arguments, 1):
            if Path(argument).is_file():
                print(
                    f"note: {argument} is taken as a text; `--input {quoted(argument)}` reads the file", file=sys.stderr
                )
            shown = argument if len(argument) <= LABEL_CHARS_MAX else argument[: LABEL_CHARS_MAX - 1] + "…"
            self._begin(f'"{shown}"')
            yield item_from_text(kind, argument) if argument.strip() else f"input {number} is empty"
        for name in self._files:
            if name == STDIN:
                yield from self._items_of_lines(kind, self._stdin, STDIN_NAME)
                continue
            for path in _expand(name):
                try:
                    file = path.open("rb")
                except OSError as error:
                    self._begin(str(path))
                    yield f"{path} is a folder" if path.is_dir() else f"cannot read {path}: {error.strerror}"
                    continue
                with file:
                    yield from self._unchanged_lines(kind, file, path)

    def _items_of_lines(self, kind: Kind, file: BinaryIO, name: str) -> Iterator[Item]:
        following = 0
        for number, line in lines(file, name, bytes_max=item_bytes_max(kind)):
            if line is None and self._skips_blank():
                continue
            if number != following:
                self._begin(name, line=number)
            following = number + 1
            yield _blank(number, name) if line is None else line

    def _skips_blank(self) -> bool:
        """Count a blank line that is left out; False if none is."""
        self.blank_skipped += self._skip_blank
        return self._skip_blank

    def _named_bytes(self) -> int | None:
        """Return the bytes of all named files; None if that says nothing about how much is to come."""
        if STDIN in self._files:
            return None
        found = [path.stat() for name in self._files for path in _expand(name)]
        return sum(each.st_size for each in found) if all(stat.S_ISREG(each.st_mode) for each in found) else None

    def _unchanged_lines(self, kind: Kind, file: BinaryIO, path: Path) -> Iterator[Item]:
        """Yield the lines of a file; InputError if it is not the same at its end as at its beginning."""
        before = os.fstat(file.fileno())
        read_before, first = self._read_bytes, self._count
        for line in self._items_of_lines(kind, file, str(path)):
            if self._total_bytes is not None and not self._count % SIZED_EVERY:
                self._read_bytes = read_before + file.tell()
            yield line
        if not stat.S_ISREG(before.st_mode):  # a pipe has no second reading
            return
        after = path.stat()
        if version_of(after) != version_of(before) or version_of(os.fstat(file.fileno())) != version_of(before):
            raise InputError(
                f"{path} changed while it was read, no later than at text {self._count - first}:"
                " `swarmharness jobs resume` reads it again and names the first line that differs"
            )
        self._read_bytes = read_before + before.st_size

    def _whole_files(self, kind: Kind) -> Iterator[Item]:
        for path in self._listed:
            self._begin(str(path) if isinstance(path, Path) else "a line of standard input")
            if isinstance(path, str):
                yield path
                continue
            try:
                yield item_from_path(kind, path)
            except InputError as error:
                yield str(error)


def _text(reason: str) -> str:
    """Return a reason that may name a file with bytes that are no UTF-8, with these in backslashes: it is kept."""
    return reason.encode("utf-8", SHOW).decode()


def _blank(number: int, name: str) -> str:
    return f"line {number} of {name} is blank; --skip-blank leaves such lines out"


def _expand(name: str) -> list[Path]:
    """Return the files that a name or a pattern means; InputError for what does not exist."""
    path = Path(name)
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:
        if glob.has_magic(name):
            matches = sorted(glob.glob(name, recursive=True))  # noqa: PTH207 - Path.glob takes no absolute pattern
            files = [Path(match) for match in matches if Path(match).is_file()]
            if files:
                return files
            raise InputError(f"no file matches {name}") from None
        raise InputError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from None
    except OSError:
        pass  # it is there, and its error is that of its item
    return [path]
