"""A node that answers wrongly: `python lying_node.py LIE node start …`; equal lies agree with each other.

Everything else about it is the real node: it commits before it reveals, settles, gossips and checks others honestly.
"""

from __future__ import annotations

import sys
from dataclasses import replace

from swarmharness.execution.pool import ProcessExecutor
from swarmharness.execution.ports import Execution, Priority
from swarmharness.execution.records import encode_record


def main() -> None:
    lie = sys.argv.pop(1)
    honest = ProcessExecutor.run

    async def run(
        self: ProcessExecutor,
        skill: str,
        items: tuple[bytes, ...],
        *,
        timeout_s: float,
        priority: Priority = (),
        parameters: bytes = b"",
    ) -> Execution:
        execution = await honest(self, skill, items, timeout_s=timeout_s, priority=priority, parameters=parameters)
        wrong = encode_record([f"lie-{lie}", 0.99, "text/plain", "text"])
        return replace(execution, outputs=tuple(replace(output, data=wrong) for output in execution.outputs))

    ProcessExecutor.run = run  # type: ignore[method-assign]
    from swarmharness.cli import main as command

    command()


if __name__ == "__main__":
    main()
