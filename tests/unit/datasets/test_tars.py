"""Tars of pictures in a store: their masks as tars, made once, put whole, never over what is not ours."""

import io
import json
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest
import torch

from semantic_focus.datasets.bulk_work import CacheSettings
from semantic_focus.datasets.engines.plan import Plan
from semantic_focus.datasets.freshness import PictureResult
from semantic_focus.datasets.mask_file import mask_path, read_masks, save_masks
from semantic_focus.datasets.tars import store as stores
from semantic_focus.datasets.tars.archive import MANIFEST, MASK_TAR
from semantic_focus.datasets.tars.run import Watcher, cache_tars
from semantic_focus.datasets.tars.store import Store, StoreError, expanded, is_url
from semantic_focus.datasets.tars.unpacking import mask_tars, unpack_masks

from .fake_segmenter import REQUEST, FakeLazy, make, run

Contents = dict[str, bytes]


@pytest.fixture
def memory() -> Iterator[fsspec.AbstractFileSystem]:
    """An empty store."""
    fs = fsspec.filesystem("memory")
    fs.store.clear()
    yield fs
    fs.store.clear()


def packed(contents: Contents, time: float = 1e9) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, content in contents.items():
            member = tarfile.TarInfo(name)
            member.size, member.mtime = len(content), time
            tar.addfile(member, io.BytesIO(content))
    return out.getvalue()


def unpacked(tar: bytes) -> Contents:
    with tarfile.open(fileobj=io.BytesIO(tar)) as opened:
        return {member.name: opened.extractfile(member).read() for member in opened}  # type: ignore[union-attr]


def pictures(folder: Path, *names: str) -> Contents:
    return {path.name: path.read_bytes() for path in make(folder, *names)}


def work(url: str, lazy: FakeLazy, **more) -> dict[str, tuple[str, str]]:
    """Picture -> (status, reason)."""
    results: list[PictureResult] = []
    watcher = Watcher(results.append, should_stop=more.pop("should_stop", lambda: False))
    store = Store(url)
    settings = CacheSettings(**more)
    cache_tars(store, store.tars((MASK_TAR,)), REQUEST, lazy, settings, watcher)  # type: ignore[arg-type]
    return {result.picture.as_posix().lstrip("/"): (result.status, result.reason) for result in results}


def statuses(url: str, lazy: FakeLazy, **more) -> dict[str, str]:
    return {name: status for name, (status, _) in work(url, lazy, **more).items()}


