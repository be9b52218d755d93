from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest

from swarmharness.cli.submit_inputs import STDIN, Inputs
from swarmharness.errors import ConfigurationError, InputError
from swarmharness.execution.items import TEXT_BYTES_MAX
from swarmharness.execution.ports import Item
from swarmharness.execution.skill import Kind

TEXT = Kind.TEXT_EMBEDDING


class Terminal(io.BufferedReader):
    def isatty(self) -> bool:
        return True


def items_of(inputs: Inputs, kind: Kind = TEXT) -> list[Item]:
    inputs.begin(kind)
    return list(inputs.items(kind))


def pipe(data: bytes) -> io.BufferedReader:
    return io.BufferedReader(io.BytesIO(data))


def test_arguments_are_texts_for_a_skill_on_texts() -> None:
    inputs = Inputs(["one", "zwei drei"], [])
    assert items_of(inputs) == [b"one", b"zwei drei"]
    assert [inputs.label(index) for index in range(2)] == ['"one"', '"zwei drei"']


def test_an_argument_that_is_also_a_file_stays_a_text_with_a_note(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("notes.txt").write_text("inside")
    assert items_of(Inputs(["notes.txt"], []), TEXT) == [b"notes.txt"]
    assert "`--input notes.txt` reads the file" in capsys.readouterr().err


def test_a_file_of_texts_gives_a_row_for_each_line_and_a_blank_one_is_an_error_that_names_it(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    path.write_bytes(b"\xef\xbb\xbffirst\r\n\r\n  second  \n\t\nthird")
    inputs = Inputs([], [str(path)])
    blank = "line {} of " + str(path) + " is blank; --skip-blank leaves such lines out"
    assert items_of(inputs) == [b"first", blank.format(2), b"second", blank.format(4), b"third"]
    assert [inputs.label(index) for index in (0, 4)] == [f"{path}, line 1", f"{path}, line 5"]
    assert not inputs.blank_skipped


def test_blank_lines_can_be_left_out_and_what_follows_keeps_the_number_of_its_line(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    path.write_bytes(b"first\n\n\nsecond\nthird\n\n")
    inputs = Inputs([], [str(path)], skip_blank=True)
    assert items_of(inputs) == [b"first", b"second", b"third"]
    assert [inputs.label(index) for index in range(3)] == [f"{path}, line {number}" for number in (1, 4, 5)]
    assert inputs.blank_skipped == 3
    assert inputs.source["skip_blank"] is True


@pytest.mark.parametrize("ending", [b"", b"\n", b"\r\n"])
def test_a_final_newline_begins_no_line(ending: bytes) -> None:
    assert items_of(Inputs([], [], pipe(b"a\nb" + ending))) == [b"a", b"b"]


def test_a_line_that_is_too_long_and_a_file_in_utf_16_are_errors_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "utf16").write_bytes("one\ntwo\n".encode("utf-16"))
    long = b"x" * TEXT_BYTES_MAX
    given = pipe(long + b"\r\n" + long + b"y\nnext\n" + long * 3)
    found = items_of(Inputs([], [STDIN, str(tmp_path / "utf16")], given))
    assert found[0] == long
    assert found[2] == b"next"
    assert "line 2 of standard input has more than 262144 bytes" in str(found[1])
    assert "line 4 of standard input has more than 262144 bytes" in str(found[3])
    assert "utf16 is in UTF-16: `iconv" in str(found[4])
    assert len(found) == 5


def test_lines_come_from_standard_input_when_nothing_else_is_named() -> None:
    inputs = Inputs([], [], pipe(b"a\nb\n"))
    assert items_of(inputs) == [b"a", b"b"]
    assert inputs.label(1) == "standard input, line 2"


def test_arguments_files_and_standard_input_keep_their_order(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("f1\nf2\n")
    inputs = Inputs(["arg"], ["-", str(tmp_path / "f")], pipe(b"s1\ns2\n"))
    assert items_of(inputs) == [b"arg", b"s1", b"s2", b"f1", b"f2"]
    labels = [inputs.label(index) for index in range(5)]
    assert labels[0] == '"arg"'
    assert labels[2] == "standard input, line 2"
    assert labels[3].endswith("f, line 1")


def test_files_and_globs_are_whole_items_for_other_skills(tmp_path: Path) -> None:
    for name in ("b.bin", "a.bin", "c.txt"):
        (tmp_path / name).write_bytes(name.encode())
    inputs = Inputs([str(tmp_path / "*.bin")], [str(tmp_path / "c.txt")])
    assert items_of(inputs, Kind.FILE_TYPE) == [b"a.bin", b"b.bin", b"c.txt"]
    assert inputs.label(1) == str(tmp_path / "b.bin")
    names = os.fsencode(tmp_path / "c.txt") + b"\n"
    assert items_of(Inputs([], [], pipe(names)), Kind.FILE_TYPE) == [b"c.txt"]


def test_a_file_whose_name_looks_like_a_glob_is_taken_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "a[1].bin").write_bytes(b"x")
    assert items_of(Inputs([str(tmp_path / "a[1].bin")], []), Kind.FILE_TYPE) == [b"x"]


def test_an_empty_input_is_refused_before_anything_is_sent() -> None:
    with pytest.raises(InputError, match="standard input is empty"):
        Inputs([], [], pipe(b""))
    assert items_of(Inputs(["x", "  "], [])) == [b"x", "input 2 is empty"]
    with pytest.raises(InputError, match="input 2 is empty"):
        Inputs(["x", "  "], []).begin(Kind.IMAGE_OCR)


def test_an_input_of_which_nothing_is_left_is_refused() -> None:
    with pytest.raises(InputError, match="nothing to submit"):
        items_of(Inputs([], [], pipe(b"\n  \n"), skip_blank=True))


def test_a_terminal_is_not_read_by_surprise() -> None:
    with pytest.raises(ConfigurationError, match="pipe lines in"):
        Inputs([], [], Terminal(io.BytesIO(b"typed")))


def test_what_does_not_exist_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot read .*none.txt: No such file"):
        Inputs([], [str(tmp_path / "none.txt")])
    with pytest.raises(InputError, match="cannot read"):
        Inputs([], ["a\0b"])
    (tmp_path / "there.png").write_bytes(b"x")
    for name, problem in (("gone.png", r"cannot read .*gone.png: No such"), ("*.jpg", "no file matches")):
        with pytest.raises(InputError, match=problem):
            Inputs([str(tmp_path / "there.png"), str(tmp_path / name)], []).begin(Kind.IMAGE_OCR)
        listed = os.fsencode(tmp_path / "there.png") + b"\n" + os.fsencode(tmp_path / name) + b"\n"
        with pytest.raises(InputError, match=problem):
            Inputs([], [], pipe(listed)).begin(Kind.IMAGE_OCR)
    (tmp_path / "void.txt").touch()
    with pytest.raises(InputError, match="there is nothing to submit"):
        Inputs([], [str(tmp_path / "void.txt")]).begin(TEXT)


def test_what_exists_and_cannot_be_used_is_an_item_of_its_own(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    for name in ("void.png", "good.png"):
        (tmp_path / name).write_bytes(b"an image" * (name == "good.png"))
    named = [str(tmp_path / "void.png"), str(folder), str(tmp_path / "good.png")]
    inputs = Inputs(named, [])
    assert items_of(inputs, Kind.IMAGE_OCR) == [
        f"{tmp_path}/void.png: the file is empty",
        f"{folder} is a folder; name its files: {folder}/*",
        b"an image",
    ]
    assert [inputs.label(index) for index in range(3)] == named
    listed = pipe(os.fsencode(named[2]) + b"\r\n\n")
    assert items_of(Inputs([], [], listed), Kind.FILE_TYPE)[1] == (
        "line 2 of standard input is blank; --skip-blank leaves such lines out"
    )
    (tmp_path / "texts").write_text("one\n")
    assert items_of(Inputs([], [str(folder), str(tmp_path / "texts")])) == [f"{folder} is a folder", b"one"]


def test_arrays_that_cannot_be_sent_are_named_with_their_file(tmp_path: Path) -> None:
    (tmp_path / "junk.npz").write_bytes(b"junk")
    np.savez(tmp_path / "objects.npz", x=np.array([{}]), allow_pickle=True)
    np.savez(tmp_path / "dates.npz", when=np.array(["2020-01-01"], "datetime64[D]"))
    with zipfile.ZipFile(tmp_path / "no_array.npz", "w") as archive:
        archive.writestr("readme.txt", "hello")
    np.savez(tmp_path / "good.npz", x=np.ones(2, np.float32))
    broken = bytearray((tmp_path / "good.npz").read_bytes())
    broken[60:80] = bytes(20)
    (tmp_path / "broken.npz").write_bytes(broken)
    named = [str(tmp_path / f"{name}.npz") for name in ("junk", "objects", "dates", "no_array", "broken", "good")]
    found = items_of(Inputs(named, []), Kind.TENSOR)
    assert [isinstance(item, str) for item in found] == [True] * 5 + [False]
    assert all(str(item).startswith(f"{name}: ") for name, item in zip(named[:5], found, strict=False))
    assert "when" in str(found[2])


@pytest.mark.parametrize("change", ["grows", "is replaced", "is written over"])
def test_a_file_of_texts_that_changes_while_it_is_read_is_found_out_at_its_end(tmp_path: Path, change: str) -> None:
    path = tmp_path / "texts.txt"
    path.write_text("".join(f"text {number}\n" for number in range(10)))
    inputs = Inputs([], [str(path)])
    inputs.begin(TEXT)
    items = inputs.items(TEXT)
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
    assert items_of(Inputs([str(path)], []), Kind.FILE_TYPE) == [f"{path} changed while it was read"]
