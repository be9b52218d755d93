"""What a node takes of its neighbours' broadcasts, and what it leaves out; pure, and it knows no content.

The messages are GossipSub's, as protobuf gives them. Of a topic that is not heard here nothing is taken: libp2p keeps
what it is told of any topic, answers each word, and dials whom a PRUNE names.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from typing import Any

MESSAGES_MAX = 64
"""In one envelope."""
IDS_MAX = 64
ID_BYTES_MAX = 128
_LOOK_MAX = 4 * MESSAGES_MAX
"""Words of one kind that are looked at, in one envelope."""
_KEY_BYTES_MAX = 64
_BACK_OFF_S_MAX = 600


@dataclass(frozen=True, slots=True)
class BroadcastLimits:
    """Limits of broadcasts; each is a key of `[limits]`, where it is explained."""

    broadcast_bytes_per_s: int = 32 * 1024
    broadcast_bytes_burst: int = 512 * 1024
    broadcast_timeout_s: float = 20.0
    broadcast_messages_per_s: int = 20
    broadcast_messages_burst: int = 256
    broadcast_strangers_per_s: int = 100
    broadcast_strangers_burst: int = 512


class BroadcastDrop(StrEnum):
    """Why something of a neighbour was left out; the names are those of counters."""

    SIZE = "broadcast: too large"
    RATE = "broadcast: too fast"
    """It sends more bytes than anybody needs, and is read later."""
    SLOW = "broadcast: too slow"
    """An envelope did not arrive in time."""
    MALFORMED = "broadcast: malformed"
    UNWANTED = "broadcast: unwanted"
    """Words about other topics, of other versions, or more of them than an envelope needs."""
    MANY = "broadcast: too many"
    """Messages, or changes of mind, beyond the rate of one neighbour, one author or all strangers."""
    FORGED = "broadcast: forged"
    """A message that its author did not sign."""


def sieve(envelope: Any, topics: Collection[str], *, bytes_max: int) -> bool:
    """Leave in an envelope what this node takes; tells whether more was in it.

    Of each kind of word one for each topic is left: the last subscription, the first of the others.
    """
    before = _size(envelope)
    messages = islice(envelope.publish, _LOOK_MAX)
    _keep(envelope.publish, (one for one in messages if _is_wanted(one, topics, bytes_max)), MESSAGES_MAX)
    latest = {one.topicid: one for one in islice(envelope.subscriptions, _LOOK_MAX) if one.topicid in topics}
    _keep(envelope.subscriptions, latest.values(), len(topics))
    envelope.ClearField("senderRecord")
    if envelope.HasField("control"):
        _sieve_control(envelope.control, topics)
    return _size(envelope) < before


def _sieve_control(control: Any, topics: Collection[str]) -> None:
    for name in ("graft", "prune", "ihave"):
        words = getattr(control, name)
        first: dict[str, Any] = {}
        for word in islice(words, _LOOK_MAX):
            if word.topicID in topics:
                first.setdefault(word.topicID, word)
        _keep(words, first.values(), len(topics))
    for prune in control.prune:
        del prune.peers[:]
        prune.backoff = min(prune.backoff, _BACK_OFF_S_MAX)
    del control.iwant[1:]
    for word in (*control.ihave, *control.iwant):
        ids = dict.fromkeys(one for one in islice(word.messageIDs, _LOOK_MAX) if len(one) <= ID_BYTES_MAX)
        _replace(word.messageIDs, islice(ids, IDS_MAX))
    for name in control.DESCRIPTOR.fields_by_name:
        if name not in ("graft", "prune", "ihave", "iwant"):
            control.ClearField(name)


def _is_wanted(message: Any, topics: Collection[str], bytes_max: int) -> bool:
    return (
        len(message.topicIDs) == 1
        and message.topicIDs[0] in topics
        and len(message.data) <= bytes_max
        and max(len(message.from_id), len(message.seqno), len(message.key)) <= _KEY_BYTES_MAX
        and len(message.signature) <= 2 * _KEY_BYTES_MAX
    )


def _keep(words: Any, wanted: Iterable[Any], most: int) -> None:
    """Leave the first `most` wanted ones in a list of messages."""
    kept = list(islice(wanted, most))
    if len(kept) < len(words):
        copies = [one.SerializeToString() for one in kept]
        del words[:]
        for copy in copies:
            words.add().ParseFromString(copy)


def _replace(values: Any, kept: Iterable[Any]) -> None:
    kept = list(kept)
    if len(kept) < len(values):
        del values[:]
        values.extend(kept)


def _size(envelope: Any) -> int:
    """Return how many words there are in an envelope that would be taken if they were few and of topics heard here."""
    control = envelope.control
    lists = (envelope.publish, envelope.subscriptions, control.graft, control.prune, control.ihave, control.iwant)
    ids = sum(len(word.messageIDs) for word in islice(control.ihave, _LOOK_MAX))
    ids += sum(len(word.messageIDs) for word in islice(control.iwant, _LOOK_MAX))
    return sum(map(len, lists)) + ids + sum(len(word.peers) for word in islice(control.prune, _LOOK_MAX))
