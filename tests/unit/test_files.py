"""Files are complete or absent, whatever happens; LoRA files among them."""

import errno
import itertools
import json
import os
import random
import re
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from semantic_focus.files.names import NAME_BYTES, name_problem
from semantic_focus.files.tensors import DIGEST_KEY, write_safetensors
from semantic_focus.files.text import in_short, parsed_json, printable
from semantic_focus.files.writing import (
    TEMPORARY,
    NotWrittenError,
    check_can_write,
    make_folder,
    mark_of,
    move_aside,
    nothing_is_there,
    write_atomically,
    write_text,
)
from semantic_focus.lora.file import load_lora, load_metadata, numbered, save_lora, save_new_lora
from semantic_focus.lora.metadata import lora_metadata

from .faults import FAULTS, refuse


def without_digest(metadata: dict[str, str]) -> dict[str, str]:
    return {key: text for key, text in metadata.items() if key != DIGEST_KEY}


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


class TestReproducible:
    TENSORS = {"b": torch.arange(6.0).view(2, 3), "a": torch.zeros(3, dtype=torch.uint8), "c": torch.ones(0)}
    METADATA = {f"field {number}": "ü" * number for number in range(12)}

    def test_equal_content_gives_equal_bytes_in_whatever_order_it_comes(self, tmp_path: Path):
        contents = set()
        for turn in range(24):
            names, fields = list(self.TENSORS), list(self.METADATA)
            random.Random(turn).shuffle(names)
            random.Random(turn).shuffle(fields)
            path = tmp_path / f"{turn}.safetensors"
            tensors = {name: self.TENSORS[name] for name in names}
            write_safetensors(path, tensors, {name: self.METADATA[name] for name in fields})
            contents.add(path.read_bytes())
        assert len(contents) == 1

    def test_any_reader_finds_tensors_and_metadata(self, tmp_path: Path):
        path = tmp_path / "a.safetensors"
        write_safetensors(path, {**self.TENSORS, "t": self.TENSORS["b"].T}, self.METADATA)
        with safe_open(path, framework="pt") as file:
            assert without_digest(file.metadata()) == self.METADATA
            assert sorted(file.keys()) == ["a", "b", "c", "t"]
            assert all(torch.equal(file.get_tensor(name), tensor) for name, tensor in self.TENSORS.items())
            assert file.get_tensor("t").tolist() == [[0, 3], [1, 4], [2, 5]]
        assert int.from_bytes(path.read_bytes()[:8], "little") % 8 == 0

    @pytest.mark.parametrize("metadata", [None, {}, {"steps": "12"}])
    def test_no_metadata_is_no_metadata(self, tmp_path: Path, metadata: dict[str, str] | None):
        write_safetensors(tmp_path / "a.safetensors", {"x": torch.zeros(1)}, metadata)
        with safe_open(tmp_path / "a.safetensors", framework="pt") as file:
            assert without_digest(file.metadata()) == (metadata or {})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("plain.png", "plain.png"),
        ("人物 é 🙂\n", "人物 é 🙂\n"),
        (os.fsdecode(b"caf\xe9.png"), r"caf\xe9.png"),
        (os.fsdecode(b"\xff\xfe"), r"\xff\xfe"),
        ("lone \ud83d half", r"lone \ud83d half"),
        (Path(os.fsdecode(b"/a/\x80")), r"/a/\x80"),
        (ValueError(os.fsdecode(b"no \x81")), r"no \x81"),
        ("\x1b[31mred\x1b[0m", r"\x1b[31mred\x1b[0m"),
        ("abc\u202egpj\u2069", r"abc\u202egpj\u2069"),
        ("a\rb\x00\x85c", r"a\x0db\x00\x85c"),
        ("lines\nstay\tas they are", "lines\nstay\tas they are"),
        ("👩‍🦰 ☕ 面部 é", "👩‍🦰 ☕ 面部 é"),
    ],
)
def test_printable_text_can_be_encoded_and_keeps_what_could_be(text: object, said: str):
    assert printable(text) == said
    assert printable(printable(text)) == said
    printable(text).encode("utf-8")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (KeyError("uuids"), "KeyError: 'uuids'"),
        (RuntimeError("two\n  lines"), "RuntimeError: two lines"),
        (OSError("caf\udce9"), r"OSError: caf\xe9"),
        (ValueError("word " * 99), "ValueError: " + "word " * 36 + "word …"),
    ],
)
def test_an_error_in_short_is_one_printable_line(error: Exception, said: str):
    assert in_short(error) == said and len(said) <= 200


