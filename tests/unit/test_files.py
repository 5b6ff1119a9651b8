"""Files are complete or absent, whatever happens; LoRA files among them."""

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from semantic_focus.files import write_atomically
from semantic_focus.lora.file import free_path, load_lora, save_lora


class TestWriteAtomically:
    def test_the_file_gets_its_content_and_missing_folders_are_made(self, tmp_path: Path):
        path = tmp_path / "new" / "folder" / "a.bin"
        write_atomically(path, lambda temporary: temporary.write_bytes(b"content"))
        assert path.read_bytes() == b"content" and list(path.parent.iterdir()) == [path]

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

    def test_a_kill_in_the_middle_leaves_the_old_file(self, tmp_path: Path, repo: Path):
        path = tmp_path / "a.bin"
        path.write_bytes(b"old")
        program = (
            "import importlib.util, os, signal, sys, pathlib\n"
            "spec = importlib.util.spec_from_file_location('atomic', sys.argv[1])\n"
            "atomic = importlib.util.module_from_spec(spec)\n"
            "spec.loader.exec_module(atomic)\n"
            "def write(temporary):\n"
            "    temporary.write_bytes(b'half')\n"
            "    os.kill(os.getpid(), signal.SIGKILL)\n"
            "atomic.write_atomically(pathlib.Path(sys.argv[2]), write)\n"
        )
        module = repo / "semantic_focus" / "files.py"
        killed = subprocess.run([sys.executable, "-c", program, module, path], timeout=60)
        assert killed.returncode == -signal.SIGKILL
        assert path.read_bytes() == b"old"
        # what is left of the attempt is hidden and has no suffix that anything reads
        left = [other.name for other in tmp_path.iterdir() if other != path]
        assert len(left) == 1 and left[0].startswith(".a.bin.") and left[0].endswith(".part")

    @pytest.mark.parametrize("mask", [0o022, 0o077])
    def test_the_users_umask_decides_who_may_read_it(self, tmp_path: Path, mask: int):
        before = os.umask(mask)
        try:
            save_lora(tmp_path / "a.safetensors", {"x": torch.zeros(1)})
        finally:
            os.umask(before)
        assert stat.S_IMODE((tmp_path / "a.safetensors").stat().st_mode) == 0o666 & ~mask


class TestLoraFiles:
    TENSORS = {"diffusion_model.a.lora_up.weight": torch.arange(6.0).view(2, 3)}

    def test_round_trip_with_metadata(self, tmp_path: Path):
        path = tmp_path / "lora.safetensors"
        save_lora(path, self.TENSORS, {"steps": "12"})
        loaded = load_lora(path)
        assert list(loaded) == list(self.TENSORS)
        assert torch.equal(*loaded.values(), *self.TENSORS.values())
        with safe_open(path, framework="pt") as file:
            assert file.metadata() == {"steps": "12"}

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

    def test_free_path_never_names_a_file_that_exists(self, tmp_path: Path):
        names = []
        for _ in range(3):
            path = free_path(tmp_path, "interrupted")
            path.touch()
            names.append(path.name)
        assert names == [f"interrupted_0000{n}.safetensors" for n in (1, 2, 3)]
        (tmp_path / names[1]).unlink()
        assert free_path(tmp_path, "interrupted").name == names[1]
