"""`swarmharness jobs`: shows the jobs of a node, goes on with one, and cancels one; it runs none itself."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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
    print_table,
    say,
)
from swarmharness.cli.submit_command import (
    OPEN_TIMEOUT_S,
    BudgetOption,
    DeadlineOption,
    OutOption,
    ProgressOption,
    check_progress,
    terms,
)
from swarmharness.errors import ConfigurationError, InputError, UnavailableError
from swarmharness.text_bytes import visible

if TYPE_CHECKING:
    from swarmharness.cli.submit_inputs import Inputs
    from swarmharness.execution.skill import Kind
    from swarmharness.node.control import Control

JobArgument = Annotated[str, typer.Argument(metavar="JOB", help="The job's id, or its first letters.")]
SHOWN_CHARS = 48

app = new_app("List, show, resume and cancel jobs.")


@app.command("list")
def list_jobs(
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=1, max=1000, help="Show the newest N.")] = 20,
    data_dir: DataDirOption = None,
    json: JsonOption = False,
) -> None:
    """List the newest jobs of this node; without a running node, those in its journal."""
    jobs = _jobs(data_dir, limit)
    if json:
        for job in jobs:
            print_json(job)
        return
    if not jobs:
        print("there are no jobs yet: `swarmharness submit` makes them")
        return
    rows = [
        (job["job"], job["skill"], job["state"], _done(job), _moment(job["created_us"]), _source(job)) for job in jobs
    ]
    print_table("", ("job", "skill", "state", "answered", "submitted (UTC)", "input"), rows)


@app.command()
def show(
    job: JobArgument,
    why: Annotated[bool, typer.Option("--why", help="Also say why each chunk went to its peer.")] = False,
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=0, max=1000, help="Show the last N chunks.")] = 10,
    data_dir: DataDirOption = None,
    json: JsonOption = False,
) -> None:
    """Show one job and who answered its last chunks."""
    answer = _show(data_dir, job, limit)
    if json:
        if not why:
            for chunk in answer["chunks"]:
                chunk.pop("why")
        print_json(answer)
        return
    record = dict(answer["job"])
    record["input"] = _source(record)
    for name in ("source", "created_us", "ended_us", "items_fed", "items_answered", "input_ended"):
        record.pop(name)
    record["answered"] = _done(answer["job"])
    record["submitted"] = f"{_moment(answer['job']['created_us'])} UTC"
    print_fields({name: value for name, value in record.items() if value not in ("", None, {})})
    if answer["chunks"]:
        rows = [
            (
                chunk["peer"],
                chunk["items"],
                chunk["price_microcredits"],
                chunk["service_us"] / 1000,
                chunk["elapsed_us"] / 1000,
                chunk["receipt"] or "(this node)",
            )
            for chunk in answer["chunks"]
        ]
        print()
        print_table("", ("peer", "items", "price", "service ms", "elapsed ms", "task"), rows)
    if why:
        _print_why(answer["chunks"])


@app.command()
def cancel(job: JobArgument, data_dir: DataDirOption = None, json: JsonOption = False) -> None:
    """Cancel a job; its workers stop, and what was answered is kept."""
    from swarmharness.cli.connection import call_node

    job_id = _full_id(data_dir, job)
    call_node(data_dir, "job.cancel", {"job": job_id})
    if json:
        print_json({"event": "cancelled", "job": job_id})
    else:
        print(f"job {job_id} is cancelled; `swarmharness jobs resume {job_id}` would go on with it")


@app.command()
def resume(
    job: JobArgument,
    out: OutOption = None,
    join: JoinOption = None,
    deadline: DeadlineOption = None,
    budget: BudgetOption = None,
    progress: ProgressOption = "auto",
    data_dir: DataDirOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Go on with a job: reads its input again, skips what is answered, and writes all of its results."""
    from swarmharness.cli.submission import Submission
    from swarmharness.cli.submit_outputs import OutputFile
    from swarmharness.cli.submit_progress import progress_bar
    from swarmharness.node import config_values

    params = terms(deadline, budget)
    check_progress(progress)
    targets = checked("--join", join, config_values.complain_about_join)
    out = Path(os.path.abspath(out)) if out else None  # noqa: PTH100 - symbolic links stay as they are

    from swarmharness.cli.connection import run_async
    from swarmharness.node.session import open_session

    submissions: list[Submission] = []

    async def run() -> None:
        async with open_session(data_dir, config, targets) as control:
            record = (await control.call("job.show", {"job": job, "limit": 0}))["job"]
            path = out or (Path(record["out"]) if record["out"] else None)
            with ExitStack() as stack:
                out_file = stack.enter_context(OutputFile(path)) if path else None
                bar = stack.enter_context(progress_bar(record["skill"], progress))
                call = {**params, "job": record["job"], "out": str(path or "")}

                async def begin(inputs: Inputs | None) -> Kind:
                    submissions.append(Submission(inputs, out_file, bar, as_json=json))
                    return await submissions[-1].begin(record["kind"])

                opened, kind = await _reopen(control, call, record, begin)
                await submissions[-1].run(control, opened, kind, resumed=record)

    run_async(run)
    submissions[-1].conclude()


