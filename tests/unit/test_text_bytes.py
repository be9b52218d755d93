from __future__ import annotations

import codecs
import os

import pytest

from swarmharness.text_bytes import SHOW, text_from, visible


def test_the_mark_that_some_editors_begin_with_is_no_part_of_the_text() -> None:
    assert text_from(codecs.BOM_UTF8 + "größe = 1\r\n".encode()) == text_from("größe = 1\r\n".encode())


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (bytes(512), "zero bytes"),
        (b"a = 1\0", "zero bytes"),
        (b"\x89PNG\r\n\x1a\n", "not UTF-8"),
        ("a = 1".encode("utf-16"), "UTF-16"),
    ],
)
def test_what_is_no_text_is_said_in_words(data: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        text_from(data)


def test_what_no_terminal_shows_is_shown_as_its_bytes() -> None:
    odd = os.fsdecode(b"caf\xe9")
    assert visible("café 😀") == "café 😀"
    assert visible(f"\x1b[31m{odd}\n\ud800") == r"\x1b[31mcaf\xe9\n\ud800"
    assert f"é😀{odd}\ud800".encode("utf-8", SHOW) == "é😀caf".encode() + rb"\xe9\ud800"
    assert "é…😀".encode("ascii", SHOW) == rb"\xe9\u2026\U0001f600"
