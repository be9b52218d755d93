"""`swarmharness peers`: lists the peers that the running node knows, and what it thinks of each."""

from __future__ import annotations

from typing import Any

from swarmharness.cli.models_text import names_with_several, short
from swarmharness.cli.options import DataDirOption, JsonOption, new_app, print_json, print_table, say

CLOCK_SKEW_S_MAX = 300
"""As in `registry.advert`, which a command does not import."""
PEERS_SHOWN, SKILLS_SHOWN = 100, 16
"""Others choose how many they are and what they offer."""
COLUMNS = ("  skill", "item ms", "answers", "failures", "trust", "breaker")

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
        for problem in call_node(data_dir, "node.status", {})["registry"]["problems"]:
            say(f"{problem['subject']}: {problem['text']}")
    several = names_with_several(answer)
    for peer in sorted(answer, key=_of_use)[:PEERS_SHOWN]:
        say(_headline(peer))
        rows = [_row(skill, named=skill["skill"] in several) for skill in peer["skills"][:SKILLS_SHOWN]]
        if rows:
            print_table("", COLUMNS, rows)
        if len(peer["skills"]) > SKILLS_SHOWN:
            print(f"  and {len(peer['skills']) - SKILLS_SHOWN} more skills: --json has them")
    if len(answer) > PEERS_SHOWN:
        print(f"and {len(answer) - PEERS_SHOWN} more peers: --json has them")


def _of_use(peer: dict[str, Any]) -> tuple[bool, bool, bool]:
    """Return what has this node stand first, then who answered it before, then who could."""
    return not peer["local"], not any(skill["answers"] for skill in peer["skills"]), not peer["usable"]


def _headline(peer: dict[str, Any]) -> str:
    """Return the id of a peer, and its state in words."""
    state = "this node" if peer["local"] else "usable" if peer["usable"] else peer["reason"]
    if peer["not_serving"] and (peer["local"] or peer["usable"]):
        state = f"{state}, not serving: {peer['not_serving']}"
    if peer["round_trip_us"] and not peer["local"]:
        state = f"{state}, {_ms(peer['round_trip_us'])} ms away"
    ahead_s = peer.get("clock_ahead_s") or 0
    if peer["usable"] and abs(ahead_s) > CLOCK_SKEW_S_MAX:
        state = f"{state}; its clock is {abs(ahead_s)} s {'ahead of' if ahead_s > 0 else 'behind'} this node's"
    return f"{peer['peer']}  {state}" + ("" if peer["skills"] or not peer["usable"] else ", no skills")


def _row(skill: dict[str, Any], *, named: bool) -> tuple[object, ...]:
    """Return a skill as a row of the table; `named` says with which of several models."""
    return (
        f"  {skill['skill']}" + (f"@{short(skill['model_digest'])}" if named else ""),
        _ms(skill["measured_us"] or skill["advertised_us"]),
        skill["answers"],
        skill["failures"],
        f"{skill['trust']:.2f}",
        skill["breaker"],
    )


def _ms(duration_us: int | None) -> str:
    return f"{duration_us / 1000:.1f}" if duration_us else "-"
