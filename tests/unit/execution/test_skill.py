from __future__ import annotations

import re
from pathlib import Path

import pytest

from swarmharness.errors import InputError, MistakesError
from swarmharness.execution.catalog import SHIPPED_FOLDER
from swarmharness.execution.manifest_fields import FIELDS
from swarmharness.execution.manifest_table import Reading
from swarmharness.execution.onnx_inspection import TensorFact
from swarmharness.execution.skill import (
    FolderSource,
    HttpsSource,
    HuggingFaceSource,
    Kind,
    PypiSource,
    SkillManifest,
    TensorInput,
    parse_manifest,
    read_manifest,
)
from swarmharness.execution.skill_text import Draft, skill_text

DIGEST = "ab" * 32

GOOD = f"""
[skill]
name = "digits"
version = "1.2.0"
description = "Reads digits"
tags = ["image"]
timeout_secs = 5
license = "MIT"

[model]
kind = "tensor"
work_microcredits = 12
comparison_class = "fp32"
batch_invariant = false
batch_items = 4
memory_limit_mib = 256

[[model.files]]
name = "model.onnx"
sha256 = "{DIGEST}"
size_bytes = 43000
license = "MIT"
sources = [
    {{ pypi = "digits-model==1.0", member = "digits/model.onnx" }},
    {{ https = "https://example.org/model.onnx" }},
    {{ huggingface = "owner/repo", file = "onnx/model.onnx", revision = "main" }},
    {{ file = "model.onnx" }},
]

[[model.inputs]]
name = "pixels"
dtype = "float32"
shape = ["n", 64]
"""


def parse(text: str) -> SkillManifest:
    return parse_manifest(text, "x/skill.toml")


def test_a_full_manifest_is_read() -> None:
    manifest = parse(GOOD)
    assert manifest.name == "digits"
    assert manifest.kind is Kind.TENSOR
    assert manifest.timeout_s == 5
    assert not manifest.batch_invariant
    assert manifest.inputs == (TensorInput("pixels", "float32", ("n", 64)),)
    (file,) = manifest.files
    assert file.sha256 == bytes.fromhex(DIGEST)
    assert file.sources == (
        PypiSource("digits-model==1.0", "digits/model.onnx"),
        HttpsSource("https://example.org/model.onnx"),
        HuggingFaceSource("owner/repo", "onnx/model.onnx", "main"),
        FolderSource("model.onnx"),
    )


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('name = "digits"', "", r"skill\.name: is missing"),
        ('name = "digits"', 'name = "../x"', r"skill\.name: '\.\./x' is not allowed"),
        ('name = "digits"', "name = 3", r"skill\.name: expected a string"),
        (
            "timeout_secs = 5",
            "timeout_sec = 5",
            r"skill\.timeout_sec: is not a known key; did you mean 'timeout_secs'\?",
        ),
        ("timeout_secs = 5", "timeout_secs = true", r"skill\.timeout_secs: expected a whole number from 1 to 86400"),
        ('kind = "tensor"', 'kind = "tensors"', r"model\.kind: 'tensors' is not one of .*did you mean 'tensor'\?"),
        ('kind = "tensor"', 'kind = "text-embedding"', "needs exactly model.onnx, tokenizer.json"),
        ("batch_items = 4", "batch_items = 0", r"model\.batch_items: expected a whole number from 1"),
        ("batch_invariant = false", 'batch_invariant = "no"', r"model\.batch_invariant: expected true or false"),
        ("batch_items = 4", "batchitems = 4", r"model\.batchitems: is not a known key; did you mean 'batch_items'\?"),
        ("[skill]", "zebra = 1\n[skill]", r"zebra: is not a known key"),
        (DIGEST, DIGEST.upper(), r"model\.files\[0\]\.sha256: .* 64 lower-case hexadecimal"),
        ("size_bytes = 43000", "size_bytes = -1", r"model\.files\[0\]\.size_bytes"),
        ('name = "model.onnx"', 'name = "../model.onnx"', r"model\.files\[0\]\.name"),
        ("digits-model==1.0", "digits-model", r"sources\[0\]\.pypi: .* an exact version"),
        ("digits-model==1.0", "--index-url==1.0", r"sources\[0\]\.pypi: .* an exact version"),
        ("https://example.org", "http://example.org", r"sources\[1\]\.https: .* begins with https://"),
        ('file = "onnx/model.onnx"', 'file = "/etc/passwd"', r"sources\[2\]\.file: .* relative path"),
        ('{ file = "model.onnx" }', '{ file = "../model.onnx" }', r"sources\[3\]\.file: .* without '\.\.'"),
        ('{ file = "model.onnx" }', '{ ftp = "model.onnx" }', r"sources\[3\]: a source needs one of the keys"),
        ('dtype = "float32"', 'dtype = "floaty32"', r"model\.inputs\[0\]\.dtype: .* did you mean 'float32'"),
        ('shape = ["n", 64]', "shape = [1.5]", r"model\.inputs\[0\]\.shape"),
        ('description = "Reads digits"', r'description = "\u001b[2J"', r"skill\.description: has a control character"),
    ],
)
def test_a_wrong_key_is_named_with_what_is_allowed(old: str, new: str, message: str) -> None:
    assert old in GOOD
    with pytest.raises(InputError, match=message) as caught:
        parse(GOOD.replace(old, new, 1))
    assert str(caught.value).startswith("x/skill.toml: ")
    assert "\n" not in str(caught.value)


