"""The times and bounds of spreading as frozen values; it reads no file."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SpreadSettings:
    """What may be tuned; rates are receipts, or requests, a second."""

    gossip_batch_s: float = 0.03
    """New receipts wait so long for company."""
    gossip_partners_max: int = 64
    """To so many recent partners of both parties a party sends a new receipt."""
    forwards_max: int = 2
    """To so many of them whoever gets it sends it on."""
    queue_receipts_max: int = 512
    """Receipts that wait for one peer; what does not fit is found by reconciliation."""
    sender_per_s: int = 100
    sender_burst: int = 1_024
    """Unasked receipts that one peer may have checked here."""
    all_senders_per_s: int = 1_000
    all_senders_burst: int = 4_096
    signer_per_s: int = 20
    signer_burst: int = 256
    """Unasked receipts that one signer may have stored here."""
    asked_signer_per_s: int = 20
    asked_signer_burst: int = 20_000
    """The same for receipts that this node asked for."""
    requests_per_s: int = 4
    requests_burst: int = 512
    """Requests of reconciliation that one peer may make."""
    batches_waiting_max: int = 32
    """Gossip messages that wait to be checked; further ones are refused."""
    period_s: float = 180.0
    """How often this node reconciles with each recent partner, on average."""
    stagger_s: float = 2.0
    """After a peer connects, the side with the smaller id waits up to so long; the other up to four times that."""
    sessions_at_once: int = 2
    call_timeout_s: float = 15.0
    session_timeout_s: float = 120.0
    session_receipts_max: int = 20_000
    """What one session brings at most; the next goes on from there."""
    session_requests_max: int = 256
    """Requests about intervals in one session, 128 intervals each."""
    pushed_receipts_max: int = 2_048
    dial_period_s: float = 60.0
    """How often recent partners that are not connected are dialled, on average."""
    dials_per_period: int = 2
