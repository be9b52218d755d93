from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from swarmharness.errors import ConfigurationError, InputError, MistakesError, UnavailableError
from swarmharness.execution.catalog import (
    SHIPPED_FOLDER,
    InstalledSkill,
    check_name,
    copy_skill,
    find_skills,
    install,
    read_skill,
    staging,
)
from tests.unit.execution import builders


def test_the_shipped_skills_are_found_without_a_user_folder(tmp_path: Path) -> None:
    catalog = find_skills(tmp_path / "nothing")
    assert sorted(catalog.skills) == ["file-type", "image-ocr", "text-embedding"]
    assert catalog.problems == {}


def test_an_unknown_name_suggests_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="no skill 'image-orc'; did you mean 'image-ocr'"):
        find_skills(tmp_path).get("image-orc")


def added(folder: Path, user: Path, *, force: bool = False) -> InstalledSkill:
    """Give a skill its place, without its models."""
    skill = read_skill(folder, own_files=True)
    check_name(skill.manifest.name, user, force=force)
    with staging(user) as workspace:
        staged = workspace / skill.manifest.name
        copy_skill(skill, staged)
        return install(staged, user)


def test_an_added_skill_is_found_and_only_what_it_names_is_copied(tmp_path: Path) -> None:
    folder = builders.skill_folder(tmp_path, builders.doubling())
    (folder / "private-notes.txt").write_text("x")
    skill = added(folder, tmp_path / "user")
    assert sorted(path.name for path in skill.folder.iterdir()) == ["model.onnx", "skill.toml"]
    assert find_skills(tmp_path / "user").get("toy") == skill
    assert [path.name for path in (tmp_path / "user").iterdir()] == ["toy"]


def test_what_a_killed_add_left_goes_with_the_next_one(tmp_path: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    orphan, alive = (tmp_path / "user" / f".adding-{pid}-x" for pid in (gone.pid, os.getpid()))
    (orphan / "toy").mkdir(parents=True)
    alive.mkdir()
    added(builders.skill_folder(tmp_path, builders.doubling()), tmp_path / "user")
    assert not orphan.exists()
    assert alive.exists()


def test_an_added_skill_is_replaced_only_by_force(tmp_path: Path) -> None:
    user = tmp_path / "user"
    added(builders.skill_folder(tmp_path / "a", builders.doubling()), user)
    other = builders.skill_folder(tmp_path / "b", builders.filling())
    with pytest.raises(ConfigurationError, match=r"'toy' is already in .*; --force replaces it"):
        added(other, user)
    added(other, user, force=True)
    assert (user / "toy" / "model.onnx").read_bytes() == builders.filling()
    assert [path.name for path in user.iterdir()] == ["toy"]


def test_a_shipped_name_is_taken(tmp_path: Path) -> None:
    folder = builders.skill_folder(tmp_path, builders.doubling(), name="image-ocr")
    with pytest.raises(ConfigurationError, match="name of a shipped skill"):
        added(folder, tmp_path / "user")


def test_what_is_wrong_with_the_files_beside_a_manifest_is_named_with_what_would_be_right(tmp_path: Path) -> None:
    folder = builders.skill_folder(tmp_path, builders.doubling(), size_bytes=1, batch_items=0)
    data = builders.filling()
    (folder / "model.onnx").write_bytes(data)
    with pytest.raises(MistakesError) as caught:
        read_skill(folder, own_files=True)
    assert list(caught.value.mistakes) == [
        "model.batch_items: expected a whole number from 1 to 4096, got 0",
        f"model.files[0].size_bytes: {folder / 'model.onnx'} has {len(data)}",
        f"model.files[0].sha256: that of {folder / 'model.onnx'} is {hashlib.sha256(data).hexdigest()}",
    ]


def test_a_broken_skill_is_reported_and_the_others_still_work(tmp_path: Path) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "skill.toml").write_text("[skill]\nnam = 1\n")
    catalog = find_skills(tmp_path)
    assert list(catalog.problems) == ["broken"]
    assert "image-ocr" in catalog.skills
    with pytest.raises(InputError, match=r"skill\.toml"):
        catalog.get("broken")


@pytest.mark.parametrize("content", [b"\xff\xff", b"\xff\xfes\0", bytes(100), b"x" * 300_000])
def test_a_manifest_that_is_no_text_or_too_long_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "skill.toml").write_bytes(content)
    with pytest.raises(
        InputError, match=r"skill\.toml: (it is not UTF-8|it is UTF-16|it holds zero bytes|more than 256 KiB)"
    ):
        read_skill(tmp_path)


def test_a_manifest_may_begin_with_the_mark_of_an_editor(tmp_path: Path) -> None:
    text = read_skill(SHIPPED_FOLDER / "image-ocr").text
    (tmp_path / "skill.toml").write_text(text, "utf-8-sig")
    assert read_skill(tmp_path).text == text


def test_a_folder_without_a_manifest_is_no_skill(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"is no skill folder: skill\.toml: No such file"):
        read_skill(tmp_path)


def test_a_file_that_the_manifest_names_must_be_there_and_inside(tmp_path: Path) -> None:
    folder = builders.skill_folder(tmp_path, builders.doubling())
    (folder / "model.onnx").unlink()
    with pytest.raises(InputError, match="there is no file"):
        added(folder, tmp_path / "user")
    (tmp_path / "elsewhere").write_bytes(builders.doubling())
    (folder / "model.onnx").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="leads out of the skill's folder"):
        added(folder, tmp_path / "user")
    assert not (tmp_path / "user" / "toy").exists()