class TestMaking:
    def test_masks_are_those_of_a_folder_and_a_second_run_makes_nothing(self, memory, tmp_path: Path):
        contents = pictures(tmp_path, "a.png", "b.jpg", "c.png")
        memory.pipe("/set/0.tar", packed({"sub/a.png": contents["a.png"], "sub/a.txt": b"words"}))
        memory.pipe("/set/1.tar", packed({name: contents[name] for name in ("b.jpg", "c.png")}))
        lazy = FakeLazy()
        made = statuses("memory://set/{0..1}.tar", lazy)
        assert made == dict.fromkeys(
            ("set/0.tar/sub/a.png", "set/1.tar/b.jpg", "set/1.tar/c.png"), "segmented"
        )
        run([tmp_path / name for name in contents], FakeLazy())
        first, second = (unpacked(memory.cat(f"/set/{k}_zi_masks.tar")) for k in range(2))
        assert next(iter(first)) == next(iter(second)) == MANIFEST
        assert json.loads(second[MANIFEST])["pictures"] == ["b.jpg", "c.png"]
        found = {
            Path(name).name: content for name, content in {**first, **second}.items() if name != MANIFEST
        }
        assert found == {path.name: path.read_bytes() for path in tmp_path.glob("*_zi_masks.safetensors")}
        before = {name: memory.info(name) for name in memory.ls("/set", detail=False)}
        assert set(statuses("memory://set/*.tar", lazy).values()) == {"fresh"} and lazy.segmenter.calls == 3
        assert {name: memory.info(name) for name in memory.ls("/set", detail=False)} == before

    def test_the_same_pictures_give_the_same_tar_in_a_file_and_it_is_put_once(self, memory, tmp_path: Path):
        tar = packed(pictures(tmp_path / "pictures", "a.png", "b.png"))
        made = []
        for place in ("one", "two"):
            (tmp_path / place).mkdir()
            (tmp_path / place / "0.tar").write_bytes(tar)
            os.utime(tmp_path / place / "0.tar", (1, 1))
            work(f"file://{tmp_path}/{place}/0.tar", FakeLazy())
            made.append((tmp_path / place / "0_zi_masks.tar").read_bytes())
            assert sorted(os.listdir(tmp_path / place)) == ["0.tar", "0_zi_masks.tar"]
        assert made[0] == made[1]

    def test_an_added_picture_is_made_and_no_other(self, memory, tmp_path: Path):
        contents = pictures(tmp_path, "a.png", "b.png", "c.png")
        memory.pipe("/0.tar", packed({name: contents[name] for name in ("a.png", "b.png")}))
        work("memory://0.tar", FakeLazy())
        memory.pipe("/0.tar", packed(contents))
        lazy = FakeLazy()
        assert work("memory://0.tar", lazy, dry_run=True) == {
            "0.tar": ("due", "the tar of pictures was written again")
        }
        found = statuses("memory://0.tar", lazy)
        assert found == {"0.tar/a.png": "fresh", "0.tar/b.png": "fresh", "0.tar/c.png": "segmented"}
        assert lazy.segmenter.calls == 1 and set(statuses("memory://0.tar", lazy).values()) == {"fresh"}
        assert set(statuses("memory://0.tar", lazy, force=True).values()) == {"segmented"}
        assert set(statuses("memory://0.tar", FakeLazy("v2")).values()) == {"segmented"}

    def test_masks_made_by_hand_in_the_tar_are_kept(self, memory, tmp_path: Path):
        contents = pictures(tmp_path, "a.png", "b.png")
        save_masks(mask_path(tmp_path / "a.png"), {"face": torch.ones(6, 8)})
        by_hand = mask_path(tmp_path / "a.png").read_bytes()
        memory.pipe("/0.tar", packed({**contents, "a_zi_masks.safetensors": by_hand}))
        assert statuses("memory://0.tar", FakeLazy()) == {"0.tar/a.png": "kept", "0.tar/b.png": "segmented"}
        assert unpacked(memory.cat("/0_zi_masks.tar"))["a_zi_masks.safetensors"] == by_hand

    def test_bad_pictures_names_and_tars_fail_alone_and_are_told_again(self, memory, tmp_path: Path):
        good = pictures(tmp_path, "a.png")
        memory.pipe("/0.tar", packed({**good, "broken.png": b"none", "../out.png": good["a.png"]}))
        memory.pipe("/1.tar", b"no tar at all" * 100)
        memory.pipe("/2.tar", packed({"a.txt": b"words"}))
        memory.pipe("/3.tar", packed(good))
        for status in ("segmented", "fresh"):
            found = work("memory://{0..4}.tar", FakeLazy())
            assert {name: status for name, (status, _) in found.items()} == {
                **{"0.tar/a.png": status, "0.tar/broken.png": "failed", "0.tar/../out.png": "failed"},
                **{"1.tar": "failed", "2.tar": "failed", "3.tar/a.png": status, "4.tar": "failed"},
            }
        reasons = {name: reason for name, (_, reason) in found.items()}
        assert "no tar, or damaged" in reasons["1.tar"] and "no picture in it" in reasons["2.tar"]
        assert "nothing is there" in reasons["4.tar"] and "semantic_focus_" not in str(reasons)
        assert "--force tries it again" in reasons["0.tar/broken.png"]


