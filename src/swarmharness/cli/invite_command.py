"""`swarmharness invite`: prints the one line with which another node joins the swarm of this one."""

from __future__ import annotations

import sys

from swarmharness.cli.options import DataDirOption, JsonOption, new_app, print_json

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
    if all(address.startswith(("/ip4/127.", "/ip6/::1/")) for address in answer["addresses"]):
        option = f" --data-dir {data_dir}" if data_dir else ""
        print(
            "warning: this node listens on loopback only, so the invite works on this machine alone; to open it, stop "
            f"it and run: swarmharness node start{option} --listen /ip4/0.0.0.0/tcp/4001",
            file=sys.stderr,
        )
