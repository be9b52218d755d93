"""The messages between the parties of a receipt, and the methods that carry them; pure, it holds only the wire form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from swarmharness.credit.receipt import Half, ReceiptBody
from swarmharness.protocol.codec import Digest, Size
from swarmharness.protocol.method import Method

GAME_BYTES_MAX = 256 * 1024


@dataclass(frozen=True, slots=True)
class SettleRequest:
    """RECEIPT: the requester states what the tasks were and what they move, and has signed it."""

    body: ReceiptBody
    half: Half


@dataclass(frozen=True, slots=True)
class GameRequest:
    """Asks for the game that a receipt names."""

    digest: Digest


@dataclass(frozen=True, slots=True)
class GameAnswer:
    """The canonical JSON of a game; empty if it is not known."""

    text: Annotated[bytes, Size(GAME_BYTES_MAX)]


@dataclass(frozen=True, slots=True)
class Remembered:
    """The asker's half with the highest place that the partner knows."""

    halves: Annotated[tuple[Half, ...], Size(1)]


SETTLE_METHOD = Method("task.settle", SettleRequest, Half)
"""The answer is the worker's half."""
GAME_METHOD = Method("credit.game", GameRequest, GameAnswer)
"""Only a player of the game gets it."""
REMEMBER_METHOD = Method("credit.remember", None, Remembered)
"""Asks which of the asker's halves is the last that is known."""
