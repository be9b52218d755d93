"""Ranks ONNX Runtime's execution providers, best first; it decides on names only and opens nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

AUTO = "auto"
SUFFIX = "ExecutionProvider"
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


def full_names(wanted: Iterable[str], available: Iterable[str]) -> tuple[str, ...]:
    """Return the names that ONNX Runtime uses, of names as people write them (`cuda`); nothing if one is `auto`.

    Names that it does not have stay as they are.
    """
    written = tuple(wanted)
    if AUTO in written:
        return ()
    known = {name.removesuffix(SUFFIX).lower(): name for name in (*RANKED, *available)}
    return tuple(known.get(name.removesuffix(SUFFIX).lower(), name) for name in written)


def shortfall(available: Sequence[str], wanted: Iterable[str]) -> str:
    """Say that not one of the wanted providers is to be had, and what to do; empty if one is, or any will do."""
    written = tuple(wanted)
    names = full_names(written, available)
    if not names or any(name in available for name in names):
        return ""
    here = ", ".join(name.removesuffix(SUFFIX) for name in available)
    return (
        f"[execution] providers names {', '.join(written)}, and ONNX Runtime here has only {here}: "
        'install the build and drivers for it, or add "cpu" to run on the processor'
    )


def rank_providers(available: Sequence[str], wanted: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the providers to try, best first, always ending with the CPU: those wanted, or else the known ranking.

    The CPU comes along for operators that an accelerator lacks, also where nobody named it.
    """
    order = [name for name in (wanted or RANKED) if name in available and name != CPU]
    return (*order, CPU)
