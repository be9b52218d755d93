"""What every part of a game is checked against; pure."""

from __future__ import annotations

from collections.abc import Iterable, Sized

from swarmharness.errors import InputError

NUMBER_MAX = 2**48
"""The largest number in a game, about nine years of a reference core; sums over coalitions stay within 64 bits."""
PLAYERS_MAX = 1_024
PARTS_MAX = 65_536
"""The most chunks, stages, or listed coalitions of few players."""
COALITIONS_MAX = 4_096
"""The most listed coalitions of more players than are enumerated: they are compared in pairs."""
ENUMERATED_PLAYERS_MAX = 14
NAME_BYTES_MAX = 64


def check_number(where: str, number: object) -> None:
    """Refuse what is not an integer within the limits."""
    if type(number) is not int:
        raise InputError(f"{where} is {number!r}: it must be an integer")
    if not 0 <= number <= NUMBER_MAX:
        raise InputError(f"{where} is {number}: it must lie between 0 and {NUMBER_MAX}")


def check_names(where: str, names: Iterable[str]) -> None:
    """Refuse names that are no names, or repeated."""
    seen: set[str] = set()
    for name in names:
        if not isinstance(name, str) or not 1 <= len(name.encode("utf-8", "replace")) <= NAME_BYTES_MAX:
            raise InputError(f"{where}: {name!r} is no player; a player's name is text of 1 to {NAME_BYTES_MAX} bytes")
        if not name.isprintable() or "," in name:
            raise InputError(f"{where}: {name!r} has a comma or an unprintable character in it")
        if name in seen:
            raise InputError(f"{where} names {name!r} twice")
        seen.add(name)


def check_count(where: str, parts: Sized, *, fewest: int = 1, most: int = PARTS_MAX) -> None:
    """Refuse too many parts, or none."""
    if not fewest <= len(parts) <= most:
        raise InputError(f"{where}: {len(parts)} of them; allowed are {fewest} to {most}")


def check_game(price: int, players: Sized, worth: int) -> None:
    """Refuse a game whose price nobody earned; `worth` is what all players together are worth."""
    check_number("price", price)
    if not 1 <= len(players) <= PLAYERS_MAX:
        raise InputError(f"the game has {len(players)} players; allowed are 1 to {PLAYERS_MAX}")
    if price and not worth:
        raise InputError(f"all players together are worth nothing, but the price is {price}: nobody can be paid")


def sorted_names(names: Iterable[str]) -> tuple[str, ...]:
    """Return each name once, in the order of code points."""
    return tuple(sorted(set(names)))
