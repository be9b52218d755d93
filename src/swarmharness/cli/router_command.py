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
    print(f"{answer['skill']}, {answer['items']} item(s), form {answer['form']}; the best candidate first")
    for candidate in answer["candidates"]:
        _show(candidate)
    if not answer["candidates"]:
        print("no node is known that could be a candidate")
    print(f"\n{answer['note']}")


def _show(candidate: dict[str, Any]) -> None:
    name = candidate["peer"] + (" (this node)" if candidate["local"] else "")
    if candidate["position"] is None:
        print(f"\n -  {name}: left out, {candidate['excluded']}")
        return
    head = f"{candidate['position']:2d}  {name}: utility {candidate['utility']:.4f}, "
    print(f"\n{head}expected back in {candidate['expected_ms']:.1f} ms; {candidate['reason']}")
    rows = [
        ("   ", term["name"], _value(term), term["weight"], term["contribution"], f"{term['share']:.0%}")
        for term in candidate["terms"]
    ]
    print_table("", ("   ", "term", "value", "weight", "contribution", "share"), rows)


def _value(term: dict[str, Any]) -> str:
    return f"{term['value']:.4g} {term['unit']}".rstrip()
