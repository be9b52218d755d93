"""Opens ONNX Runtime sessions on the best execution provider; it runs in worker processes alone."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import onnxruntime

from swarmharness.errors import InputError, cause_text
from swarmharness.execution.ports import ItemOutput
from swarmharness.execution.providers import CPU, full_names, rank_providers, shortfall
from swarmharness.execution.tensor_arrays import bfloat16_bits, from_bfloat16_bits

Array = npt.NDArray[Any]
_ONNX_BFLOAT16 = 16
"""TensorProto.BFLOAT16."""


class Runner(Protocol):
    """Runs one kind of skill on items that may be anything."""

    def run(self, items: Sequence[bytes], parameters: Mapping[str, Any]) -> list[ItemOutput]:
        """Return one output for each item, in order; an exception means that the batch failed as a whole.

        The parameters are those of the kind (see `execution.parameters`), without those that have their default.
        """

    def samples(self) -> Iterable[bytes]:
        """Return made items, of which a model that works answers one: for trying, warming up and measuring."""


class Session:
    """An open model."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self.inputs: tuple[Any, ...] = tuple(session.get_inputs())
        self.outputs: tuple[Any, ...] = tuple(session.get_outputs())
        self.metadata: dict[str, str] = session.get_modelmeta().custom_metadata_map
        self._bfloat16 = {value.name for value in (*self.inputs, *self.outputs) if value.type == "tensor(bfloat16)"}
        if self._bfloat16 and not hasattr(onnxruntime.OrtValue, "ortvalue_from_numpy_with_onnx_type"):
            raise InputError("it takes or puts out bfloat16, for which this onnxruntime is too old: upgrade it")

    def run(self, feeds: Mapping[str, Array]) -> list[Any]:
        """Return every output, in the order of `outputs`; bfloat16 goes in and comes out as float32."""
        if self._bfloat16:
            return self._run_values(feeds)
        results: list[Any] = self._session.run(None, dict(feeds))
        return results

    def _run_values(self, feeds: Mapping[str, Array]) -> list[Any]:
        """Run on ONNX Runtime's own values: NumPy has no bfloat16, so its bits are handed over as they are."""
        values = {name: self._value(name, array) for name, array in feeds.items()}
        names = [output.name for output in self.outputs]
        results = self._session.run_with_ort_values(names, values)
        return [_plain(result) for result in results]

    def _value(self, name: str, array: Array) -> Any:
        if name not in self._bfloat16:
            return onnxruntime.OrtValue.ortvalue_from_numpy(array)
        make = onnxruntime.OrtValue.ortvalue_from_numpy_with_onnx_type
        return make(bfloat16_bits(array), _ONNX_BFLOAT16)


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

    def open(self, model: Path | bytes) -> Session:
        """Open a model, a file or its bytes, on the best provider that works.

        Raises InputError if that is the CPU, and nobody named it.
        """
        for provider in self._providers[:-1]:
            try:
                session = self._open(model, (provider, CPU))
            except Exception as error:  # whatever a driver raises, the CPU still works
                self._give_up(provider, cause_text(error))
                continue
            if provider in session.get_providers():
                self.provider = provider
                return Session(session)
            self._give_up(provider, "ONNX Runtime could not start it (driver or libraries missing?)")
        if not self._cpu_will_do:
            raise InputError(f'{"; ".join(self.warnings)}; add "cpu" to [execution] providers to run on the processor')
        self.provider = CPU
        return Session(self._open(model, (CPU,)))

    def _give_up(self, provider: str, reason: str) -> None:
        self._providers = tuple(name for name in self._providers if name != provider)
        self.warnings.append(f"{provider} is not used: {reason.splitlines()[0][:300]}")

    def _open(self, model: Path | bytes, providers: Sequence[str]) -> Any:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 4  # failures come as exceptions; stderr stays short
        # The arena never gives memory back: one long batch of MiniLM left 1.5 GB resident, against 0.3 GB without it,
        # at the same speed. Idle threads must not spin on somebody's laptop either.
        options.enable_cpu_mem_arena = False
        options.enable_mem_pattern = False
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        return onnxruntime.InferenceSession(
            str(model) if isinstance(model, Path) else model, options, providers=list(providers)
        )


def _plain(value: Any) -> Any:
    """Return one of ONNX Runtime's values as an array, or as it is when it is no tensor."""
    if value.data_type() != "tensor(bfloat16)":
        return value.numpy()
    shape = value.shape()
    count = math.prod(shape)
    if count == 0:
        return np.zeros(shape, np.float32)
    pointer = ctypes.cast(value.data_ptr(), ctypes.POINTER(ctypes.c_uint16))
    return from_bfloat16_bits(np.ctypeslib.as_array(pointer, (count,))).reshape(shape)


def as_float32(array: Array) -> npt.NDArray[np.float32]:
    """Return the array as float32, converted only if it is not."""
    return np.asarray(array, dtype=np.float32)
