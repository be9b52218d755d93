"""The five cooperative games, valid by construction, and their canonical digest; pure, it values no coalition.

Every class refuses parts that do not add up with an InputError. All numbers are non-negative integers; players are
peer ids, or any other names. The rules are C-1 to C-6 of docs/credit-rules.md.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from swarmharness.credit.attribution.checks import check_count, check_game, check_names, check_number, sorted_names
from swarmharness.credit.attribution.table import TableGame
from swarmharness.errors import InputError

PERMUTATIONS_DEFAULT = 4_096
PERMUTATIONS_MAX = 2**17


@dataclass(frozen=True, slots=True)
class Chunk:
    """A part of a batch: `quorum` of the replicas whose answers match are needed, all of them share its price."""

    price: int
    quorum: int
    matching: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class BatchGame:
    """v(S) is the sum of the prices of the chunks that have their quorum in S."""

    kind: ClassVar[str] = "batch"
    price: int
    chunks: tuple[Chunk, ...]

    def __post_init__(self) -> None:
        check_count("chunks", self.chunks)
        for number, chunk in enumerate(self.chunks):
            where = f"chunks[{number}]"
            check_number(f"{where}.price", chunk.price)
            check_number(f"{where}.quorum", chunk.quorum)
            check_names(f"{where}.matching", chunk.matching)
            if not 1 <= chunk.quorum <= len(chunk.matching):
                raise InputError(
                    f"{where}: the quorum is {chunk.quorum}, but {len(chunk.matching)} replicas match; "
                    "a quorum is at least 1 and at most that number"
                )
        total = sum(chunk.price for chunk in self.chunks)
        if total != self.price:
            raise InputError(f"the chunk prices add up to {total}, the price is {self.price}: they must be equal")
        check_game(self.price, self.players, total)

    @property
    def players(self) -> tuple[str, ...]:
        """All names, sorted."""
        return sorted_names(name for chunk in self.chunks for name in chunk.matching)

    def canonical(self) -> dict[str, Any]:
        """The parts as JSON values in their one canonical order."""
        chunks = [{"price": c.price, "quorum": c.quorum, "matching": sorted(c.matching)} for c in self.chunks]
        return {"chunks": chunks}


@dataclass(frozen=True, slots=True)
class SpeculativeGame:
    """v(S) is the largest utility in S: copies of one request, of which the best counts."""

    kind: ClassVar[str] = "speculative"
    price: int
    utility: Mapping[str, int]

    def __post_init__(self) -> None:
        check_names("utility", self.utility)
        for name, number in self.utility.items():
            check_number(f"utility[{name!r}]", number)
        check_game(self.price, self.players, max(self.utility.values(), default=0))

    @property
    def players(self) -> tuple[str, ...]:
        """All names, sorted."""
        return sorted_names(self.utility)

    def canonical(self) -> dict[str, Any]:
        """The parts as JSON values in their one canonical order."""
        return {"utility": dict(self.utility)}


@dataclass(frozen=True, slots=True)
class Stage:
    """A part of a pipeline: any one of its nodes can do it; the task fixes its weight."""

    weight: int
    nodes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PipelineGame:
    """v(S) is the price if S covers every stage, else 0; stages are unions, weighted by the task.

    A node that serves several stages holds a seat in each.
    """

    kind: ClassVar[str] = "pipeline"
    price: int
    stages: tuple[Stage, ...]

    def __post_init__(self) -> None:
        check_count("stages", self.stages)
        for number, stage in enumerate(self.stages):
            check_number(f"stages[{number}].weight", stage.weight)
            check_names(f"stages[{number}].nodes", stage.nodes)
            if not stage.nodes:
                raise InputError(f"stages[{number}] has no node, so nothing was done")
        check_game(self.price, self.players, sum(stage.weight for stage in self.stages))

    @property
    def players(self) -> tuple[str, ...]:
        """All names, sorted."""
        return sorted_names(name for stage in self.stages for name in stage.nodes)

    def canonical(self) -> dict[str, Any]:
        """The parts as JSON values in their one canonical order."""
        return {"stages": [{"weight": stage.weight, "nodes": sorted(stage.nodes)} for stage in self.stages]}


@dataclass(frozen=True, slots=True)
class CappedGame:
    """v(S) is the capacity of S, but never more than the demand."""

    kind: ClassVar[str] = "capped"
    price: int
    demand: int
    capacity: Mapping[str, int]

    def __post_init__(self) -> None:
        check_number("demand", self.demand)
        check_names("capacity", self.capacity)
        for name, number in self.capacity.items():
            check_number(f"capacity[{name!r}]", number)
        check_game(self.price, self.players, min(self.demand, sum(self.capacity.values())))

    @property
    def players(self) -> tuple[str, ...]:
        """All names, sorted."""
        return sorted_names(self.capacity)

    def canonical(self) -> dict[str, Any]:
        """The parts as JSON values in their one canonical order."""
        return {"demand": self.demand, "capacity": dict(self.capacity)}


Game = BatchGame | SpeculativeGame | PipelineGame | CappedGame | TableGame


def game_text(game: Game, permutations: int = PERMUTATIONS_DEFAULT) -> bytes:
    """Return the canonical game: compact JSON with sorted keys, in UTF-8.

    It includes `permutations`, which a recomputation needs, but not the seed, which is derived from it.
    """
    content = {"game": game.kind, "price": game.price, "permutations": permutations, **game.canonical()}
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def game_digest(game: Game, permutations: int = PERMUTATIONS_DEFAULT) -> bytes:
    """Return SHA-256 of the canonical game."""
    return hashlib.sha256(game_text(game, permutations)).digest()
