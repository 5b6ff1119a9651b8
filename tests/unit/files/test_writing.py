"""Files are complete or absent, whatever happens, and nothing is replaced that is not ours."""

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from semantic_focus.files.names import NAME_BYTES
from semantic_focus.files.writing import (
    TEMPORARY,
    NotWrittenError,
    check_can_write,
    mark_of,
    move_aside,
    nothing_is_there,
    others_aside,
    version_of,
    write_atomically,
    write_new_folder,
    write_text,
)
from semantic_focus.lora.file import save_lora

from ..faults import FAULTS, refuse


class TestWriteAtomically:
    def test_the_file_gets_its_content_and_nothing_else_is_there(self, tmp_path: Path):
        path = tmp_path / "a.bin"
        write_atomically(path, lambda temporary: temporary.write_bytes(b"content"))
        assert path.read_bytes() == b"content" and list(tmp_path.iterdir()) == [path]

    @pytest.mark.parametrize("folder", ["new", "new/folder"])
    def test_a_mistyped_path_makes_no_folder(self, tmp_path: Path, folder: str):
        (tmp_path / "a.bin").write_bytes(b"mine")
        with pytest.raises(FileNotFoundError, match=f"there is no folder .*{folder}. Make it first"):
            write_text(tmp_path / folder / "a.txt", "content")
        assert [path.name for path in tmp_path.iterdir()] == ["a.bin"]

    def test_an_older_file_is_replaced(self, tmp_path: Path):
        path = tmp_path / "a.bin"
        path.write_bytes(b"a longer old content")
        write_atomically(path, lambda temporary: temporary.write_bytes(b"new"))
        assert path.read_bytes() == b"new"

    @pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
    def test_a_writer_that_fails_leaves_the_old_file_and_no_other(self, tmp_path: Path, error: type):
        path = tmp_path / "a.bin"
        path.write_bytes(b"old")

        def fail(temporary: Path) -> None:
            temporary.write_bytes(b"half")
            raise error("no space left")

        with pytest.raises(error):
            write_atomically(path, fail)
        assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]

    def test_while_it_is_written_the_old_file_is_whole(self, tmp_path: Path):
        path = tmp_path / "a.bin"
        path.write_bytes(b"old")
        seen = []

        def write(temporary: Path) -> None:
            temporary.write_bytes(b"half")
            seen.append((temporary.parent, path.read_bytes()))

        write_atomically(path, write)
        assert seen == [(tmp_path, b"old")]

    def test_a_kill_in_the_middle_leaves_the_old_file(self, tmp_path: Path):
        path = tmp_path / "a.bin"
        path.write_bytes(b"old")
        program = (
            "import os, signal, sys, pathlib\n"
            "from semantic_focus.files import writing\n"
            "def write(temporary):\n"
            "    temporary.write_bytes(b'half')\n"
            "    os.kill(os.getpid(), signal.SIGKILL)\n"
            "writing.write_atomically(pathlib.Path(sys.argv[1]), write)\n"
        )
        killed = subprocess.run([sys.executable, "-c", program, path], timeout=600)
        assert killed.returncode == -signal.SIGKILL
        assert path.read_bytes() == b"old"
        # what is left of the attempt is hidden, has no suffix that anything reads, and says whose it was
        (left,) = [other.name for other in tmp_path.iterdir() if other != path]
        named = TEMPORARY.fullmatch(left)
        assert left.startswith(".") and named and named["mark"] == mark_of("a.bin") != mark_of("b.bin")

    @pytest.mark.parametrize("mask", [0o022, 0o077])
    def test_the_users_umask_decides_who_may_read_it(self, tmp_path: Path, mask: int):
        before = os.umask(mask)
        try:
            save_lora(tmp_path / "a.safetensors", {"x": torch.zeros(1)})
        finally:
            os.umask(before)
        assert stat.S_IMODE((tmp_path / "a.safetensors").stat().st_mode) == 0o666 & ~mask

    @pytest.mark.parametrize("name", ["n" * 255, "ü" * 127, os.fsdecode(b"caf\xe9.bin"), "🙂" * 63])
    def test_a_name_that_fits_the_disk_fits_while_it_is_written(self, tmp_path: Path, name: str):
        write_text(tmp_path / name, "content")
        assert [os.fsencode(path.name) for path in tmp_path.iterdir()] == [os.fsencode(name)]

    @pytest.mark.parametrize(("refusals", "is_written"), [(3, True), (100, False)])
    def test_windows_is_asked_again_while_another_program_has_the_file_open(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refusals: int, is_written: bool
    ):
        (tmp_path / "a.txt").write_text("old")
        replace, asked = os.replace, []

        def refusing(source: Path, target: Path) -> None:
            asked.append(target)
            if len(asked) <= refusals:
                raise PermissionError(13, "in use", str(target))
            replace(source, target)

        monkeypatch.setattr("semantic_focus.files.writing.sys.platform", "win32")
        monkeypatch.setattr("semantic_focus.files.writing.BUSY_SECONDS", 0)
        monkeypatch.setattr("semantic_focus.files.writing.os.replace", refusing)
        if is_written:
            write_text(tmp_path / "a.txt", "new")
        else:
            with pytest.raises(NotWrittenError, match="a.txt: cannot be written: you have no permission"):
                write_text(tmp_path / "a.txt", "new")
        assert (tmp_path / "a.txt").read_text() == ("new" if is_written else "old")
        assert len(list(tmp_path.iterdir())) == 1 and len(asked) < 20

    def test_what_appears_after_the_way_was_made_is_not_replaced(self, tmp_path: Path):
        path = tmp_path / "a.bin"
        asked = []

        def make_way(temporary: Path) -> bool:
            asked.append(path.exists())
            if len(asked) == 1:
                path.write_bytes(b"of somebody else")
            return len(asked) == 1

        write_atomically(path, lambda temporary: temporary.write_bytes(b"ours"), make_way)
        assert asked == [False, True]
        assert path.read_bytes() == b"of somebody else" and list(tmp_path.iterdir()) == [path]

    def test_on_a_disk_without_hard_links_a_new_file_is_written_all_the_same(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ):
        def without_links(source: Path, target: Path) -> None:
            raise PermissionError(1, "Operation not permitted")

        monkeypatch.setattr("semantic_focus.files.writing.os.link", without_links)
        path = tmp_path / "a.bin"
        write_atomically(path, lambda temporary: temporary.write_bytes(b"ours"), nothing_is_there(path))
        assert path.read_bytes() == b"ours" and list(tmp_path.iterdir()) == [path]


