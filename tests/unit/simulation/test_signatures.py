from __future__ import annotations

from swarmharness import identity
from swarmharness.identity import Identity, verify
from swarmharness.protocol import codec
from swarmharness.simulation.signatures import SignatureMemory, SimulatedIdentity, remembered_signatures


def test_genuine_signatures_are_remembered_and_others_still_refused() -> None:
    memory = SignatureMemory()
    signer, stranger = SimulatedIdentity(bytes(32), memory), Identity(bytes(31) + b"\1")
    with remembered_signatures(memory):
        signature = signer.sign(b"message")
        assert verify(signer.peer_id, b"message", signature)
        assert not verify(signer.peer_id, b"massage", signature)
        assert not verify(stranger.peer_id, b"message", signature)
        assert verify(stranger.peer_id, b"message", stranger.sign(b"message"))
        assert not verify("nobody", b"message", signature)


def test_the_memory_is_bounded_and_forgetting_costs_only_time() -> None:
    memory = SignatureMemory(2)
    signer = SimulatedIdentity(bytes(32), memory)
    with remembered_signatures(memory):
        signatures = [signer.sign(bytes([number])) for number in range(5)]
        assert signatures[0] not in memory.known
        assert all(verify(signer.peer_id, bytes([number]), signature) for number, signature in enumerate(signatures))


def test_everything_is_as_before_afterwards() -> None:
    before = identity._public_key
    with remembered_signatures(SignatureMemory()):
        assert identity._public_key is not before
        assert codec.decoded_once is not None
    assert identity._public_key is before
    assert codec.decoded_once is None
