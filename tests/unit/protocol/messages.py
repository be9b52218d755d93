"""Every message of the wire: its schema, its class and one example with real ids, digests and signatures."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from swarmharness.credit.forks import fork_proof
from swarmharness.credit.messages import GameAnswer, GameRequest, Remembered, SettleRequest
from swarmharness.credit.receipt import ZERO_DIGEST, Receipt, ReceiptBody, body_digest, sign_half
from swarmharness.credit.spread.messages import (
    ChainsRequest,
    FetchRequest,
    Frontier,
    Gossip,
    GossipAnswer,
    Opening,
    RangeBounds,
    RangeContents,
    RangesAnswer,
    RangesRequest,
    ShowRequest,
)
from swarmharness.execution.parameters import encode_parameters
from swarmharness.execution.ports import TRUNCATED
from swarmharness.execution.tensor_codec import TensorHeader, TensorHeaders
from swarmharness.identity import Identity
from swarmharness.jobs.messages import Commitment, Output, Proposal, Reveal, RevealRequest
from swarmharness.protocol.handshake import Hello
from swarmharness.registry.advert import Advert, DeviceInfo, SkillAdvert, sign_advert
from swarmharness.registry.invite import Invite
from swarmharness.registry.messages import AdvertAnswer, AdvertRequest, FindRequest, FindResponse, Push, PushResponse
from swarmharness.registry.redemption import RedeemAnswer, RedeemRequest
from swarmharness.routing.load_messages import Load, LoadHeard, ProbeRequest, SkillLoad

REQUESTER = Identity(bytes(31) + b"\x01")
WORKER = Identity(bytes(31) + b"\x02")


@dataclass(frozen=True, slots=True)
class WireMessage:
    """A rule of a schema in `proto/`, and an example of the dataclass that it describes."""

    schema: str
    rule: str
    example: Any


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def _registry() -> list[WireMessage]:
    skill = SkillAdvert(
        name="text-embedding",
        version="1.0.0",
        kind="text-embedding",
        model_digest=_digest("model"),
        comparison_class="fp32",
        batch_invariant=True,
        batch_items_max=32,
        service_us=2_500,
        price_microcredits=3_000,
        provider="CPUExecutionProvider",
        queued_items=4,
        slots=2,
        load_us=700_000,
        missing_bytes=90_405_214,
        parameters=("on_long",),
    )
    device = DeviceInfo(cores=8, memory_mib=16_384, accelerators=(), providers=("CPUExecutionProvider",))
    advert = Advert(
        peer_id=WORKER.peer_id,
        sequence=7,
        issued_unix_s=1_800_000_000,
        expires_unix_s=1_800_000_180,
        addresses=("/ip4/127.0.0.1/tcp/4001",),
        device=device,
        skills=(skill,),
        not_serving="paused",
    )
    signed = sign_advert(advert, WORKER)
    examples = {
        "skill_advert": skill,
        "device_info": device,
        "advert": advert,
        "signed_advert": signed,
        "advert_request": AdvertRequest(1_800_000_030, 7),
        "advert_answer": AdvertAnswer(signed.advert, signed.signature, 1_800_000_031),
        "find_request": FindRequest("text-embedding", 8),
        "find_response": FindResponse((signed,)),
        "push": Push(signed),
        "push_response": PushResponse(),
        "invite": Invite(WORKER.peer_id, advert.addresses, _digest("key"), 60_000_000, bytes(range(16)), 0),
        "redeem_request": RedeemRequest("swarm1…"),
        "redeem_answer": RedeemAnswer(60_000_000),
    }
    return [WireMessage("registry", rule, example) for rule, example in examples.items()]


def _jobs() -> list[WireMessage]:
    task = bytes(range(16))
    output = Output(b"\x00\x01\x02\x03", "", TRUNCATED)
    told = encode_parameters("text-embedding", {"on_long": "split-mean"})
    items = (b"a cat", b"a dog")
    examples = {
        "proposal": Proposal(task, "text-embedding", _digest("model"), 6_000, _digest("salt"), items, told),
        "commitment": Commitment(task, 500_000, _digest("commitment"), 5_200, 4),
        "reveal_request": RevealRequest(task),
        "reveal": Reveal(task, _digest("nonce"), (output, Output(b"", "the text is empty"))),
        "output": output,
    }
    return [WireMessage("jobs", rule, example) for rule, example in examples.items()]


def _load() -> list[WireMessage]:
    skill_load = SkillLoad("text-embedding", queued_items=4, slots=2, service_us=2_500, latency_us=9_000)
    examples = {
        "load": Load((skill_load,)),
        "skill_load": skill_load,
        "probe_request": ProbeRequest("text-embedding", 80_000, 12_000, "time"),
        "load_heard": LoadHeard(),
    }
    return [WireMessage("load", rule, example) for rule, example in examples.items()]


def _receipts() -> list[WireMessage]:
    body = ReceiptBody(
        tasks=(bytes(range(16)),),
        requester=REQUESTER.peer_id,
        worker=WORKER.peer_id,
        epoch=500_000,
        price_microcredits=6_000,
        share_microcredits=6_000,
        game_digest=ZERO_DIGEST,
        model_digest=_digest("model"),
        input_digest=_digest("input"),
        output_digest=_digest("output"),
        skill="text-embedding",
        items=2,
        service_us=5_200,
    )
    digest = body_digest(body)
    first = sign_half(REQUESTER, digest, incarnation=0, number=0, previous=ZERO_DIGEST)
    second = sign_half(WORKER, digest, incarnation=1, number=9, previous=_digest("previous"))
    examples = {
        "receipt_body": body,
        "half_content": first.content,
        "half": second,
        "receipt": Receipt(body, first, second),
        "settle_request": SettleRequest(body, first),
        "game_request": GameRequest(_digest("game")),
        "game_answer": GameAnswer(b'{"game":"batch"}'),
        "remembered": Remembered((second,)),
    }
    return [WireMessage("receipt", rule, example) for rule, example in examples.items()]


def _spread() -> list[WireMessage]:
    (receipt,) = [message.example for message in _receipts() if message.rule == "receipt"]
    one, other = (
        sign_half(WORKER, _digest(text), incarnation=1, number=0, previous=ZERO_DIGEST) for text in ("one", "other")
    )
    proof = fork_proof(one, other)
    assert proof is not None
    frontier = Frontier(WORKER.peer_id, 1, 10)
    bounds = RangeBounds(bytes.fromhex("0007a120"), bytes.fromhex("ffffffff"))
    contents = RangeContents((bytes.fromhex("0007a12080"),), _digest("two fingerprints"), b"")
    scope = _digest("scope")[:8]
    examples = {
        "fork_proof": proof,
        "gossip": Gossip((receipt,)),
        "gossip_answer": GossipAnswer(1, _digest("interests")[:16]),
        "opening": Opening(499_281, _digest("interests")[:16], _digest("forker")[:8], (proof,)),
        "frontier": frontier,
        "chains_request": ChainsRequest((frontier,)),
        "range_bounds": bounds,
        "ranges_request": RangesRequest(scope, (bounds,)),
        "range_contents": contents,
        "ranges_answer": RangesAnswer((contents, RangeContents((), b"", _digest("two ids")))),
        "fetch_request": FetchRequest(scope, _digest("two ids")),
        "show_request": ShowRequest(_digest("interests")[:16]),
    }
    return [WireMessage("spread", rule, example) for rule, example in examples.items()]


def _items() -> list[WireMessage]:
    header = TensorHeader("embedding", "float32", (1, 384))
    examples = {"tensor_header": header, "tensor_headers": TensorHeaders((header,))}
    return [WireMessage("items", rule, example) for rule, example in examples.items()]


MESSAGES = (
    WireMessage("channel", "hello", Hello((1,), "swarmharness/0.1.0", 8 * 2**20)),
    *_registry(),
    *_jobs(),
    *_load(),
    *_receipts(),
    *_spread(),
    *_items(),
)
