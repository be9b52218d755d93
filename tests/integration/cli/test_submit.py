"""The real `submit` command against a control socket whose node answers by script."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trio

from swarmharness.errors import DeadlineError, ErrorKind, SwarmError, UnavailableError
from swarmharness.execution.records import encode_record
from swarmharness.execution.tensor_arrays import from_arrays
from swarmharness.execution.tensor_codec import encode_tensors
from swarmharness.node.control import serve_control
from swarmharness.node.data_dir import DataDir

Answer = tuple[bytes, str, ErrorKind | None]
"""Output, error, kind."""


def vector_of(item: bytes) -> Answer:
    return encode_tensors(from_arrays({"embedding": np.array([len(item), 1], np.float32)})), "", None


@dataclass
class ScriptedNode:
    """Answers the control calls of a submission."""

    kind: str = "text-embedding"
    answer: Callable[[bytes], Answer] = vector_of
    open_error: SwarmError | None = None
    feed_error: SwarmError | None = None
    failure: SwarmError | None = None
    """What ends the job after `takes` inputs,"""
    takes: int = 0
    answers: int = sys.maxsize
    """of which so many are answered."""
    flags: Callable[[bytes], int] = lambda _: 0
    items: list[bytes | str] = field(default_factory=list)
    calls: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list)
    ended: bool = False
    warning: str = ""
    handed_out: int = 0
    asked: trio.Event = field(default_factory=trio.Event)
    cancelled: trio.Event = field(default_factory=trio.Event)

    async def call(self, method: str, params: Mapping[str, Any], timeout_s: float = 60.0) -> Any:
        self.calls.append((method, {name: value for name, value in params.items() if name != "items"}))
        match method:
            case "job.prepare":
                if self.open_error:
                    raise self.open_error
                return {"kind": self.kind}
            case "job.open":
                self.items, self.ended, self.handed_out = [], False, 0
                return {"job": "j1", "kind": self.kind}
            case "job.feed":
                if self.feed_error:
                    self.ended = True
                    raise self.feed_error
                if self.failure:
                    self.items, self.ended = params["items"][: self.takes], True
                    raise self.failure
                self.items += params["items"]
                self.ended = params["last"]
                return {}
            case "job.results":
                self.asked.set()
                with trio.move_on_after(0 if self.items or self.ended else 0.05):
                    await trio.sleep_forever()  # the long poll
                return self._results()
            case "job.cancel":
                self.cancelled.set()
                return {}
            case _:
                return {}

    def _results(self) -> dict[str, Any]:
        results = []
        for index in range(self.handed_out, len(self.items)):
            item = self.items[index]
            kind: ErrorKind | None
            if index >= self.answers:
                assert self.failure is not None
                output, error, kind = b"", str(self.failure), self.failure.kind
            else:
                output, error, kind = (b"", item, ErrorKind.INPUT) if isinstance(item, str) else self.answer(item)
            results.append(
                {
                    "index": index,
                    "output": output,
                    "error": error,
                    "error_kind": None if kind is None else int(kind),
                    "peer": "" if error else "12D3KooWpeer",
                    "service_ms": 2.5,
                    "receipt": "" if error else "r" * 8,
                    "flags": 0 if isinstance(item, str) else self.flags(item),
                }
            )
        self.handed_out = len(self.items)
        answered = min(self.handed_out, self.answers)
        progress = {"items_done": answered, "items_total": len(self.items), "peers": {"12D3KooWpeer": 1}}
        state = {"done": self.ended, "progress": progress, "warning": self.warning}
        if self.failure and self.ended:
            state |= {"reason": str(self.failure), "reason_kind": int(self.failure.kind)}
        return {"results": results, **state}


@asynccontextmanager
async def serving(node: ScriptedNode, path: Path) -> AsyncIterator[None]:
    directory = DataDir(path)
    directory.create()
    async with trio.open_nursery() as nursery:
        await nursery.start(serve_control, directory.control_socket, node)
        yield
        nursery.cancel_scope.cancel()


async def submit(path: Path, *arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return await trio.run_process(
        [sys.executable, "-m", "swarmharness", "submit", *arguments, "--data-dir", str(path)],
        stdin=stdin,
        capture_stdout=True,
        capture_stderr=True,
        check=False,
    )


async def test_a_node_that_cannot_write_answers_down_is_heard_of_in_the_command(tmp_path: Path) -> None:
    node = ScriptedNode(warning="the disk of jobs.sqlite is full: free some space; no answer was lost")
    async with serving(node, tmp_path):
        done = await submit(tmp_path, "text-embedding", "one", "--json")
    assert done.returncode == 0
    assert done.stderr.decode().splitlines() == [f"warning: answers are not kept, nor paid yet: {node.warning}"]
    assert len(done.stdout.splitlines()) == 1


async def test_results_are_json_lines_in_input_order(tmp_path: Path) -> None:
    node = ScriptedNode()
    async with serving(node, tmp_path):
        done = await submit(tmp_path, "text-embedding", "one", "three", "--json", "--deadline", "9")
    assert (done.returncode, done.stderr) == (0, b"")
    told = {"peer": "12D3KooWpeer", "model_digest": "", "service_ms": 2.5, "receipt": "rrrrrrrr", "verified": False}
    told["truncated"] = False
    assert [json.loads(line) for line in done.stdout.splitlines()] == [
        {"index": 0, "output": [3.0, 1.0], **told},
        {"index": 1, "output": [5.0, 1.0], **told},
    ]
    method, params = node.calls[1]
    assert (method, params["skill"], params["deadline_s"]) == ("job.open", "text-embedding", 9.0)
    assert params["source"]["arguments"] == ["one", "three"]
    assert "job.cancel" not in [method for method, _ in node.calls]


async def test_lines_from_a_pipe_become_npy_rows(tmp_path: Path) -> None:
    lines = b"".join(b"x" * (number % 50 + 1) + b"\n" for number in range(3000))
    async with serving(ScriptedNode(), tmp_path):
        done = await submit(tmp_path, "text-embedding", "--out", str(tmp_path / "e.npy"), stdin=lines)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    rows = np.load(tmp_path / "e.npy")
    assert rows.shape == (3000, 2)
    assert rows[:, 0].tolist() == [number % 50 + 1 for number in range(3000)]


async def test_a_file_skill_gets_files_and_shows_readable_answers(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(b"A")
    (tmp_path / "b.bin").write_bytes(b"B")
    node = ScriptedNode("file-type", lambda item: (encode_record([item.decode(), 0.5, "x/y", "g"]), "", None))
    async with serving(node, tmp_path):
        done = await submit(tmp_path, "file-type", str(tmp_path / "*.bin"))
    assert done.returncode == 0
    assert done.stdout.decode().splitlines() == [
        f"{tmp_path}/a.bin: A (x/y, g, 50% sure)",
        f"{tmp_path}/b.bin: B (x/y, g, 50% sure)",
    ]


def failing(kind: ErrorKind, *, only: bytes | None = None) -> Callable[[bytes], Answer]:
    return lambda item: vector_of(item) if only is not None and item != only else (b"", "it went wrong", kind)


async def test_a_partial_result_is_written_and_the_missing_are_named(tmp_path: Path) -> None:
    node = ScriptedNode(answer=failing(ErrorKind.INPUT, only=b"bad"))
    async with serving(node, tmp_path):
        done = await submit(tmp_path, "text-embedding", "good", "bad", "--json", "--out", str(tmp_path / "o.jsonl"))
    assert done.returncode == 7
    good, bad = [json.loads(line) for line in done.stdout.splitlines()]
    assert good["index"] == 0
    assert bad == {"index": 1, "error": "it went wrong", "error_kind": 3}
    assert done.stderr.decode().splitlines() == [
        'no result for input 1 ("bad"): it went wrong',
        "error: 1 of 2 inputs have no result",
    ], "resuming does nothing for an input that is wrong"
    assert (tmp_path / "o.jsonl").read_bytes() == done.stdout


@pytest.mark.parametrize(
    "kind", [kind for kind in ErrorKind if kind not in (ErrorKind.CONFIGURATION, ErrorKind.PARTIAL)]
)
async def test_a_job_without_any_result_exits_with_what_went_wrong(tmp_path: Path, kind: ErrorKind) -> None:
    out = tmp_path / "o.jsonl"
    out.write_text("kept")
    async with serving(ScriptedNode(answer=failing(kind)), tmp_path):
        done = await submit(tmp_path, "text-embedding", "a", "b", "--out", str(out))
    assert done.returncode == kind
    assert "none of 2 inputs has a result: it went wrong" in done.stderr.decode()
    assert out.read_text() == "kept"
    assert {path.name for path in await trio.Path(tmp_path).iterdir()} <= {"o.jsonl", "control.sock"}


async def test_an_output_that_is_not_one_counts_as_missing(tmp_path: Path) -> None:
    async with serving(ScriptedNode(answer=lambda item: (b"\xff", "", None)), tmp_path):
        done = await submit(tmp_path, "text-embedding", "a")
    assert done.returncode == 1
    assert "sent no valid output" in done.stderr.decode()


async def test_a_refused_job_reports_the_node_s_words(tmp_path: Path) -> None:
    node = ScriptedNode(open_error=UnavailableError("no peer offers 'text-embeding'; did you mean text-embedding?"))
    async with serving(node, tmp_path):
        done = await submit(tmp_path, "text-embeding", "a")
    assert done.returncode == 4
    assert done.stderr == b"error: no peer offers 'text-embeding'; did you mean text-embedding?\n"


async def test_a_job_that_ends_before_its_input_keeps_the_reason(tmp_path: Path) -> None:
    node = ScriptedNode(feed_error=UnavailableError("the job ended"))
    async with serving(node, tmp_path):
        done = await submit(tmp_path, "text-embedding", "a")
    assert done.returncode == 4
    assert done.stderr == b"error: the job ended\n"


@pytest.mark.parametrize("answered", [1, 2])
async def test_inputs_that_a_job_never_took_have_a_line_and_leave_an_existing_file(
    tmp_path: Path, answered: int
) -> None:
    node = ScriptedNode(failure=DeadlineError("the deadline passed"), takes=2, answers=answered)
    out = tmp_path / "o.jsonl"
    out.write_text("kept")
    async with serving(node, tmp_path):
        done = await submit(tmp_path, "text-embedding", "a", "b", "c", "d", "--json", "--out", str(out))
    assert done.returncode == 7
    *taken, rest = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["index"] for line in taken] == [0, 1]
    assert rest == {"unread_from": 2, "error": "the deadline passed", "error_kind": 6}
    assert out.read_text() == "kept"
    assert (tmp_path / "o.partial.jsonl").read_bytes() == done.stdout
    *_, hint, error = done.stderr.decode().splitlines()
    assert hint == "what was answered is kept: `swarmharness jobs resume j1` goes on"
    assert (
        error
        == {
            1: "error: 1 of 2 inputs have no result; the rest of the input was not taken: the deadline passed",
            2: "error: 2 inputs have a result; the rest of the input was not taken: the deadline passed",
        }[answered]
    )


async def test_what_does_not_exist_is_refused_before_there_is_a_job(tmp_path: Path) -> None:
    node = ScriptedNode("image-ocr")
    (tmp_path / "there.png").write_bytes(b"x")
    async with serving(node, tmp_path):
        done = await submit(tmp_path, "image-ocr", str(tmp_path / "there.png"), str(tmp_path / "missing.png"))
    assert done.returncode == 3
    assert "missing.png: No such file or directory" in done.stderr.decode()
    assert [method for method, _ in node.calls] == ["job.prepare"]


async def test_one_bad_file_of_many_costs_its_own_result_and_no_other(tmp_path: Path) -> None:
    for number in range(30):
        (tmp_path / f"{number:02}.bin").write_bytes(b"" if number == 7 else b"picture")
    (tmp_path / "99.bin").mkdir()
    named = [str(tmp_path / f"{number:02}.bin") for number in (*range(30), 99)]
    node = ScriptedNode("image-ocr", lambda item: (encode_record([["text", [0, 0, 1, 1], 0.5]]), "", None))
    async with serving(node, tmp_path):
        done = await submit(tmp_path, "image-ocr", *named, "--json", "--out", str(tmp_path / "o.jsonl"))
    assert done.returncode == 7
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["index"] for line in found] == list(range(31))
    assert [line["index"] for line in found if "output" not in line] == [7, 30]
    assert found[7] == {"index": 7, "error": f"{named[7]}: the file is empty", "error_kind": 3}
    assert f"no result for input 7 ({named[7]}): " in done.stderr.decode()
    assert "2 of 31 inputs have no result" in done.stderr.decode()
    assert (tmp_path / "o.jsonl").read_bytes() == done.stdout


async def test_rows_without_a_result_are_nan_and_there_is_one_for_each_line(tmp_path: Path) -> None:
    async with serving(ScriptedNode(), tmp_path):
        done = await submit(tmp_path, "text-embedding", "--out", str(tmp_path / "e.npy"), stdin=b"\none\n\nfour\n\n")
        skipped = await submit(
            tmp_path, "text-embedding", "--skip-blank", "--out", str(tmp_path / "s.npy"), stdin=b"\none\n\nfour\n"
        )
    assert done.returncode == 7
    rows = np.load(tmp_path / "e.npy")
    assert np.isnan(rows).all(axis=1).tolist() == [True, False, True, False, True]
    assert rows[[1, 3], 0].tolist() == [3, 4]
    assert "input 2 (standard input, line 3): line 3 of standard input is blank" in done.stderr.decode()
    assert (skipped.returncode, skipped.stderr) == (0, b"blank lines skipped: 2\n")
    assert np.load(tmp_path / "s.npy")[:, 0].tolist() == [3, 4]


async def test_an_output_of_nothing_but_nan_is_no_result(tmp_path: Path) -> None:
    nothing = encode_tensors(from_arrays({"embedding": np.full(3, np.nan, np.float32)}))
    answer = lambda item: (nothing, "", None) if item == b"bad" else vector_of(item)  # noqa: E731
    async with serving(ScriptedNode(answer=answer), tmp_path):
        done = await submit(tmp_path, "text-embedding", "good", "bad", "--out", str(tmp_path / "e.npy"))
    assert done.returncode == 7
    assert "every number in it is NaN" in done.stderr.decode()


async def test_truncated_inputs_are_counted_and_marked(tmp_path: Path) -> None:
    node = ScriptedNode(flags=lambda item: int(len(item) > 3))
    async with serving(node, tmp_path):
        done = await submit(tmp_path, "text-embedding", "one", "three", "seven", "--json")
        told = await submit(tmp_path, "text-embedding", "one", "--on-long", "error", "--json")
        wrong = await submit(tmp_path, "text-embedding", "one", "--on-long", "shrink")
    assert [json.loads(line)["truncated"] for line in done.stdout.splitlines()] == [False, True, True]
    assert done.returncode == 0
    assert done.stderr.startswith(b"2 of 3 inputs have more than the 256 tokens that the model takes")
    assert told.stderr == b""
    assert [params.get("parameters") for method, params in node.calls if method == "job.open"] == [
        None,
        {"on_long": "error"},
    ]
    assert (wrong.returncode, b"allowed is one of truncate, error, split-mean" in wrong.stderr) == (2, True)


async def test_a_kind_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    async with serving(ScriptedNode("telepathy"), tmp_path):
        done = await submit(tmp_path, "telepathy", "a")
    assert done.returncode == 2
    assert "too old for the kind 'telepathy'" in done.stderr.decode()


async def test_an_interruption_cancels_the_job_and_exits_with_130(tmp_path: Path) -> None:
    node = ScriptedNode()
    arguments = [sys.executable, "-m", "swarmharness", "submit", "text-embedding", "--data-dir", str(tmp_path)]
    with trio.fail_after(60):
        async with serving(node, tmp_path):
            process = await trio.lowlevel.open_process(arguments, stdin=subprocess.PIPE, stderr=subprocess.PIPE)
            assert process.stdin is not None
            await process.stdin.send_all(b"first line\n")  # more may come, so the job stays open
            await node.asked.wait()
            process.send_signal(signal.SIGINT)
            assert await process.wait() == 130
            await node.cancelled.wait()
            assert process.stderr is not None
            assert await process.stderr.receive_some() == b""


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["text-embedding"], 3, "the standard input is empty"),
        (["text-embedding", ""], 3, "input 1 is empty"),
        (["text-embedding", "--input", "/nonexistent"], 3, "cannot read /nonexistent"),
        (["text-embedding", "a", "--out", "result.csv"], 2, "must end in .jsonl, .npy, .npz"),
        (
            ["text-embedding", "a", "--deadline", "-1"],
            2,
            "--deadline -1: it has passed already; allowed",
        ),
        (["text-embedding", "a", "--deadline", "nan"], 2, "--deadline nan"),
        (["text-embedding", "a", "--join", "nowhere"], 2, "--join cannot be used: 'nowhere…' is not an invite"),
        (["text-embedding", "a"], 4, "start one with `swarmharness node start"),
    ],
)
async def test_a_mistake_is_reported_without_a_node(
    tmp_path: Path, arguments: list[str], status: int, words: str
) -> None:
    done = await submit(tmp_path, *arguments)
    assert done.returncode == status
    assert words in done.stderr.decode()
    assert done.stderr.count(b"\n") == 1
    assert done.stdout == b""
