"""`swarmharness node`: starts a node in the foreground, asks a running one how it is, and stops it."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from swarmharness.cli.options import (
    ConfigOption,
    DataDirOption,
    JoinOption,
    JsonOption,
    checked,
    new_app,
    print_fields,
    print_json,
)
from swarmharness.cli.streams import give_up
from swarmharness.errors import ConfigurationError, DeadlineError
from swarmharness.node.not_offered import not_offered_lines

STOP_TIMEOUT_S = 60.0

app = new_app("Start, stop and look at a node.")


@app.command()
def start(
    data_dir: DataDirOption = None,
    config: ConfigOption = None,
    listen: Annotated[
        list[str] | None,
        typer.Option("--listen", metavar="MULTIADDR", help="Listen here instead. May be repeated.", show_default=False),
    ] = None,
    join: JoinOption = None,
    skill: Annotated[
        list[str] | None,
        typer.Option("--skill", metavar="NAME", help="Offer only this skill. May be repeated.", show_default=False),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Run a node in the foreground until it is told to stop."""
    from swarmharness.node import config_values
    from swarmharness.node.chosen_config import config_path, read_settings

    directory, settings = read_settings(data_dir, config)
    addresses = checked("--listen", listen, config_values.complain_about_listen) or settings.network.listen
    targets = checked("--join", join, config_values.complain_about_join)
    skills = checked("--skill", skill, config_values.complain_about_skill) or None
    log = logging.getLogger("swarmharness")
    if not log.isEnabledFor(logging.DEBUG):  # --verbose wins
        log.setLevel(settings.log.level.upper())

    import trio

    from swarmharness.node.node import run_node
    from swarmharness.node.readiness import READY, STOPPING, tell_service_manager

    def on_ready(event: dict[str, Any]) -> None:
        tell_service_manager(READY)
        ready = {
            "event": "ready",
            "peer_id": event["peer_id"],
            "addresses": list(event["addresses"]),
            "data_dir": str(directory.path),
            "pid": os.getpid(),
            "skills": event["skills"],
            "not_offered": event["not_offered"],
        }
        try:
            if json:
                print_json(ready)
            else:
                print(_welcome(ready, directory.path), flush=True)
        except OSError as error:  # whoever started it in the background may read nothing
            log.warning("this node is ready; the standard output takes nothing: %s", error.strerror)
            give_up(sys.stdout)

    async def run() -> None:
        await run_node(
            directory,
            settings,
            config_file=config_path(directory, config) or directory.config_file,
            listen=addresses,
            join=targets,
            skills=skills,
            on_ready=on_ready,
            on_stopping=lambda: tell_service_manager(STOPPING),
        )

    trio.run(run)


@app.command()
def status(data_dir: DataDirOption = None, json: JsonOption = False) -> None:
    """Show what the running node is doing."""
    from swarmharness.cli.connection import call_node

    answer = call_node(data_dir, "node.status", {})
    if json:
        print_json(answer)
    else:
        from swarmharness.cli.status_text import status_for_people

        print_fields(status_for_people(answer))


@app.command()
def pause(
    duration: Annotated[
        str | None,
        typer.Option(
            "--for", metavar="DURATION", help="Resume after this time, such as 45m or 2h.", show_default=False
        ),
    ] = None,
    data_dir: DataDirOption = None,
    json: JsonOption = False,
) -> None:
    """Serve nobody but yourself, until `resume`; tasks of others get a moment to finish."""
    from swarmharness.cli.connection import call_node
    from swarmharness.owner.durations import parse_duration

    for_s = None if duration is None else _checked_duration(duration, parse_duration)
    answer = call_node(data_dir, "node.pause", {"for_s": for_s})
    if json:
        print_json({"event": "paused", **answer})
    else:
        _warn_of_disk(answer)
        print(f"{answer['reasons'][0]}: this node serves only your own requests", file=sys.stderr)
        if answer["tasks_running"]:
            print(f"tasks of others get {answer['drain_s']:g} s, then they are handed back", file=sys.stderr)