class TestHalfDone:
    def test_a_stop_puts_nothing_of_the_tar_under_way(self, memory, tmp_path: Path):
        contents = pictures(tmp_path, *(f"{k}.png" for k in range(6)))
        for tar in range(3):
            memory.pipe(f"/{tar}.tar", packed(contents))
        lazy = FakeLazy()
        found = statuses("memory://{0..2}.tar", lazy, should_stop=lambda: lazy.segmenter.calls >= 8)
        assert set(list(found.values())[:6]) == {"segmented"} and set(list(found.values())[6:]) == {"left"}
        assert sorted(memory.ls("/", detail=False)) == ["/0.tar", "/0_zi_masks.tar", "/1.tar", "/2.tar"]

    def test_a_store_that_takes_nothing_ends_the_run(self, memory, tmp_path: Path, monkeypatch):
        for tar in range(2):
            memory.pipe(f"/{tar}.tar", packed(pictures(tmp_path, "a.png")))

        def refuse(path: str, content: bytes) -> None:
            raise PermissionError("no")

        monkeypatch.setattr(memory, "pipe_file", refuse)
        lazy = FakeLazy()
        found = work("memory://{0..1}.tar", lazy)
        assert [status for status, _ in found.values()] == ["failed", "left"] and lazy.segmenter.calls == 1
        assert "/0_zi_masks.tar: the store gave an error (PermissionError: no)" in str(found)

    @pytest.mark.parametrize("protocol", ["memory", "file"])
    def test_what_is_not_ours_is_never_replaced(self, protocol: str, memory, tmp_path: Path):
        fs = fsspec.filesystem(protocol)
        folder = "/set" if protocol == "memory" else str(tmp_path / "set")
        fs.makedirs(folder)
        fs.pipe(f"{folder}/0.tar", packed(pictures(tmp_path, "a.png")))
        theirs = packed({"theirs.txt": b"x"})
        fs.pipe(f"{folder}/0_zi_masks.tar", theirs)
        lazy = FakeLazy()
        ((status, reason),) = work(f"{protocol}://{folder}/0.tar", lazy, force=True).values()
        assert status == "failed" and "never replaced. Move it away" in reason and lazy.segmenter.calls == 0
        assert fs.cat(f"{folder}/0_zi_masks.tar") == theirs

    def test_what_comes_while_masks_are_made_is_not_replaced_either(self, tmp_path: Path):
        (tmp_path / "0.tar").write_bytes(packed(pictures(tmp_path / "pictures", "a.png")))
        lazy = FakeLazy()

        def another_program() -> None:
            (tmp_path / "0_zi_masks.tar").write_bytes(b"theirs")

        lazy.segmenter.also = another_program
        assert set(statuses(f"file://{tmp_path}/0.tar", lazy).values()) == {"failed"}
        assert (tmp_path / "0_zi_masks.tar").read_bytes() == b"theirs"


class TestUnpacking:
    def test_mask_files_come_beside_pictures_and_a_run_there_makes_nothing(self, memory, tmp_path: Path):
        contents = pictures(tmp_path, "a.png", "b[1].png", "c.png", "d.png")
        memory.pipe("/0.tar", packed({"sub/x.png": contents["a.png"], **contents}))
        work("memory://0.tar", FakeLazy())
        (tmp_path / "d.png").unlink()
        save_masks(mask_path(tmp_path / "c.png"), {"face": torch.ones(6, 8)})
        by_hand = mask_path(tmp_path / "c.png").read_bytes()
        for status, url in (("segmented", "memory://0.tar"), ("fresh", "memory://*_zi_masks.tar")):
            store = Store(url)
            found = {one.picture.name: one.status for one in unpack_masks(store, mask_tars(store), tmp_path)}
            assert found == {"a.png": status, "b[1].png": status, "c.png": "kept"}
        assert mask_path(tmp_path / "c.png").read_bytes() == by_hand
        lazy = FakeLazy()
        found = run([tmp_path / name for name in ("a.png", "b[1].png", "c.png")], lazy)
        assert [status for status, _ in found.values()] == ["fresh", "fresh", "kept"] and lazy.loads == 0
        read_masks(mask_path(tmp_path / "a.png"))
        assert sorted(path.name for path in tmp_path.iterdir() if "masks" in path.name) == [
            f"{stem}_zi_masks.safetensors" for stem in ("a", "b[1]", "c")
        ]

    def test_what_is_damaged_or_leads_elsewhere_is_not_written(self, memory, tmp_path: Path):
        make(tmp_path / "set", "a.png")
        make(tmp_path, "b.png")
        memory.pipe("/0_zi_masks.tar", packed({"a_zi_masks.safetensors": b"half a file"}))
        memory.pipe("/1_zi_masks.tar", packed({"../b_zi_masks.safetensors": b"x"}))
        store = Store("memory://*_zi_masks.tar")
        found = list(unpack_masks(store, mask_tars(store), tmp_path / "set"))
        assert [one.status for one in found] == ["failed", "failed"]
        assert "in the tar is damaged" in found[0].reason and "leads elsewhere" in found[1].reason
        assert os.listdir(tmp_path / "set") == ["a.png"] and not mask_path(tmp_path / "b.png").exists()


