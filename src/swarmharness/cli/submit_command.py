"""`swarmharness submit`: checks what the command line asks, opens a job on a node, and sees it through."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from swarmharness.cli.options import ConfigOption, DataDirOption, JoinOption, JsonOption, checked, new_app
from swarmharness.errors import ConfigurationError, SwarmError

if TYPE_CHECKING:
    from swarmharness.cli.submit_progress import ProgressBar
    from swarmharness.node.control import Control

OPEN_TIMEOUT_S = 60.0
WAIT_TIMEOUT_S = 30 * 86_400.0
"""The job's own deadline bounds the wait for a provider."""
WAITING_SHOWN_EVERY_S = 1.0
NOTHING_DONE: dict[str, Any] = {"items_total": 0, "items_done": 0, "peers": {}, "spent_microcredits": 0}
DEADLINE_S_MAX = 30 * 86_400.0
BUDGET_MAX = 2**53
REPLICAS_MAX = 9
VERIFY = ("none", "adaptive", "always")
ON_LONG = ("truncate", "error", "split-mean")
SOURCE_CHARS_MAX = 500_000
MICRO = 1_000_000

DeadlineOption = Annotated[
    float | None, typer.Option("--deadline", metavar="SECONDS", help="Give up after so long; what came is kept.")
]
BudgetOption = Annotated[
    str | None,
    typer.Option(
        "--budget", metavar="AMOUNT", help="Spend no more: micro-credits, or credits as in 1.5c; what came is kept."
    ),
]
ProgressOption = Annotated[
    str,
    typer.Option("--progress", metavar="auto|bar|lines|json|none", help="How to show the progress on standard error."),
]
WaitOption = Annotated[
    bool, typer.Option("--wait", help="Wait for a node that serves the skill, until the deadline, if there is none.")
]
OutOption = Annotated[
    Path | None, typer.Option("--out", metavar="FILE", help="Write results to a .jsonl, .npy or .npz file.")
]

app = new_app()


