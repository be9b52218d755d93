"""The demo's corpus is complete, readable and licensed."""

from __future__ import annotations

from importlib import resources

from swarmharness.demo.corpus import load_corpus


def test_the_corpus_has_two_thousand_different_words_and_definitions_sorted_by_word() -> None:
    pairs = load_corpus()
    assert len(pairs) == 2_000
    words = [word for word, _ in pairs]
    assert words == sorted(set(words))
    assert len({gloss for _, gloss in pairs}) == 2_000


def test_definitions_are_short_plain_texts_of_many_lengths() -> None:
    lengths = {len(gloss) for _, gloss in load_corpus()}
    assert min(lengths) >= 20
    assert max(lengths) <= 160
    assert len(lengths) > 100  # sorting by length before batching has something to do
    assert all(word.isascii() and gloss.isascii() and gloss.strip() == gloss for word, gloss in load_corpus())


def test_the_licence_of_the_definitions_lies_beside_them() -> None:
    notice = resources.files("swarmharness.demo").joinpath("NOTICE").read_text("utf-8")
    assert "WordNet 3.0 Copyright 2006 by Princeton University." in notice
