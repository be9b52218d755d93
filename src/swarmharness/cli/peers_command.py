"""`swarmharness peers`: lists the peers that the running node knows, and what it thinks of each."""

from __future__ import annotations

from typing import Any

from swarmharness.cli.options import DataDirOption, JsonOption, new_app, print_json, print_table

app = new_app()


@app.command()
def peers(data_dir: DataDirOption = None, json: JsonOption = False) -> None:
    """List the peers that the node knows, and what each of them offers."""
    from swarmharness.cli.connection import call_node

    answer: list[dict[str, Any]] = call_node(data_dir, "peers.list", {})
    if json:
        print_json(answer)
        return
    if not any(not peer["local"] for peer in answer):
        print("this node knows no other peer yet; `swarmharness node start --join LINE` joins a swarm")
    columns = ("peer", "state", "round trip ms", "skill", "item ms", "answers", "failures", "trust", "breaker")
    if answer:
        print_table("", columns, [row for peer in answer for row in _rows(peer)])


def _rows(peer: dict[str, Any]) -> list[tuple[object, ...]]:
    state = "this node" if peer["local"] else "usable" if peer["usable"] else peer["reason"]
    if peer["not_serving"] and (peer["local"] or peer["usable"]):
        state = f"{state}, not serving: {peer['not_serving']}"
    first: tuple[object, ...] = (peer["peer"], state, _ms(peer["round_trip_us"]))
    rows: list[tuple[object, ...]] = []
    for skill in peer["skills"]:
        rows.append(
            (
                *first,
                skill["skill"],
                _ms(skill["measured_us"] or skill["advertised_us"]),
                skill["answers"],
                skill["failures"],
                f"{skill['trust']:.2f}",
                skill["breaker"],
            )
        )
        first = ("", "", "")
    return rows or [(*first, "no skills", "", "", "", "", "")]


def _ms(duration_us: int | None) -> str:
    return f"{duration_us / 1000:.1f}" if duration_us else "-"
