"""Reads a file of inputs with known answers for `submit --known`; it never sends anything.

One JSON object a line: `{"input": …, "output": …}`, the input a text or the path of a file (from the folder of this
one), the output as `submit --json` prints it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from swarmharness.errors import InputError
from swarmharness.execution.item_files import item_from_path
from swarmharness.execution.items import item_from_text
from swarmharness.execution.output_values import from_json
from swarmharness.execution.skill import Kind
from swarmharness.json_text import read_json
from swarmharness.text_bytes import text_from

LINES_MAX = 64
FILE_BYTES_MAX = 8 * 2**20


def read_known(path: Path, kind: Kind) -> list[list[bytes]]:
    """Return (item, output) of each line; InputError names the line that is wrong."""
    try:
        if path.stat().st_size > FILE_BYTES_MAX:
            raise InputError(f"{path} has more than {FILE_BYTES_MAX} bytes; give the {LINES_MAX} most telling inputs")
        lines = text_from(path.read_bytes()).splitlines()
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {error}") from None
    if len(lines) > LINES_MAX:
        raise InputError(f"{path} has {len(lines)} lines; at most {LINES_MAX} known answers are kept")
    return [_pair(path, number, line, kind) for number, line in enumerate(lines, 1)]


def _pair(path: Path, number: int, line: str, kind: Kind) -> list[bytes]:
    where = f"{path}:{number}"
    try:
        value: Any = read_json(line)
        given, output = value["input"], value["output"]
    except (ValueError, KeyError, TypeError):
        raise InputError(f'{where}: expected an object like {{"input": …, "output": …}}') from None
    if not isinstance(given, str):
        raise InputError(f"{where}: the input is a text or the path of a file")
    try:
        return [_item(path, given, kind), from_json(kind, output)]
    except InputError as error:
        raise InputError(f"{where}: {error}") from None


def _item(path: Path, given: str, kind: Kind) -> bytes:
    if kind is Kind.TEXT_EMBEDDING:
        return item_from_text(kind, given)
    return item_from_path(kind, path.parent / given)
