from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from swarmharness.errors import ConfigurationError
from swarmharness.node.config import Config, JobsConfig, NetworkConfig, parse_config
from swarmharness.node.config_schema import Source
from swarmharness.node.config_template import render

scalars = st.one_of(st.booleans(), st.integers(), st.floats(), st.text(max_size=20))
values = st.one_of(scalars, st.lists(scalars, max_size=3))
known_keys = st.sampled_from(["listen", "mdns", "bulk_max_mib", "heartbeat_s", "psk_file", "allow"])


def literal(value: Any) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(literal(item) for item in value) + "]"
    if isinstance(value, float):
        return "nan" if value != value else "inf" if value in (float("inf"), float("-inf")) else repr(value)
    return json.dumps(value, ensure_ascii=True) if not isinstance(value, str) else json.dumps(value.encode().hex())


def outcome(text: str) -> Config | str:
    try:
        return parse_config(Source("node.toml", text))
    except ConfigurationError as error:
        return str(error)


@given(st.one_of(st.text(max_size=200), st.text(max_size=200).map(lambda text: f"version = 1\n{text}")))
def test_any_text_gives_a_configuration_or_an_error_that_names_the_file(text: str) -> None:
    result = outcome(text)
    assert isinstance(result, Config) or result.startswith("node.toml")


@given(known_keys, values)
def test_any_value_for_a_known_key_is_kept_or_refused_by_that_key_s_name(key: str, value: Any) -> None:
    result = outcome(f"version = 1\n[network]\n{key} = {literal(value)}\n")
    if isinstance(result, Config):
        assert parse_config(Source("again", render(result))) == result
    else:
        assert f"node.toml:3: [network] {key} " in result


@given(st.integers(10, 60_000), st.floats(0.1, 604_800), st.booleans())
def test_what_is_rendered_reads_back_equal(milliseconds: int, seconds: float, flag: bool) -> None:
    config = replace(
        Config(),
        jobs=replace(JobsConfig(), chunk_target_ms=milliseconds, deadline_s=seconds),
        network=replace(NetworkConfig(), mdns=flag),
    )
    assert parse_config(Source("x", render(config))) == config
