"""Proofs that a key signed two histories; pure. A proof can be checked by anyone who has nothing else."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from swarmharness.credit.chain import is_fork
from swarmharness.credit.receipt import Half, half_problem, link_digest
from swarmharness.identity import PeerId
from swarmharness.protocol.codec import encode


@dataclass(frozen=True, slots=True)
class ForkProof:
    """Two halves of one signer at one place of one chain, with different contents, in the order of their digests."""

    one: Half
    other: Half

    @property
    def signer(self) -> PeerId:
        """The key that the proof convicts, if it holds."""
        return PeerId(self.one.content.signer)


class ProofProblem(StrEnum):
    """Why a fork proof proves nothing; the names are also the names of counters."""

    NO_FORK = "the two halves can both be honest"
    WRONG_ORDER = "the two halves are not in the order of their digests"
    INVALID_HALF = "one of the halves does not verify"


def fork_proof(one: Half, other: Half) -> ForkProof | None:
    """Return the proof that two halves make, or None; the caller has verified both."""
    if not is_fork(one, other):
        return None
    return ForkProof(*sorted((one, other), key=lambda half: link_digest(half.content)))


def proof_problem(proof: ForkProof) -> ProofProblem | None:
    """Return why a proof from somewhere else proves nothing, or None (C-15); cheap checks first."""
    if not is_fork(proof.one, proof.other):
        return ProofProblem.NO_FORK
    if link_digest(proof.one.content) > link_digest(proof.other.content):
        return ProofProblem.WRONG_ORDER
    for half in (proof.one, proof.other):
        if half_problem(half, half.content.body_digest, proof.signer) is not None:
            return ProofProblem.INVALID_HALF
    return None


def proof_digest(proof: ForkProof) -> bytes:
    """Return the name of a proof, by which a flood recognises it."""
    return hashlib.sha256(encode(proof)).digest()


def find_forks(halves: Iterable[Half]) -> list[ForkProof]:
    """Return one proof for each signer that forked among these verified halves, by signer."""
    seen: dict[tuple[str, int, int], Half] = {}
    proofs: dict[str, ForkProof] = {}
    for half in sorted(halves, key=lambda half: link_digest(half.content)):
        content = half.content
        known = seen.setdefault((content.signer, content.incarnation, content.number), half)
        proof = fork_proof(known, half)
        if proof is not None:
            proofs.setdefault(content.signer, proof)
    return [proofs[signer] for signer in sorted(proofs)]