class TestMovedAside:
    def test_a_file_with_the_same_content_stays_untouched_whoever_wrote_it(self, tmp_path: Path):
        path, ours = tmp_path / "a.bin", lambda path: False
        path.write_bytes(b"content")
        before = version_of(path)
        write_atomically(path, lambda temporary: temporary.write_bytes(b"content"), others_aside(path, ours))
        assert version_of(path) == before and list(tmp_path.iterdir()) == [path]
        write_atomically(path, lambda temporary: temporary.write_bytes(b"other"), others_aside(path, ours))
        assert path.read_bytes() == b"other"
        assert (tmp_path / "a.bin.before").read_bytes() == b"content"

    def test_it_is_found_beside_its_old_name_and_replaces_nothing(self, tmp_path: Path):
        contents = [b"first", b"second", b"third"]
        found = []
        for content in contents:
            (tmp_path / "a.bin").write_bytes(content)
            found.append(move_aside(tmp_path / "a.bin", "damaged"))
        assert [path.name for path in found] == ["a.bin.damaged", "a.bin.damaged_2", "a.bin.damaged_3"]
        assert [path.read_bytes() for path in found] == contents and not (tmp_path / "a.bin").exists()

    @pytest.mark.parametrize("name", ["n" * 255, "ü" * 127, os.fsdecode(b"caf\xe9.bin"), "🙂" * 63])
    def test_any_name_can_be_moved_aside(self, tmp_path: Path, name: str):
        (tmp_path / name).write_bytes(b"mine")
        aside = move_aside(tmp_path / name, "damaged")
        assert aside.read_bytes() == b"mine" and os.fsencode(aside.name).startswith(
            os.fsencode(name)[:NAME_BYTES]
        )


