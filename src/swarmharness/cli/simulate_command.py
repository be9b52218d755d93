"""`swarmharness simulate`: runs a scenario in virtual time, tells what it showed, and how to see a failure again."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from swarmharness.cli.options import JsonOption, new_app, print_json, print_table
from swarmharness.errors import ConfigurationError, ErrorKind, InputError

if TYPE_CHECKING:
    from swarmharness.simulation.scenario import Scenario
    from swarmharness.simulation.simulate import Simulation

app = new_app()

REPORT_SUFFIXES = (".html", ".png")


@app.command()
def simulate(
    scenario: Annotated[
        Path | None,
        typer.Argument(metavar="SCENARIO.toml", help="For example configs/scenarios/home.toml.", show_default=False),
    ] = None,
    random: Annotated[
        int | None,
        typer.Option(
            "--random",
            metavar="N",
            min=0,
            max=2**63 - 1,
            help="Make the scenario from this number.",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(
            "--seed",
            metavar="N",
            min=0,
            max=2**63 - 1,
            help="Equal seeds, equal runs; 0 unless given, or the number of --random.",
            show_default=False,
        ),
    ] = None,
    nodes: Annotated[
        int | None, typer.Option("--nodes", metavar="K", help="Scale to about so many nodes.", show_default=False)
    ] = None,
    hours: Annotated[
        float | None, typer.Option("--hours", metavar="H", help="Stretch or cut to this time.", show_default=False)
    ] = None,
    json: JsonOption = False,
    report: Annotated[
        Path | None,
        typer.Option("--report", metavar="OUT.html|.png", help="Write plots there.", show_default=False),
    ] = None,
    show_scenario: Annotated[
        bool, typer.Option("--show-scenario", help="Print the scenario as TOML, and run nothing.")
    ] = False,
    keep_failure: Annotated[
        Path | None,
        typer.Option(
            "--keep-failure",
            metavar="OUT.toml",
            help="Write the smallest scenario that fails there, if one does.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Run a whole swarm of real services in this process, in virtual time; exits with 1 if an invariant breaks."""
    from swarmharness.simulation.heap import uncollected
    from swarmharness.simulation.scenario_text import scenario_text
    from swarmharness.simulation.simulate import simulate as run
    from swarmharness.simulation.summary import summary_of

    if report is not None and report.suffix not in REPORT_SUFFIXES:
        raise ConfigurationError(f"--report is {report}; allowed is a file that ends in .html or .png")
    for option, path in (("--report", report), ("--keep-failure", keep_failure)):
        if path is not None and not path.parent.is_dir():
            raise ConfigurationError(f"{option} is {path}; allowed is a file in a folder that exists")
    scaled = _scenario(scenario, random).scaled(nodes=nodes, hours=hours)
    if show_scenario:
        print(scenario_text(scaled), end="")
        return
    with uncollected():
        simulation = run(scaled, (random or 0) if seed is None else seed)
        gc.freeze()  # it goes with the process: to look for its cycles would take a twentieth of the whole time
    summary = summary_of(simulation)
    if report is not None:
        _write_report(report, simulation, summary)
    if simulation.violations:
        summary["failure"] = _failure(simulation, keep_failure)
    if json:
        print_json(summary)
    else:
        _show(summary)
    if simulation.violations:
        raise typer.Exit(int(ErrorKind.INTERNAL))
    if summary["unmet"]:
        raise typer.Exit(int(ErrorKind.PARTIAL))


def _scenario(path: Path | None, number: int | None) -> Scenario:
    from swarmharness.simulation.random_scenario import random_scenario
    from swarmharness.simulation.scenario import load_scenario

    if path is not None and number is None:
        return load_scenario(path)
    if number is not None and path is None:
        return random_scenario(number)
    raise ConfigurationError("name either a SCENARIO.toml or --random N")


def _failure(simulation: Simulation, keep: Path | None) -> dict[str, Any]:
    from swarmharness.simulation.playing import kept_text, play
    from swarmharness.simulation.shrink import describe, shrink
    from swarmharness.simulation.version import commit

    first = simulation.violations[0]
    shrunk = shrink(simulation.scenario, simulation.seed, first, play=play)
    if keep is not None:
        try:
            keep.write_text(kept_text(shrunk, simulation.scenario.title, commit()), encoding="utf-8")
        except OSError as error:
            raise InputError(f"cannot keep the failure as {keep}: {error.strerror or error}") from None
    return {
        "invariant": first.invariant,
        "text": first.text,
        "seed": simulation.seed,
        "commit": commit(),
        "step": first.step,
        "at_s": first.at_us / 1e6,
        "smallest": describe(shrunk.scenario),
        "smallest_seed": shrunk.seed,
        "tries": shrunk.tries,
    }


def _write_report(path: Path, simulation: Simulation, summary: dict[str, Any]) -> None:
    if path.suffix == ".png":
        from swarmharness.simulation.png import write_png

        write_png(path, simulation.scenario, summary)
    else:
        from swarmharness.simulation.report import write_html

        write_html(path, simulation.scenario, summary)


def _show(summary: dict[str, Any]) -> None:
    from swarmharness.simulation.summary import GROUP_COLUMNS, group_rows

    requests, traffic = summary["requests"], summary["traffic"]
    print(f"{summary['scenario']}: {summary['nodes']} nodes, {summary['hours']:g} h, seed {summary['seed']}")
    print(f"requests  {requests['ended']} ended, {requests['answered']} answered, {requests['right']} rightly")
    print(f"latency   median {requests['p50_us'] / 1000:.0f} ms, 99% within {requests['p99_us'] / 1000:.0f} ms")
    per_hour = f"{traffic['messages_per_node_hour']} messages, {traffic['bytes_per_node_hour'] / 2**20:.2f} MiB"
    print(f"traffic   {per_hour} for each node and hour")
    print(f"checked   {summary['events']} events in {summary['steps']} steps, {summary['audits']} audits of nodes")
    print(f"trace     {summary['trace_digest']}\n")
    print_table("", GROUP_COLUMNS, group_rows(summary))
    for text in summary["unmet"]:
        print(f"not as expected: {text}")
    if "failure" in summary:
        failure = summary["failure"]
        print(f"\nBROKEN: invariant {failure['invariant']}: {failure['text']}")
        print(f"  seed {failure['seed']}, commit {failure['commit']}, step {failure['step']}, {failure['at_s']:.3f} s")
        print(f"  smallest scenario that fails alike, after {failure['tries']} tries: {failure['smallest']}")
        print(f"  it does so under seed {failure['smallest_seed']}; --keep-failure OUT.toml writes it")
