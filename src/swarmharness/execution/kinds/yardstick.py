"""Measures this core with a fixed model, so that a model's time can be told in that of the reference core.

The reference core is one that runs the yardstick in `REFERENCE_US` of processor time. On it, a sentence of 20 tokens
through the shipped `text-embedding` takes the 5,000 micro-seconds that its manifest states as its work: 20 times the
yardstick (docs/skills.md has the measurement). It runs in workers alone.
"""

from __future__ import annotations

import time

import numpy as np
from onnx import TensorProto, helper

from swarmharness.execution.kinds.session import SessionFactory
from swarmharness.execution.providers import CPU

REFERENCE_US = 250
"""The yardstick's processor time on the reference core."""
LAYERS = 8
ROWS = 64
WIDTH = 256
MEASUREMENTS = 15


def measure_yardstick() -> int:
    """Return the median processor time of the yardstick on one thread of this CPU, in microseconds."""
    session = SessionFactory(threads=1, wanted_providers=(CPU,)).open(yardstick())
    feeds = {"x": np.ones((ROWS, WIDTH), np.float32)}
    times_us: list[int] = []
    for _ in range(1 + MEASUREMENTS):
        started_ns = time.process_time_ns()
        session.run(feeds)
        times_us.append((time.process_time_ns() - started_ns) // 1000)
    return max(1, sorted(times_us[1:])[MEASUREMENTS // 2])


def yardstick() -> bytes:
    """Return the model: layers of a matrix product and a hyperbolic tangent, in float32."""
    weights = helper.make_tensor("w", TensorProto.FLOAT, [WIDTH, WIDTH], np.full(WIDTH * WIDTH, 1 / WIDTH, np.float32))
    nodes, value = [], "x"
    for layer in range(LAYERS):
        nodes.append(helper.make_node("MatMul", [value, "w"], [f"product{layer}"]))
        value = f"x{layer + 1}"
        nodes.append(helper.make_node("Tanh", [f"product{layer}"], [value]))
    shape = [ROWS, WIDTH]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("x", value)]
    graph = helper.make_graph(nodes, "yardstick", ends[:1], ends[1:], [weights])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())
