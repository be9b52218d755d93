"""Digests are the same wherever they are worked out; large ones keep nobody waiting."""

from __future__ import annotations

import threading

import pytest

from swarmharness.credit import receipt
from swarmharness.jobs import messages
from swarmharness.jobs.digesting import LARGE_BYTES, Digests
from swarmharness.jobs.messages import Output, Proposal


def proposal(*items: bytes) -> Proposal:
    return Proposal(bytes(16), "skill", bytes(32), 1, bytes(32), items)


@pytest.mark.parametrize(("size", "apart"), [(100, False), (LARGE_BYTES, True)])
async def test_large_ones_are_worked_out_in_a_thread(size: int, apart: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[bool] = []
    original = receipt.salted_digest

    def salted(*arguments: object) -> bytes:
        threads.append(threading.current_thread() is not threading.main_thread())
        return original(*arguments)  # type: ignore[arg-type]

    asked, outputs = proposal(bytes(size), b"more"), (Output(bytes(size), "", 0),)
    expected = (
        messages.input_digest(asked.salt, asked.items, asked.parameters),
        messages.output_digest(asked.salt, outputs),
    )
    digests = Digests()
    monkeypatch.setattr(messages, "salted_digest", salted)
    assert (await digests.of_inputs(asked), await digests.of_outputs(asked, outputs)) == expected
    assert threads == [apart, apart]
