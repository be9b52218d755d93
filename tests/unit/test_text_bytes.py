from __future__ import annotations

import codecs

import pytest

from swarmharness.text_bytes import text_from


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
