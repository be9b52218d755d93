"""`swarmharness router`: explains which peer would get a task now, and why the others would not."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from swarmharness.cli.options import DataDirOption, JsonOption, new_app, print_json, print_table

app = new_app("Explain which peer would get a task, and why.")


@app.callback()
def _group() -> None:
    """Explain which peer would get a task, and why."""


@app.command()
def explain(
    skill: Annotated[str, typer.Argument(metavar="SKILL", help="The skill that a task would ask for.")],
    data_dir: DataDirOption = None,
    json: JsonOption = False,
) -> None:
    """Show every candidate, each term's value, weight and contribution, and why the others lost."""
    from swarmharness.cli.connection import call_node

    answer: dict[str, Any] = call_node(data_dir, "router.explain", {"skill": skill})
    if json:
        print_json(answer)
        return
    print_table("", ("peer", "utility", "term", "value", "weight", "contribution", ""), _rows(answer))


def _rows(answer: dict[str, Any]) -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = []
    for candidate in answer["candidates"]:
        note = "chosen" if candidate["chosen"] else candidate["reason"]
        first: tuple[object, ...] = (candidate["peer_id"], candidate["utility"])
        for term in candidate["terms"]:
            rows.append((*first, term["name"], term["value"], term["weight"], term["contribution"], note))
            first, note = ("", ""), ""
        if not candidate["terms"]:
            rows.append((*first, "", "", "", "", note))
    return rows
