"""`swarmharness credit top` and `explain`: what the store says about others and about one receipt; it asks no node."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from swarmharness.cli.credit_files import database_of
from swarmharness.cli.credit_format import credits_text, moment
from swarmharness.cli.options import DataDirOption, JsonOption, print_json, print_table, say

TOP_MAX = 10_000


def top(
    data_dir: DataDirOption = None,
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=1, max=TOP_MAX, help="How many peers.")] = 20,
    json: JsonOption = False,
) -> None:
    """List the peers with the highest standings, as this node sees them; standings never decide who is served."""
    from swarmharness.credit.sqlite_views import top as peers_on_top

    answer = peers_on_top(database_of(data_dir), epoch=now_epoch(), horizon_epochs=horizon(data_dir), limit=limit)
    if json:
        print_json(answer)
        return
    rows = [
        (
            number,
            peer["peer_id"],
            credits_text(peer["standing_microcredits"]),
            credits_text(peer["earned_microcredits"]),
            credits_text(peer["spent_microcredits"]),
            peer["receipts"],
            "signed two histories" if peer["banned"] else "you" if peer["peer_id"] == answer["peer_id"] else "",
        )
        for number, peer in enumerate(answer["peers"], 1)
    ]
    print_table("", ("", "peer", "standing", "earned", "spent", "receipts", ""), rows)
    print(f"{answer['peers_known']} peers, by the receipts that this node has, after melting")
    print("for looking only: whom a node serves depends on work for it and on lines of credit, never on standings")


def explain(
    receipt: Annotated[str, typer.Argument(metavar="RECEIPT", help="The first digits of a receipt or of a task id.")],
    data_dir: DataDirOption = None,
    json: JsonOption = False,
) -> None:
    """Say what a receipt is for, why its share is what it is, and where it stands; recomputes its game."""
    from swarmharness.credit.sqlite_views import explained

    database = database_of(data_dir)
    answer = explained(database, receipt, epoch=now_epoch(), horizon_epochs=horizon(data_dir))
    if json:
        print_json(answer)
        return
    say(f"receipt    {answer['receipt']}")
    for problem in answer["problems"]:
        say(f"problem    {problem}")
    if "state" in answer:
        _print_receipt(answer)
        _print_attribution(answer)
        _print_places(answer["halves"])


def _print_receipt(answer: Mapping[str, Any]) -> None:
    you = {answer["role"]: " (you)"}
    amount = credits_text(answer["share_microcredits"])
    if answer["state"] == "receipt":
        counts = f"counts {credits_text(answer['counts_microcredits'])} now, and nothing from "
        say(f"state      both signatures are here: it {counts}{moment(answer['expires_us'])} UTC on")
    else:
        print("state      a signature is missing, so it counts nothing")
    say(f"moves      {amount} from {answer['requester']}{you.get('requester', '')}")
    say(f"           {' ' * len(amount)}   to {answer['worker']}{you.get('worker', '')}")
    say(f"for        {answer['items']} items of {answer['skill']}, {answer['service_us'] / 1000:.1f} ms of service")
    say(f"tasks      {', '.join(answer['tasks'])}")
    say(f"hour       from {moment(answer['began_us'])} UTC (epoch {answer['epoch']})")
    say(f"kept since {moment(answer['stored_us'])} UTC")


def _print_attribution(answer: Mapping[str, Any]) -> None:
    made = answer["attribution"]
    if made["game"] is not None:
        say(f"game       {made['game']} over {credits_text(answer['price_microcredits'])}: {made['rule']}")
        rows = [
            (peer, credits_text(share), "this receipt" if peer == answer["worker"] else "")
            for peer, share in made["shares"].items()
        ]
        print_table("", ("player", "share", ""), rows)
        how = f"sampled from {made['permutations']} permutations" if made["permutations"] else made["method"]
        verdict = "the receipt says the same" if made["matches"] else f"the receipt is wrong: {made['problem']}"
        say(f"recomputed ({how}): {verdict}")
    elif "problem" in made:
        say(f"game       {made['problem']}")
    elif made["matches"] is None:
        say(f"game       {answer['digests']['game']} is not here: its requester and its workers have it")
    elif made["matches"]:
        print("share      one worker did it, so its share is the whole price")
    else:
        print("share      one worker did it, but its share is not the whole price")


def _print_places(halves: list[dict[str, Any]]) -> None:
    rows = [
        (
            half["role"] or half["signer"],
            half["incarnation"],
            half["number"],
            (half["before"] or "not here")[:16] if half["number"] else "first of its chain",
            (half["after"] or "not here")[:16],
        )
        for half in halves
    ]
    print_table("", ("signed by", "incarnation", "number", "after receipt", "before receipt"), rows)


def now_epoch() -> int:
    """Return the current hour."""
    from swarmharness.credit.receipt import epoch_of

    return epoch_of(time.time_ns() // 1_000)


def horizon(data_dir: Path | None) -> int:
    """Return after how many hours receipts count nothing, as this node is configured."""
    from swarmharness.node.chosen_config import read_settings

    return read_settings(data_dir, None)[1].credit.horizon_epochs
