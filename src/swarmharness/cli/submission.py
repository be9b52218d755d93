"""One job as its command sees it: feeds the inputs, takes the results, names what is missing; it prints no errors."""

from __future__ import annotations

import signal
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from swarmharness.cli.options import print_json, say
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
    from swarmharness.execution.ports import Item
    from swarmharness.execution.skill import Kind
    from swarmharness.node.control import Control

FEED_ITEMS = 1024
FEED_BYTES = 4 * 2**20
FEED_TIMEOUT_S = 30 * 86_400.0
"""The node takes its time when it holds enough; the job's own deadline bounds the wait."""
POLL_TIMEOUT_S = 60.0
CANCEL_TIMEOUT_S = 2.0
MISSING_SHOWN = 20


@dataclass(slots=True)
class _Missing:
    """Inputs that follow each other and have no result for one reason."""

    first: int
    last: int
    reason: str


class Submission:
    """One job from its inputs to its results. Without inputs, what it was fed before is awaited."""

    def __init__(
        self,
        inputs: Inputs | None,
        out: OutputFile | None,
        bar: ProgressBar,
        *,
        as_json: bool,
        quiet: bool = False,
    ) -> None:
        self._inputs = inputs
        self._out = out
        self._bar = bar
        self._as_json = as_json
        self._quiet = quiet
        self._job = ""
        self._reader = 1
        self._resumed = False
        self._warned = False
        self._fed = 0
        """What the node has of the inputs; while a job is resumed, that is more than was read."""
        self._settled = 0
        """How many of those have an answer, or a reason that resuming does not change."""
        self._read = 0
        self._input_ended = inputs is None
        self._refusal: SwarmError | None = None
        self._answered = 0
        self._truncated = 0
        self._missing = 0
        self._missing_shown: list[_Missing] = []
        self._first_missing: tuple[str, int] | None = None

    async def begin(self, kind_name: str) -> Kind:
        """Check all that can be checked before there is a job, for a skill of this kind; returns the kind.

        Raises InputError for inputs that do not exist, ConfigurationError for a kind or an output file that do not fit.
        """
        import trio

        from swarmharness.execution.skill import Kind

        try:
            kind = Kind(kind_name)
        except ValueError:
            raise ConfigurationError(f"this command is too old for the kind {kind_name!r}: upgrade") from None
        if self._out:
            self._out.check(kind)
        if self._inputs is not None:
            await trio.to_thread.run_sync(self._inputs.begin, kind, abandon_on_cancel=True)
        return kind

    async def run(
        self, control: Control, opened: Mapping[str, Any], kind: Kind, *, resumed: Mapping[str, Any] | None = None
    ) -> None:
        """Feed an opened job and take its results; cancels it if anything goes wrong on this side.

        `resumed` is the record of a job that is taken up again.
        """
        import trio

        from swarmharness.cli.submit_outputs import unread_line

        self._job, self._reader, self._resumed = opened["job"], opened.get("reader", 1), resumed is not None
        done = False
        try:
            if self._out:
                self._out.begin(kind, self._job)
            # Ctrl-C is taken here, or it might strike in the connection, through which the job is to be cancelled.
            with trio.open_signal_receiver(signal.SIGINT) as interrupts:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(_interrupt, interrupts)
                    if self._inputs is not None:
                        nursery.start_soon(self._feed, control, self._inputs, kind)
                    await self._take(control, kind)
                    nursery.cancel_scope.cancel()  # a job can end before its input does, at its deadline
            sys.stdout.flush()  # what it does not take is told while it can be told how to get it again
            done = True
        finally:
            if not done:
                with trio.CancelScope(shield=True, deadline=trio.current_time() + CANCEL_TIMEOUT_S):
                    with suppress(SwarmError):  # what went wrong before says more
                        await control.call("job.cancel", {"job": self._job}, CANCEL_TIMEOUT_S)
                self._say_how_to_go_on()
        if resumed and resumed["input_ended"]:
            self._refusal = None  # it was read to its end before, so that each input has a line of its own
        if self._refusal is not None:
            self._note(unread_line(self._fed, str(self._refusal), self._refusal.kind))
        if self._out and self._answered:
            path = self._out.finish(items_total=self._fed, complete=not self._missing and self._refusal is None)
            if path != self._out.path:
                print(f"results are missing, so {self._out.path} was kept; what came is in {path}", file=sys.stderr)

    def conclude(self) -> None:
        """Name what is missing on standard error, and raise the error that gives the exit status, if any."""
        self._say_what_was_left_out()
        if not self._missing and self._refusal is None:
            return
        for run in self._missing_shown:
            say(f"no result for {self._named(run)}: {run.reason}", file=sys.stderr)
        shown = sum(run.last - run.first + 1 for run in self._missing_shown)
        if self._missing > shown:
            print(f"and {self._missing - shown} more", file=sys.stderr)
        unread = f"; the rest of the input was not taken: {self._refusal}" if self._refusal else ""
        if self._answered:
            if self._settled < self._fed or self._refusal is not None:  # what cannot be used is settled, too
                self._say_how_to_go_on()
            have = f"{self._missing} of {self._fed} inputs have no" if self._missing else f"{self._fed} inputs have a"
            raise PartialResultError(f"{have} result{unread}")
        if self._first_missing is None:
            raise self._refusal or SwarmError("the job ended without a result")
        reason, kind = self._first_missing
        raise error_from_kind(kind, f"none of {self._fed} inputs has a result: {reason}{unread}")

    def _say_what_was_left_out(self) -> None:
        from swarmharness.execution.items import TEXT_TOKENS_MAX

        if self._inputs is not None and self._inputs.blank_skipped:
            print(f"blank lines skipped: {self._inputs.blank_skipped}", file=sys.stderr)
        if self._truncated:
            print(
                f"{self._truncated} of {self._fed} inputs have more than the {TEXT_TOKENS_MAX} tokens that the model"
                " takes; the rest was left out: `--on-long error` refuses them, `--on-long split-mean` takes all",
                file=sys.stderr,
            )

    def _say_how_to_go_on(self) -> None:
        if self._answered:
            print(f"what was answered is kept: `swarmharness jobs resume {self._job}` goes on", file=sys.stderr)

    async def _feed(self, control: Control, inputs: Inputs, kind: Kind) -> None:
        import trio

        items = inputs.items(kind)
        while not self._input_ended:
            # In a thread, so that a slow pipe on standard input does not hold up the results.
            batch, last = await trio.to_thread.run_sync(_next_batch, items, abandon_on_cancel=True)
            params = {"job": self._job, "reader": self._reader, "items": batch, "last": last}
            try:
                answer = await control.call("job.feed", params, FEED_TIMEOUT_S)
            except SwarmError as error:
                self._refusal = self._refusal or error  # what ended the job says more than that it has ended
                return
            if "differs" in answer:
                index = answer["differs"]
                raise InputError(f"{inputs.label(index)}: {answer['problem']}; submit it anew")
            self._read += len(batch)
            self._input_ended = last

    async def _take(self, control: Control, kind: Kind) -> None:
        from swarmharness.node.control import NodeLostError

        done = False
        while not done:
            try:
                params = {"job": self._job, "reader": self._reader, "kept": True}
                answer = await control.call("job.results", params, POLL_TIMEOUT_S)
            except NodeLostError as error:
                raise error.naming(self._job) from None
            for result in answer["results"]:
                self._accept(kind, result)
            self._warn(answer.get("warning", ""))
            progress = answer["progress"]
            self._fed, self._settled = progress["items_total"], progress["items_done"]
            total, exact = progress["items_total"], True
            if not self._input_ended and self._inputs is not None:
                total, exact = self._inputs.estimated_total(self._read), False
            self._bar.update({**progress, "resumed": self._resumed}, total=total, exact=exact)
            done = answer["done"]
            if done and not self._input_ended and answer.get("reason_kind"):
                # Also in place of what a batch was told that came after the end: that was the consequence.
                self._refusal = error_from_kind(answer["reason_kind"], answer["reason"])

    def _warn(self, warning: str) -> None:
        """Say once what the node cannot write down: the answers come all the same, and cannot be resumed or paid."""
        if warning and not self._warned:
            self._warned = True
            print(f"warning: answers are not kept, nor paid yet: {warning}", file=sys.stderr)

    def _accept(self, kind: Kind, result: Mapping[str, Any]) -> None:
        from swarmharness.cli.submit_outputs import is_truncated, json_line, readable

        index = result["index"]
        if result["error"]:
            self._miss(index, result["error"], result["error_kind"] or InputError.kind)
            return
        shown = self._as_json or not (self._out or self._quiet)
        try:
            line = json_line(kind, result) if shown or (self._out and self._out.takes_lines) else None
            if self._out:
                self._out.add(index, result["output"], line)
        except ProtocolError as error:
            self._miss(index, f"{result['peer']} sent no valid output: {error}", error.kind)
            return
        self._answered += 1
        self._truncated += is_truncated(result)
        if line is not None and self._as_json:
            print_json(line)
        elif line is not None and shown:
            alone = self._input_ended and self._read == 1
            print(readable(kind, line["output"], self._label(index), alone=alone))

    def _miss(self, index: int, reason: str, kind: int) -> None:
        from swarmharness.cli.submit_outputs import error_line

        self._missing += 1
        self._note(error_line(index, reason, kind))
        self._first_missing = self._first_missing or (reason, kind)
        run = self._missing_shown[-1] if self._missing_shown else None
        if run is not None and run.last == index - 1 and run.reason == reason:
            run.last = index
        elif len(self._missing_shown) < MISSING_SHOWN:
            self._missing_shown.append(_Missing(index, index, reason))

    def _note(self, line: Mapping[str, Any]) -> None:
        if self._out:
            self._out.miss(line)
        if self._as_json:
            print_json(line)

    def _named(self, run: _Missing) -> str:
        if run.first == run.last:
            return f"input {run.first} ({self._label(run.first)})"
        return f"inputs {run.first} to {run.last} ({self._label(run.first)} to {self._label(run.last)})"

    def _label(self, index: int) -> str:
        return f"item {index}" if self._inputs is None else self._inputs.label(index)


async def _interrupt(interrupts: AsyncIterator[int]) -> None:
    async for _ in interrupts:
        raise KeyboardInterrupt


def _next_batch(items: Iterator[Item]) -> tuple[list[Item], bool]:
    """Return the next items, by count and size, and whether they are the last."""
    batch: list[Item] = []
    size_bytes = 0
    for item in items:
        batch.append(item)
        size_bytes += len(item)
        if len(batch) >= FEED_ITEMS or size_bytes >= FEED_BYTES:
            return batch, False
    return batch, True
