"""`swarmharness skills`: lists, shows, adds and fetches skills; it needs no running node, and runs no model."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from swarmharness.cli.options import DataDirOption, JsonOption, new_app, print_fields, print_json, print_table
from swarmharness.cli.skill_reasons import reasons_of
from swarmharness.node.not_offered import not_offered_lines

if TYPE_CHECKING:
    from swarmharness.execution.catalog import Catalog, InstalledSkill
    from swarmharness.execution.model_store import ModelStore, Progress
    from swarmharness.execution.onnx_inspection import ModelFacts

app = new_app("List, show, add and fetch skills.")


@app.command("list")
def list_skills(data_dir: DataDirOption = None, json: JsonOption = False) -> None:
    """List the skills on this machine, and why some are not offered; with --json one object a line."""
    catalog, store = _catalog(data_dir), _store()
    reasons, runs = reasons_of(catalog, store, data_dir)
    rows = [
        {
            **_summary(skill, store),
            "offered": name not in reasons if runs else None,
            "reason": reasons.get(name, ""),
        }
        for name, skill in sorted(catalog.skills.items())
    ]
    if json:
        for row in rows:
            print_json(row)
    else:
        names = ("name", "version", "kind", "models", "description")
        print_table("", names, [[row[name] for name in names] for row in rows])
        for line in not_offered_lines(reasons):
            print(line)
    for folder, problem in sorted(catalog.problems.items()):
        print(f"skipped {folder}: {problem}", file=sys.stderr)


@app.command()
def show(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The skill.")],
    data_dir: DataDirOption = None,
    json: JsonOption = False,
) -> None:
    """Show a skill's manifest: files, digests, sources, licence, and what of it is on this machine."""
    skill, store = _catalog(data_dir).get(name), _store()
    fields = _details(skill, store)
    if json:
        print_json(fields)
        return
    files = fields.pop("files")
    print_fields({key: value for key, value in fields.items() if value not in ("", [])})
    for file in files:
        state = "here" if file["here"] else "not here"
        print(
            f"\n{file['name']}  {file['size_bytes'] / 2**20:.1f} MiB, {state}, licence {file['license'] or 'unknown'}"
        )
        print(f"  sha256  {file['sha256']}")
        for source in file["sources"]:
            print(f"  from    {source}")


@app.command()
def add(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A folder with a skill.toml.")],
    data_dir: DataDirOption = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a skill of the same name.")] = False,
    json: JsonOption = False,
) -> None:
    """Check a skill and copy it into the data directory; a running node offers it from its next start."""
    from swarmharness.execution.catalog import add_skill

    skill = add_skill(folder, _user_folder(data_dir), force=force)
    name = skill.manifest.name
    if json:
        print_json(_details(skill, _store()))
    else:
        print(f"added {name} {skill.manifest.version}; `swarmharness skills pull {name}` brings its models")


@app.command()
def pull(
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="The skills whose models to fetch.")],
    data_dir: DataDirOption = None,
    json: JsonOption = False,
) -> None:
    """Fetch the models of skills, check their digests, and inspect them; with --json one object a file."""
    from swarmharness.execution.model_check import check_models

    catalog, store = _catalog(data_dir), _store()
    skills = [catalog.get(name) for name in dict.fromkeys(names)]
    for skill in skills:
        with _progress(skill.manifest.name) as progress:
            fetched = store.fetch(skill.manifest, skill.folder, progress)
        facts = check_models(skill.manifest, store)
        for entry in fetched:
            if json:
                print_json(
                    {
                        "skill": skill.manifest.name,
                        "file": entry.file.name,
                        "sha256": entry.file.sha256.hex(),
                        "size_bytes": entry.file.size_bytes,
                        "origin": entry.origin,
                        "path": str(store.path(entry.file.sha256)),
                    }
                )
            else:
                origin = "was here already" if entry.origin == "cache" else f"from {entry.origin}"
                print(f"{skill.manifest.name}: {entry.file.name} ({_megabytes(entry.file.size_bytes)}) {origin}")
        if not json:
            print(f"{skill.manifest.name}: ready{_operators(facts)}")


def _catalog(data_dir: Path | None) -> Catalog:
    from swarmharness.execution.catalog import find_skills

    return find_skills(_user_folder(data_dir))


def _user_folder(data_dir: Path | None) -> Path:
    from swarmharness.node.data_dir import DataDir

    return DataDir.at(data_dir).path / "skills"


def _store() -> ModelStore:
    from swarmharness.execution.model_store import ModelStore
    from swarmharness.node.data_dir import cache_dir

    return ModelStore(cache_dir() / "models")


def _summary(skill: InstalledSkill, store: ModelStore) -> dict[str, Any]:
    manifest, missing = skill.manifest, store.missing(skill.manifest)
    missing_bytes = sum(file.size_bytes for file in missing)
    return {
        "name": manifest.name,
        "version": manifest.version,
        "kind": manifest.kind.value,
        "models": f"{_megabytes(missing_bytes)} to pull" if missing else "here",
        "description": manifest.description,
        "runnable": not missing,
        "shipped": skill.shipped,
    }


def _details(skill: InstalledSkill, store: ModelStore) -> dict[str, Any]:
    from swarmharness.execution.model_sources import describe

    manifest = skill.manifest
    return {
        "name": manifest.name,
        "version": manifest.version,
        "description": manifest.description,
        "tags": list(manifest.tags),
        "kind": manifest.kind.value,
        "license": manifest.license,
        "attribution": manifest.attribution,
        "folder": str(skill.folder),
        "shipped": skill.shipped,
        "model_digest": manifest.model_digest.hex(),
        "comparison_class": manifest.comparison_class,
        "batch_invariant": manifest.batch_invariant,
        "batch_items": manifest.batch_items,
        "work_microcredits": manifest.work_microcredits,
        "timeout_secs": manifest.timeout_s,
        "memory_limit_mib": manifest.memory_limit_mib,
        "inputs": [f"{tensor.name} {tensor.dtype} {list(tensor.shape)}" for tensor in manifest.inputs],
        "files": [
            {
                "name": file.name,
                "sha256": file.sha256.hex(),
                "size_bytes": file.size_bytes,
                "license": file.license,
                "here": store.has(file),
                "path": str(store.path(file.sha256)),
                "sources": [describe(source) for source in file.sources],
            }
            for file in manifest.files
        ],
    }


def _progress(name: str) -> AbstractContextManager[Progress | None]:
    """Show bars on a terminal, and nothing where the output is piped."""
    return _Bars(name) if sys.stderr.isatty() else nullcontext()


class _Bars(AbstractContextManager["Progress"]):
    """One bar a file, on stderr."""

    def __init__(self, skill: str) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
        self._progress = Progress(*columns, console=Console(stderr=True), transient=True)
        self._skill = skill
        self._bars: dict[str, Any] = {}

    def __enter__(self) -> Progress:
        self._progress.start()
        return self._advance

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def _advance(self, name: str, done_bytes: int, all_bytes: int) -> None:
        if name not in self._bars:
            self._bars[name] = self._progress.add_task(f"{self._skill}: {name}", total=all_bytes)
        self._progress.update(self._bars[name], completed=done_bytes, total=all_bytes)


def _operators(facts: dict[str, ModelFacts]) -> str:
    nodes = sum(fact.nodes for fact in facts.values())
    return f", {nodes} operators inspected" if nodes else ""


def _megabytes(size_bytes: int) -> str:
    return f"{size_bytes / 2**20:.1f} MiB"
