"""The CDDL in `proto/` says exactly what the dataclasses say: the same rules, fields, types and limits."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.protocol.cddl import read_messages
from tests.unit.protocol.messages import MESSAGES, WireMessage
from tests.unit.protocol.shapes import field_names, shape_of

PROTO = Path(__file__).parents[3] / "proto"
SCHEMAS = sorted(path.stem for path in PROTO.glob("*.cddl"))
RULES = {schema: read_messages(PROTO / f"{schema}.cddl") for schema in SCHEMAS}


@pytest.mark.parametrize("schema", SCHEMAS)
def test_every_rule_of_a_message_has_a_class_and_every_class_a_rule(schema: str) -> None:
    assert sorted(RULES[schema]) == sorted(message.rule for message in MESSAGES if message.schema == schema)


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: message.rule)
def test_a_rule_has_the_fields_types_and_limits_of_its_class(message: WireMessage) -> None:
    assert RULES[message.schema][message.rule].shape == shape_of(type(message.example))


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: message.rule)
def test_a_rule_names_its_fields_as_its_class_does_or_without_the_unit(message: WireMessage) -> None:
    names, fields = RULES[message.schema][message.rule].names, field_names(type(message.example))
    assert len(names) == len(fields)
    same = (field.startswith(name) or name.endswith(field) for name, field in zip(names, fields, strict=True))
    assert all(same), (names, fields)
