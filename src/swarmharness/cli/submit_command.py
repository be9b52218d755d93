"""`swarmharness submit`: feeds inputs to a job, and writes its results as they come, in input order."""

from __future__ import annotations

import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from swarmharness.cli.options import ConfigOption, DataDirOption, JoinOption, JsonOption, checked, new_app, print_json
from swarmharness.errors import (
    ConfigurationError,
    InputError,
    PartialResultError,
    ProtocolError,
    SwarmError,
    error_from_kind,
)

if TYPE_CHECKING:
    from swarmharness.cli.submit_inputs import Inputs
    from swarmharness.cli.submit_outputs import OutputFile
    from swarmharness.cli.submit_progress import ProgressBar
    from swarmharness.execution.skill import Task
    from swarmharness.node.control import Control

FEED_ITEMS = 1024
FEED_BYTES = 4 * 2**20
OPEN_TIMEOUT_S = 60.0
POLL_TIMEOUT_S = 60.0
CANCEL_TIMEOUT_S = 2.0
DEADLINE_S_MAX = 30 * 86_400.0
MISSING_SHOWN = 20

app = new_app()


@app.command()
def submit(
    skill: Annotated[str, typer.Argument(metavar="SKILL", help="The skill to run; `swarmharness skills list`.")],
    inputs: Annotated[
        list[str] | None,
        typer.Argument(metavar="[INPUT]...", help="Texts, or files and globs for a skill that takes files."),
    ] = None,
    input: Annotated[
        list[str] | None,
        typer.Option("--input", metavar="FILE", help="A file of inputs: a text by its lines; - is standard input."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Write results to a .jsonl, .npy or .npz file.")
    ] = None,
    join: JoinOption = None,
    deadline: Annotated[
        float | None, typer.Option("--deadline", metavar="SECONDS", help="Give up after so long.")
    ] = None,
    data_dir: DataDirOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Run SKILL on inputs, somewhere in the swarm; results come in input order."""
    from swarmharness.cli.submit_inputs import Inputs
    from swarmharness.cli.submit_outputs import OutputFile
    from swarmharness.cli.submit_progress import progress_bar
    from swarmharness.node import config_values

    if deadline is not None and not 0 < deadline <= DEADLINE_S_MAX:
        raise ConfigurationError(f"--deadline {deadline:g}: allowed is more than 0 and at most {DEADLINE_S_MAX:.0f} s")
    targets = checked("--join", join, config_values.complain_about_join)
    found = Inputs(inputs or (), input or ())

    from swarmharness.cli.connection import run_async
    from swarmharness.node.session import open_session

    with ExitStack() as stack:
        out_file = stack.enter_context(OutputFile(out)) if out else None
        bar = stack.enter_context(progress_bar(skill))
        submission = Submission(found, out_file, bar, as_json=json)

        async def run() -> None:
            async with open_session(data_dir, config, targets) as control:
                await submission.run(control, skill, deadline)

        run_async(run)
    submission.conclude()


class Submission:
    """One job from its inputs to its results."""

    def __init__(self, inputs: Inputs, out: OutputFile | None, bar: ProgressBar, *, as_json: bool) -> None:
        self._inputs = inputs
        self._out = out
        self._bar = bar
        self._as_json = as_json
        self._fed = 0
        self._input_ended = False
        self._refusal: SwarmError | None = None
        self._answered = 0
        self._missing: list[tuple[int, str, int]] = []
        """Index, reason and error kind of every item without a result."""

    async def run(self, control: Control, skill: str, deadline_s: float | None) -> None:
        """Open the job, feed it and take its results; cancels it if anything goes wrong on this side."""
        import trio

        from swarmharness.execution.skill import Task

        options = {} if deadline_s is None else {"deadline_s": deadline_s}
        opened = await control.call("job.open", {"skill": skill, **options}, OPEN_TIMEOUT_S)
        job = opened["job"]
        done = False
        try:
            try:
                task = Task(opened["task"])
            except ValueError:
                raise ConfigurationError(f"this command is too old for the task {opened['task']!r}: upgrade") from None
            if self._out:
                self._out.check_task(task)
            # Ctrl-C is taken here, or it might strike in the connection, through which the job is to be cancelled.
            with trio.open_signal_receiver(signal.SIGINT) as interrupts:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(_interrupt, interrupts)
                    nursery.start_soon(self._feed, control, job, task)
                    await self._take(control, job, task)
                    nursery.cancel_scope.cancel()  # a job can end before its input does, at its deadline
            done = True
        finally:
            if not done:
                with trio.CancelScope(shield=True, deadline=trio.current_time() + CANCEL_TIMEOUT_S):
                    with suppress(SwarmError):  # what went wrong before says more
                        await control.call("job.cancel", {"job": job}, CANCEL_TIMEOUT_S)
        if self._out and self._answered:
            path = self._out.finish(task, items_total=self._fed, complete=not self._missing)
            if path != self._out.path:
                print(f"results are missing, so {self._out.path} was kept; what came is in {path}", file=sys.stderr)

    def conclude(self) -> None:
        """Name what is missing on standard error, and raise the error that gives the exit status, if any."""
        if not self._missing and self._refusal is None:
            return
        for index, reason, _ in self._missing[:MISSING_SHOWN]:
            print(f"no result for input {index} ({self._inputs.label(index)}): {reason}", file=sys.stderr)
        if len(self._missing) > MISSING_SHOWN:
            print(f"and {len(self._missing) - MISSING_SHOWN} more", file=sys.stderr)
        unread = f"; the rest of the input was not taken: {self._refusal}" if self._refusal else ""
        if self._answered:
            raise PartialResultError(f"{len(self._missing)} of {self._fed} inputs have no result{unread}")
        if not self._missing:
            raise self._refusal or SwarmError("the job ended without a result")
        _, reason, kind = self._missing[0]
        raise error_from_kind(kind, f"none of {self._fed} inputs has a result: {reason}{unread}")

    async def _feed(self, control: Control, job: str, task: Task) -> None:
        import trio

        items = self._inputs.items(task)
        while not self._input_ended:
            # In a thread, so that a slow pipe on standard input does not hold up the results.
            batch, last = await trio.to_thread.run_sync(_next_batch, items, abandon_on_cancel=True)
            self._fed += len(batch)
            self._input_ended = last
            try:
                # The node takes its time when it holds enough; the job's own deadline bounds the wait.
                await control.call("job.feed", {"job": job, "items": batch, "last": last}, DEADLINE_S_MAX)
            except SwarmError as error:
                self._fed -= len(batch)
                self._refusal = error
                return

    async def _take(self, control: Control, job: str, task: Task) -> None:
        done = False
        while not done:
            answer = await control.call("job.results", {"job": job}, POLL_TIMEOUT_S)
            for result in answer["results"]:
                self._accept(task, result)
            self._bar.update(answer["progress"], input_ended=self._input_ended)
            done = answer["done"]

    def _accept(self, task: Task, result: dict[str, Any]) -> None:
        from swarmharness.cli.submit_outputs import json_line, readable

        index = result["index"]
        if result["error"]:
            self._missing.append((index, result["error"], result["error_kind"] or InputError.kind))
            return
        try:
            line = json_line(task, result)
        except ProtocolError as error:
            self._missing.append((index, f"{result['peer']} sent no valid output: {error}", error.kind))
            return
        self._answered += 1
        if self._out:
            self._out.add(line, result["output"])
        if self._as_json:
            print_json(line)
        elif not self._out:
            alone = self._input_ended and self._fed == 1
            print(readable(task, line["output"], self._inputs.label(index), alone=alone))


async def _interrupt(interrupts: AsyncIterator[int]) -> None:
    async for _ in interrupts:
        raise KeyboardInterrupt


def _next_batch(items: Iterator[bytes]) -> tuple[list[bytes], bool]:
    """Return the next items, by count and size, and whether they are the last."""
    batch: list[bytes] = []
    size_bytes = 0
    for item in items:
        batch.append(item)
        size_bytes += len(item)
        if len(batch) >= FEED_ITEMS or size_bytes >= FEED_BYTES:
            return batch, False
    return batch, True
