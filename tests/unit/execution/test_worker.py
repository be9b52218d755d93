"""The worker's side of the conversation, without a process of its own."""

from __future__ import annotations

import hashlib
import os
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest

from swarmharness.errors import InputError, ProtocolError
from swarmharness.execution.ports import ItemOutput
from swarmharness.execution.tensor_codec import decode_tensors
from swarmharness.execution.worker import MEASUREMENTS, Worker, failed, is_memory, measure, read_message, run_items
from swarmharness.execution.worker_messages import (
    FRAME_BYTES_MAX,
    Done,
    Failed,
    Failure,
    FilePath,
    Kind,
    Load,
    Loaded,
    Message,
    Open,
    Opened,
    Run,
    Tried,
    Try,
    frame,
    parse_body,
    parse_head,
)
from tests.unit.execution import builders


def answer(worker: Worker, message: Message) -> Message:
    data = worker.answer(message)
    kind, length = parse_head(data)
    assert length == len(data) - 5
    return parse_body(kind, data[5:])


def load(tmp_path: Path, data: bytes, text: str | None = None, digest: bytes | None = None) -> Load:
    path = tmp_path / "m"
    path.write_bytes(data)
    file = FilePath("model.onnx", os.fsencode(path), digest or hashlib.sha256(data).digest())
    return Load(text or builders.manifest_text(data), (file,), 1, (), 0)


def test_the_place_of_a_file_is_no_part_of_a_reason(tmp_path: Path) -> None:
    result = start(Worker(), load(tmp_path, b"no model"))
    assert isinstance(result, Failed)
    assert "model.onnx" in result.reason
    assert str(tmp_path) not in result.reason


def start(worker: Worker, load: Load) -> Message:
    """Load, open and try a model; return the last answer."""
    last: Message = Loaded()
    for message, wanted in ((load, Loaded), (Open(), Opened), (Try(0, False), Tried)):
        last = answer(worker, message)
        if not isinstance(last, wanted):
            break
    return last


@pytest.fixture(autouse=True)
def _no_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker limits the process it runs in; here that would be pytest's."""
    monkeypatch.setattr("swarmharness.execution.worker.limit_memory", lambda memory_bytes: None)


def test_a_worker_loads_and_runs(tmp_path: Path) -> None:
    worker = Worker()
    assert answer(worker, load(tmp_path, builders.doubling())) == Loaded()
    assert answer(worker, Open()) == Opened("CPUExecutionProvider", ())
    tried = answer(worker, Try(10, True))
    assert isinstance(tried, Tried)
    assert tried.service_us > 0
    assert tried.work_microcredits > 0
    done = answer(worker, Run((builders.item(x=builders.floats([[1, 2, 3]])),)))
    assert isinstance(done, Done)
    assert decode_tensors(done.outputs[0].data)[0].shape == (1, 3)


def test_where_the_cpu_will_do_a_provider_that_is_not_there_is_a_warning(tmp_path: Path) -> None:
    message = load(tmp_path, builders.doubling())
    worker = Worker()
    assert answer(worker, Load(message.manifest, message.files, 1, ("cuda", "cpu"), 0)) == Loaded()
    opened = answer(worker, Open())
    assert isinstance(opened, Opened)
    assert opened.provider == "CPUExecutionProvider"
    assert opened.warnings == ("CUDAExecutionProvider is not available in this build of ONNX Runtime",)


def test_where_only_providers_that_are_not_there_were_wanted_the_model_is_not_opened(tmp_path: Path) -> None:
    message = load(tmp_path, builders.doubling())
    refused = answer(Worker(), Load(message.manifest, message.files, 1, ("cuda",), 0))
    assert isinstance(refused, Failed)
    assert refused.failure is Failure.INPUT
    assert "providers names cuda, and ONNX Runtime here has only" in refused.reason


def test_a_run_before_a_load_and_a_message_that_only_workers_send_are_refused() -> None:
    assert answer(Worker(), Run((b"x",))) == Failed(Failure.INPUT, "no skill was opened")
    assert answer(Worker(), Open()) == Failed(Failure.INTERNAL, "a worker does not take Open now")
    assert answer(Worker(), Done((), 0)) == Failed(Failure.INTERNAL, "a worker does not take Done now")


def test_a_file_with_another_digest_is_not_opened(tmp_path: Path) -> None:
    result = answer(Worker(), load(tmp_path, builders.doubling(), digest=bytes(32)))
    assert isinstance(result, Failed)
    assert result.failure is Failure.INPUT
    assert "damaged in the model store" in result.reason


def test_a_model_that_onnx_runtime_refuses_is_an_answer_and_not_the_end(tmp_path: Path) -> None:
    worker = Worker()
    assert isinstance(start(worker, load(tmp_path, builders.with_operator("evil", "Op"))), Failed)
    assert isinstance(start(worker, load(tmp_path, builders.doubling())), Tried)


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        ('name = "y"\ndtype = "float32"\nshape = ["n", 3]', "declares an input 'y'; the model has x"),
        ('name = "x"\ndtype = "float64"\nshape = ["n", 3]', r"declares 'x' as float64 [n, 3]; the model takes float32"),
        ('name = "x"\ndtype = "float32"\nshape = ["n", 4]', r"declares 'x' as float32 [n, 4]"),
    ],
)
def test_declared_inputs_must_fit_the_model(tmp_path: Path, declared: str, message: str) -> None:
    data = builders.doubling()
    text = f"{builders.manifest_text(data)}\n[[model.inputs]]\n{declared}\n"
    result = start(Worker(), load(tmp_path, data, text))
    assert isinstance(result, Failed)
    assert message in result.reason


