"""Holds the executor's settings with their defaults; reading them from a file is the node's job."""

from __future__ import annotations

from dataclasses import dataclass

from swarmharness.execution.onnx_inspection import MODEL_BYTES_MAX


@dataclass(frozen=True, slots=True)
class ExecutorSettings:
    """How this machine runs skills."""

    threads: int = 1
    """Threads that one model may use inside an operator; 0 means one for each core that this node may use."""
    cpu_share: float = 1.0
    """Share of the time that a model may compute; with 0.5 it rests for as long as it worked."""
    providers: tuple[str, ...] = ()
    """Execution providers to try, best first, as people write them; empty means the known ranking."""
    queue_items: int = 1024
    """Items that may wait for one skill before calls are refused."""
    queue_bytes: int = 1024**3
    """Bytes of items that may wait for one skill."""
    memory_limit_mib: int = 0
    """An upper bound on every skill's own memory limit; 0 means none."""
    model_bytes_max: int = MODEL_BYTES_MAX
    load_timeout_s: float = 180.0
    idle_unload_s: float = 600.0
    """A worker that had nothing to do for so long ends, and starts again when needed; 0 means never."""
    fetch_models: bool = False
    """Skills whose model is not here are offered too, and fetched from their sources when first needed."""
    measure_work: bool = False
    """The work of an item is measured at a model's trial, for the price of a skill that is added."""
    niceness: int = 0
    """Steps by which workers let other programs go first."""
