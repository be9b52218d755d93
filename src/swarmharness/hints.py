"""Writes paths and names into commands that a message advises, so that a shell takes them as they are; pure."""

from __future__ import annotations

import shlex
from pathlib import PurePath

_PLAIN = frozenset(range(0x21, 0x7F)) - frozenset(b"'\\")


def quoted(word: str | PurePath) -> str:
    r"""Return a word for a shell: `name`, `'my file'`, or `$'caf\xe9'` where there are bytes that no terminal shows.

    Messages are joined to one line, so that white space in a row is written as bytes, too.
    """
    text = str(word)
    if text.isprintable() and "  " not in text:
        return shlex.quote(text)
    raw = text.encode("utf-8", "surrogateescape")
    return "$'" + "".join(chr(byte) if byte in _PLAIN else f"\\x{byte:02x}" for byte in raw) + "'"
