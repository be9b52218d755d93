from __future__ import annotations

import pytest

from swarmharness.cli.table import GAP, TEXT_LEAST, TOKEN_LEAST, lay_out

PEER = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN"


def total(widths: tuple[int, ...]) -> int:
    return sum(widths) + GAP * (len(widths) - 1)


def test_what_fits_stays_as_it_is() -> None:
    layout = lay_out(("peer", "n"), [(PEER, "1")], 100)
    assert (layout.widths, layout.rows, layout.shortened) == ((52, 1), ((PEER, "1"),), False)


def test_headings_are_folded_before_cells_and_sentences_before_ids() -> None:
    layout = lay_out(("peer", "round trip ms"), [(PEER, "1.0")], 60)
    assert layout.widths == (52, 6)
    layout = lay_out(("peer", "state"), [(PEER, "it does not answer " * 5)], 90)
    assert layout.widths == (52, 36)
    assert not layout.shortened


def test_an_id_is_shortened_in_its_middle_and_keeps_the_end_that_tells_it_from_others() -> None:
    layout = lay_out(("peer", "state"), [(PEER, "it does not answer " * 5)], 60)
    ((peer, _),) = layout.rows
    assert layout.shortened
    assert (len(peer), peer[:4], PEER.endswith(peer[4:])) == (30, "12D…", True)
    ((digest,),) = lay_out(("",), [("0123456789abcdef" * 4,)], 21).rows
    assert digest == "0123456789abc…9abcdef"


@pytest.mark.parametrize("width", [40, 72, 80, 100, 120])
def test_a_wide_table_fits_any_usual_screen(width: int) -> None:
    columns = ("peer", "state", "round trip ms", "task", "n")
    row = (PEER, "its answers were found wrong, so it is not asked for a while", "12.5", "ab" * 16, "3")
    layout = lay_out(columns, [row, row], width)
    assert total(layout.widths) <= max(width, 2 * TOKEN_LEAST + TEXT_LEAST + 5 + 1 + 4 * GAP)
    assert all(row[2] == "12.5" for row in layout.rows)


def test_an_empty_table_has_the_widths_of_its_words() -> None:
    assert lay_out(("a", "round trip"), [], 100).widths == (1, 10)
    assert lay_out((), [], 100).widths == ()
