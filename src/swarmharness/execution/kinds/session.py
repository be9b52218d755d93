"""Opens ONNX Runtime sessions on the best execution provider; it runs in worker processes alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import onnxruntime

from swarmharness.errors import InputError
from swarmharness.execution.ports import ItemOutput
from swarmharness.execution.providers import CPU, full_names, rank_providers, shortfall

Array = npt.NDArray[Any]


class Runner(Protocol):
    """Runs one kind of skill on items that may be anything."""

    def run(self, items: Sequence[bytes]) -> list[ItemOutput]:
        """Return one output for each item, in order; an exception means that the batch failed as a whole."""

    def sample(self) -> bytes:
        """Return a typical item, for warming up and for measuring."""


class Session:
    """An open model."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self.inputs: tuple[Any, ...] = tuple(session.get_inputs())
        self.outputs: tuple[Any, ...] = tuple(session.get_outputs())
        self.metadata: dict[str, str] = session.get_modelmeta().custom_metadata_map

    def run(self, feeds: Mapping[str, Array]) -> list[Array]:
        """Return every output, in the order of `outputs`."""
        results: list[Array] = self._session.run(None, dict(feeds))
        return results


class SessionFactory:
    """Opens sessions alike, and remembers which provider they got and what was wrong with better ones."""

    def __init__(self, *, threads: int, wanted_providers: Sequence[str] = ()) -> None:
        """Raises InputError if none of the wanted ones is to be had: no model runs where its owner did not want it."""
        available = onnxruntime.get_available_providers()
        if problem := shortfall(available, wanted_providers):
            raise InputError(problem)
        wanted = full_names(wanted_providers, available)
        self._threads = threads
        self._providers = rank_providers(available, wanted)
        self._cpu_will_do = not wanted or CPU in wanted
        self.provider = ""
        self.warnings: list[str] = [
            f"{name} is not available in this build of ONNX Runtime" for name in wanted if name not in available
        ]
        onnxruntime.disable_telemetry_events()

    @property
    def candidates(self) -> tuple[str, ...]:
        """The providers that `open` will try, best first."""
        return self._providers

    def open(self, path: Path) -> Session:
        """Open a model on the best provider that works; raises InputError if that is the CPU, and nobody named it."""
        for provider in self._providers[:-1]:
            try:
                session = self._open(path, (provider, CPU))
            except Exception as error:  # whatever a driver raises, the CPU still works
                self._give_up(provider, str(error) or type(error).__name__)
                continue
            if provider in session.get_providers():
                self.provider = provider
                return Session(session)
            self._give_up(provider, "ONNX Runtime could not start it (driver or libraries missing?)")
        if not self._cpu_will_do:
            raise InputError(f'{"; ".join(self.warnings)}; add "cpu" to [execution] providers to run on the processor')
        self.provider = CPU
        return Session(self._open(path, (CPU,)))

    def _give_up(self, provider: str, reason: str) -> None:
        self._providers = tuple(name for name in self._providers if name != provider)
        self.warnings.append(f"{provider} is not used: {reason.splitlines()[0][:300]}")

    def _open(self, path: Path, providers: Sequence[str]) -> Any:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 4  # failures come as exceptions; stderr stays short
        # The arena never gives memory back: one long batch of MiniLM left 1.5 GB resident, against 0.3 GB without it,
        # at the same speed. Idle threads must not spin on somebody's laptop either.
        options.enable_cpu_mem_arena = False
        options.enable_mem_pattern = False
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        return onnxruntime.InferenceSession(str(path), options, providers=list(providers))


def as_float32(array: Array) -> npt.NDArray[np.float32]:
    """Return the array as float32, converted only if it is not."""
    return np.asarray(array, dtype=np.float32)
