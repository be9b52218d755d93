"""Lists the commands, loads the one that was asked for, and turns what it raises into one line and an exit status."""

from __future__ import annotations

import importlib
import logging
import sys
import time
from difflib import get_close_matches
from typing import Annotated, Any, TextIO

import typer
from typer.core import TyperGroup

import swarmharness
from swarmharness.cli.failures import report
from swarmharness.cli.streams import give_up, output_problem
from swarmharness.log_lines import log_handler

COMMANDS: dict[str, tuple[str, str]] = {
    "node": ("node_command", "Start, stop and look at a node."),
    "submit": ("submit_command", "Run a skill on inputs, somewhere in the swarm."),
    "jobs": ("jobs_command", "List, show, resume and cancel jobs."),
    "skills": ("skills_command", "List, show, add and fetch skills."),
    "peers": ("peers_command", "List the peers that the node knows."),
    "router": ("router_command", "Explain which peer would get a task, and why."),
    "credit": ("credit_command", "Show balances and receipts."),
    "config": ("config_command", "Write, check and show the configuration."),
    "invite": ("invite_command", "Print the line with which another node joins."),
    "simulate": ("simulate_command", "Run a whole swarm in virtual time, with faults, and judge it."),
    "demo": ("demo_command", "Run a swarm of six processes on this machine and watch it work."),
    "doctor": ("doctor_command", "Find what keeps a node from working, and say how to mend it."),
}
"""Name, module in `swarmharness.cli` (it has a Typer app called `app`), and the line in the help."""

_LOG = logging.getLogger("swarmharness")


class LazyGroup(TyperGroup):
    """A group whose commands are imported when they run; listing them imports none."""

    def list_commands(self, ctx: Any) -> list[str]:
        """See click."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """See click."""
        if cmd_name not in COMMANDS:
            near = get_close_matches(cmd_name, COMMANDS, n=1)
            ctx.fail(f"no such command: {cmd_name}" + (f"; did you mean {near[0]}?" if near else ""))
        module = importlib.import_module(f"swarmharness.cli.{COMMANDS[cmd_name][0]}")
        command = typer.main.get_command(module.app)
        command.name = cmd_name
        return command

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """See click."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in COMMANDS.items()])


app = typer.Typer(
    cls=LazyGroup,
    rich_markup_mode=None,  # rich takes longer to import than everything else together
    add_completion=True,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(swarmharness.__version__)
        raise typer.Exit


@app.callback()
def _root(
    verbose: Annotated[
        bool, typer.Option("--verbose", help="Say more, and show where an internal error arose.")
    ] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and stop.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    """Run AI models together: idle devices become one swarm, without a central server."""
    logging.basicConfig(handlers=[log_handler(sys.stderr, time.monotonic)])
    _LOG.setLevel(logging.DEBUG if verbose else logging.WARNING)


def run(arguments: list[str]) -> int:
    """Run one command line and return its exit status; only the message of an error reaches the terminal."""
    stdout = sys.stdout
    try:
        status = _invoke(arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        return _reader_left(stdout)
    except BaseException as error:
        status = report(error)
        if output_problem(stdout):
            give_up(stdout)
        return status
    # click meets a broken pipe by replacing the stream and exiting with 1.
    return status if sys.stdout is stdout else _reader_left(stdout)


def _invoke(arguments: list[str]) -> int:
    try:
        typer.main.get_command(app).main(arguments, prog_name="swarmharness")
    except SystemExit as end:  # click ends every run this way, after printing its own usage errors
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


def _reader_left(stdout: TextIO) -> int:
    """Whoever read our output has seen enough, as with `| head`: that is no error, and nothing to report."""
    sys.stdout = stdout
    give_up(stdout)
    return 0