@app.command()
def submit(
    skill: Annotated[
        str,
        typer.Argument(
            metavar="SKILL[@DIGEST]",
            help="The skill to run (`swarmharness skills list`), or just one of the models that go by its name.",
        ),
    ],
    inputs: Annotated[
        list[str] | None,
        typer.Argument(metavar="[INPUT]...", help="Texts, or files and globs for a skill that takes files."),
    ] = None,
    input: Annotated[
        list[str] | None,
        typer.Option("--input", metavar="FILE", help="A file of inputs: a text by its lines; - is standard input."),
    ] = None,
    out: OutOption = None,
    join: JoinOption = None,
    deadline: DeadlineOption = None,
    budget: BudgetOption = None,
    verify: Annotated[
        str | None,
        typer.Option("--verify", metavar="none|adaptive|always", help="How results are checked by other peers."),
    ] = None,
    replicas: Annotated[
        int | None, typer.Option("--replicas", metavar="N", help="How many peers answer what is checked.")
    ] = None,
    on_long: Annotated[
        str | None,
        typer.Option(
            "--on-long", metavar="|".join(ON_LONG), help="What becomes of a text that the model cannot take whole."
        ),
    ] = None,
    skip_blank: Annotated[
        bool, typer.Option("--skip-blank", help="Leave blank lines out, instead of an error for each.")
    ] = False,
    known: Annotated[
        Path | None,
        typer.Option("--known", metavar="FILE", help="JSONL of inputs with known outputs, to spot-check workers with."),
    ] = None,
    wait: WaitOption = False,
    progress: ProgressOption = "auto",
    data_dir: DataDirOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Run SKILL on inputs, somewhere in the swarm; results come in input order."""
    from swarmharness.cli.known_answers import read_known
    from swarmharness.cli.models_text import taken_text
    from swarmharness.cli.submission import Submission
    from swarmharness.cli.submit_inputs import Inputs
    from swarmharness.cli.submit_outputs import OutputFile
    from swarmharness.cli.submit_progress import progress_bar
    from swarmharness.node import config_values

    params = terms(deadline, budget)
    if wait:
        params["wait"] = True
    if verify is not None:
        if verify not in VERIFY:
            raise ConfigurationError(f"--verify {verify}: allowed is one of {', '.join(VERIFY)}")
        params["verify"] = verify
    if on_long is not None:
        if on_long not in ON_LONG:
            raise ConfigurationError(f"--on-long {on_long}: allowed is one of {', '.join(ON_LONG)}")
        params["parameters"] = {"on_long": on_long}
    if replicas is not None:
        if not 1 <= replicas <= REPLICAS_MAX:
            raise ConfigurationError(f"--replicas {replicas}: allowed is 1 to {REPLICAS_MAX}")
        params["replicas"] = replicas
    check_progress(progress)
    targets = checked("--join", join, config_values.complain_about_join)
    found = Inputs(inputs or (), input or (), skip_blank=skip_blank)
    source = found.source
    if sum(map(len, source["arguments"])) <= SOURCE_CHARS_MAX:
        params["source"] = source
    if out is not None:
        params["out"] = os.path.abspath(out)  # noqa: PTH100 - symbolic links stay as they are

    from swarmharness.cli.connection import run_async
    from swarmharness.node.session import open_session

    with ExitStack() as stack:
        out_file = stack.enter_context(OutputFile(out)) if out else None
        bar = stack.enter_context(progress_bar(skill, progress))
        submission = Submission(found, out_file, bar, as_json=json)

        async def run() -> None:
            async with open_session(data_dir, config, targets) as control:
                asked = {"skill": skill, **params}
                prepared = await call_waiting(control, "job.prepare", asked, bar)
                kind = await submission.begin(prepared["kind"])
                pairs = None if known is None else read_known(known, kind)
                opened = await call_waiting(control, "job.open", asked, bar)
                taken = taken_text(skill, opened.get("model_digest", ""), opened.get("models", ()))
                if taken and "@" not in skill:
                    print(taken, file=sys.stderr)
                if pairs is not None:
                    job = {"job": opened["job"]}
                    try:
                        await control.call("job.know", {**job, "known": pairs}, OPEN_TIMEOUT_S)
                    except SwarmError:
                        await control.call("job.cancel", job, OPEN_TIMEOUT_S)
                        raise
                await submission.run(control, opened, kind)

        run_async(run)
    submission.conclude()


async def call_waiting(control: Control, method: str, params: Mapping[str, Any], bar: ProgressBar) -> dict[str, Any]:
    """Prepare or open a job; while it waits for a provider, say so."""
    import trio

    opened: dict[str, Any] = {}

    async def say() -> None:
        while True:
            await trio.sleep(WAITING_SHOWN_EVERY_S)
            bar.update(
                {**NOTHING_DONE, "waiting_for": f"a node that serves {params['skill']!r}"}, total=None, exact=False
            )

    if not params.get("wait"):
        return dict(await control.call(method, params, OPEN_TIMEOUT_S))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(say)
        opened.update(await control.call(method, params, WAIT_TIMEOUT_S))
        nursery.cancel_scope.cancel()
    return opened


def terms(deadline: float | None, budget: str | None) -> dict[str, Any]:
    """Return the parameters of a job that these two options set; raises ConfigurationError for a bad one."""
    params: dict[str, Any] = {}
    if deadline is not None:
        if not 0 < deadline <= DEADLINE_S_MAX:
            past = "it has passed already; " if deadline <= 0 else ""
            raise ConfigurationError(
                f"--deadline {deadline:g}: {past}allowed is more than 0 and at most {DEADLINE_S_MAX:.0f} s"
            )
        params["deadline_s"] = deadline
    if budget is not None:
        params["budget_microcredits"] = _microcredits(budget)
    return params


def check_progress(mode: str) -> None:
    """Raise ConfigurationError for an unknown way to show the progress."""
    from swarmharness.cli.submit_progress import MODES

    if mode not in MODES:
        raise ConfigurationError(f"--progress {mode}: allowed is one of {', '.join(MODES)}")


def _microcredits(text: str) -> int:
    whole = re.fullmatch(r"\d{1,17}", text)
    credits = re.fullmatch(r"(\d{1,11})(?:\.(\d{1,6}))? ?(?:c|credits?)", text)
    if whole:
        amount = int(text)
    elif credits:
        amount = int(credits[1]) * MICRO + int((credits[2] or "0").ljust(6, "0"))
    else:
        amount = -1
    if not 0 <= amount <= BUDGET_MAX:
        raise ConfigurationError(
            f"--budget {text}: write micro-credits as a whole number (1500000), or credits with a c (1.5c);"
            f" at most {BUDGET_MAX} micro-credits"
        )
    return amount
