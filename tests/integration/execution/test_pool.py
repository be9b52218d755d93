"""The executor with real worker processes; together these tests are invariant E-1."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import trio

from swarmharness.errors import (
    DeadlineError,
    InputError,
    ModelFailureError,
    RefusedError,
    SwarmError,
    UnavailableError,
)
from swarmharness.execution.catalog import read_skill
from swarmharness.execution.items import to_json
from swarmharness.execution.model_store import ModelStore
from swarmharness.execution.pool import ProcessExecutor
from swarmharness.execution.ports import Execution
from swarmharness.execution.settings import ExecutorSettings
from swarmharness.execution.skill import Kind
from swarmharness.execution.worker_process import resident_memory_bytes
from tests.unit.execution import builders

FOREVER = builders.item(n=2**60)
TIMEOUT_S = 60.0


def executor(tmp_path: Path, data: bytes, settings: ExecutorSettings | None = None, **keys: Any) -> ProcessExecutor:
    skill, store = builders.installed(tmp_path, data, **keys)
    return ProcessExecutor([skill], store, settings)


def value(execution: Execution, at: int = 0) -> Any:
    assert execution.outputs[at].error == ""
    return to_json(Kind.TENSOR, execution.outputs[at].data)["y"]["data"]


def one(pool: ProcessExecutor, item: bytes) -> Callable[[], Awaitable[Execution]]:
    return lambda: pool.run("toy", (item,), timeout_s=TIMEOUT_S)


async def until(condition: Callable[[], bool]) -> None:
    with trio.fail_after(30):
        while not condition():
            await trio.sleep(0.01)


async def outcome(call: Callable[[], Awaitable[Execution]], into: dict[str, Any], name: str) -> None:
    try:
        into[name] = await call()
    except SwarmError as error:
        into[name] = error


async def test_items_go_in_and_come_out_in_order(tmp_path: Path) -> None:
    async with executor(tmp_path, builders.doubling()) as pool:
        rows = [[[float(row), 1.0, 2.0]] for row in range(20)]
        items = tuple(builders.item(x=builders.floats(row)) for row in rows)
        execution = await pool.run("toy", items, timeout_s=TIMEOUT_S)
        assert [value(execution, at) for at in range(20)] == [[2 * row, 2.0, 4.0] for row in range(20)]
        assert execution.service_us > 0
        assert pool.queued_items("toy") == 0


async def test_loading_measures_and_names_the_provider(tmp_path: Path) -> None:
    async with executor(tmp_path, builders.doubling()) as pool:
        (before,) = pool.skills()
        assert (before.service_us, before.provider) == (0, "")
        after = await pool.load("toy")
        assert after.service_us > 0
        assert after.provider == "CPUExecutionProvider"
        assert pool.skills() == (after,)
        await pool.unload("toy")
        assert pool.worker_pids() == {}
        assert pool.skills()[0].provider == ""
        assert await pool.run("toy", (builders.item(x=builders.floats([[1, 2, 3]])),), timeout_s=TIMEOUT_S)


async def test_a_bad_item_costs_only_itself(tmp_path: Path) -> None:
    good, bad = builders.item(x=builders.floats([[1, 2, 3]])), builders.item(z=builders.floats([[1, 2, 3]]))
    async with executor(tmp_path, builders.doubling()) as pool:
        execution = await pool.run("toy", (good, bad, b"junk"), timeout_s=TIMEOUT_S)
        assert value(execution) == [2.0, 4.0, 6.0]
        assert "the model has no input 'z'" in execution.outputs[1].error
        assert "not encoded tensors" in execution.outputs[2].error
        execution = await pool.run("toy", (bad, bad), timeout_s=TIMEOUT_S)
        assert all("the model has no input 'z'" in output.error for output in execution.outputs)
        with pytest.raises(InputError, match="there are no items"):
            await pool.run("toy", (), timeout_s=TIMEOUT_S)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": builders.floats([[1, 2]])}, r"'x' has the shape \[1, 2\], expected \[n, 3\]"),
        ({"x": builders.floats([1, 2, 3])}, r"'x' has the shape \[3\], expected \[n, 3\]"),
        ({"x": [[1, 2, 3]]}, "'x' has the type int64, expected float32"),
        ({}, r"'x' \(float32, shape \[n, 3\]\) is missing"),
        (
            {"x": builders.floats([[1, 2, 3]]), "xx": [1]},
            r"no input 'xx'.* \(inputs: x\)",
        ),
    ],
)
async def test_wrong_tensors_are_named(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    async with executor(tmp_path, builders.doubling()) as pool:
        execution = await pool.run("toy", (builders.item(**arrays),), timeout_s=TIMEOUT_S)
        assert re.search(message, execution.outputs[0].error)


async def test_an_item_on_which_the_model_itself_raises_costs_only_itself(tmp_path: Path) -> None:
    async with executor(tmp_path, builders.picky()) as pool:
        items = (builders.item(shape=[2, 2]), builders.item(shape=[3, 3]), builders.item(shape=[4]))
        execution = await pool.run("toy", items, timeout_s=TIMEOUT_S)
        assert value(execution, 0) == value(execution, 2) == [1, 2, 3, 4]
        assert "the model failed on this item" in execution.outputs[1].error
        assert len(pool.worker_pids()) == 1


async def test_callers_that_come_together_share_a_batch_and_each_gets_its_own(tmp_path: Path) -> None:
    results: dict[str, Any] = {}
    async with executor(tmp_path, builders.counting()) as pool:
        async with trio.open_nursery() as nursery:
            for number in range(20):
                item = builders.item(n=number)
                nursery.start_soon(outcome, one(pool, item), results, str(number))
    assert {name: value(result) for name, result in results.items()} == {str(n): [n] for n in range(20)}


async def test_a_worker_killed_in_mid_batch_costs_its_caller_an_error_and_the_next_call_works(tmp_path: Path) -> None:
    results: dict[str, Any] = {}
    async with executor(tmp_path, builders.counting()) as pool:
        await pool.load("toy")
        first = pool.worker_pids()["toy"]
        async with trio.open_nursery() as nursery:
            ticks = cpu_ticks(first)
            nursery.start_soon(outcome, lambda: pool.run("toy", (FOREVER,), timeout_s=TIMEOUT_S), results, "victim")
            await until(lambda: is_computing(first, since_ticks=ticks))
            os.kill(first, signal.SIGKILL)
        assert isinstance(results["victim"], ModelFailureError)
        assert "the model's process crashed (killed by SIGKILL)" in str(results["victim"])
        assert value(await pool.run("toy", (builders.item(n=3),), timeout_s=TIMEOUT_S)) == [3]
        assert pool.worker_pids()["toy"] != first


async def test_a_worker_that_died_while_idle_is_replaced_unnoticed(tmp_path: Path) -> None:
    async with executor(tmp_path, builders.counting()) as pool:
        await pool.load("toy")
        os.kill(pool.worker_pids()["toy"], signal.SIGKILL)
        await until(lambda: not pool.worker_pids())
        assert value(await pool.run("toy", (builders.item(n=3),), timeout_s=TIMEOUT_S)) == [3]


async def test_a_hanging_item_costs_its_caller_the_deadline_and_those_behind_it_some_time(tmp_path: Path) -> None:
    results: dict[str, Any] = {}
    async with executor(tmp_path, builders.counting(), batch_invariant=False) as pool:
        await pool.load("toy")
        first = pool.worker_pids()["toy"]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(outcome, lambda: pool.run("toy", (FOREVER,), timeout_s=0.3), results, "hung")
            await until(lambda: pool.queued_items("toy") == 1)
            late = builders.item(n=7)
            nursery.start_soon(outcome, lambda: pool.run("toy", (late,), timeout_s=TIMEOUT_S), results, "late")
        assert isinstance(results["hung"], DeadlineError)
        assert "toy did not answer within 0.3 s" in str(results["hung"])
        assert value(results["late"]) == [7]
        assert pool.worker_pids()["toy"] != first


async def test_the_skills_own_limit_stops_a_batch_and_spares_those_who_merely_shared_it(tmp_path: Path) -> None:
    results: dict[str, Any] = {}
    async with executor(tmp_path, builders.counting(), timeout_secs=1) as pool:
        async with trio.open_nursery() as nursery:  # nothing is loaded yet, so all three share the first batch
            for name, item in (("a", builders.item(n=1)), ("hung", FOREVER), ("b", builders.item(n=2))):
                nursery.start_soon(outcome, one(pool, item), results, name)
        assert value(results["a"]) == [1]
        assert value(results["b"]) == [2]
        assert isinstance(results["hung"], DeadlineError)
        assert "ran for more than 1 s (timeout_secs)" in str(results["hung"])


async def test_a_stopped_process_counts_as_hung(tmp_path: Path) -> None:
    async with executor(tmp_path, builders.counting()) as pool:
        await pool.load("toy")
        os.kill(pool.worker_pids()["toy"], signal.SIGSTOP)
        with pytest.raises(DeadlineError):
            await pool.run("toy", (builders.item(n=1),), timeout_s=0.2)
        assert value(await pool.run("toy", (builders.item(n=2),), timeout_s=TIMEOUT_S)) == [2]


async def test_a_model_that_eats_memory_is_stopped_and_spares_those_who_shared_its_batch(
    tmp_path: Path,
) -> None:
    results: dict[str, Any] = {}
    async with executor(tmp_path, builders.filling(), memory_limit_mib=256) as pool:
        async with trio.open_nursery() as nursery:
            for name, count in (("a", 1), ("hog", 2**31), ("b", 2)):
                item = builders.item(count=[count])
                nursery.start_soon(outcome, one(pool, item), results, name)
        assert value(results["a"]) == [1.0]
        assert value(results["b"]) == [2.0]
        assert isinstance(results["hog"], ModelFailureError)
        assert "exceeded its memory limit of 256 MiB" in str(results["hog"])


async def test_memory_just_beyond_the_limit_is_noticed_from_outside(tmp_path: Path) -> None:
    """Below the limit on allocations (256 MiB of headroom) what counts is resident memory, which the parent watches."""
    data = builders.holding()
    async with executor(tmp_path, data, memory_limit_mib=256) as pool:
        await pool.load("toy")
        assert resident_memory_bytes(pool.worker_pids()["toy"]) < 150 * 2**20
        with pytest.raises(ModelFailureError, match=r"memory limit of 256 MiB \(it held \d+ MiB\)"):
            await pool.run("toy", (builders.item(count=[90 * 2**20 // 4 * 3], n=2**60),), timeout_s=TIMEOUT_S)


async def test_the_nodes_own_limit_may_only_lower_a_skills(tmp_path: Path) -> None:
    settings = ExecutorSettings(memory_limit_mib=200)
    async with executor(tmp_path, builders.filling(), settings, memory_limit_mib=4096) as pool:
        with pytest.raises(ModelFailureError, match="memory limit of 200 MiB"):
            await pool.run("toy", (builders.item(count=[2**31]),), timeout_s=TIMEOUT_S)


async def test_a_full_queue_refuses_and_recovers(tmp_path: Path) -> None:
    results: dict[str, Any] = {}
    async with executor(tmp_path, builders.counting(), ExecutorSettings(queue_items=2), timeout_secs=1) as pool:
        await pool.load("toy")
        async with trio.open_nursery() as nursery:
            both = (FOREVER, FOREVER)
            nursery.start_soon(outcome, lambda: pool.run("toy", both, timeout_s=TIMEOUT_S), results, "long")
            await until(lambda: pool.queued_items("toy") == 2)
            with pytest.raises(RefusedError, match=r"the queue of toy is full \(2 items\)"):
                await pool.run("toy", (builders.item(n=1),), timeout_s=TIMEOUT_S)
        assert isinstance(results["long"], DeadlineError)
        assert await pool.run("toy", (builders.item(n=1),), timeout_s=TIMEOUT_S)


async def test_a_cancelled_caller_leaves_the_queue(tmp_path: Path) -> None:
    async with executor(tmp_path, builders.counting()) as pool:
        await pool.load("toy")
        with trio.move_on_after(0.1) as scope:
            await pool.run("toy", (FOREVER,), timeout_s=TIMEOUT_S)
        assert scope.cancelled_caught
        assert pool.queued_items("toy") == 0
        assert value(await pool.run("toy", (builders.item(n=2),), timeout_s=TIMEOUT_S)) == [2]


async def test_an_unknown_skill_and_missing_files_are_unavailable(tmp_path: Path) -> None:
    skill = read_skill(builders.skill_folder(tmp_path, builders.doubling()))
    async with ProcessExecutor([skill], ModelStore(tmp_path / "models")) as pool:
        assert pool.skills() == ()
        with pytest.raises(UnavailableError, match="no skill 'toi'; did you mean 'toy'"):
            await pool.run("toi", (b"",), timeout_s=1)
        with pytest.raises(UnavailableError, match="swarmharness skills pull toy"):
            await pool.run("toy", (b"",), timeout_s=TIMEOUT_S)
        assert pool.queued_items("nothing") == 0


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"no model at all", "is not an ONNX model"),
        (builders.with_operator("evil", "Op"), "custom operator evil::Op"),
        (builders.with_external_data("../x"), "keeps tensors in other files"),
        (builders.of_opset(99), "cannot be opened: it is of opset 99 of ai.onnx"),
        (builders.classifying(["a"], kind="sequence"), r"cannot be opened: .* which cannot be sent"),
        (builders.rigid(), "cannot be tried: the model failed on this item: InvalidArgument"),
    ],
    ids=["no model", "a custom operator", "external data", "opset", "sequences", "it answers nothing"],
)
async def test_a_model_that_must_not_run_is_refused_and_not_offered(tmp_path: Path, data: bytes, message: str) -> None:
    async with executor(tmp_path, data) as pool:
        with pytest.raises(InputError, match=message):
            await pool.load("toy")
        assert pool.skills() == ()
        assert re.search(message, pool.unoffered()["toy"])
        with pytest.raises(UnavailableError, match=message):  # not the items' fault: another node may run them
            await pool.run("toy", (b"",), timeout_s=TIMEOUT_S)
        assert pool.worker_pids() == {}


async def test_the_trial_of_an_endless_model_ends_after_timeout_secs_and_it_is_not_offered(tmp_path: Path) -> None:
    async with executor(tmp_path, builders.endless(), timeout_secs=1) as pool:
        with pytest.raises(DeadlineError, match=r"stopped: while it was tried: it took more than 1 s \(timeout_secs\)"):
            await pool.load("toy")
        assert pool.worker_pids() == {}
        assert pool.skills() == ()
        assert "timeout_secs" in pool.unoffered()["toy"]
        with pytest.raises(UnavailableError, match="timeout_secs"):
            await pool.run("toy", (b"",), timeout_s=TIMEOUT_S)


async def test_a_model_whose_worker_was_killed_at_its_trial_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("swarmharness.execution.skill_worker.trial_delay_s", lambda lost: 0.01)
    failures: dict[str, Any] = {}

    async def load() -> None:
        with pytest.raises(ModelFailureError, match="killed by SIGKILL"):
            await pool.load("toy")
        failures.update(pool.unoffered())

    async with executor(tmp_path, builders.doubling()) as pool:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(load)
            await until(lambda: bool(workers()))
            os.kill(workers()[0], signal.SIGKILL)
        assert "while it was" in failures["toy"]
        await until(lambda: bool(pool.skills()))
        assert pool.unoffered() == {}
        assert pool.skills()[0].service_us > 0


async def test_a_model_that_was_changed_in_the_store_is_not_opened(tmp_path: Path) -> None:
    skill, store = builders.installed(tmp_path, builders.doubling())
    async with ProcessExecutor([skill], store) as pool:
        await pool.load("toy")
        await pool.unload("toy")
        path = store.path(skill.manifest.files[0].sha256)
        path.write_bytes(path.read_bytes().replace(b"Add", b"Mul"))
        with pytest.raises(InputError, match=r"was damaged in the model store; run `swarmharness skills pull toy`"):
            await pool.load("toy")


async def test_an_idle_worker_ends_and_comes_back(tmp_path: Path) -> None:
    async with executor(tmp_path, builders.counting(), ExecutorSettings(idle_unload_s=0.05)) as pool:
        assert await pool.run("toy", (builders.item(n=1),), timeout_s=TIMEOUT_S)
        await until(lambda: not pool.worker_pids())
        assert value(await pool.run("toy", (builders.item(n=2),), timeout_s=TIMEOUT_S)) == [2]


async def test_leaving_the_block_ends_every_worker_and_keeps_the_error(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):  # noqa: PT012
        async with executor(tmp_path, builders.counting()) as pool:
            await pool.load("toy")
            pid = pool.worker_pids()["toy"]
            raise ZeroDivisionError
    assert not is_alive(pid)


async def test_a_rest_between_batches_counts_as_service(tmp_path: Path) -> None:
    async with executor(tmp_path / "a", builders.counting()) as pool:
        full = await pool.run("toy", (builders.item(n=200_000),), timeout_s=TIMEOUT_S)
    async with executor(tmp_path / "b", builders.counting(), ExecutorSettings(cpu_share=0.1)) as pool:
        tenth = await pool.run("toy", (builders.item(n=200_000),), timeout_s=TIMEOUT_S)
    assert tenth.service_us > 3 * full.service_us


def test_a_worker_dies_with_its_node_even_while_it_computes(tmp_path: Path) -> None:
    script = f"""
