"""Reads a game from JSON text, believing nothing; pure, the caller reads the file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from swarmharness.credit.attribution.games import (
    PERMUTATIONS_DEFAULT,
    PERMUTATIONS_MAX,
    BatchGame,
    CappedGame,
    Chunk,
    Game,
    PipelineGame,
    SpeculativeGame,
    Stage,
    game_digest,
)
from swarmharness.credit.attribution.table import TableGame, coalition_text
from swarmharness.errors import InputError
from swarmharness.json_text import read_json

FILE_BYTES_MAX = 4 * 2**20
SEED_BYTES_MAX = 64
_OPTIONAL = ("seed", "permutations")


@dataclass(frozen=True, slots=True)
class GameFile:
    """A game, and how it is to be sampled if it has to be."""

    game: Game
    permutations: int
    seed: bytes

    @property
    def digest(self) -> bytes:
        """See `games.game_digest`."""
        return game_digest(self.game, self.permutations)


def read_game(data: bytes) -> GameFile:
    """Return the game in a JSON document; anything else raises InputError, which names the part that is wrong."""
    if len(data) > FILE_BYTES_MAX:
        raise InputError(f"the game has {len(data)} bytes; at most {FILE_BYTES_MAX} are read")
    try:
        content = read_json(data.decode(), object_pairs_hook=_object, parse_constant=_no_constant)
    except ValueError as error:
        raise InputError(f"the game is not JSON: {error}") from None
    fields = _mapping("the game", content)
    kind = fields.get("game")
    if not isinstance(kind, str) or kind not in _READERS:
        near = get_close_matches(str(kind), _READERS, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise InputError(f'"game" is {kind!r}; it must be one of {", ".join(_READERS)}{hint}')
    names, reader = _READERS[kind]
    _only(f"a {kind} game", fields, ("game", "price", *names), _OPTIONAL)
    game = reader(fields)
    permutations = fields.get("permutations", PERMUTATIONS_DEFAULT)
    if type(permutations) is not int or not 1 <= permutations <= PERMUTATIONS_MAX:
        raise InputError(f'"permutations" is {permutations!r}; it must be an integer from 1 to {PERMUTATIONS_MAX}')
    return GameFile(game, permutations, _seed(fields) or game_digest(game, permutations))


def _seed(fields: dict[str, Any]) -> bytes | None:
    if "seed" not in fields:
        return None
    try:
        seed = bytes.fromhex(fields["seed"])
    except (TypeError, ValueError):
        seed = b""
    if not 1 <= len(seed) <= SEED_BYTES_MAX:
        raise InputError(f'"seed" is {fields["seed"]!r}; it must be 1 to {SEED_BYTES_MAX} bytes in hexadecimal')
    return seed


def _batch(fields: dict[str, Any]) -> Game:
    chunks = []
    for number, item in enumerate(_list("chunks", fields["chunks"])):
        where = f"chunks[{number}]"
        chunk = _mapping(where, item)
        _only(where, chunk, ("price", "quorum", "matching"))
        matching = tuple(_list(f"{where}.matching", chunk["matching"]))
        chunks.append(Chunk(_integer(f"{where}.price", chunk["price"]), _integer(where, chunk["quorum"]), matching))
    return BatchGame(_integer("price", fields["price"]), tuple(chunks))


def _speculative(fields: dict[str, Any]) -> Game:
    return SpeculativeGame(_integer("price", fields["price"]), _mapping("utility", fields["utility"]))


def _pipeline(fields: dict[str, Any]) -> Game:
    stages = []
    for number, item in enumerate(_list("stages", fields["stages"])):
        where = f"stages[{number}]"
        stage = _mapping(where, item)
        _only(where, stage, ("weight", "nodes"))
        nodes = tuple(_list(f"{where}.nodes", stage["nodes"]))
        stages.append(Stage(_integer(f"{where}.weight", stage["weight"]), nodes))
    return PipelineGame(_integer("price", fields["price"]), tuple(stages))


def _capped(fields: dict[str, Any]) -> Game:
    capacity = _mapping("capacity", fields["capacity"])
    return CappedGame(_integer("price", fields["price"]), _integer("demand", fields["demand"]), capacity)


def _table(fields: dict[str, Any]) -> Game:
    values: dict[frozenset[str], int] = {}
    for text, number in _mapping("values", fields["values"]).items():
        names = text.split(",") if text else []
        coalition = frozenset(names)
        if len(coalition) != len(names) or coalition in values:
            raise InputError(f"values[{text!r}] repeats a player, or lists {coalition_text(coalition)!r} again")
        values[coalition] = number
    return TableGame(_integer("price", fields["price"]), tuple(_list("players", fields["players"])), values)


_READERS: dict[str, tuple[tuple[str, ...], Callable[[dict[str, Any]], Game]]] = {
    "batch": (("chunks",), _batch),
    "speculative": (("utility",), _speculative),
    "pipeline": (("stages",), _pipeline),
    "capped": (("demand", "capacity"), _capped),
    "table": (("players", "values"), _table),
}


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        names = [name for name, _ in pairs]
        repeated = next(name for name in names if names.count(name) > 1)
        raise InputError(f"the game names {repeated!r} twice in one object")
    return made


def _no_constant(text: str) -> Any:
    raise InputError(f"the game contains {text}: every number must be an integer")


def _only(where: str, fields: dict[str, Any], required: tuple[str, ...], optional: tuple[str, ...] = ()) -> None:
    missing = [name for name in required if name not in fields]
    unknown = [name for name in fields if name not in (*required, *optional)]
    if missing:
        raise InputError(f"{where} lacks {missing[0]!r}; it has {', '.join(required)}")
    if unknown:
        raise InputError(f"{where} has an unknown part {unknown[0]!r}; it has {', '.join((*required, *optional))}")


def _mapping(where: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InputError(f"{where} must be a JSON object, not {type(value).__name__}")
    return value


def _list(where: str, value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise InputError(f"{where} must be a JSON array, not {type(value).__name__}")
    return value


def _integer(where: str, value: Any) -> int:
    if type(value) is not int:
        raise InputError(f"{where} is {value!r}: it must be an integer")
    return value