async def _reopen(
    control: Control,
    call: dict[str, Any],
    record: dict[str, Any],
    begin: Callable[[Inputs | None], Awaitable[Kind]],
) -> tuple[dict[str, Any], Kind]:
    """Take the job up again, with its inputs from their start if they can be had or are needed.

    `begin` checks them before anything changes.
    """
    source = record["source"]
    if "-" not in source.get("files", ()) and source:
        kind = await begin(_inputs(record))
        return await control.call("job.resume", {**call, "compare": True}, OPEN_TIMEOUT_S), kind
    if record["input_ended"]:
        kind = await begin(None)
        try:  # the node may have all that it needs
            return await control.call("job.resume", {**call, "compare": False}, OPEN_TIMEOUT_S), kind
        except InputError as error:
            if not source:
                raise InputError(f"{error}, and only the program that submitted them has them") from None
    if not source:
        raise InputError(
            f"job {record['job']} was not submitted by a command: its inputs cannot be read again from here"
        )
    kind = await begin(_inputs(record))
    return await control.call("job.resume", {**call, "compare": True}, OPEN_TIMEOUT_S), kind


def _inputs(record: dict[str, Any]) -> Inputs:
    from swarmharness.cli.submit_inputs import STDIN, Inputs

    source = record["source"]
    try:
        os.chdir(source["folder"])
    except OSError as error:
        raise InputError(
            f"the inputs of job {record['job']} are named from {source['folder']}: {error.strerror}"
        ) from None
    try:
        # Earlier releases left blank lines out, and did not say so.
        return Inputs(source["arguments"], source["files"], skip_blank=source.get("skip_blank", True))
    except (InputError, ConfigurationError) as error:
        if STDIN not in source["files"]:
            raise
        raise InputError(
            f"the inputs of job {record['job']} came from standard input: pipe the same lines in again ({error})"
        ) from None


def _jobs(data_dir: Path | None, limit: int) -> list[dict[str, Any]]:
    from swarmharness.cli.connection import call_node

    try:
        found: list[dict[str, Any]] = call_node(data_dir, "job.list", {"limit": limit})["jobs"]
    except UnavailableError:
        from swarmharness.jobs.sqlite_journal import read_jobs
        from swarmharness.node.data_dir import DataDir
        from swarmharness.node.jobs_api import shown_state

        path = DataDir.at(data_dir).jobs_database
        if not path.exists():
            raise
        return [{**record.as_dict(), "state": shown_state(record)} for record in read_jobs(path, limit)]
    return found


def _show(data_dir: Path | None, job: str, limit: int) -> dict[str, Any]:
    from swarmharness.cli.connection import call_node

    answer: dict[str, Any] = call_node(data_dir, "job.show", {"job": job, "limit": limit})
    return answer


def _full_id(data_dir: Path | None, job: str) -> str:
    return str(_show(data_dir, job, 0)["job"]["job"])


def _done(job: dict[str, Any]) -> str:
    total = f"{job['items_fed']:,}" if job["input_ended"] else f"{job['items_fed']:,} so far"
    return f"{job['items_answered']:,} of {total}"


def _moment(unix_us: int) -> str:
    from swarmharness.cli.credit_format import moment

    return moment(unix_us)


def _source(job: dict[str, Any]) -> str:
    source = job["source"]
    if not source:
        return "a program"
    names = [*source.get("arguments", ()), *source.get("files", ())]
    text = ", ".join("standard input" if name == "-" else visible(str(name)) for name in names)
    return text if len(text) <= SHOWN_CHARS else text[: SHOWN_CHARS - 1] + "…"


def _print_why(chunks: list[dict[str, Any]]) -> None:
    from swarmharness.routing.decisions import decision_text

    for chunk in chunks:
        print()
        if chunk["why"] is None:
            print(f"the chunk from input {chunk['first_index']} on: the reasons were not kept")
            continue
        for text in decision_text(chunk["why"]):
            say(text)
