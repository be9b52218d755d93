"""Decides how wide the columns of a table are on a screen of some width, and shortens what cannot be folded; pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

GAP = 2
"""Blanks between two columns."""
TEXT_FIRST = 28
"""Sentences are folded to this width before ids are shortened,"""
TEXT_LEAST = 12
"""and to this one if that is not enough."""
TOKEN_LEAST = 14
_TOKEN_LONG = 16
_PEER_ID = re.compile(r"12D3KooW[1-9A-HJ-NP-Za-km-z]{20,}")


@dataclass(frozen=True, slots=True)
class Layout:
    """The widths of the columns, and the cells as they fit."""

    widths: tuple[int, ...]
    rows: tuple[tuple[str, ...], ...]
    shortened: bool
    """Some cell does not show everything."""


def lay_out(columns: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> Layout:
    """Return widths that sum, with gaps, to at most `width` if that is possible without losing short cells.

    First headings are folded, then cells of several words; then ids, paths and digests are shortened in their middle.
    """
    cells = [[row[number] for row in rows] for number in range(len(columns))]
    widths = [max(map(len, (name, *column)), default=0) for name, column in zip(columns, cells, strict=True)]
    words = [max((len(word) for word in name.split()), default=0) for name in columns]
    longest = [max(map(len, column), default=0) for column in cells]
    texts = [any(" " in cell for cell in column) for column in cells]
    tokens = [not text and most > _TOKEN_LONG for text, most in zip(texts, longest, strict=True)]

    def shrink(floors: list[int]) -> None:
        """Make the widest narrower, one after the other, but none narrower than its floor."""
        over = sum(widths) + GAP * (len(widths) - 1) - width
        while over > 0:
            free = [number for number, floor in enumerate(floors) if widths[number] > floor]
            if not free:
                return
            widest = max(free, key=lambda number: (widths[number], -number))
            widths[widest] -= 1
            over -= 1

    fixed = [max(word, most) for word, most in zip(words, longest, strict=True)]
    shrink(fixed)
    for text_least, token_least in ((TEXT_FIRST, None), (TEXT_FIRST, TOKEN_LEAST), (TEXT_LEAST, TOKEN_LEAST)):
        shrink(
            [
                max(words[number], min(fixed[number], text_least if texts[number] else token_least or fixed[number]))
                if texts[number] or tokens[number]
                else fixed[number]
                for number in range(len(widths))
            ]
        )
    shown = tuple(
        tuple(_shorten(cell, widths[number]) if tokens[number] else cell for number, cell in enumerate(row))
        for row in rows
    )
    return Layout(tuple(widths), shown, shown != tuple(map(tuple, rows)))


def _shorten(text: str, width: int) -> str:
    """Take something out of the middle; most of what stays is the beginning, but for peer ids, which begin alike."""
    if len(text) <= width:
        return text
    head = 3 if _PEER_ID.fullmatch(text) else (width - 1) * 2 // 3
    return f"{text[:head]}…{text[len(text) - (width - 1 - head) :]}"