def test_every_mistake_is_named_in_one_run() -> None:
    text = (
        GOOD.replace('name = "digits"\n', "")
        .replace("timeout_secs = 5", "timeout_sec = 0")
        .replace('kind = "tensor"', 'kind = "tensors"')
        .replace("batch_items = 4", "batch_items = 0")
        .replace(DIGEST, "abc")
        .replace("digits-model==1.0", "digits-model")
        .replace('dtype = "float32"', 'dtype = "floaty32"')
    )
    with pytest.raises(MistakesError) as caught:
        parse(text)
    assert [mistake.partition(": ")[0] for mistake in caught.value.mistakes] == [
        "model.kind",
        "skill.name",
        "model.batch_items",
        "model.files[0].sha256",
        "model.files[0].sources[0].pypi",
        "model.inputs[0].dtype",
        "skill.timeout_sec",
    ]
    assert str(caught.value).startswith("x/skill.toml: 7 mistakes: model.kind: 'tensors' is not one of ")


@pytest.mark.parametrize(
    ("text", "mistakes"),
    [
        ("", ["skill: is missing", "model: is missing"]),
        ("skill = 1\n[model]\n", ["skill: expected a table [skill]", "model.kind: is missing"]),
    ],
)
def test_a_table_that_is_not_there_is_one_mistake(text: str, mistakes: list[str]) -> None:
    with pytest.raises(MistakesError) as caught:
        parse(text)
    assert list(caught.value.mistakes)[: len(mistakes)] == mistakes
    assert all("skill." not in mistake for mistake in caught.value.mistakes)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ("sample_shape = [2, 65]", r"sample_shape: \[2, 65\] does not fit the shape \['n', 64\]"),
        ("sample_shape = [64]", "sample_shape: .* does not fit"),
        ('sample_shape = "x"', "sample_shape: expected a list"),
        ("sample_value = [1]", "sample_value: expected a number"),
    ],
)
def test_a_sample_must_fit_its_input(keys: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse(f"{GOOD}{keys}\n")


def test_a_sample_is_read() -> None:
    manifest = parse(f"{GOOD}sample_shape = [2, 64]\nsample_value = 0.5\n")
    assert manifest.inputs == (TensorInput("pixels", "float32", ("n", 64), (2, 64), 0.5),)


def test_text_that_is_not_toml_names_the_line() -> None:
    with pytest.raises(InputError, match=r"not TOML.*line 2"):
        parse("[skill]\nname = \n")


DOCUMENTATION = (Path(__file__).parents[3] / "docs" / "skills.md").read_text("utf-8")
(EXAMPLE,) = re.findall(r"```toml\n(.*?)```", DOCUMENTATION, re.DOTALL)


def test_the_manifest_in_the_documentation_is_one_and_has_every_key() -> None:
    reading = Reading()
    manifest = read_manifest(EXAMPLE.replace('"…"', f'"{DIGEST}"'), "skill.toml", reading)
    assert reading.mistakes == []
    assert manifest is not None
    assert len(manifest.files[0].sources) == 4
    for kind in Kind:
        assert f"`{kind.value}`" in DOCUMENTATION
    assert reading.keys == set(FIELDS), "what the parser looks for is what manifest_fields.py explains"


def test_the_documentation_has_every_key_and_no_other() -> None:
    rows = re.findall(r"^\| `((?:skill|model)[^`]*)` \|", DOCUMENTATION, re.MULTILINE)
    assert rows == list(FIELDS)


def test_the_template_names_every_key_but_those_of_other_sources() -> None:
    text = skill_text(Draft())
    for key in FIELDS:
        assert re.search(
            rf"(^|[\[.{{ ]){re.escape(key.removesuffix('[]').rpartition('.')[2])}\b", text, re.MULTILINE
        ), key


def test_the_template_is_a_manifest_but_for_the_digest_and_the_size() -> None:
    with pytest.raises(MistakesError) as caught:
        parse(skill_text(Draft()))
    assert [mistake.partition(":")[0] for mistake in caught.value.mistakes] == [
        "model.files[0].sha256",
        "model.files[0].size_bytes",
    ]
    outputs = (TensorFact('o"\\', "float32", ("n",)),)
    inputs = (TensorFact('x"\\é', "float32", ("n", 3)), TensorFact("s", "sequence", ()))
    draft = Draft(sha256=DIGEST, size_bytes=1, contrib_operators=True, inputs=inputs, outputs=outputs)
    manifest = parse(skill_text(draft))
    assert manifest.inputs == (TensorInput('x"\\é', "float32", ("n", 3)),)
    assert manifest.contrib_operators
    everything = skill_text(draft).replace("\n# sample_", "\nsample_").replace("\n# batch_", "\nbatch_")
    assert parse(everything).inputs[0].sample_shape == (1, 3)


def test_the_model_digest_depends_on_every_file_and_its_name_but_not_on_their_order() -> None:
    text = (SHIPPED_FOLDER / "image-ocr" / "skill.toml").read_text()
    manifest = parse(text)
    head, first, second = re.split(r"(?=\[\[model\.files\]\])", text)
    assert parse(head + second + first).model_digest == manifest.model_digest
    exchanged = text.replace("detection.onnx", "TEMP").replace('"recognition.onnx"', '"detection.onnx"')
    assert parse(exchanged.replace("TEMP", "recognition.onnx")).model_digest != manifest.model_digest


@pytest.mark.parametrize("path", sorted(SHIPPED_FOLDER.glob("*/skill.toml")), ids=lambda path: path.parent.name)
def test_a_shipped_skill_names_its_licence_and_a_source_that_needs_no_model_hub(path: object) -> None:
    manifest = parse(path.read_text())  # type: ignore[attr-defined]
    assert manifest.license
    assert manifest.attribution
    for file in manifest.files:
        assert file.license
        assert isinstance(file.sources[0], PypiSource)


def test_the_old_name_of_the_kind_is_read_with_a_warning() -> None:
    manifest = parse(GOOD.replace('kind = "tensor"', 'task = "tensor"'))
    assert manifest.kind is Kind.TENSOR
    assert manifest.warnings == ("x/skill.toml: [model] task is called kind now: rename it",)
    assert parse(GOOD).warnings == ()
