"""How far a look through folders goes, and that it says what it did not look at."""

import os
from pathlib import Path

import pytest

from semantic_focus.datasets.folder import DatasetError, list_pictures, picture_files
from semantic_focus.datasets.listing import CHECK_EVERY, Bounds, Walk


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Two pictures, then three in each of the folders a, b and c; a hundred caches in d."""
    for folder in ("", "a", "b", "c"):
        (tmp_path / folder).mkdir(exist_ok=True)
        for number in range(3 if folder else 2):
            (tmp_path / folder / f"{number}.png").touch()
    (tmp_path / "d").mkdir()
    for number in range(100):
        (tmp_path / "d" / f"{number}_zi_te.safetensors").touch()
    return tmp_path


def names(folder: Path, bounds: Bounds) -> tuple[list[str], str]:
    found = list_pictures(folder, True, bounds)
    return [path.relative_to(folder).as_posix() for path in found.pictures], " ".join(found.left_out)


def test_within_its_bounds_nothing_is_left_out(tree: Path):
    assert names(tree, Bounds(entries=115, seconds=600)) == (
        ["0.png", "1.png"] + [f"{folder}/{number}.png" for folder in "abc" for number in range(3)],
        "",
    )


@pytest.mark.parametrize("entries", [6, 7, 9, 14, 15, 40, 114])
def test_the_number_of_entries_is_a_bound_over_all_folders(tree: Path, entries: int):
    """6 entries are in the first folder, then 3 pictures in each of three, then what is no picture."""
    found, left_out = names(tree, Bounds(entries=entries))
    assert len(found) == 2 + min(9, entries - 6)
    assert f"only the first {entries} files and folders were looked at: choose a folder" in left_out


def test_time_is_a_bound(tree: Path):
    with pytest.raises(DatasetError, match=r"no picture in it.*took more than 0 seconds"):
        names(tree, Bounds(seconds=0))


def test_a_check_ends_it_in_the_midst_of_one_large_folder(tmp_path: Path):
    for number in range(2 * CHECK_EVERY):
        (tmp_path / f"{number}.png").touch()
    calls = []

    def check() -> None:
        calls.append(1)
        if len(calls) == 3:
            raise InterruptedError("cancelled")

    with pytest.raises(InterruptedError, match="cancelled"):
        list(Walk(Bounds(check=check)).folders(tmp_path, False))


def test_a_folder_that_is_refused_is_not_opened_and_named(tree: Path):
    def refused(folder: Path) -> str:
        return f"{folder.name} is private" if folder.name == "b" else ""

    found, left_out = names(tree, Bounds(refused=refused))
    assert left_out == "b is private" and not [name for name in found if name.startswith("b")]
    assert len(found) == 8


def test_what_is_said_of_folders_whose_names_are_not_utf8_can_be_printed(
    tree: Path, monkeypatch: pytest.MonkeyPatch
):
    name = os.fsdecode(b"\xff")
    (tree / name).mkdir()
    _, left_out = names(tree, Bounds(refused=lambda folder: f"{folder} is private" * (folder.name == name)))
    assert left_out == f"{tree}/\\xff is private"
    scandir = os.scandir

    def closed(folder: Path):
        if folder.name == name:
            raise PermissionError(13, "Permission denied", str(folder))
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", closed)
    assert names(tree, Bounds())[1] == f"folders that cannot be opened: {tree}/\\xff"


def test_folders_that_cannot_be_opened_are_named_and_the_others_listed(
    tree: Path, monkeypatch: pytest.MonkeyPatch
):
    scandir = os.scandir

    def closed(folder: Path):
        if folder.name in ("a", "b", "c", "d"):
            raise PermissionError(13, "Permission denied", str(folder))
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", closed)
    found, left_out = names(tree, Bounds())
    assert found == ["0.png", "1.png"]
    assert left_out == f"folders that cannot be opened: {tree}/a, {tree}/b, {tree}/c and 1 more"
    monkeypatch.setattr(os, "scandir", lambda folder: closed(tree / "a"))
    with pytest.raises(
        DatasetError, match="it is there, but the user that runs this program may not read it"
    ):
        picture_files(tree)


def test_folders_a_thousand_deep_and_links_in_a_circle_are_no_trouble(tmp_path: Path):
    (tmp_path / "a.png").touch()
    (tmp_path / "circle").symlink_to(tmp_path)
    (tmp_path / "self").symlink_to(tmp_path / "self")
    deep = [tmp_path / "/".join("x" * depth) for depth in range(1, 1200)]
    for folder in deep:
        folder.mkdir()
    try:
        found = list_pictures(tmp_path, True)
    finally:
        for folder in reversed(deep):  # whoever clears up goes down by recursion
            folder.rmdir()
    assert found.pictures == [tmp_path / "a.png"] and found.left_out == ["self (a link to nothing)"]
