"""A job that ends while its inputs are read: the command and the API name what ended it, not the late batch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import trio
import trio.testing

from swarmharness.cli.submission import Submission
from swarmharness.cli.submit_inputs import Inputs
from swarmharness.cli.submit_progress import progress_bar
from swarmharness.client.job_run import JobRun
from swarmharness.errors import DeadlineError, ErrorKind, InputError
from swarmharness.execution.skill import Kind

OPENED: dict[str, Any] = {"job": "0011223344556677", "reader": 1, "kind": str(Kind.TEXT_EMBEDDING)}


class EndedBeforeTheBatch:
    """A node whose job's deadline passes before the first batch comes, and which says so after it refused the batch."""

    def __init__(self, *results: Mapping[str, Any]) -> None:
        self._results = list(results)
        self.refused = trio.Event()

    async def call(self, method: str, params: Mapping[str, Any], timeout_s: float = 60.0) -> Any:
        if method == "job.open":
            return OPENED
        if method == "job.feed":
            self.refused.set()
            raise InputError("this node holds no such job")
        assert method == "job.results"
        await self.refused.wait()
        await trio.testing.wait_all_tasks_blocked()
        return {
            "results": self._results,
            "done": True,
            "state": "deadline",
            "reason": "the job's deadline of 0.1 s passed",
            "reason_kind": int(ErrorKind.DEADLINE),
            "progress": {"items_total": 0, "items_done": 0, "peers": {}, "spent_microcredits": 0},
        }


async def test_the_command_names_the_deadline() -> None:
    inputs = Inputs(["a text"], [])
    with progress_bar("a-skill", "none") as bar:
        submission = Submission(inputs, None, bar, as_json=False)
        kind = await submission.begin(OPENED["kind"])
        await submission.run(EndedBeforeTheBatch(), OPENED, kind)
    with pytest.raises(DeadlineError, match=r"the job's deadline of 0\.1 s passed"):
        submission.conclude()


async def test_the_command_names_the_deadline_also_when_the_batch_is_refused_after_it() -> None:
    inputs, node = Inputs(["a text"], []), EndedBeforeTheBatch()
    node.refused.set()
    with progress_bar("a-skill", "none") as bar:
        submission = Submission(inputs, None, bar, as_json=False)
        kind = await submission.begin(OPENED["kind"])
        await submission._take(node, kind)
        await submission._feed(node, inputs, kind)
    with pytest.raises(DeadlineError, match=r"the job's deadline of 0\.1 s passed"):
        submission.conclude()


async def test_the_api_names_the_deadline() -> None:
    run = JobRun(EndedBeforeTheBatch(), {"skill": "a-skill"}, trio.Semaphore(1))
    run.offer(b"a text")
    run.end_input()
    await run.run()
    assert isinstance(run.over, DeadlineError)
    assert str(run.over) == "the job's deadline of 0.1 s passed"


async def test_an_input_that_is_wrong_does_not_explain_those_that_were_never_taken() -> None:
    wrong = {"index": 0, "output": b"", "error": "input 0 is empty", "error_kind": int(ErrorKind.INPUT)}
    run = JobRun(EndedBeforeTheBatch(wrong), {"skill": "a-skill"}, trio.Semaphore(1))
    run.offer("input 0 is empty")
    run.end_input()
    await run.run()
    assert list(run.answers) == [wrong]
    assert isinstance(run.over, DeadlineError)
