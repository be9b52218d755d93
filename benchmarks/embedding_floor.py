"""The floor of the embedding benchmarks: the model called in this process, with one thread and without a swarm."""

from __future__ import annotations

from collections.abc import Sequence

from swarmharness.execution.catalog import SHIPPED_FOLDER, find_skills
from swarmharness.execution.kinds.session import SessionFactory
from swarmharness.execution.kinds.text_embedding import TextEmbedding
from swarmharness.execution.model_store import ModelStore
from swarmharness.node.data_dir import cache_dir

SKILL = "text-embedding"


def open_model() -> TextEmbedding:
    """Open the shipped embedding model, single-threaded, on the CPU."""
    manifest = find_skills(SHIPPED_FOLDER).get(SKILL).manifest
    store = ModelStore(cache_dir() / "models")
    missing = store.missing(manifest)
    if missing:
        raise SystemExit(f"{missing[0].name} is not in the cache: swarmharness skills pull {SKILL}")
    return TextEmbedding({file.name: store.path(file.sha256) for file in manifest.files}, SessionFactory(threads=1))


def texts(count: int) -> list[bytes]:
    """Return the first definitions of the demo's corpus as items."""
    from swarmharness.demo.corpus import load_corpus

    return [gloss.encode() for _, gloss in load_corpus()[:count]]


def embed(model: TextEmbedding, items: Sequence[bytes]) -> None:
    """Embed items, long and short ones apart."""
    outputs = model.run(items, {})
    assert len(outputs) == len(items)
    assert not any(output.error for output in outputs)