class TestParsedJson:
    @pytest.mark.parametrize("text", ['{"a": [1, -0.5, null, "x"]}', "9" * 100, "[" * 50 + "]" * 50])
    def test_what_a_program_writes_is_read_as_ever(self, text: str):
        assert parsed_json(text) == json.loads(text)

    @pytest.mark.parametrize(
        "text", ["{", "[" * 100_000, "9" * 101, "9" * 5000, "1e999", "NaN", "-Infinity", ""]
    )
    def test_what_cannot_be_used_later_is_refused_now(self, text: str):
        with pytest.raises(ValueError):
            parsed_json(text)


class TestLoraFiles:
    def test_metadata_that_cannot_be_printed_is_written_out(self, tmp_path: Path):
        save_lora(tmp_path / "lora.safetensors", self.TENSORS, {"base": os.fsdecode(b"caf\xe9")})
        with safe_open(tmp_path / "lora.safetensors", framework="pt") as file:
            assert without_digest(file.metadata()) == {"base": r"caf\xe9"}

    TENSORS = {"diffusion_model.a.lora_up.weight": torch.arange(6.0).view(2, 3)}

    def test_round_trip_with_metadata(self, tmp_path: Path):
        path = tmp_path / "lora.safetensors"
        save_lora(path, self.TENSORS, {"steps": "12"})
        loaded = load_lora(path)
        assert list(loaded) == list(self.TENSORS)
        assert torch.equal(*loaded.values(), *self.TENSORS.values())
        with safe_open(path, framework="pt") as file:
            assert without_digest(file.metadata()) == load_metadata(path) == {"steps": "12"}

    def test_parameters_and_transposed_tensors_can_be_saved(self, tmp_path: Path):
        parameter = torch.nn.Parameter(torch.arange(6.0).view(2, 3)).T
        save_lora(tmp_path / "lora.safetensors", {"x": parameter})
        assert load_lora(tmp_path / "lora.safetensors")["x"].tolist() == [[0, 3], [1, 4], [2, 5]]

    @pytest.mark.parametrize("share", [0.0, 0.2, 0.9])
    def test_a_truncated_file_is_named(self, tmp_path: Path, share: float):
        path = tmp_path / "lora.safetensors"
        save_lora(path, self.TENSORS)
        content = path.read_bytes()
        path.write_bytes(content[: int(len(content) * share)])
        with pytest.raises(ValueError, match="lora.safetensors: not a complete safetensors file"):
            load_lora(path)

    def test_a_missing_file_is_named(self, tmp_path: Path):
        with pytest.raises(FileNotFoundError, match="lora.safetensors: no such LoRA file"):
            load_lora(tmp_path / "lora.safetensors")

    def test_a_new_lora_goes_where_nothing_is(self, tmp_path: Path):
        first, second, third, fourth = itertools.islice(numbered(tmp_path, "mine"), 4)
        assert first.name == "mine_00001.safetensors"
        first.write_bytes(b"of somebody else")
        second.symlink_to(tmp_path / "nowhere")
        assert save_new_lora(numbered(tmp_path, "mine"), self.TENSORS) == third
        assert save_new_lora(numbered(tmp_path, "mine"), self.TENSORS) == fourth
        assert first.read_bytes() == b"of somebody else" and second.is_symlink()
        assert sorted(path.name for path in tmp_path.iterdir()) == [
            f"mine_0000{number}.safetensors" for number in (1, 2, 3, 4)
        ]

    def test_a_lora_that_appears_while_another_is_written_stays(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ):
        first, second = itertools.islice(numbered(tmp_path, "mine"), 2)
        fsync = os.fsync

        def somebody_is_faster(handle: int) -> None:
            fsync(handle)
            first.write_bytes(b"of somebody else")

        monkeypatch.setattr("semantic_focus.files.writing.os.fsync", somebody_is_faster)
        assert save_new_lora(numbered(tmp_path, "mine"), self.TENSORS) == second
        assert first.read_bytes() == b"of somebody else" and load_lora(second)

    @pytest.mark.parametrize("content", [b"", b"notes", b"\x02\0\0\0\0\0\0\0{}"])
    def test_in_a_place_that_nobody_chose_what_is_not_ours_gets_another_name(
        self, tmp_path: Path, content: bytes
    ):
        path = tmp_path / "lora_000002.safetensors"
        path.write_bytes(content)
        save_lora(path, self.TENSORS, lora_metadata(self.TENSORS, "comfyui"))
        save_lora(path, self.TENSORS, lora_metadata(self.TENSORS, "comfyui"))
        assert load_lora(path) and (tmp_path / f"{path.name}.before").read_bytes() == content
        assert len(list(tmp_path.iterdir())) == 2
