"""What is left of a neighbour's envelope: nothing about other topics, few words, nobody to dial."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from libp2p.pubsub.pb import rpc_pb2

from swarmharness.network.broadcast_limits import IDS_MAX, MESSAGES_MAX, sieve

TOPIC, OTHER = "/here", "/elsewhere"
BYTES_MAX = 100


def sieved(envelope: Any) -> bool:
    return sieve(envelope, [TOPIC], bytes_max=BYTES_MAX)


def honest() -> Any:
    """An envelope as a neighbour sends it, with one word of each kind."""
    envelope = rpc_pb2.RPC(senderRecord=b"")
    envelope.publish.add(from_id=b"author", data=b"x" * BYTES_MAX, seqno=bytes(8), topicIDs=[TOPIC], signature=b"s")
    envelope.subscriptions.add(subscribe=True, topicid=TOPIC)
    envelope.control.graft.add(topicID=TOPIC)
    envelope.control.prune.add(topicID=TOPIC, backoff=60)
    envelope.control.ihave.add(topicID=TOPIC, messageIDs=[b"one", b"two"])
    envelope.control.iwant.add(messageIDs=[b"one", b"two"])
    return envelope


def test_an_honest_envelope_stays_as_it_is() -> None:
    envelope = honest()
    envelope.ClearField("senderRecord")
    before = envelope.SerializeToString()
    assert not sieved(envelope)
    assert envelope.SerializeToString() == before


def test_an_empty_envelope_gets_no_control() -> None:
    envelope = rpc_pb2.RPC(senderRecord=b"signed by anybody")
    assert not sieved(envelope)
    assert envelope.SerializeToString() == b""


def test_of_other_topics_nothing_is_left() -> None:
    envelope = rpc_pb2.RPC.FromString(honest().SerializeToString().replace(TOPIC.encode(), b"/thre"))
    envelope.control.ClearField("iwant")
    assert sieved(envelope)
    assert not envelope.publish
    assert not envelope.subscriptions
    assert envelope.control.ByteSize() == 0


def test_a_message_of_two_topics_or_too_large_is_left_out() -> None:
    for change in ({"topicIDs": [OTHER]}, {"data": b"x"}, {"key": b"k" * 100}, {"signature": b"s" * 1000}):
        envelope = honest()
        envelope.publish[0].MergeFrom(rpc_pb2.Message(**change))
        if "data" in change:
            envelope.publish[0].data = b"x" * (BYTES_MAX + 1)
        assert sieved(envelope)
        assert not envelope.publish


def test_of_subscriptions_the_last_word_counts() -> None:
    envelope = rpc_pb2.RPC()
    for number in range(50):
        envelope.subscriptions.add(subscribe=number % 2 == 0, topicid=TOPIC)
    assert sieved(envelope)
    assert [one.subscribe for one in envelope.subscriptions] == [False]


def test_nobody_is_named_to_be_dialled_and_nobody_keeps_away_for_years() -> None:
    envelope = honest()
    envelope.control.prune[0].backoff = 2**40
    envelope.control.prune[0].peers.add(peerID=b"somebody", signedPeerRecord=b"anywhere")
    assert sieved(envelope)
    assert not envelope.control.prune[0].peers
    assert envelope.control.prune[0].backoff == 600


def test_a_message_is_asked_for_once() -> None:
    envelope = rpc_pb2.RPC()
    for _ in range(3):
        envelope.control.iwant.add(messageIDs=[b"the same"] * 5000)
    assert sieved(envelope)
    (word,) = envelope.control.iwant
    assert list(word.messageIDs) == [b"the same"]


def test_words_of_other_versions_are_left_out() -> None:
    envelope = honest()
    envelope.control.idontwant.add(messageIDs=[b"x"] * 1000)
    sieved(envelope)
    assert not envelope.control.idontwant


topics = st.sampled_from([TOPIC, OTHER, ""])
ids = st.lists(st.binary(max_size=200), max_size=300)
many = st.sampled_from([0, 1, 2, 100, 400])


@given(many, many, many, many, many, topics, ids)
def test_little_is_left_of_whatever_comes(
    messages: int, subscriptions: int, grafts: int, prunes: int, wants: int, topic: str, names: list[bytes]
) -> None:
    """However many words of each kind come: few are left, all of topics heard here, and a second look finds nothing."""
    envelope = rpc_pb2.RPC()
    for number in range(messages):
        envelope.publish.add(from_id=b"a", data=bytes(number), topicIDs=[topic])
    for _ in range(subscriptions):
        envelope.subscriptions.add(subscribe=True, topicid=topic)
    for _ in range(grafts):
        envelope.control.graft.add(topicID=topic)
        envelope.control.ihave.add(topicID=topic, messageIDs=names)
    for _ in range(prunes):
        envelope.control.prune.add(topicID=topic).peers.add(peerID=b"p")
    for _ in range(wants):
        envelope.control.iwant.add(messageIDs=names)
    sieved(envelope)
    control = envelope.control
    assert len(envelope.publish) <= (MESSAGES_MAX if topic == TOPIC else 0)
    for words in (envelope.subscriptions, control.graft, control.prune, control.ihave):
        assert len(words) <= (topic == TOPIC)
    assert len(control.iwant) <= 1
    for named in [word.messageIDs for word in control.ihave] + [word.messageIDs for word in control.iwant]:
        assert len(named) == len(set(named)) <= IDS_MAX
    assert not any(word.peers for word in control.prune)
    assert not sieved(envelope)
