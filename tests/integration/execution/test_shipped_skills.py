"""The shipped skills on real inputs, with their real models (`swarmharness skills pull` brings them)."""

from __future__ import annotations

import gzip
import io
import json
import os
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from swarmharness.execution.catalog import find_skills
from swarmharness.execution.items import item_from_bytes, to_json
from swarmharness.execution.kinds.session import Runner, SessionFactory
from swarmharness.execution.model_store import ModelStore
from swarmharness.execution.pool import ProcessExecutor
from swarmharness.execution.ports import TRUNCATED, ItemOutput
from swarmharness.execution.skill import Kind
from swarmharness.execution.worker import runner_of
from swarmharness.node.data_dir import cache_dir

pytestmark = pytest.mark.models

STORE = ModelStore(cache_dir() / "models")
SKILLS = find_skills(Path("/nowhere"))


def need(name: str) -> None:
    """Fail without the models, or skip where nothing can be fetched."""
    missing = STORE.missing(SKILLS.get(name).manifest)
    if missing and os.environ.get("SWARMHARNESS_OFFLINE"):
        pytest.skip(f"the models of {name} are not in {STORE.folder}, and SWARMHARNESS_OFFLINE is set")
    assert not missing, f"run `swarmharness skills pull {name}` first"


def runner(name: str) -> Runner:
    need(name)
    manifest = SKILLS.get(name).manifest
    files = {file.name: STORE.path(file.sha256) for file in manifest.files}
    return runner_of(manifest)(files, SessionFactory(threads=1))


@pytest.fixture(scope="module")
def embedding() -> Runner:
    return runner("text-embedding")


@pytest.fixture(scope="module")
def ocr() -> Runner:
    return runner("image-ocr")


@pytest.fixture(scope="module")
def file_type() -> Runner:
    return runner("file-type")


def vector(output: ItemOutput) -> Any:
    return np.array(to_json(Kind.TEXT_EMBEDDING, output.data), np.float32)


def vectors(embedding: Runner, *texts: str) -> Any:
    outputs = embedding.run([text.encode() for text in texts], {})
    return np.array([to_json(Kind.TEXT_EMBEDDING, output.data) for output in outputs], np.float32)


def test_sentences_of_like_meaning_are_nearest_each_other(embedding: Runner) -> None:
    found = vectors(
        embedding,
        "A cat sits on the mat.",
        "Shares fell sharply on Wall Street.",
        "How do I bake a loaf of rye bread?",
        "A kitten is lying on the rug.",
        "The stock market lost a lot today.",
        "A recipe for sourdough with wholemeal flour",
    )
    assert found.shape == (6, 384)
    assert np.allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    likeness = found[:3] @ found[3:].T
    assert likeness.argmax(axis=1).tolist() == [0, 1, 2]
    assert likeness.diagonal().min() > 0.3
    assert (likeness - np.diag(likeness.diagonal())).max() < 0.1


def test_an_embedding_does_not_depend_on_what_else_is_in_the_batch(embedding: Runner) -> None:
    texts = ["one", "a somewhat longer sentence that has more words than the others", "two words", "x " * 400]
    together = vectors(embedding, *texts)
    for at, text in enumerate(texts):
        assert np.abs(vectors(embedding, text)[0] - together[at]).max() < 1e-5


def test_only_the_first_256_tokens_of_a_text_count(embedding: Runner) -> None:
    long = "word " * 300
    assert np.abs(vectors(embedding, long) - vectors(embedding, long + "entirely different ending")).max() == 0


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (b"", "the text is empty"),
        (b" \n\t", "the text is empty"),
        (b"\xff\xfe", "not UTF-8"),
        (b"x" * 300_000, "at most 262144"),
    ],
)
def test_a_text_that_cannot_be_embedded_costs_only_itself(embedding: Runner, item: bytes, message: str) -> None:
    first, second = embedding.run([item, b"fine"], {})
    assert message in first.error
    assert second.error == ""


def test_a_text_beyond_the_limit_is_truncated_and_says_so_or_is_refused_or_split(embedding: Runner) -> None:
    start, rest = b"word " * 254, b"tree " * 254
    batch = [b"short", start, start + rest]
    short, whole, cut = embedding.run(batch, {})
    assert [output.flags for output in (short, whole, cut)] == [0, 0, TRUNCATED]
    assert np.allclose(vector(cut), vector(whole), atol=1e-5), "what is beyond the limit changes nothing"
    _, _, refused = embedding.run(batch, {"on_long": "error"})
    assert refused.error == "the text has 510 tokens; at most 256 are taken with on_long error"
    again, _, split = embedding.run(batch, {"on_long": "split-mean"})
    assert split.flags == 0
    assert np.allclose(vector(again), vector(short), atol=1e-5)
    (other,) = embedding.run([rest], {})
    mean = vector(whole) + vector(other)  # of as many tokens each, before their lengths became one: about
    assert float(vector(split) @ (mean / np.linalg.norm(mean))) > 0.99
    (alone,) = embedding.run([start + rest], {"on_long": "split-mean"})
    assert np.allclose(vector(split), vector(alone), atol=1e-5), "whatever it shares a batch with"
    (long,) = embedding.run([b"word " * 20_000], {"on_long": "split-mean"})
    assert long.error == "the text has 20002 tokens; at most 8192 are taken with on_long split-mean"


