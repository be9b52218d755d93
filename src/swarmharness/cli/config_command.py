"""`swarmharness config`: writes the documented defaults, checks a file, and shows what is in force."""

from __future__ import annotations

import json as json_text
import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from swarmharness.cli.options import ConfigOption, DataDirOption, JsonOption, new_app, print_json
from swarmharness.errors import ConfigurationError, SwarmError

if TYPE_CHECKING:
    from swarmharness.node.config import Config
    from swarmharness.node.config_changes import Change

app = new_app("Write, check and show the configuration.")


@app.command()
def init(
    data_dir: DataDirOption = None,
    config: ConfigOption = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that exists.")] = False,
    json: JsonOption = False,
) -> None:
    """Write a configuration file that documents every key with its default."""
    from swarmharness.node.config_template import render
    from swarmharness.node.data_dir import DataDir, absolute

    directory = DataDir.at(data_dir)
    path = absolute(config) if config else directory.config_file
    if config is None:
        directory.create()
    flags = os.O_WRONLY | os.O_CREAT | (os.O_TRUNC if force else os.O_EXCL)
    try:
        with os.fdopen(os.open(path, flags, 0o600), "w", encoding="utf-8") as file:
            file.write(render())
    except FileExistsError:
        raise ConfigurationError(f"{path} exists already: edit it, or replace it with --force") from None
    except OSError as error:
        raise ConfigurationError(f"cannot write {path}: {error.strerror}") from None
    if json:
        print_json({"file": str(path)})
    else:
        print(path)


@app.command()
def check(data_dir: DataDirOption = None, config: ConfigOption = None, json: JsonOption = False) -> None:
    """Read the configuration and report the first mistake, with its line, or what this machine lacks for it."""
    from swarmharness.execution.providers import AUTO
    from swarmharness.node.chosen_config import config_path, read_settings

    directory, settings = read_settings(data_dir, config)
    path = config_path(directory, config)
    if AUTO not in settings.execution.providers:
        from swarmharness.node.doctor_machine import providers

        found = providers(settings.execution.providers)
        if found.verdict == "fail":
            raise ConfigurationError(f"{path}: {found.detail}: {found.remedy}")
    if json:
        print_json({"file": str(path) if path else None, "ok": True})
    else:
        print(f"{path}: good" if path else f"there is no {directory.config_file}: the defaults are in force")


@app.command()
def show(data_dir: DataDirOption = None, config: ConfigOption = None, json: JsonOption = False) -> None:
    """Show every key with its value; what the running node does not go by yet is shown with what it goes by."""
    from swarmharness.node.chosen_config import read_settings
    from swarmharness.node.config_template import render

    _, settings = read_settings(data_dir, config)
    pending = _pending(data_dir, settings)
    if json:
        shown = {change.name: {"file": change.after, "in_force": change.before} for change in pending}
        print_json({**asdict(settings), "pending": shown})
        return
    print(render(settings), end="")
    if pending:
        print("\n# Takes effect at the next start of the node, which goes by another value now:")
    for change in pending:
        print(f"#   {change.name} = {json_text.dumps(change.after)}, now {json_text.dumps(change.before)}")


def _pending(data_dir: Path | None, settings: Config) -> list[Change]:
    """Return the keys that the running node, if there is one, has other values of."""
    from swarmharness.cli.connection import call_node
    from swarmharness.node.config_changes import changed_values, flat

    try:
        in_force = call_node(data_dir, "node.config", {})["in_force"]
    except SwarmError:
        return []  # no node runs, or one of another version: the file is all that there is to show
    return [change for change in changed_values(in_force, flat(settings)) if not change.live]
