"""`swarmharness doctor`: prints what `node.doctor` finds, and exits with 2 if anything keeps a node from working."""

from __future__ import annotations

from dataclasses import asdict

import typer

from swarmharness.cli.options import ConfigOption, DataDirOption, JsonOption, new_app, print_json, say
from swarmharness.errors import ErrorKind

app = new_app()


@app.command()
def doctor(data_dir: DataDirOption = None, config: ConfigOption = None, json: JsonOption = False) -> None:
    """Check Python, libraries, ports, clock, key, configuration, space and neighbours; say how to mend each."""
    from swarmharness.node.chosen_config import config_path
    from swarmharness.node.data_dir import DataDir
    from swarmharness.node.doctor import examine

    directory = DataDir.at(data_dir)
    findings = []
    for finding in examine(directory, config_path(directory, config)):
        findings.append(finding)
        if not json:
            say(f"{finding.verdict:<4}  {finding.check}: {finding.detail}")
            if finding.remedy:
                say(f"      mend it: {finding.remedy}")
    failed = sum(finding.verdict == "fail" for finding in findings)
    if json:
        print_json({"ok": failed == 0, "checks": [asdict(finding) for finding in findings]})
    if failed:
        raise typer.Exit(int(ErrorKind.CONFIGURATION))
