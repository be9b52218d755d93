from __future__ import annotations

from pathlib import Path

import pytest

from swarmharness.node.device import describe_device


def test_a_driver_that_names_a_gpu_in_other_bytes_than_utf_8_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "0").mkdir()
    (tmp_path / "0" / "information").write_bytes(b"Model: \t Accelerator \xff 2000\nIRQ: 1\n")
    monkeypatch.setattr("swarmharness.node.device._NVIDIA", tmp_path)
    assert describe_device().accelerators == ("Accelerator \N{REPLACEMENT CHARACTER} 2000",)