def page(*lines: str, size: int = 24, angle: float = 0, form: str = "PNG") -> bytes:
    image = Image.new("RGB", (900, 60 + 50 * len(lines)), "white")
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(size)
    for number, line in enumerate(lines):
        draw.text((30, 30 + 50 * number), line, fill="black", font=font)
    if angle:
        image = image.rotate(angle, Image.Resampling.BICUBIC, expand=True, fillcolor="white")
    stream = io.BytesIO()
    image.save(stream, form)
    return stream.getvalue()


LINES = (
    "The quick brown fox jumps over the lazy dog.",
    "Pack my box with five dozen liquor jugs!",
    "Invoice 20419: total 1,250.00 EUR",
)


def read(ocr: Runner, data: bytes) -> list[dict[str, Any]]:
    (output,) = ocr.run([data], {})
    assert output.error == ""
    result: list[dict[str, Any]] = to_json(Kind.IMAGE_OCR, output.data)
    return result


@pytest.mark.parametrize("form", ["PNG", "JPEG"])
def test_a_rendered_paragraph_is_read_line_by_line(ocr: Runner, form: str) -> None:
    found = read(ocr, page(*LINES, form=form))
    assert [line["text"] for line in found] == list(LINES)
    for number, line in enumerate(found):
        x0, y0, x1, y1 = line["box"]
        assert abs(x0 - 30) < 10
        assert x1 > 300
        assert y0 < 30 + 50 * number + 12 < y1
        assert line["confidence"] > 0.9


def test_a_page_that_was_scanned_askew_is_read_too(ocr: Runner) -> None:
    assert [line["text"] for line in read(ocr, page(*LINES, angle=3))] == list(LINES)


def test_a_large_page_is_read_and_its_boxes_are_in_its_own_pixels(ocr: Runner) -> None:
    image = Image.open(io.BytesIO(page(*LINES))).resize((2700, 630), Image.Resampling.BICUBIC)
    stream = io.BytesIO()
    image.save(stream, "PNG")
    found = read(ocr, stream.getvalue())
    assert [line["text"] for line in found] == list(LINES)
    assert abs(found[0]["box"][0] - 90) < 30


def test_a_blank_page_has_no_lines(ocr: Runner) -> None:
    assert read(ocr, page()) == []


def test_an_image_reads_the_same_alone_and_in_company(ocr: Runner) -> None:
    first, second = page(LINES[0]), page(LINES[1], "and a second line")
    together = ocr.run([first, b"no image", second], {})
    assert together[0] == ocr.run([first], {})[0]
    assert together[2] == ocr.run([second], {})[0]
    assert "not an image" in together[1].error


def sqlite_file(folder: Path) -> bytes:
    path = folder / "x.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE t (a TEXT)")
    connection.close()
    return path.read_bytes()


def test_a_dozen_files_are_recognised(file_type: Runner, tmp_path: Path) -> None:
    source = Path(__file__).read_bytes()
    root = Path(__file__).parents[3]
    files = {
        "python": source,
        "toml": (root / "pyproject.toml").read_bytes(),
        "markdown": (root / "ARCHITECTURE.md").read_bytes(),
        "png": page("hello"),
        "jpeg": page("hello", form="JPEG"),
        "gzip": gzip.compress(source),
        "sqlite": sqlite_file(tmp_path),
        "json": json.dumps({"name": "swarm", "items": [1, 2, 3], "nested": {"a": None, "b": True}}, indent=2).encode(),
        "html": b"<!doctype html><html><head><title>Hello</title></head><body><p>Hello, world</p></body></html>",
        "pdf": b"%PDF-1.7\n1 0 obj\n<< /Type /Catalog /Pages 2 0 R >>\nendobj\ntrailer\n<< /Root 1 0 R >>\n%%EOF\n",
        "c": b'#include <stdio.h>\n\nint main(void) {\n    printf("hello\\n");\n    return 0;\n}\n' * 4,
        "onnx": STORE.path(SKILLS.get("file-type").manifest.files[0].sha256).read_bytes(),
        "empty": b"",
        "txt": b"hi",
    }
    items = [item_from_bytes(Kind.FILE_TYPE, name, data) for name, data in files.items()]
    labels = [to_json(Kind.FILE_TYPE, output.data)["label"] for output in file_type.run(items, {})]
    assert labels == list(files)


def test_bytes_that_are_nothing_are_unknown(file_type: Runner) -> None:
    noise = bytes((index * index * 31 + index // 7) % 256 for index in range(6000))
    (output,) = file_type.run([b"\xff\xfe\xfd"], {})
    assert to_json(Kind.FILE_TYPE, output.data)["label"] == "unknown"
    (output,) = file_type.run([noise], {})
    assert to_json(Kind.FILE_TYPE, output.data)["mime"]


async def test_every_shipped_skill_runs_in_its_worker_and_is_measured() -> None:
    for name in SKILLS.skills:
        need(name)
    items = {"text-embedding": b"hello", "image-ocr": page("hello"), "file-type": b"import os\n" * 20}
    async with ProcessExecutor(SKILLS.skills.values(), STORE) as pool:
        for name, item in items.items():
            info = await pool.load(name)
            assert info.service_us > 0
            execution = await pool.run(name, (item,), timeout_s=60)
            assert execution.outputs[0].error == ""
        assert len(pool.worker_pids()) == 3
        assert {info.name for info in pool.skills()} == set(items)