def test_a_declared_input_may_fix_a_free_dimension(tmp_path: Path) -> None:
    data = builders.doubling()
    text = f'{builders.manifest_text(data)}\n[[model.inputs]]\nname = "x"\ndtype = "float32"\nshape = [2, 3]\n'
    worker = Worker()
    assert isinstance(start(worker, load(tmp_path, data, text)), Tried)
    done = answer(worker, Run((builders.item(x=builders.floats([[1, 2, 3]])),)))
    assert isinstance(done, Done)
    assert "expected [2, 3]" in done.outputs[0].error


def test_an_output_of_nothing_but_nan_is_an_error_of_its_item(tmp_path: Path) -> None:
    worker, nan = Worker(), float("nan")
    assert isinstance(answer(worker, load(tmp_path, builders.doubling())), Loaded)
    assert isinstance(answer(worker, Open()), Opened)
    rows = ([[nan, nan, nan]], [[nan, 1, nan]], [[1, 2, 3]])
    done = answer(worker, Run(tuple(builders.item(x=builders.floats(row)) for row in rows)))
    assert isinstance(done, Done)
    assert [output.error for output in done.outputs] == ["output: every number in it is NaN (not a number)", "", ""]


class _Touchy:
    """Raises on any batch with a poisoned item."""

    made: ClassVar = [b"poison"]

    def __init__(self, error: Exception) -> None:
        self.error = error
        self.batches: list[int] = []

    def run(self, items: Sequence[bytes], parameters: Mapping[str, Any]) -> list[ItemOutput]:
        self.batches.append(len(items))
        if b"poison" in items:
            raise self.error
        return [ItemOutput(item) for item in items]

    def samples(self) -> list[bytes]:
        return self.made


def test_an_item_that_makes_a_batch_raise_is_found_by_running_each_alone() -> None:
    runner = _Touchy(RuntimeError("no\nsecond line"))
    outputs = run_items(runner, [b"a", b"poison", b"b"], {})
    assert [output.data for output in outputs] == [b"a", b"", b"b"]
    assert outputs[1].error == "the model failed on this item: RuntimeError: no"
    assert runner.batches == [3, 1, 1, 1]


def test_a_refused_allocation_ends_the_batch() -> None:
    with pytest.raises(MemoryError):
        run_items(_Touchy(MemoryError()), [b"a", b"poison"], {})


def test_a_model_that_answers_no_made_input_is_refused_with_the_first_reason() -> None:
    with pytest.raises(InputError, match="zeros are not welcome"):
        measure(_Touchy(RuntimeError("zeros are not welcome")), measure_s=1)


def test_made_inputs_are_tried_until_one_is_answered_and_that_one_is_measured() -> None:
    runner = _Touchy(RuntimeError("no"))
    runner.made = [b"poison", b"poison", b"a", b"poison"]  # type: ignore[misc]
    assert min(measure(runner, measure_s=60)) >= 1
    assert runner.batches == [1] * (2 + 1 + MEASUREMENTS)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("std::bad_alloc"),
        RuntimeError("Failed to allocate memory for requested buffer"),
    ],
)
def test_every_way_of_saying_out_of_memory_is_understood(error: Exception) -> None:
    assert is_memory(error)
    assert failed(error).failure is Failure.MEMORY


def test_other_errors_are_told_apart() -> None:
    assert failed(InputError("x")) == Failed(Failure.INPUT, "x")
    assert failed(ValueError("x" * 9000)).failure is Failure.INTERNAL
    assert len(failed(ValueError("x" * 9000)).reason) <= 600


@pytest.mark.parametrize("cut", [0, 1, 4, 5, 6, -1])
def test_a_stream_that_ends_anywhere_is_its_end(cut: int) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(frame(Run((b"abc",)))[:cut])
        theirs.close()
        assert read_message(ours) is None


@pytest.mark.parametrize(
    "data",
    [
        b"\x00\x00\x00\x00\x03",
        (FRAME_BYTES_MAX + 1).to_bytes(4, "big") + b"\x03",
        b"\x00\x00\x00\x02\x63\x90",
        b"\x00\x00\x00\x02\x03\xc1",
    ],
    ids=["empty", "too long", "unknown kind", "not MessagePack"],
)
def test_a_damaged_frame_is_refused_before_anything_is_allocated(data: bytes) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(data)
        with pytest.raises(ProtocolError):
            read_message(ours)


def test_every_kind_of_message_survives_the_frame() -> None:
    for message in (Run((b"", b"x")), Done((), 5), Failed(Failure.MEMORY, "é"), Opened("p", ("w",)), Tried(1, 2)):
        data = frame(message)
        kind, length = parse_head(data)
        assert kind in Kind
        assert length == len(data) - 5
        assert parse_body(kind, data[5:]) == message


def test_a_limit_on_memory_makes_large_allocations_fail() -> None:
    script = (
        "from swarmharness.execution.limits import forbid_core_dumps, limit_memory\n"
        "import resource\n"
        "forbid_core_dumps()\n"
        "limit_memory(100 * 2**20)\n"
        "assert resource.getrlimit(resource.RLIMIT_CORE) == (0, 0)\n"
        "bytearray(20 * 2**20)\n"
        "try:\n    bytearray(200 * 2**20)\nexcept MemoryError:\n    print('refused')\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "refused\n"
