"""`swarmharness router`: explains which peer would get a task; ranks and replays offline, without a node."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from swarmharness.cli.models_text import models_lines, short
from swarmharness.cli.options import DataDirOption, JsonOption, new_app, print_json, print_table, say

SNAPSHOT_BYTES_MAX = 64 * 2**20
ITEMS_MAX = 2**31
INPUT_BYTES_MAX = 2**50

app = new_app("Explain which peer would get a task, and why.")

SkillArgument = Annotated[
    str, typer.Argument(metavar="SKILL[@DIGEST]", help="The skill, or its model, that a task would ask for.")
]
ItemsOption = Annotated[int, typer.Option("--items", metavar="N", help="Items of the task.")]
InputBytesOption = Annotated[int, typer.Option("--input-bytes", metavar="N", help="Size of its input.")]


@app.callback()
def _group() -> None:
    """Explain which peer would get a task, and why."""


@app.command()
def explain(
    skill: SkillArgument,
    items: ItemsOption = 1,
    input_bytes: InputBytesOption = 0,
    data_dir: DataDirOption = None,
    json: JsonOption = False,
) -> None:
    """Show every candidate, each term's value, weight and contribution, and why the others lost."""
    from swarmharness.cli.connection import call_node

    _check_work(items, input_bytes)
    answer: dict[str, Any] = call_node(
        data_dir, "router.explain", {"skill": skill, "items": items, "input_bytes": input_bytes}
    )
    _print_explanation(answer, json)


@app.command()
def snapshot(skill: SkillArgument, data_dir: DataDirOption = None, json: JsonOption = False) -> None:
    """Print all that a decision about a skill would see now, as one line of JSON for `router rank`."""
    from swarmharness.cli.connection import call_node

    answer: dict[str, Any] = call_node(data_dir, "router.snapshot", {"skill": skill})
    print_json(answer)  # there is no other form; --json is taken so that scripts can pass it everywhere


@app.command()
def rank(
    snapshot: Annotated[
        Path, typer.Option("--snapshot", metavar="FILE", help="What `router snapshot` printed.", show_default=False)
    ],
    policy: Annotated[
        Path,
        typer.Option("--policy", metavar="FILE", help="A TOML file with the table [routing].", show_default=False),
    ],
    items: ItemsOption = 1,
    input_bytes: InputBytesOption = 0,
    json: JsonOption = False,
) -> None:
    """Rank the candidates of a snapshot under a policy, offline, by the code that a node decides with."""
    from swarmharness.cli.policy_file import read_policy
    from swarmharness.routing.candidate import RouteRequest, snapshot_from_json
    from swarmharness.routing.explain import explain as explain_decision

    _check_work(items, input_bytes)
    rules = read_policy(policy)
    taken = snapshot_from_json(_read_text(snapshot, SNAPSHOT_BYTES_MAX))
    request = RouteRequest(taken.skill, items, input_bytes=input_bytes)
    _print_explanation(explain_decision(taken, rules, request).as_dict(), json)


@app.command()
def why(
    task: Annotated[
        str, typer.Argument(metavar="TASK", help="The id of a task, as `submit --json` and `credit receipts` show it.")
    ],
    data_dir: DataDirOption = None,
    json: JsonOption = False,
) -> None:
    """Show what a past decision of this node saw: the best candidates, and the terms of the chosen and the next one."""
    from swarmharness.cli.connection import call_node
    from swarmharness.routing.decisions import decision_text

    answer: dict[str, Any] = call_node(data_dir, "router.why", {"task": task})
    if json:
        print_json(answer)
    else:
        say(*decision_text(answer))