import trio
from pathlib import Path
from swarmharness.execution.catalog import read_skill
from swarmharness.execution.model_store import ModelStore
from swarmharness.execution.pool import ProcessExecutor
async def main():
    skill = read_skill(Path({str(tmp_path / "skills" / "toy")!r}))
    async with ProcessExecutor([skill], ModelStore(Path({str(tmp_path / "models")!r}))) as pool:
        await pool.load("toy")
        print(pool.worker_pids()["toy"], flush=True)
        await pool.run("toy", ({FOREVER!r},), timeout_s=600)
trio.run(main)
"""
    builders.installed(tmp_path, builders.counting())
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as node:
        assert node.stdout is not None
        worker = int(node.stdout.readline())
        ticks = cpu_ticks(worker)
        trio.run(until, lambda: is_computing(worker, since_ticks=ticks))
        node.kill()
        node.wait()
    try:
        trio.run(until, lambda: not is_alive(worker))
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(worker, signal.SIGKILL)


def test_a_node_never_loads_the_heavy_libraries() -> None:
    script = """
import sys
import swarmharness.execution.catalog, swarmharness.execution.items, swarmharness.execution.pool
print([name for name in ("numpy", "onnxruntime", "onnx", "tokenizers", "PIL") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def workers() -> list[int]:
    """The worker processes of this one, those included that are not ready yet."""
    found = []
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.Error):  # it ended meanwhile, perhaps one of an earlier test
            if "swarmharness.execution.worker" in child.cmdline():
                found.append(child.pid)
    return found


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that ended and was not yet waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def is_computing(pid: int, *, since_ticks: int) -> bool:
    """Whether a process has computed for a while: more than what is left to do after it answered before."""
    return cpu_ticks(pid) > since_ticks + 15


def cpu_ticks(pid: int) -> int:
    """The processor time that a process has used, in ticks of 10 ms."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11])


async def test_a_model_that_is_not_here_is_offered_and_fetched_at_the_first_call_where_that_is_allowed(
    tmp_path: Path,
) -> None:
    skill = read_skill(builders.skill_folder(tmp_path / "skills", builders.doubling()))
    store, empty = ModelStore(tmp_path / "models"), ModelStore(tmp_path / "empty")
    async with ProcessExecutor([skill], empty) as strict:
        assert strict.skills() == ()
    async with ProcessExecutor([skill], store, ExecutorSettings(fetch_models=True)) as pool:
        (info,) = pool.skills()
        assert info.missing_bytes == sum(file.size_bytes for file in skill.manifest.files)
        assert (info.provider, info.load_us) == ("", 0)
        execution = await pool.run("toy", (builders.item(x=builders.floats([[1.0, 2.0, 3.0]])),), timeout_s=TIMEOUT_S)
        assert value(execution) == [2.0, 4.0, 6.0]
        (info,) = pool.skills()
        assert info.missing_bytes == 0
        assert info.load_us > 0
        assert info.provider
        await pool.unload("toy")
        assert pool.skills()[0].provider == "", "the next call waits for the model to be opened"


async def test_a_model_that_cannot_be_fetched_costs_its_caller_an_error_and_is_tried_again(tmp_path: Path) -> None:
    folder = builders.skill_folder(tmp_path / "skills", builders.doubling())
    skill = read_skill(folder)
    (model,) = folder.glob("*.onnx")
    model.rename(tmp_path / "away")
    item = builders.item(x=builders.floats([[1.0, 2.0, 3.0]]))
    async with ProcessExecutor([skill], ModelStore(tmp_path / "m"), ExecutorSettings(fetch_models=True)) as pool:
        with pytest.raises(UnavailableError, match="could not be fetched"):
            await pool.run("toy", (item,), timeout_s=TIMEOUT_S)
        (tmp_path / "away").rename(model)
        assert value(await pool.run("toy", (item,), timeout_s=TIMEOUT_S)) == [2.0, 4.0, 6.0]


async def test_a_model_uses_as_many_threads_as_the_node_may_use_cores_now(tmp_path: Path) -> None:
    async with executor(tmp_path, builders.doubling(), ExecutorSettings(threads=0)) as pool:
        await pool.use_cores(1)
        assert (await pool.load("toy")).service_us
        before = pool.worker_pids()["toy"]
        alone = native_threads(before)
        assert not await pool.use_cores(1)
        assert pool.worker_pids()["toy"] == before
        assert await pool.use_cores(3)
        after = pool.worker_pids()["toy"]
        assert (after != before, native_threads(after)) == (True, alone + 2)
        assert await pool.run("toy", (builders.item(x=builders.floats([[1, 2, 3]])),), timeout_s=TIMEOUT_S)
        assert pool.worker_pids()["toy"] == after


async def test_a_configured_number_of_threads_stays_whatever_the_cores_are(tmp_path: Path) -> None:
    async with executor(tmp_path, builders.doubling(), ExecutorSettings(threads=2)) as pool:
        await pool.load("toy")
        before = pool.worker_pids()
        assert await pool.use_cores(5)
        assert pool.worker_pids() == before


def native_threads(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/task").iterdir()))


async def test_skills_come_and_go_and_what_was_taken_is_answered_by_the_model_of_then(tmp_path: Path) -> None:
    old, store = builders.installed(tmp_path / "old", builders.counting())
    new, _ = builders.installed(tmp_path / "new", builders.doubling())
    other, _ = builders.installed(tmp_path / "other", builders.doubling(), name="other")
    for skill in (new, other):
        store.fetch(skill.manifest, skill.folder)
    async with ProcessExecutor([old], store) as pool:
        assert pool.offer([old]) == ()
        outcomes: dict[str, Any] = {}
        async with trio.open_nursery() as nursery:
            nursery.start_soon(outcome, one(pool, builders.item(n=2_000_000)), outcomes, "old")
            await until(lambda: pool.queued_items("toy") == 1)
            assert pool.offer([other, new]) == ("other", "toy")
            assert [info.model_digest for info in pool.skills()] == [new.manifest.model_digest] * 2
            nursery.start_soon(outcome, one(pool, builders.item(x=builders.floats([[1, 2, 3]]))), outcomes, "new")
        assert to_json(Kind.TENSOR, outcomes["old"].outputs[0].data)["y"]["data"] == [2_000_000]
        assert value(outcomes["new"]) == [2.0, 4.0, 6.0]
        assert pool.offer([other]) == ()
        with pytest.raises(UnavailableError, match="no skill 'toy'"):
            await pool.load("toy")
        await until(lambda: not worker_processes())


def worker_processes() -> list[int]:
    """The processes that this one started and that still live."""
    listing = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return [pid for pid in map(int, listing) if b"execution.worker" in Path(f"/proc/{pid}/cmdline").read_bytes()]


async def test_a_model_that_was_refused_is_offered_once_its_files_are_mended(tmp_path: Path) -> None:
    skill, store = builders.installed(tmp_path, builders.doubling())
    path = store.path(skill.manifest.files[0].sha256)
    good = path.read_bytes()
    path.write_bytes(b"?" * len(good))
    async with ProcessExecutor([skill], store) as pool:
        with pytest.raises(InputError, match="not an ONNX model"):
            await pool.load("toy")
        assert pool.skills() == ()
        path.write_bytes(good)
        pool.mended("toy")
        assert [info.name for info in pool.skills()] == ["toy"]
        assert (await pool.load("toy")).service_us
