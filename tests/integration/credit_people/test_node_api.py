"""What a running node answers about credit, over whole services on in-memory ports."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from swarmharness.credit.accounts import Entry
from swarmharness.credit.archive import Entries, Games, Proofs, Refusal
from swarmharness.credit.attribution.games import SpeculativeGame, game_digest, game_text
from swarmharness.credit.forks import fork_proof
from swarmharness.credit.receipt import Receipt, body_digest, epoch_of
from swarmharness.errors import InputError, ProtocolError
from swarmharness.node.credit_api import CreditApi
from swarmharness.protocol.codec import encode
from swarmharness.simulation.memory_swarm import MemoryNode
from tests.unit.credit.builders import ALICE, BOB, body, half, receipt

Make = Callable[..., AbstractAsyncContextManager[list[MemoryNode]]]


def epoch_at(node: MemoryNode) -> int:
    """The hour in which a node's clock is: only now do receipts count in full."""
    return epoch_of(node.parts.ports.clock.unix_us())


def entries(*receipts: Receipt) -> dict[str, Any]:
    made = tuple(Entry(one.body, one.requester_half, one.worker_half, 5) for one in receipts)
    return {"kind": "entries", "block": encode(Entries(made))}


async def test_the_balance_tells_standing_line_and_flow(memory_swarm: Make) -> None:
    async with memory_swarm(2, serving=1) as (client, worker):
        await client.map("echo", [b"a", b"b"])
        await client.parts.credit.drain()
        api = CreditApi(worker.parts)
        answer = await api.methods["credit.balance"]({"peer": client.peer_id})
        assert answer["standing"]["standing_microcredits"] == answer["earned_microcredits"] > 0
        assert answer["standing"]["melting_microcredits"] > 0
        assert answer["peer"]["flow_there_microcredits"] == answer["earned_microcredits"]
        assert answer["peer"]["flow_microcredits"] == 0
        taken = 600_000_000 - answer["peer"]["strangers_left_microcredits"]
        assert taken == answer["earned_microcredits"], "what a stranger got was taken from the strangers' budget"
        assert (await api.methods["credit.balance"]({}))["peer"] is None


async def test_what_is_imported_counts_at_once_and_only_once_c_4(memory_swarm: Make) -> None:
    async with memory_swarm(1) as (node,):
        api, made = CreditApi(node.parts), receipt(1, ALICE, BOB, epoch=epoch_at(node))
        done = await api.methods["credit.import"](entries(made))
        assert (done["new"], done["known"]) == (1, 0)
        assert node.parts.credit.books.ledger.standing(BOB.peer_id) == made.body.share_microcredits
        assert node.parts.spread.near.knows(epoch_at(node), body_digest(made.body))
        again = await api.methods["credit.import"](entries(made))
        assert (again["new"], again["known"]) == (0, 1)
        assert node.parts.credit.books.ledger.standing(BOB.peer_id) == made.body.share_microcredits


async def test_a_fork_in_a_file_bans_at_once_c_16(memory_swarm: Make) -> None:
    async with memory_swarm(1) as (node,):
        api = CreditApi(node.parts)
        proof = fork_proof(half(body(1), ALICE), half(body(2), ALICE))
        assert proof is not None
        done = await api.methods["credit.import"]({"kind": "proofs", "block": encode(Proofs((proof,)))})
        assert done["proofs"] == 1
        assert node.parts.spread.is_banned(ALICE.peer_id)
        assert (await api.methods["credit.balance"]({"peer": ALICE.peer_id}))["peer"]["banned"]
        await api.methods["credit.import"](
            entries(receipt(3, BOB, ALICE, epoch=epoch_at(node)), receipt(4, BOB, ALICE, epoch=epoch_at(node)))
        )
        assert node.parts.spread.is_banned(BOB.peer_id)


async def test_an_own_chain_is_refused_while_the_node_runs_c_17(memory_swarm: Make) -> None:
    async with memory_swarm(1) as (node,):
        signer: Any = node.parts.ports.signer
        done = await CreditApi(node.parts).methods["credit.import"](
            entries(receipt(1, ALICE, signer, epoch=epoch_at(node)))
        )
        assert done["refused"] == {Refusal.OWN_CHAIN: 1}


async def test_games_are_kept_by_their_digest(memory_swarm: Make) -> None:
    async with memory_swarm(1) as (node,):
        game = SpeculativeGame(100, {"a": 100, "b": 80})
        block = encode(Games((game_text(game), b"{")))
        done = await CreditApi(node.parts).methods["credit.import"]({"kind": "games", "block": block})
        assert (done["games"], done["refused"]) == (1, {Refusal.NO_GAME: 1})
        (kept,) = await node.parts.ports.receipts.games([game_digest(game)])
        assert kept.text == game_text(game)


async def test_other_blocks_are_refused(memory_swarm: Make) -> None:
    async with memory_swarm(1) as (node,):
        method = CreditApi(node.parts).methods["credit.import"]
        for params, error in (
            ({"kind": "money", "block": b""}, InputError),
            ({"kind": "entries", "block": b"\xc1"}, ProtocolError),
            ({"kind": "entries"}, InputError),
        ):
            with pytest.raises(BaseException) as caught:  # noqa: PT011 - the type is compared below
                await method(params)
            assert isinstance(caught.value, error)
