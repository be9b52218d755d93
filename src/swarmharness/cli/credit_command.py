"""`swarmharness credit`: what this node earned and spent, receipt by receipt; it asks the node, or reads its store."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from swarmharness.cli.credit_files import audit, export
from swarmharness.cli.credit_import import import_receipts
from swarmharness.cli.options import DataDirOption, JsonOption, new_app, print_json, print_table
from swarmharness.errors import InputError, UnavailableError

HISTORY_LIMIT_MAX = 10_000

app = new_app("Show balances and receipts.")
app.command()(audit)
app.command()(export)
app.command("import")(import_receipts)


@app.command()
def balance(data_dir: DataDirOption = None, json: JsonOption = False) -> None:
    """Show what this node earned and spent, in all and with each peer."""
    answer = _ask(data_dir, "credit.balance", {})
    if json:
        print_json(answer)
        return
    print(f"earned    {_credits(answer['earned_microcredits'])}")
    print(f"spent     {_credits(answer['spent_microcredits'])}")
    print(f"net       {_credits(answer['net_microcredits'])}")
    print(f"receipts  {answer['receipts']}, and {answer['half_entries']} that lack the other party's signature")
    if answer["by_peer"]:
        rows = [
            (
                peer["peer_id"],
                _credits(peer["earned_microcredits"]),
                _credits(peer["spent_microcredits"]),
                peer["receipts"],
            )
            for peer in answer["by_peer"]
        ]
        print_table("", ("peer", "earned from", "spent on", "receipts"), rows)


@app.command()
def history(
    data_dir: DataDirOption = None,
    limit: Annotated[
        int, typer.Option("--limit", metavar="N", min=1, max=HISTORY_LIMIT_MAX, help="How many, newest first.")
    ] = 20,
    json: JsonOption = False,
) -> None:
    """List receipts, newest first; with --json one object a line."""
    answer = _ask(data_dir, "credit.history", {"limit": limit})
    if json:
        for entry in answer["entries"]:
            print_json(entry)
        return
    rows = [
        (
            _when(entry["stored_us"]),
            "earned" if entry["role"] == "worker" else "spent",
            _credits(entry["share_microcredits"]),
            entry["peer_id"],
            entry["skill"],
            entry["items"],
            entry["receipt"][:16],
            "" if entry["state"] == "receipt" else "one signature is missing",
        )
        for entry in answer["entries"]
    ]
    print_table("", ("when (UTC)", "", "credits", "peer", "skill", "items", "receipt", ""), rows)


@app.command()
def attribute(
    game: Annotated[Path, typer.Argument(metavar="GAME.json", help="The game; - reads standard input.")],
    json: JsonOption = False,
) -> None:
    """Compute who gets how much of a game's price; needs no node, and gives everyone the same answer."""
    from swarmharness.credit.attribution.attribute import attribute as attributed
    from swarmharness.credit.attribution.game_file import FILE_BYTES_MAX, read_game

    answer = attributed(read_game(_game_bytes(game, FILE_BYTES_MAX + 1))).as_dict()
    if json:
        print_json(answer)
        return
    print_table("", ("player", "micro-credits"), answer["shares"].items())
    sampled = f" from {answer['permutations']} permutations" if answer["permutations"] else ""
    print(f"method {answer['method']}{sampled}, game {answer['digest']}")


def _game_bytes(path: Path, limit_bytes: int) -> bytes:
    import sys

    if str(path) == "-":
        return sys.stdin.buffer.read(limit_bytes)
    try:
        with path.open("rb") as file:
            return file.read(limit_bytes)
    except OSError as error:
        raise InputError(f"cannot read the game {path}: {error.strerror or error}") from None


def _ask(data_dir: Path | None, method: str, params: dict[str, Any]) -> dict[str, Any]:
    """Return the running node's answer, or the same from its store when no node runs."""
    from swarmharness.cli.connection import call_node

    try:
        answer: dict[str, Any] = call_node(data_dir, method, params)
    except UnavailableError as error:
        from swarmharness.node.data_dir import DataDir

        database = DataDir.at(data_dir).database
        if not database.exists():
            raise UnavailableError(f"{error}; and there is no receipt database in {database.parent}") from error
        return _read(database, method, params)
    return answer


def _read(database: Path, method: str, params: dict[str, Any]) -> dict[str, Any]:
    from swarmharness.credit.accounts import balance_of, history_answer, history_of
    from swarmharness.credit.sqlite_file import ReceiptFile
    from swarmharness.identity import PeerId

    file = ReceiptFile(database, read_only=True)
    try:
        owner = file.owner()
        if method == "credit.balance":
            return (file.balance(owner) if owner else balance_of(PeerId(""), (), 0)).as_dict()
        return history_answer(history_of(owner, file.history(owner, params["limit"])) if owner else ())
    finally:
        file.close()


def _credits(microcredits: int) -> str:
    sign = "-" if microcredits < 0 else ""
    whole, rest = divmod(abs(microcredits), 1_000_000)
    return f"{sign}{whole:,}.{rest:06d}"


def _when(unix_us: int) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(unix_us / 1e6, UTC).strftime("%Y-%m-%d %H:%M:%S")