class TestDisksThatTakeNoFile:
    SAYS = {
        "full": "the disk is full",
        "over quota": "your share of the disk is used up",
        "read-only": "the disk is read-only",
        "no permission": "you have no permission to write there",
        "gone": "its folder is gone",
    }

    @pytest.mark.parametrize("fault", FAULTS)
    def test_it_is_said_in_words_with_the_file_and_a_way_out(
        self, fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ):
        path = tmp_path / "a.txt"
        path.write_text("old")
        refuse(monkeypatch, tmp_path, FAULTS[fault])
        for write in (lambda: write_text(path, "new"), lambda: check_can_write(path)):
            with pytest.raises(
                NotWrittenError, match=f"^{path}: cannot be written: {self.SAYS[fault]}.*[.] "
            ) as raised:
                write()
            assert raised.value.errno == FAULTS[fault]
        assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]

    @pytest.mark.parametrize("place", ["file/a.txt", "file/more/a.txt"])
    def test_a_file_in_the_place_of_a_folder(self, place: str, tmp_path: Path):
        (tmp_path / "file").write_text("mine")
        for write in (lambda: write_text(tmp_path / place, "new"), lambda: check_can_write(tmp_path / place)):
            with pytest.raises(NotWrittenError, match="a part of its path is a file, not a folder"):
                write()
        assert (tmp_path / "file").read_text() == "mine"

    @pytest.mark.skipif(sys.platform == "win32", reason="no such limits")
    def test_a_disk_with_room_for_nothing_large_is_found_out_beforehand(self, tmp_path: Path):
        import resource

        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
        try:
            write_text(tmp_path / "small.txt", "fits")
            for write in (
                lambda: write_text(tmp_path / "large.txt", "x" * 2000),
                lambda: check_can_write(tmp_path / "large.txt"),
            ):
                with pytest.raises(NotWrittenError, match="large.txt: cannot be written: it is larger"):
                    write()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert [path.name for path in tmp_path.iterdir()] == ["small.txt"]
        check_can_write(tmp_path / "large.txt")
        assert [path.name for path in tmp_path.iterdir()] == ["small.txt"]


class TestWriteNewFolder:
    @staticmethod
    def fill(folder: Path) -> None:
        assert list(folder.iterdir()) == []
        (folder / "a.txt").write_text("content")

    def test_it_goes_where_nothing_is_and_replaces_nothing(self, tmp_path: Path):
        (tmp_path / "one").mkdir()
        (tmp_path / "two").write_text("mine")
        (tmp_path / "three").symlink_to("nowhere")
        places = [tmp_path / name for name in ("one", "two", "three", "four")]
        assert write_new_folder(places, self.fill) == tmp_path / "four"
        assert (tmp_path / "four" / "a.txt").read_text() == "content"
        assert sorted(path.name for path in tmp_path.iterdir()) == ["four", "one", "three", "two"]
        assert list((tmp_path / "one").iterdir()) == [] and (tmp_path / "two").read_text() == "mine"

    def test_a_place_that_is_taken_meanwhile_is_left(self, tmp_path: Path):
        def fill(folder: Path) -> None:
            self.fill(folder)
            (tmp_path / "one").mkdir()
            (tmp_path / "one" / "theirs").touch()

        found = write_new_folder([tmp_path / "one", tmp_path / "two"], fill)
        assert found == tmp_path / "two" and (tmp_path / "one" / "theirs").exists()
        assert len(list(tmp_path.iterdir())) == 2

    @pytest.mark.parametrize("error", [OSError, OSError(28, "full"), KeyboardInterrupt, ValueError("x")])
    def test_what_fails_leaves_nothing(self, tmp_path: Path, error: type[BaseException] | BaseException):
        def fail(folder: Path) -> None:
            self.fill(folder)
            raise error

        with pytest.raises(error if isinstance(error, type) else type(error)):
            write_new_folder([tmp_path / "one"], fail)
        assert list(tmp_path.iterdir()) == []

    def test_where_there_is_no_folder_none_is_made(self, tmp_path: Path):
        with pytest.raises(FileNotFoundError):
            write_new_folder([tmp_path / "gone" / "one"], self.fill)
        assert list(tmp_path.iterdir()) == []
