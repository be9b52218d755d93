"""Ranks ONNX Runtime's execution providers, best first; it decides on names only and opens nothing."""

from __future__ import annotations

from collections.abc import Sequence

CPU = "CPUExecutionProvider"

RANKED = (
    "CUDAExecutionProvider",
    "ROCMExecutionProvider",
    "MIGraphXExecutionProvider",
    "CoreMLExecutionProvider",
    "DmlExecutionProvider",
    "OpenVINOExecutionProvider",
    CPU,
)
"""Providers that are used unasked. TensorRT is not among them, since it compiles for minutes; nor is Azure, which
sends the data away; both can be asked for by name."""


def rank_providers(available: Sequence[str], wanted: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the providers to try, best first, always ending with the CPU: those wanted, or else the known ranking."""
    order = [name for name in (wanted or RANKED) if name in available and name != CPU]
    return (*order, CPU)
