"""The game given by a table of coalitions, valid by construction; pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from swarmharness.credit.attribution.checks import (
    COALITIONS_MAX,
    ENUMERATED_PLAYERS_MAX,
    PARTS_MAX,
    check_count,
    check_game,
    check_names,
    check_number,
    sorted_names,
)
from swarmharness.errors import InputError


@dataclass(frozen=True, slots=True)
class TableGame:
    """v(S) is the largest listed value of a subset of S; the empty coalition has 0."""

    kind: ClassVar[str] = "table"
    price: int
    everyone: tuple[str, ...]
    values: Mapping[frozenset[str], int]

    def __post_init__(self) -> None:
        check_names("players", self.everyone)
        few = len(self.everyone) <= ENUMERATED_PLAYERS_MAX
        check_count("values", self.values, fewest=0, most=PARTS_MAX if few else COALITIONS_MAX)
        known = frozenset(self.everyone)
        for coalition, number in self.values.items():
            where = f"values[{coalition_text(coalition)!r}]"
            check_number(where, number)
            if not coalition <= known:
                raise InputError(f"{where} names {sorted(coalition - known)[0]!r}, who is not among the players")
            if not coalition and number:
                raise InputError(f"{where}: the empty coalition is worth 0, not {number}")
        self._check_monotone()
        check_game(self.price, self.players, max(self.values.values(), default=0))

    @property
    def players(self) -> tuple[str, ...]:
        """All names, sorted."""
        return sorted_names(self.everyone)

    def canonical(self) -> dict[str, Any]:
        """The parts as JSON values in their one canonical order."""
        listed = {coalition_text(coalition): number for coalition, number in self.values.items()}
        return {"players": sorted(self.everyone), "values": listed}

    def essential(self) -> Mapping[frozenset[str], int]:
        """Return the listed coalitions that have more than each of their parts; the others say nothing."""
        best = self._best_parts()
        return {coalition: number for coalition, number in self.values.items() if number > best[coalition]}

    def _check_monotone(self) -> None:
        best = self._best_parts()
        for coalition, number in self.values.items():
            if best[coalition] > number:
                raise InputError(
                    f"the table is not monotone: {coalition_text(coalition)!r} has {number}, "
                    f"but a part of it has {best[coalition]}"
                )

    def _best_parts(self) -> Mapping[frozenset[str], int]:
        """Return the best listed value of a proper part of each listed coalition."""
        bits = {name: 1 << index for index, name in enumerate(self.everyone)}
        masks = {coalition: sum(bits[name] for name in coalition) for coalition in self.values}
        listed = {masks[coalition]: number for coalition, number in self.values.items()}
        best: Mapping[int, int] | Sequence[int]
        if len(self.values) ** 2 <= len(bits) << len(bits):
            best = {mask: _best_part_of(mask, listed) for mask in listed}
        else:
            best = _best_parts_of_all(len(bits), listed)
        return {coalition: best[mask] for coalition, mask in masks.items()}


def coalition_text(coalition: Iterable[str]) -> str:
    """Return a coalition as a table's key."""
    return ",".join(sorted(coalition))


def _best_part_of(mask: int, listed: Mapping[int, int]) -> int:
    return max((number for part, number in listed.items() if part & mask == part and part != mask), default=0)


def _best_parts_of_all(players: int, listed: Mapping[int, int]) -> Sequence[int]:
    """Return, for each of the 2^players coalitions, the best listed value of its proper parts."""
    best = [0] * (1 << players)
    for mask in range(1 << players):
        for index in range(players):
            without = mask & ~(1 << index)
            if without != mask:
                best[mask] = max(best[mask], best[without], listed.get(without, 0))
    return best
