from __future__ import annotations

import numpy as np

from swarmharness.execution.kinds.image_ocr import ctc_text

ALPHABET = ("", "a", "b", " ")


def steps(*classes: int) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    scores = np.full((len(classes), len(ALPHABET)), 0.1, np.float32)
    scores[np.arange(len(classes)), classes] = 0.7
    return scores


def test_repeats_and_blanks_vanish_and_a_blank_keeps_doubles_apart() -> None:
    text, confidence = ctc_text(steps(1, 1, 0, 1, 3, 2, 2, 0), ALPHABET)
    assert text == "aa b"
    assert round(confidence, 3) == 0.7


def test_nothing_but_blanks_is_no_text_and_no_confidence() -> None:
    assert ctc_text(steps(0, 0, 0), ALPHABET) == ("", 0.0)
