"""Loads the 2,000 dictionary definitions that the demo embeds and searches; it never changes them."""

from __future__ import annotations

from functools import cache
from importlib import resources


@cache
def load_corpus() -> tuple[tuple[str, str], ...]:
    """Return (word, definition) pairs sorted by word; definitions have 20 to 160 characters.

    They come from WordNet 3.0 (see NOTICE beside this module), chosen by `scripts/extract-glosses`.
    """
    text = resources.files("swarmharness.demo").joinpath("glosses.tsv").read_text("utf-8")
    pairs = [line.split("\t", 1) for line in text.splitlines()]
    return tuple((word, gloss) for word, gloss in pairs)
