"""What it costs to bring work to a peer: its input, the model if the peer lacks it, and a GPU that others need; pure.

All of it is time in the predicted completion, so that it weighs as much as waiting does (docs/locality.md).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from swarmharness.registry.models import ModelKey
from swarmharness.routing.candidate import CandidateView
from swarmharness.routing.policy import RoutingPolicy

GPU_PROVIDERS = frozenset(
    f"{name}ExecutionProvider" for name in ("CUDA", "Tensorrt", "NvTensorRTRTX", "ROCM", "MIGraphX", "Dml")
)
"""Execution providers of ONNX Runtime that run on a GPU."""
WARM_US = 300_000_000
"""A model that answered this node so lately is loaded, whatever an older advert says; idle ones are kept longer."""
SAMPLE_BYTES_MIN = 64 * 1024
"""Smaller inputs say nothing about bandwidth: a round trip hides them."""
BYTES_S_MAX = 10**10
FASTER_SHARE = 2
SLOWER_SHARE = 10
"""A faster sample moves the estimate by a half, a slower one by a tenth: it may have waited for something else."""
PEERS_MAX = 16_384


def bandwidth_bytes_s(view: CandidateView, policy: RoutingPolicy) -> int:
    """Return how fast inputs travel to the peer: measured, else assumed; at least 1."""
    if view.bandwidth_bytes_s is not None:
        return max(1, view.bandwidth_bytes_s)
    return max(1, round(policy.bandwidth_unknown_mbit * 125_000))


def input_us(view: CandidateView, policy: RoutingPolicy, input_bytes: int) -> int:
    """Return the time of moving so many bytes to the peer; 0 for this node itself."""
    return 0 if view.local else input_bytes * 1_000_000 // bandwidth_bytes_s(view, policy)


def model_us(view: CandidateView, policy: RoutingPolicy) -> int:
    """Return the time until the peer has the model in memory: fetching what is missing, and opening it; 0 if it has."""
    if view.loaded and not view.missing_bytes:
        return 0
    fetch_us = view.missing_bytes * 1_000_000 // max(1, round(policy.model_fetch_mbit * 125_000))
    return fetch_us + (view.load_us or round(policy.model_load_unknown_ms * 1000))


def uses_gpu(view: CandidateView) -> bool:
    """Return whether the peer would run the skill on a GPU."""
    return view.provider in GPU_PROVIDERS


def reserve_milli(view: CandidateView, policy: RoutingPolicy) -> int:
    """Return by how much the time of a peer counts, in thousandths: more than 1000 for a GPU.

    A GPU is left to work that gains from it: it is chosen over a CPU only where the answer would be back by the share
    `gpu_reserve` sooner, which small tasks, whose time is the way, never are, and large ones are easily.
    """
    return 1000 + round(1000 * policy.gpu_reserve) if uses_gpu(view) else 1000


@dataclass(slots=True)
class Nearness:
    """What this node saw of how fast inputs travel, and of which models are loaded; bounded."""

    most: int = PEERS_MAX
    _bytes_s: dict[str, int] = field(default_factory=dict)
    _answered_us: dict[tuple[str, ModelKey], int] = field(default_factory=dict)

    def note_answer(self, peer_id: str, model: ModelKey, *, input_bytes: int, way_us: int, now_us: int) -> None:
        """Hear of an answer; `way_us` is its time without service, known waiting and the round trip."""
        self._answered_us.pop((peer_id, model), None)
        self._answered_us[peer_id, model] = now_us
        if len(self._answered_us) > self.most:
            del self._answered_us[next(iter(self._answered_us))]
        if input_bytes < SAMPLE_BYTES_MIN:
            return
        sample = min(BYTES_S_MAX, input_bytes * 1_000_000 // max(1, way_us))
        old = self._bytes_s.pop(peer_id, sample)
        share = FASTER_SHARE if sample > old else SLOWER_SHARE
        self._bytes_s[peer_id] = max(1, old + (sample - old) // share)
        if len(self._bytes_s) > self.most:
            del self._bytes_s[next(iter(self._bytes_s))]

    def bandwidth_bytes_s(self, peer_id: str) -> int | None:
        """Return the measured bandwidth to a peer, or None."""
        return self._bytes_s.get(peer_id)

    def is_warm(self, peer_id: str, model: ModelKey, now_us: int) -> bool:
        """Return whether the peer answered lately, so that the model is in memory there."""
        answered_us = self._answered_us.get((peer_id, model))
        return answered_us is not None and now_us - answered_us < WARM_US
