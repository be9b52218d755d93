"""`swarmharness demo`: runs the scripted swarm of `swarmharness.demo` and reports what it did."""

from __future__ import annotations

from swarmharness.cli.options import JsonOption, new_app

app = new_app()


@app.command()
def demo(json: JsonOption = False) -> None:
    """Start six nodes on this machine, embed 2,000 texts, lose a worker on the way, search, and tell who did what."""
    from swarmharness.demo.scenario import run

    run(as_json=json)
