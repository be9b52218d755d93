"""`swarmharness credit`: what this node earned and spent, receipt by receipt; it asks the node, or reads its store."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from swarmharness.cli.credit_files import audit, database_of, export
from swarmharness.cli.credit_format import credits_text, moment, peer_lines, standing_lines
from swarmharness.cli.credit_import import import_receipts
from swarmharness.cli.credit_views import explain, now_epoch, top
from swarmharness.cli.options import DataDirOption, JsonOption, new_app, print_json, print_table
from swarmharness.errors import InputError, UnavailableError

HISTORY_LIMIT_MAX = 10_000

app = new_app("Show balances and receipts.")


PeerOption = Annotated[
    str | None, typer.Option("--peer", metavar="PEER", help="The id of another node.", show_default=False)
]


@app.command()
def balance(data_dir: DataDirOption = None, peer: PeerOption = None, json: JsonOption = False) -> None:
    """Show what this node earned and spent; with --peer, what it would do for that one, and why it may be refused."""
    answer = _ask(data_dir, "credit.balance", {} if peer is None else {"peer": _known_as(peer)})
    if json:
        print_json(answer)
        return
    if peer is not None:
        _print_peer(answer, peer)
        return
    print(f"earned    {credits_text(answer['earned_microcredits'])}")
    print(f"spent     {credits_text(answer['spent_microcredits'])}")
    print(f"net       {credits_text(answer['net_microcredits'])}")
    print(f"receipts  {answer['receipts']}, and {answer['half_entries']} that lack the other party's signature")
    print(*standing_lines(answer["standing"]), sep="\n")
    if answer["by_peer"]:
        rows = [
            (
                peer["peer_id"],
                credits_text(peer["earned_microcredits"]),
                credits_text(peer["spent_microcredits"]),
                peer["receipts"],
            )
            for peer in answer["by_peer"]
        ]
        print_table("", ("peer", "earned from", "spent on", "receipts"), rows)


@app.command()
def history(
    data_dir: DataDirOption = None,
    peer: PeerOption = None,
    limit: Annotated[
        int, typer.Option("--limit", metavar="N", min=1, max=HISTORY_LIMIT_MAX, help="How many, newest first.")
    ] = 20,
    json: JsonOption = False,
) -> None:
    """List receipts, newest first; with --json one object a line."""
    if peer is None:
        answer = _ask(data_dir, "credit.history", {"limit": limit})
    else:
        from swarmharness.credit import sqlite_views

        answer = sqlite_views.history(database_of(data_dir), limit, _known_as(peer))
    if json:
        for entry in answer["entries"]:
            print_json(entry)
        return
    rows = [
        (
            moment(entry["stored_us"]),
            "earned" if entry["role"] == "worker" else "spent",
            credits_text(entry["share_microcredits"]),
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


def _known_as(peer: str) -> str:
    """Return a peer id; raises InputError for anything else."""
    from swarmharness.errors import ProtocolError
    from swarmharness.identity import parse_peer_id

    try:
        return parse_peer_id(peer)
    except ProtocolError as error:
        raise InputError(f"--peer: {error}") from None


def _print_peer(answer: dict[str, Any], peer: str) -> None:
    passed = next((one for one in answer["by_peer"] if one["peer_id"] == peer), None)
    earned, spent = (passed[key] if passed else 0 for key in ("earned_microcredits", "spent_microcredits"))
    print(f"peer      {peer}")
    print(f"earned    {credits_text(earned)} from it")
    print(f"spent     {credits_text(spent)} on it")
    print(f"receipts  {passed['receipts'] if passed else 0}")
    print(*peer_lines(answer["peer"]), sep="\n")


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
        return _read(data_dir, database, method, params)
    return answer


def _read(data_dir: Path | None, database: Path, method: str, params: dict[str, Any]) -> dict[str, Any]:
    from swarmharness.credit import sqlite_views
    from swarmharness.node.chosen_config import read_settings

    if method == "credit.history":
        return sqlite_views.history(database, params["limit"])
    policy = read_settings(data_dir, None)[1].credit.policy
    return sqlite_views.balance(database, policy, epoch=now_epoch(), peer=params.get("peer"))


app.command()(explain)
app.command()(top)
app.command()(audit)
app.command()(export)
app.command("import")(import_receipts)
