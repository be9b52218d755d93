"""Reads text out of a file's bytes, or says in words why they hold none; pure."""

from __future__ import annotations

import codecs


def text_from(data: bytes) -> str:
    """Return the text in UTF-8 bytes, without the mark that some editors begin with; ValueError says what is wrong."""
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise ValueError("it is UTF-16; save it as UTF-8")
    if b"\0" in data:
        raise ValueError("it holds zero bytes, so it is no text")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8 text") from None
