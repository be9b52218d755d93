"""Reads text out of a file's bytes, and shows bytes that are no text; pure."""

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


def visible(text: str) -> str:
    r"""Return a text without what no terminal shows: `\xe9` for a byte of a path that is no UTF-8, `\x1b` for ESC."""
    return text if text.isprintable() else "".join(map(_shown_letter, text))


def _shown_letter(letter: str) -> str:
    if letter.isprintable():
        return letter
    if "\udc80" <= letter <= "\udcff":  # as Python has such a byte
        return f"\\x{ord(letter) - 0xDC00:02x}"
    return letter.encode("unicode_escape").decode()


def _replace(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    letter = error.object[error.start]
    return _shown_letter(letter) if "\ud800" <= letter <= "\udfff" else ascii(letter)[1:-1], error.start + 1


SHOW = "swarmharness.show"
"""What cannot be encoded becomes what `visible` makes of it: a handler of errors for `str.encode` and for streams."""
codecs.register_error(SHOW, _replace)
