from __future__ import annotations

import pytest

from swarmharness.execution.providers import CPU, full_names, rank_providers, shortfall


def test_an_accelerator_comes_before_the_cpu_whatever_the_order_of_the_list() -> None:
    assert rank_providers([CPU, "CUDAExecutionProvider"]) == ("CUDAExecutionProvider", CPU)


def test_a_provider_that_sends_data_away_is_never_chosen_unasked() -> None:
    assert rank_providers(["AzureExecutionProvider", CPU]) == (CPU,)


def test_wanted_providers_decide_the_order_and_the_cpu_stays_the_last_resort() -> None:
    available = ["TensorrtExecutionProvider", "CUDAExecutionProvider", CPU]
    wanted = ["TensorrtExecutionProvider", "ROCMExecutionProvider"]
    assert rank_providers(available, wanted) == ("TensorrtExecutionProvider", CPU)
    assert rank_providers(available, [CPU]) == (CPU,)


@pytest.mark.parametrize("written", ["cuda", "CUDA", "CUDAExecutionProvider"])
def test_a_provider_is_known_by_its_short_name_too(written: str) -> None:
    assert full_names([written, "cpu"], [CPU]) == ("CUDAExecutionProvider", CPU)
    assert full_names([written, "auto"], [CPU]) == ()


def test_a_list_of_which_nothing_is_to_be_had_is_a_shortfall_that_says_what_to_do() -> None:
    assert shortfall([CPU], ["cuda", "frobnicator"]) == (
        "[execution] providers names cuda, frobnicator, and ONNX Runtime here has only CPU: "
        'install the build and drivers for it, or add "cpu" to run on the processor'
    )
    for wanted in ([], ["auto"], ["cuda", "cpu"], ["CPUExecutionProvider"]):
        assert not shortfall([CPU], wanted)
    assert not shortfall(["CUDAExecutionProvider", CPU], ["tensorrt", "cuda"])
