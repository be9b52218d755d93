from __future__ import annotations

from typing import Any

from swarmharness.cli.models_text import models_lines, names_with_several, short, taken_text

ONE, TWO = "aa" * 32, "bb" * 32


def model(digest: str, nodes: int, usable: int, *, local: bool = False) -> dict[str, Any]:
    return {"model_digest": digest, "nodes": nodes, "usable": usable, "local": local}


def test_who_had_a_choice_hears_which_model_was_taken_and_how_to_take_another_one() -> None:
    assert taken_text("echo", ONE, [model(TWO, 3, 3), model(ONE, 2, 1)]) == (
        "echo is served with 2 models; this job takes aaaaaaaaaaaa (1 node), not bbbbbbbbbbbb (3 nodes):"
        " `swarmharness submit echo@DIGEST` takes another one"
    )


def test_who_had_none_hears_nothing() -> None:
    assert taken_text("echo", ONE, [model(ONE, 3, 3)]) == ""
    assert taken_text("echo", ONE, [model(ONE, 3, 3), model(TWO, 1, 0)]) == "", "nobody could be asked for the other"
    assert taken_text("echo", "", ()) == "", "an older node"


def test_the_models_of_a_name_are_listed_if_there_are_several() -> None:
    assert models_lines("echo", [model(ONE, 1, 1)]) == []
    lines = models_lines("echo", [model(ONE, 3, 2), model(TWO, 1, 1, local=True)])
    assert lines == [
        "2 models go by this name, and a job takes one of them:",
        "    echo@aaaaaaaaaaaa  3 nodes, of which 2 can be asked now",
        "    echo@bbbbbbbbbbbb  1 node, this node's own",
    ]


def test_digests_that_begin_alike_are_shown_in_full() -> None:
    alike = "aa" * 20 + "cc" * 12
    assert short(ONE, [ONE, TWO]) == "aa" * 6
    assert short(ONE, [ONE, alike]) == ONE


def test_names_with_several_models_are_found_among_all_peers() -> None:
    def peer(**skills: str) -> dict[str, Any]:
        return {"skills": [{"skill": name, "model_digest": digest} for name, digest in skills.items()]}

    assert names_with_several([peer(a=ONE, b=ONE), peer(a=TWO, b=ONE)]) == {"a"}
