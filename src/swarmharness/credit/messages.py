"""The RECEIPT message and the method that carries it; pure, it holds only the wire form."""

from __future__ import annotations

from dataclasses import dataclass

from swarmharness.credit.receipt import Half, ReceiptBody

SETTLE_METHOD = "task.settle"
"""Its request is a SettleRequest, its answer the worker's Half."""


@dataclass(frozen=True, slots=True)
class SettleRequest:
    """RECEIPT: the requester states what the tasks were and what they move, and has signed it."""

    body: ReceiptBody
    half: Half