@pytest.mark.parametrize(
    ("pattern", "urls"),
    [
        ("s3://b/x.tar", ["s3://b/x.tar"]),
        ("s3://b/{008..010}.tar", ["s3://b/008.tar", "s3://b/009.tar", "s3://b/010.tar"]),
        ("s3://b/{x,y}/{1..2}.tar", [f"s3://b/{x}/{k}.tar" for x in "xy" for k in (1, 2)]),
    ],
)
def test_braces_stand_for_several_urls(pattern: str, urls: list[str]):
    assert expanded(pattern) == urls and is_url(pattern)
    assert not any(map(is_url, ("", "folder", "C:\\folder", "/a://b", "c:/x")))


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("memory://{2..1}.tar", "{2..1} is neither numbers"),
        ("memory://{x}.tar", "{x} is neither numbers"),
        ("memory://{0..99999999}.tar", "more than 1000000 tars"),
        ("memory://{0..9999}/{0..9999}.tar", "more than 1000000 tars"),
        ("memory://nothing/*.tar", "no .tar of that name"),
        ("sftp://host/0.tar", "In another store a file may be seen half written"),
        ("simplecache::s3://b/0.tar", "In another store"),
    ],
)
def test_what_names_no_tars_is_refused(pattern: str, message: str, memory):
    with pytest.raises(StoreError) as refused:
        Store(pattern).tars()
    assert message in str(refused.value) and pattern in str(refused.value)


def test_what_is_not_installed_is_named_with_the_command(monkeypatch: pytest.MonkeyPatch):
    def without_driver(url: str):
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(fsspec.core, "url_to_fs", without_driver)
    with pytest.raises(StoreError, match="(?s)Install s3fs to access S3.*pip install s3fs"):
        Store("s3://b/0.tar")
    monkeypatch.setattr(stores, "is_installed", lambda module: False)
    with pytest.raises(StoreError, match="(?s)fsspec is not installed.*pip install fsspec"):
        Store("s3://b/0.tar")


def test_every_engine_can_do_the_work_on_the_pictures_of_a_tar(memory, tmp_path: Path):
    memory.pipe("/0.tar", packed(pictures(tmp_path, "a.png", "b.png")))
    seen = []

    def engine(plan: Plan) -> None:
        for due in iter(plan.next, None):
            seen.append((due.picture.name, due.picture.stat().st_mtime))
            plan.settle(PictureResult(due.picture, "failed", f"{due.picture}: by this engine"))

    store, results = Store("memory://0.tar"), []
    lazy, watcher = FakeLazy(), Watcher(results.append)
    cache_tars(store, store.tars(), REQUEST, lazy, None, watcher, engine)  # type: ignore[arg-type]
    assert seen == [("a.png", 1e9), ("b.png", 1e9)]
    assert [one.reason for one in results] == [f"/0.tar/{name}.png: by this engine" for name in "ab"]
