"""`import swarmharness` is cheap, and every public name is there when it is asked for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import swarmharness

HEAVY = ("trio", "msgpack", "numpy", "libp2p", "onnxruntime", "sqlite3", "cryptography", "swarmharness.client")


def loaded_after(program: str) -> set[str]:
    code = f"{program}\nimport sys\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_importing_the_package_loads_nothing_heavy() -> None:
    assert not loaded_after("import swarmharness; swarmharness.__version__; dir(swarmharness)").intersection(HEAVY)


def test_a_connection_loads_neither_libp2p_nor_numpy() -> None:
    loaded = loaded_after("import swarmharness; swarmharness.connect; swarmharness.connect_sync")
    assert "trio" in loaded
    assert not loaded & {"libp2p", "numpy", "onnxruntime", "onnx", "sqlite3", "swarmharness.node.node"}


@pytest.mark.parametrize("name", swarmharness.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(swarmharness, name) is not None
    assert name in dir(swarmharness)


def test_a_name_that_is_not_there_is_an_ordinary_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'conect'"):
        swarmharness.conect  # noqa: B018


def test_type_checkers_find_the_types() -> None:
    assert swarmharness.__file__ is not None
    assert (Path(swarmharness.__file__).parent / "py.typed").exists()
