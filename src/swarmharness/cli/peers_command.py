"""`swarmharness peers`: lists the peers that the running node knows, and what it thinks of each."""

from __future__ import annotations

from swarmharness.cli.options import DataDirOption, JsonOption, new_app, print_json, print_records

app = new_app()


@app.command()
def peers(data_dir: DataDirOption = None, json: JsonOption = False) -> None:
    """List the peers that the node knows."""
    from swarmharness.cli.connection import call_node

    answer = call_node(data_dir, "peers.list", {})
    if json:
        print_json(answer)
    elif answer:
        print_records(answer)
    else:
        print("this node knows no peer yet; `swarmharness node start --join LINE` joins a swarm")