@app.command()
def resume(data_dir: DataDirOption = None, json: JsonOption = False) -> None:
    """Serve others again after a pause, as far as your limits allow."""
    from swarmharness.cli.connection import call_node

    answer = call_node(data_dir, "node.resume", {})
    if json:
        print_json({"event": "resumed", **answer})
        return
    _warn_of_disk(answer)
    if answer["serves_others"]:
        print("this node serves others again", file=sys.stderr)
    else:
        print(f"the pause is over, but this node does not serve yet: {'; '.join(answer['reasons'])}", file=sys.stderr)


def _warn_of_disk(answer: dict[str, Any]) -> None:
    if answer["warning"]:
        print(f"warning: this holds until the node ends, and not after it: {answer['warning']}", file=sys.stderr)


@app.command()
def stop(data_dir: DataDirOption = None, json: JsonOption = False) -> None:
    """Stop the running node; it finishes or hands back what it has, and this waits for that."""
    from swarmharness.cli.connection import call_node
    from swarmharness.node.data_dir import DataDir

    directory = DataDir.at(data_dir)
    pid = directory.holder_pid()
    call_node(data_dir, "node.stop", {})
    deadline = time.monotonic() + STOP_TIMEOUT_S
    while directory.holder_pid() == pid and pid is not None:
        if time.monotonic() > deadline:
            raise DeadlineError(f"the node (pid {pid}) still runs {STOP_TIMEOUT_S:.0f} s after it was told to stop")
        time.sleep(0.02)  # the lock is the condition; the kernel offers no wait on it with a deadline
    if json:
        print_json({"event": "stopped", "pid": pid})
    else:
        print(f"the node (pid {pid}) has stopped", file=sys.stderr)


@app.command("install-service")
def install_service(
    data_dir: DataDirOption = None,
    config: ConfigOption = None,
    start: Annotated[bool, typer.Option("--start/--no-start", help="Start it now and at every login.")] = True,
    json: JsonOption = False,
) -> None:
    """Run a node in the background from now on, as a service of your systemd."""
    from swarmharness.cli.service_install import by_hand, install
    from swarmharness.node.chosen_config import read_settings
    from swarmharness.node.service_unit import UNIT_NAME

    directory, _ = read_settings(data_dir, config)  # what is wrong is said now, and not in a log that nobody reads
    path = install(directory.path.absolute(), config, start=start)
    if json:
        print_json({"event": "installed", "unit": str(path), "started": start})
        return
    print(f"the unit is {path}", file=sys.stderr)
    if start:
        print("the node runs, and starts when you log in; `swarmharness node status` shows it", file=sys.stderr)
        print("to have it run while you are logged out: loginctl enable-linger", file=sys.stderr)
    else:
        print(f"to start it: {by_hand('enable', '--now', UNIT_NAME)}", file=sys.stderr)


@app.command("uninstall-service")
def uninstall_service(json: JsonOption = False) -> None:
    """Stop the service and remove it; the data directory stays as it is."""
    from swarmharness.cli.service_install import uninstall

    path = uninstall()
    if json:
        print_json({"event": "uninstalled", "unit": None if path is None else str(path)})
    else:
        print("no service is installed" if path is None else f"the service is gone ({path})", file=sys.stderr)


def _checked_duration(text: str, parse: Callable[[str], int]) -> int:
    try:
        return parse(text)
    except ConfigurationError as error:
        raise ConfigurationError(f"--for: {error}") from None


def _welcome(ready: dict[str, Any], path: Path) -> str:
    lines = [f"node {ready['peer_id']} is ready (pid {ready['pid']})", f"  data      {path}"]
    lines += [f"  listening {address}" for address in ready["addresses"]]
    names = ", ".join(ready["skills"])
    lines.append(f"  offers    {names}, once tried" if names else "  offers    nothing: no skill can be run here yet")
    lines += [f"  {line}" for line in not_offered_lines(ready["not_offered"])]
    return "\n".join([*lines, "  `swarmharness invite` prints the line with which others join; Ctrl-C stops the node"])
