from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from swarmharness.errors import InputError
from swarmharness.execution.kinds.session import SessionFactory
from swarmharness.execution.providers import CPU
from tests.unit.execution import builders

CUDA = "CUDAExecutionProvider"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "m"
    path.write_bytes(builders.doubling())
    return path


def test_a_session_runs_on_the_cpu_without_a_word(model: Path) -> None:
    sessions = SessionFactory(threads=1)
    session = sessions.open(model)
    (result,) = session.run({"x": np.ones((1, 3), np.float32)})
    assert result.tolist() == [[2, 2, 2]]
    assert (sessions.provider, sessions.warnings) == (CPU, [])


@pytest.mark.parametrize("raises", [True, False], ids=["it raises", "it is silently left out"])
def test_an_accelerator_that_does_not_start_is_reported_once_and_the_cpu_takes_over(
    model: Path, monkeypatch: pytest.MonkeyPatch, raises: bool
) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA, CPU])  # this build claims what it lacks
    sessions = SessionFactory(threads=1)
    assert list(sessions.candidates) == [CUDA, CPU]
    with warnings.catch_warnings():
        warnings.simplefilter("error" if raises else "ignore")
        sessions.open(model)
        sessions.open(model)
    assert sessions.provider == CPU
    assert list(sessions.candidates) == [CPU]
    (warning,) = sessions.warnings
    assert warning.startswith(f"{CUDA} is not used: ")


def test_where_only_an_accelerator_was_wanted_nothing_runs_on_the_cpu(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match="providers names cuda, and ONNX Runtime here has only "):
        SessionFactory(threads=1, wanted_providers=["cuda"])
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA, CPU])  # this build claims what it lacks
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(InputError, match=f'{CUDA} is not used: .*; add "cpu" to'):
            SessionFactory(threads=1, wanted_providers=["cuda"]).open(model)
        willing = SessionFactory(threads=1, wanted_providers=["cuda", "cpu"])
        willing.open(model)
    assert willing.provider == CPU
