from __future__ import annotations

import io
import os
from pathlib import Path

import pytest

from swarmharness.cli.submit_inputs import Inputs
from swarmharness.errors import ConfigurationError, InputError
from swarmharness.execution.skill import Kind

TEXT = Kind.TEXT_EMBEDDING


class Terminal(io.BufferedReader):
    def isatty(self) -> bool:
        return True


def pipe(data: bytes) -> io.BufferedReader:
    return io.BufferedReader(io.BytesIO(data))


def test_arguments_are_texts_for_a_skill_on_texts() -> None:
    inputs = Inputs(["one", "zwei drei"], [])
    assert list(inputs.items(TEXT)) == [b"one", b"zwei drei"]
    assert [inputs.label(index) for index in range(2)] == ['"one"', '"zwei drei"']


def test_an_argument_that_is_also_a_file_stays_a_text_with_a_note(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("notes.txt").write_text("inside")
    assert list(Inputs(["notes.txt"], []).items(TEXT)) == [b"notes.txt"]
    assert "`--input notes.txt` reads the file" in capsys.readouterr().err


def test_a_file_of_texts_gives_a_line_each_without_the_empty_ones(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    path.write_bytes(b"first\n\n  second  \r\nthird")
    inputs = Inputs([], [str(path)])
    assert list(inputs.items(TEXT)) == [b"first", b"second", b"third"]
    assert inputs.label(2).endswith(", text 3")


def test_lines_come_from_standard_input_when_nothing_else_is_named() -> None:
    inputs = Inputs([], [], pipe(b"a\nb\n"))
    assert list(inputs.items(TEXT)) == [b"a", b"b"]
    assert inputs.label(1) == "standard input, text 2"


def test_arguments_files_and_standard_input_keep_their_order(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("f1\nf2\n")
    inputs = Inputs(["arg"], ["-", str(tmp_path / "f")], pipe(b"s1\ns2\n"))
    assert list(inputs.items(TEXT)) == [b"arg", b"s1", b"s2", b"f1", b"f2"]
    labels = [inputs.label(index) for index in range(5)]
    assert labels[0] == '"arg"'
    assert labels[2] == "standard input, text 2"
    assert labels[3].endswith("f, text 1")


def test_files_and_globs_are_whole_items_for_other_skills(tmp_path: Path) -> None:
    for name in ("b.bin", "a.bin", "c.txt"):
        (tmp_path / name).write_bytes(name.encode())
    inputs = Inputs([str(tmp_path / "*.bin")], [str(tmp_path / "c.txt")])
    assert list(inputs.items(Kind.FILE_TYPE)) == [b"a.bin", b"b.bin", b"c.txt"]
    assert inputs.label(1) == str(tmp_path / "b.bin")
    names = os.fsencode(tmp_path / "c.txt") + b"\n"
    assert list(Inputs([], [], pipe(names)).items(Kind.FILE_TYPE)) == [b"c.txt"]


def test_a_file_whose_name_looks_like_a_glob_is_taken_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "a[1].bin").write_bytes(b"x")
    assert list(Inputs([str(tmp_path / "a[1].bin")], []).items(Kind.FILE_TYPE)) == [b"x"]


def test_an_empty_input_is_refused_before_anything_is_sent() -> None:
    with pytest.raises(InputError, match="standard input is empty"):
        Inputs([], [], pipe(b""))
    with pytest.raises(InputError, match="input 2 is empty"):
        Inputs(["x", "  "], [])


def test_an_input_of_empty_lines_is_refused() -> None:
    with pytest.raises(InputError, match="nothing to submit"):
        list(Inputs([], [], pipe(b"\n  \n")).items(TEXT))


def test_a_terminal_is_not_read_by_surprise() -> None:
    with pytest.raises(ConfigurationError, match="pipe lines in"):
        Inputs([], [], Terminal(io.BytesIO(b"typed")))


def test_a_missing_unreadable_or_unfitting_path_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot read .*none.txt: No such file"):
        Inputs([], [str(tmp_path / "none.txt")])
    with pytest.raises(InputError, match="is a folder; name its files"):
        Inputs([], [str(tmp_path)])
    with pytest.raises(InputError, match=r"cannot read .*gone.png"):
        list(Inputs([str(tmp_path / "gone.png")], []).items(Kind.IMAGE_OCR))
    with pytest.raises(InputError, match="no file matches"):
        list(Inputs([str(tmp_path / "*.png")], []).items(Kind.IMAGE_OCR))
    (tmp_path / "void.png").touch()
    with pytest.raises(InputError, match=r"void.png: the file is empty"):
        list(Inputs([str(tmp_path / "void.png")], []).items(Kind.IMAGE_OCR))
    (tmp_path / "bad.npz").write_bytes(b"junk")
    with pytest.raises(InputError, match=r"bad.npz: not an .npz file"):
        list(Inputs([str(tmp_path / "bad.npz")], []).items(Kind.TENSOR))
    with pytest.raises(InputError, match="cannot read"):
        Inputs([], ["a\0b"])


@pytest.mark.parametrize("change", ["grows", "is replaced", "is written over"])
def test_a_file_of_texts_that_changes_while_it_is_read_is_found_out_at_its_end(tmp_path: Path, change: str) -> None:
    path = tmp_path / "texts.txt"
    path.write_text("".join(f"text {number}\n" for number in range(10)))
    items = Inputs([], [str(path)]).items(TEXT)
    assert next(items) == b"text 0"
    if change == "grows":
        with path.open("a") as file:
            file.write("text 10\n")
    elif change == "is replaced":
        other = tmp_path / "other.txt"
        other.write_bytes(path.read_bytes())
        other.replace(path)
    else:
        path.write_text(path.read_text().upper())
        os.utime(path, ns=(0, 0))  # whatever the resolution of the clock of the file system
    with pytest.raises(InputError, match=r"texts\.txt changed while it was read, no later than at text") as caught:
        list(items)
    assert "swarmharness jobs resume" in str(caught.value)


def test_a_whole_file_that_changes_while_it_is_read_is_not_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "script.sh"
    path.write_bytes(b"#!/bin/sh\n")
    fstat = os.fstat
    seen: list[int] = []

    def growing(descriptor: int) -> os.stat_result:
        if seen:
            path.write_bytes(b"#!/bin/sh\nexit 1\n")
        seen.append(descriptor)
        return fstat(descriptor)

    monkeypatch.setattr(os, "fstat", growing)
    with pytest.raises(InputError, match=r"script\.sh changed while it was read"):
        list(Inputs([str(path)], []).items(Kind.FILE_TYPE))
