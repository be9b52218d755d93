"""The times and bounds of spreading as frozen values; it reads no file."""

from __future__ import annotations

from dataclasses import dataclass

from swarmharness.credit.spread.neighbourhood import FOLLOWED_MAX


@dataclass(frozen=True, slots=True)
class SpreadSettings:
    """What may be tuned; rates are receipts, or requests, a second."""

    followed_max: int = FOLLOWED_MAX
    """All receipts of so many partners are kept (C-19)."""
    gossip_batch_s: float = 120.0
    """New receipts wait for company: so long on average, half to one and a half times as long."""
    shown_receipts_max: int = 32
    """So many receipts a peer shows at most when it is asked for those of its work (C-21)."""
    show_period_s: float = 300.0
    """One peer is asked for them no more often, and half as often each time that it showed nothing new,"""
    show_period_most_s: float = 3_600.0
    """but this often."""
    shows_at_once: int = 16
    show_timeout_s: float = 2.0
    """So long a request waits that would be refused without them."""
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
    strangers_us_per_s: int = 100_000
    strangers_us_burst: int = 500_000
    """Microseconds of this node's time that such requests of all who are no partners may take, estimated."""
    strangers_waiting_max: int = 32
    stranger_waiting_max: int = 2
    """Requests above it wait, so many of all and of one; further ones are refused."""
    batches_waiting_max: int = 32
    """Gossip messages that wait to be checked; further ones are refused."""
    receipts_waiting_max: int = 16_384
    """Receipts that wait for a slow disk, also for those who gave up meanwhile; then unasked ones are refused."""
    period_s: float = 600.0
    """After this time, on average, this node reconciles again with whom it met; then after twice that, and so on."""
    period_most_s: float = 3_600.0
    strangers_met: int = 2
    """Of those who connect and are not followed, about so many are compared with, however many there are."""
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
    dial_period_s: float = 300.0
    """How often followed partners that are not connected are dialled, on average."""
    dials_per_period: int = 2
