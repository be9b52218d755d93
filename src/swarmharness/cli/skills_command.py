"""`swarmharness skills`: lists, shows, adds, fetches and tries skills; it needs no running node."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from swarmharness.cli.fetch_progress import fetch_progress
from swarmharness.cli.options import DataDirOption, JsonOption, new_app, print_fields, print_json, print_table
from swarmharness.cli.skill_reasons import reasons_of
from swarmharness.cli.skill_view import (
    details,
    find_catalog,
    megabytes,
    model_store,
    operators,
    speed,
    summary,
    user_folder,
    warn,
)
from swarmharness.errors import ConfigurationError
from swarmharness.node.not_offered import not_offered_lines

app = new_app("List, show, add and fetch skills.")

OFFERED = "a running node offers it within seconds"


@app.command("list")
def list_skills(data_dir: DataDirOption = None, json: JsonOption = False) -> None:
    """List the skills on this machine, and why some are not offered; with --json one object a line."""
    catalog, store = find_catalog(data_dir), model_store()
    reasons, runs = reasons_of(catalog, store, data_dir)
    rows = [
        {
            **summary(skill, store),
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
    warn(catalog.skills.values())


@app.command()
def show(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The skill.")],
    data_dir: DataDirOption = None,
    json: JsonOption = False,
) -> None:
    """Show a skill's manifest: files, digests, sources, licence, how to call it, and what of it is on this machine."""
    skill, store = find_catalog(data_dir).get(name), model_store()
    fields = details(skill, store)
    warn([skill])
    if json:
        print_json(fields)
        return
    files, _ = fields.pop("files"), fields.pop("warnings")
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
    path: Annotated[str, typer.Argument(metavar="PATH", help="An .onnx file, or a folder with a skill.toml.")],
    name: Annotated[str | None, typer.Option("--name", metavar="NAME", help="What the skill is called.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Agree to whatever would be asked.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a skill of the same name.")] = False,
    data_dir: DataDirOption = None,
    json: JsonOption = False,
) -> None:
    """Make a skill of a model, or add a skill's folder: its models are fetched, inspected and tried before."""
    from swarmharness.execution.adding import Target, add_path

    store = model_store()
    with fetch_progress(Path(path).name) as progress:
        target = Target(user_folder(data_dir), store, name, force, lambda question: _agree(question, yes), progress)
        added = add_path(path, target)
    skill, manifest = added.skill, added.skill.manifest
    warn([skill])
    if json:
        measured = {"service_us": added.trial.service_us, "measured_microcredits": added.trial.work_microcredits}
        print_json({**details(skill, store), **measured})
        return
    print(
        f"added {manifest.name} {manifest.version}: it answers, {speed(added.trial.service_us)}"
        f"{operators(added.facts)}; {manifest.work_microcredits} micro-credits an item, {manifest.comparison_class}"
    )
    shown = details(skill, store)
    for tensor in shown["inputs"]:
        print(f"  takes     {tensor}")
    for tensor in shown["outputs"]:
        print(f"  puts out  {tensor}")
    print(f"{OFFERED}; call it:")
    for line in shown["call"]:
        print(f"  {line}")


@app.command()
def init(
    path: Annotated[Path, typer.Argument(metavar="[PATH]", help="A folder, or the .onnx file in it.")] = Path(),
    name: Annotated[str | None, typer.Option("--name", metavar="NAME", help="What the skill is called.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the skill.toml that is there.")] = False,
    json: JsonOption = False,
) -> None:
    """Write a commented skill.toml, filled in from the .onnx file beside it if there is one."""
    from swarmharness.execution.beginning import begin

    begun = begin(path, name=name, force=force)
    if json:
        print_json(
            {
                "path": str(begun.manifest),
                "filled_from": str(begun.model) if begun.model is not None else None,
                "problem": begun.problem,
            }
        )
        return
    origin = f", filled in from {begun.model}" if begun.model is not None else ""
    print(f"wrote {begun.manifest}{origin}; `swarmharness skills add {begun.manifest.parent}` adds the skill")
    if begun.problem:
        print(f"warning: {begun.problem}", file=sys.stderr)


@app.command()
def pull(
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="The skills whose models to fetch.")],
    data_dir: DataDirOption = None,
    json: JsonOption = False,
) -> None:
    """Fetch the models of skills, check their digests, inspect and try them; with --json one object a file."""
    from swarmharness.execution.model_check import check_models
    from swarmharness.execution.trial import try_skill

    catalog, store = find_catalog(data_dir), model_store()
    skills = [catalog.get(name) for name in dict.fromkeys(names)]
    warn(skills)
    for skill in skills:
        with fetch_progress(skill.manifest.name) as progress:
            fetched = store.fetch(skill.manifest, skill.folder, progress)
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
                print(f"{skill.manifest.name}: {entry.file.name} ({megabytes(entry.file.size_bytes)}) {origin}")
        facts = check_models(skill.manifest, store)
        trial = try_skill(skill, store)
        if not json:
            print(f"{skill.manifest.name}: ready{operators(facts)}, {speed(trial.service_us)}")


def _agree(question: str, yes: bool) -> None:
    """Return if the user agrees; raises ConfigurationError if not, or if there is nobody to ask."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise ConfigurationError(f"{question} Say so with --yes")
    if not typer.confirm(question, err=True):
        raise ConfigurationError("not added")