@app.command()
def replay(
    trace: Annotated[Path, typer.Argument(metavar="TRACE", help="A file that a node recorded ([trace] file).")],
    policy: Annotated[
        list[Path] | None,
        typer.Option(
            "--policy",
            metavar="FILE",
            help="A TOML file with the table [routing]. May be repeated.",
            show_default=False,
        ),
    ] = None,
    within: Annotated[float, typer.Option("--within", metavar="MS", help="An answer that takes longer is no good.")] = (
        2000.0
    ),
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="Seed of the model's luck.")] = 1,
    json: JsonOption = False,
) -> None:
    """Compare policies on a recorded trace: latency percentiles, goodput, share of each peer; offline, on a model."""
    from swarmharness.cli.policy_file import read_policy
    from swarmharness.cli.replay_report import compare, print_comparison
    from swarmharness.errors import ConfigurationError
    from swarmharness.routing.replay import ReplaySettings

    if not 0.001 <= within <= 86_400_000:
        raise ConfigurationError(f"--within is {within:g}; allowed is 0.001 to 86400000 milliseconds")
    if not 0 <= seed < 2**63:
        raise ConfigurationError(f"--seed is {seed}; allowed is 0 to 2^63 - 1")
    policies = [(str(path), read_policy(path)) for path in policy or ()]
    report = compare(trace, policies, ReplaySettings(seed=seed, within_us=round(within * 1000)))
    if json:
        print_json(report)
    else:
        print_comparison(report)


def _check_work(items: int, input_bytes: int) -> None:
    from swarmharness.errors import ConfigurationError

    if not 1 <= items <= ITEMS_MAX:
        raise ConfigurationError(f"--items is {items}; allowed is 1 to {ITEMS_MAX}")
    if not 0 <= input_bytes <= INPUT_BYTES_MAX:
        raise ConfigurationError(f"--input-bytes is {input_bytes}; allowed is 0 to {INPUT_BYTES_MAX}")


def _read_text(path: Path, bytes_max: int) -> str:
    """Return a text file's content; raises InputError if it cannot be read, is too large or is not UTF-8."""
    from swarmharness.errors import InputError
    from swarmharness.text_bytes import text_from

    try:
        with path.open("rb") as file:
            data = file.read(bytes_max + 1)
        if len(data) > bytes_max:
            raise InputError(f"{path} is larger than {bytes_max} bytes")
        return text_from(data)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"{path} cannot be read: {reason}") from None


def _print_explanation(answer: dict[str, Any], json: bool) -> None:
    if json:
        print_json(answer)
        return
    models = answer.get("models", ())  # a snapshot has none
    say(f"{answer['skill']}, {answer['items']} item(s), form {answer['form']}; the best candidate first")
    for text in models_lines(answer["skill"], models):
        say(text)
    for candidate in answer["candidates"]:
        _show(candidate, named=len(models) > 1)
    if not answer["candidates"]:
        print("no node is known that could be a candidate")
    say("", answer["note"])


def _show(candidate: dict[str, Any], *, named: bool) -> None:
    """Print a candidate; `named` says with which of several models."""
    from swarmharness.routing.explain import figure

    name = candidate["peer"] + (" (this node)" if candidate["local"] else "")
    if named and candidate["model_digest"]:
        name = f"{name} with {short(candidate['model_digest'])}"
    if candidate["position"] is None:
        say("", f" -  {name}: left out, {candidate['excluded']}")
        return
    head = f"{candidate['position']:2d}  {name}: utility {candidate['utility']:.4f}, "
    say("", f"{head}expected back in {candidate['expected_ms']:.1f} ms; {candidate['reason']}")
    parts = ", ".join(f"{name} {part:.1f}" for name, part in candidate["parts_ms"].items() if part >= 0.05)
    print(f"    ms: {parts or 'next to nothing'}")
    say(f"    {candidate['load']}")
    rows = [
        (
            "   ",
            term["name"],
            figure(term["value"], term["unit"]),
            term["weight"],
            term["contribution"],
            f"{term['share']:.0%}",
        )
        for term in candidate["terms"]
    ]
    print_table("", ("   ", "term", "value", "weight", "contribution", "share"), rows)
