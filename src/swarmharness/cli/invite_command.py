"""`swarmharness invite`: prints the one line with which another node joins the swarm of this one."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from swarmharness.cli.options import DataDirOption, JsonOption, new_app, print_json
from swarmharness.hints import quoted

app = new_app()


@app.command()
def invite(data_dir: DataDirOption = None, json: JsonOption = False) -> None:
    """Print the line with which another node joins: `swarmharness node start --join LINE`."""
    from swarmharness.cli.connection import call_node

    answer = call_node(data_dir, "node.invite", {})
    if json:
        print_json(answer)
    else:
        print(answer["invite"])
    hint = _hint(answer, data_dir)
    if hint:
        print(f"warning: {hint}", file=sys.stderr)


def _hint(answer: dict[str, Any], data_dir: Path | None) -> str:
    """Say for whom an invite does not work, and what would help; or nothing."""
    from swarmharness.network.addresses import Reach, open_to_the_network

    match Reach(answer["reach"]):
        case Reach.NO_NETWORK:
            return (
                "this machine has no network address now, so the invite works on this machine alone; the node follows "
                "by itself: connect the machine, then run `swarmharness invite` again"
            )
        case Reach.LOOPBACK:
            option = f" --data-dir {quoted(data_dir)}" if data_dir else ""
            listen = open_to_the_network(answer["listening"])
            return (
                "this node listens on loopback only, so the invite works on this machine alone; to open it, stop it "
                f"and run: swarmharness node start{option} --listen {listen}"
            )
    return ""
