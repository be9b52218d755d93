"""Reads files as items, within limits; it knows no command and sends nothing."""

from __future__ import annotations

import os
from pathlib import Path

from swarmharness.errors import InputError
from swarmharness.execution.items import FILE_TYPE_BLOCK_BYTES, ITEM_BYTES_MAX, item_from_bytes
from swarmharness.execution.skill import Kind
from swarmharness.hints import quoted

FileVersion = tuple[int, int, int]


def version_of(found: os.stat_result) -> FileVersion:
    """Return what changes when a file does."""
    return found.st_ino, found.st_size, found.st_mtime_ns


def item_from_path(kind: Kind, path: Path) -> bytes:
    """Return the item in a file; InputError names the file and says why there is none."""
    return item_from_bytes(kind, str(path), read_file(path, ITEM_BYTES_MAX, ends_only=kind is Kind.FILE_TYPE))


def read_file(path: Path, bytes_max: int, *, ends_only: bool = False) -> bytes:
    """Return what a file holds, or its first and last block (see `items.shorten_file`); InputError names the file."""
    try:
        with path.open("rb") as file:
            before = os.fstat(file.fileno())
            if ends_only:
                data = file.read(2 * FILE_TYPE_BLOCK_BYTES + 1)
                if len(data) > 2 * FILE_TYPE_BLOCK_BYTES:
                    file.seek(-FILE_TYPE_BLOCK_BYTES, os.SEEK_END)
                    data = data[:FILE_TYPE_BLOCK_BYTES] + file.read(FILE_TYPE_BLOCK_BYTES)
            else:
                data = file.read(bytes_max + 1)
            changed = version_of(os.fstat(file.fileno())) != version_of(before)
    except IsADirectoryError:
        raise InputError(f"{path} is a folder; name its files: {quoted(path)}/*") from None
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from None
    if changed:
        raise InputError(f"{path} changed while it was read")
    if len(data) > bytes_max:
        raise InputError(f"{path} has more than {bytes_max} bytes, the most that an item can have")
    return data
