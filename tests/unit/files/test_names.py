"""Names that every system can have."""

import errno
import os
import re
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath

import pytest

from semantic_focus.files.names import NAME_BYTES, leads_out, name_problem
from semantic_focus.files.writing import (
    NotWrittenError,
    make_folder,
)


class TestNames:
    @pytest.mark.parametrize(
        "name", ["person", "my person 2", "人物", "🙂", "a.b", "com", "CONSOLE", "-", "é" * (NAME_BYTES // 2)]
    )
    def test_plain_names_of_any_script_are_taken(self, tmp_path: Path, name: str):
        assert name_problem(name) is None
        make_folder(tmp_path / name)

    @pytest.mark.parametrize(
        ("name", "problem"),
        [
            ("", "empty"),
            (" \t", "empty"),
            (".", "dot or a blank"),
            ("..", "dot or a blank"),
            (".hidden", "dot or a blank"),
            ("a.", "dot or a blank"),
            ("a ", "dot or a blank"),
            ("a/b", "/ may not"),
            ("a\\b", r"\\ may not"),
            ("C:", ": may not"),
            ("a*", r"\* may not"),
            ("a\0b", "cannot be printed"),
            ("a\nb", "cannot be printed"),
            ("a\x85b", "cannot be printed"),
            ("a\u2028b", "cannot be printed"),
            ("half \ud83d", "cannot be printed"),
            ("nul", "device"),
            ("CON.safetensors", "device"),
            ("Lpt1 .x", "device"),
            ("com¹", "device"),
            ("é" * (NAME_BYTES // 2) + "é", f"{NAME_BYTES + 2} bytes long, {NAME_BYTES} is the limit"),
        ],
    )
    def test_names_that_some_system_refuses_are_refused_on_all(self, name: str, problem: str):
        assert re.search(problem, name_problem(name) or "")

    def test_a_folder_is_made_inside_one_that_is_there(self, tmp_path: Path):
        make_folder(tmp_path / "new")
        make_folder(tmp_path / "new")
        with pytest.raises(FileNotFoundError, match="there is no folder .*mistyped to make it in"):
            make_folder(tmp_path / "mistyped" / "new")
        (tmp_path / "file").touch()
        with pytest.raises(FileExistsError, match="a file, not a folder"):
            make_folder(tmp_path / "file")
        with pytest.raises(NotWrittenError, match="new: cannot be written: a part of its path is a file"):
            make_folder(tmp_path / "file" / "new")
        assert {path.name for path in tmp_path.iterdir()} == {"new", "file"}

    @pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.ENOSPC])
    def test_a_folder_that_cannot_be_made_is_refused_in_words(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
    ):
        def refuse_folder(folder: Path, **options: object) -> None:
            raise OSError(number, os.strerror(number), str(folder))

        monkeypatch.setattr(Path, "mkdir", refuse_folder)
        with pytest.raises(NotWrittenError, match=r"new: cannot be written: \w") as caught:
            make_folder(tmp_path / "new")
        assert "Errno" not in str(caught.value) and caught.value.errno == number


class TestNamesFromElsewhere:
    """Of members of archives and objects in stores, which are joined to a folder."""

    @pytest.mark.parametrize("name", ["a.png", "sub/a.png", "a..b.png", "…/a.png", ".a", "a b/c.png"])
    @pytest.mark.parametrize("system", [PurePosixPath, PureWindowsPath])
    def test_plain_names_stay_below(self, name: str, system: type[PurePath]):
        assert not leads_out(name, system)

    @pytest.mark.parametrize("name", ["../a.png", "sub/../../a.png", "/etc/a.png", "sub/.."])
    @pytest.mark.parametrize("system", [PurePosixPath, PureWindowsPath])
    def test_names_that_lead_out_of_any_folder(self, name: str, system: type[PurePath]):
        assert leads_out(name, system)

    @pytest.mark.parametrize(
        "name",
        [
            r"..\a.png",
            r"sub\..\..\a.png",
            r"C:\Users\a.png",
            "C:a.png",
            r"\\server\share\a.png",
            r"\a.png",
            "a.png:stream.png",
            "NUL",
            "sub/con.png",
            ".. /a.png",
        ],
    )
    def test_names_that_lead_out_on_windows_alone(self, name: str):
        assert leads_out(name, PureWindowsPath) and not leads_out(name, PurePosixPath)
