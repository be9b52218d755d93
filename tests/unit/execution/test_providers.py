from __future__ import annotations

from swarmharness.execution.providers import CPU, rank_providers


def test_an_accelerator_comes_before_the_cpu_whatever_the_order_of_the_list() -> None:
    assert rank_providers([CPU, "CUDAExecutionProvider"]) == ("CUDAExecutionProvider", CPU)


def test_a_provider_that_sends_data_away_is_never_chosen_unasked() -> None:
    assert rank_providers(["AzureExecutionProvider", CPU]) == (CPU,)


def test_wanted_providers_decide_the_order_and_the_cpu_stays_the_last_resort() -> None:
    available = ["TensorrtExecutionProvider", "CUDAExecutionProvider", CPU]
    wanted = ["TensorrtExecutionProvider", "ROCMExecutionProvider"]
    assert rank_providers(available, wanted) == ("TensorrtExecutionProvider", CPU)
    assert rank_providers(available, [CPU]) == (CPU,)
