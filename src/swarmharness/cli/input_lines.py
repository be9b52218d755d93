"""Splits bytes into items, a line each; a line that cannot be one becomes the reason. It opens nothing.

A line ends in a newline, with or without a carriage return; a final newline begins no line. A byte order mark of UTF-8
is no part of the text, and neither is white space around it.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from typing import BinaryIO

from swarmharness.execution.ports import Item

_ROOM = len(codecs.BOM_UTF8) + len(b"\r\n")
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def lines(file: BinaryIO, name: str, *, bytes_max: int) -> Iterator[tuple[int, Item | None]]:
    """Yield the number of each line, from 1 on, and its text, or why it has none, or None for a blank one.

    `name` is what people call the file. A text in UTF-16, and what cannot be read of a file, are one line.
    """
    number = 0
    try:
        while line := file.readline(bytes_max + _ROOM):
            number += 1
            if number == 1 and line.startswith(_UTF16):
                yield 1, f"{name} is in UTF-16: `iconv -f UTF-16 -t UTF-8` makes it UTF-8"
                return
            text = (line.removeprefix(codecs.BOM_UTF8) if number == 1 else line).strip()
            cut = len(line) == bytes_max + _ROOM and not line.endswith(b"\n")
            rest = line
            while cut and rest and not rest.endswith(b"\n"):
                rest = file.readline(bytes_max)
            if cut or len(text) > bytes_max:
                yield number, f"line {number} of {name} has more than {bytes_max} bytes, the most that a text may have"
            elif not text:
                yield number, None
            else:
                yield number, text
    except OSError as error:
        yield number + 1, f"cannot read {name} beyond line {number}: {error.strerror}"
