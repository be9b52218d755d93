from __future__ import annotations

from pathlib import Path

import pytest

from swarmharness.errors import ConfigurationError, InputError, UnavailableError
from swarmharness.execution.catalog import add_skill, find_skills, read_skill
from tests.unit.execution import builders


def test_the_shipped_skills_are_found_without_a_user_folder(tmp_path: Path) -> None:
    catalog = find_skills(tmp_path / "nothing")
    assert sorted(catalog.skills) == ["file-type", "image-ocr", "text-embedding"]
    assert catalog.problems == {}


def test_an_unknown_name_suggests_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="no skill 'image-orc'; did you mean 'image-ocr'"):
        find_skills(tmp_path).get("image-orc")


def test_an_added_skill_is_found_and_only_what_it_names_is_copied(tmp_path: Path) -> None:
    folder = builders.skill_folder(tmp_path, builders.doubling())
    (folder / "private-notes.txt").write_text("x")
    added = add_skill(folder, tmp_path / "user")
    assert sorted(path.name for path in added.folder.iterdir()) == ["model.onnx", "skill.toml"]
    assert find_skills(tmp_path / "user").get("toy") == added
    assert [path.name for path in (tmp_path / "user").iterdir()] == ["toy"]


def test_an_added_skill_is_replaced_only_by_force(tmp_path: Path) -> None:
    user = tmp_path / "user"
    add_skill(builders.skill_folder(tmp_path / "a", builders.doubling()), user)
    other = builders.skill_folder(tmp_path / "b", builders.filling())
    with pytest.raises(ConfigurationError, match=r"'toy' is already in .*; --force replaces it"):
        add_skill(other, user)
    add_skill(other, user, force=True)
    assert (user / "toy" / "model.onnx").read_bytes() == builders.filling()


def test_a_shipped_name_is_taken(tmp_path: Path) -> None:
    folder = builders.skill_folder(tmp_path, builders.doubling(), name="image-ocr")
    with pytest.raises(ConfigurationError, match="name of a shipped skill"):
        add_skill(folder, tmp_path / "user")


def test_a_broken_skill_is_reported_and_the_others_still_work(tmp_path: Path) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "skill.toml").write_text("[skill]\nnam = 1\n")
    catalog = find_skills(tmp_path)
    assert list(catalog.problems) == ["broken"]
    assert "image-ocr" in catalog.skills
    with pytest.raises(InputError, match=r"skill\.toml"):
        catalog.get("broken")


@pytest.mark.parametrize("content", [b"\xff\xfe", b"x" * 300_000])
def test_a_manifest_that_is_no_text_or_too_long_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "skill.toml").write_bytes(content)
    with pytest.raises(InputError, match=r"skill\.toml: (not UTF-8|more than 256 KiB)"):
        read_skill(tmp_path)


def test_a_folder_without_a_manifest_is_no_skill(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"is no skill folder: skill\.toml: No such file"):
        add_skill(tmp_path, tmp_path / "user")


def test_a_file_that_the_manifest_names_must_be_there_and_inside(tmp_path: Path) -> None:
    folder = builders.skill_folder(tmp_path, builders.doubling())
    (folder / "model.onnx").unlink()
    with pytest.raises(InputError, match="there is no such file"):
        add_skill(folder, tmp_path / "user")
    (tmp_path / "elsewhere").write_bytes(builders.doubling())
    (folder / "model.onnx").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="leads out of the skill's folder"):
        add_skill(folder, tmp_path / "user")
    assert not (tmp_path / "user" / "toy").exists()
