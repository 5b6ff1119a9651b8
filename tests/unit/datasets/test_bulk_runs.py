"""Caching a dataset: runs that are stopped, runs of bounded memory, and two runs at once."""

import os
import threading
from collections import Counter
from pathlib import Path

import pytest
from torch import Tensor

from semantic_focus.datasets import bulk_work, hand_file, mask_file
from semantic_focus.datasets.bulk import CacheSettings, cache_pictures
from semantic_focus.datasets.claims import claim
from semantic_focus.datasets.folder import DatasetError, load_picture
from semantic_focus.datasets.freshness import PictureResult
from semantic_focus.datasets.mask_file import mask_path, read_masks

from ..faults import FAULTS, refuse
from .fake_segmenter import REQUEST, FakeLazy, make, run


class TestDisksThatTakeNoFile:
    @pytest.mark.parametrize("fault", FAULTS)
    def test_nothing_is_segmented_and_it_is_said_once(
        self, fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ):
        pictures, lazy = make(tmp_path / "a", "1.png", "2.png"), FakeLazy()
        pictures += make(tmp_path / "b", "3.png")
        refuse(monkeypatch, tmp_path, FAULTS[fault])
        with pytest.raises(
            DatasetError, match="no picture was segmented: .*1_zi_masks.safetensors: cannot be"
        ):
            run(pictures, lazy)
        assert lazy.loads == 0

    def test_pictures_of_other_folders_are_segmented(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        pictures, lazy = make(tmp_path / "a", "1.png", "2.png"), FakeLazy()
        pictures += make(tmp_path / "b", "3.png")
        refuse(monkeypatch, tmp_path / "a", FAULTS["read-only"])
        found = run(pictures, lazy)
        assert [status for status, _ in found.values()] == ["failed", "failed", "segmented"]
        assert "the disk is read-only" in found["1.png"][1] and lazy.segmenter.calls == 1

    @pytest.mark.parametrize("workers", [1, 3])
    def test_one_that_fills_up_ends_the_run(
        self, workers: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ):
        pictures, lazy = make(tmp_path, *(f"{k:02}.png" for k in range(30))), FakeLazy()
        refuse(monkeypatch, tmp_path, FAULTS["full"], after=8)
        counts = Counter(status for status, _ in run(pictures, lazy, workers=workers).values())
        written = len(list(tmp_path.glob("*_zi_masks.safetensors")))
        assert 1 < counts["segmented"] == written < 8 and 1 <= counts["failed"] <= workers + 2
        assert counts["left"] == 30 - counts["segmented"] - counts["failed"]
        assert "the disk is full" in caplog.text and "No more pictures are segmented" in caplog.text
        monkeypatch.undo()
        again = Counter(status for status, _ in run(pictures, FakeLazy()).values())
        assert again == {"fresh": written, "segmented": 30 - written}

    def test_fresh_masks_in_a_read_only_folder_are_fresh(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ):
        pictures = make(tmp_path, "1.png", "2.png")
        run(pictures, FakeLazy())
        os.utime(pictures[0], ns=(2**61, 2**61))  # written again since, with the same pixels
        refuse(monkeypatch, tmp_path, FAULTS["read-only"])
        assert {status for status, _ in run(pictures, FakeLazy()).values()} == {"fresh"}


class TestDamaged:
    @pytest.mark.parametrize(
        "rewritten", [False, True], ids=["the picture as it was", "the picture rewritten"]
    )
    def test_masks_of_which_one_bit_flipped_are_made_again(self, rewritten: bool, tmp_path: Path):
        (picture,) = make(tmp_path, "1.png")
        run([picture], FakeLazy())
        path = mask_path(picture)
        whole = path.read_bytes()
        path.write_bytes(whole[:-9] + bytes([whole[-9] ^ 4]) + whole[-8:])
        if rewritten:
            os.utime(picture, ns=(2**61, 2**61))
        assert run([picture], FakeLazy())["1.png"][0] == "segmented"
        read_masks(path)


class TestStopping:
    def test_an_interrupt_leaves_complete_files_only(self, tmp_path: Path):
        pictures, lazy = make(tmp_path, *(f"{k}.png" for k in range(9))), FakeLazy()

        def interrupt() -> None:
            if lazy.segmenter.calls == 4:
                raise KeyboardInterrupt

        lazy.segmenter.also = interrupt
        seen: list[PictureResult] = []
        with pytest.raises(KeyboardInterrupt):
            cache_pictures(pictures, REQUEST, lazy, None, seen.append)  # type: ignore[arg-type]
        assert [(result.picture.name, result.status) for result in seen] == [
            (f"{k}.png", "segmented") for k in range(3)
        ]
        masks = [mask_path(picture) for picture in pictures[:3]]
        assert sorted(tmp_path.iterdir()) == sorted([*pictures, *masks])
        for path in masks:
            read_masks(path)

    def test_should_stop_finishes_what_is_segmented_and_leaves_the_rest(self, tmp_path: Path):
        pictures, lazy = make(tmp_path, *(f"{k}.png" for k in range(9))), FakeLazy()
        results = cache_pictures(
            pictures,
            REQUEST,
            lazy,  # type: ignore[arg-type]
            should_stop=lambda: lazy.segmenter.calls >= 2,
        )
        assert Counter(result.status for result in results) == {"segmented": 2, "left": 7}
        assert len(os.listdir(tmp_path)) == 11
        assert {status for status, _ in run(pictures, FakeLazy()).values()} == {"fresh", "segmented"}

    def test_an_interrupt_between_two_pictures_leaves_none_out(self, tmp_path: Path):
        """Of a picture whose masks were written it is always said, also where that was just being done."""
        pictures, lazy = make(tmp_path, *(f"{k}.png" for k in range(9))), FakeLazy()
        seen: list[str] = []

        def settled(result: PictureResult) -> None:
            seen.append(result.picture.name)
            if len(seen) == 3:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            cache_pictures(pictures, REQUEST, lazy, None, settled)  # type: ignore[arg-type]
        written = [path.name.removesuffix("_zi_masks.safetensors") for path in tmp_path.glob("*_zi_masks.*")]
        assert sorted(name.removesuffix(".png") for name in seen) == sorted(written)
        assert len(set(seen)) == len(seen) >= 3

    def test_at_most_workers_plus_two_pictures_are_in_memory(self, tmp_path: Path, monkeypatch):
        pictures, lazy = make(tmp_path, *(f"{k}.png" for k in range(20))), FakeLazy()
        alive, most, guard = 0, 0, threading.Lock()

        def read(path: Path) -> Tensor:
            nonlocal alive, most
            with guard:
                alive += 1
                most = max(most, alive)
            return load_picture(path)

        def write(path: Path, *arguments, **options) -> None:
            nonlocal alive
            mask_file.save_masks(path, *arguments, **options)
            with guard:
                alive -= 1

        monkeypatch.setattr(bulk_work, "load_picture", read)
        monkeypatch.setattr(hand_file, "save_masks", write)
        run(pictures, lazy, workers=3)
        assert lazy.segmenter.calls == 20 and 1 < most <= 5

    @pytest.mark.parametrize(("field", "value"), [("workers", 0), ("encoding", "jpeg")])
    def test_settings_out_of_range_are_refused(self, field: str, value):
        with pytest.raises(ValueError, match=f"{field} must be.*{value}"):
            CacheSettings(**{field: value})


class TestTwoAtOnce:
    def test_a_picture_that_another_has_is_looked_at_again_until_it_is_fresh(self, tmp_path: Path):
        pictures, lazy = make(tmp_path, "a.png", "b.png"), FakeLazy()
        held = claim(mask_path(pictures[0]))
        made = tmp_path / "elsewhere"
        run(make(made, "a.png"), FakeLazy())

        def finished_elsewhere() -> None:
            modified = pictures[0].stat().st_mtime_ns
            os.utime(made / "a.png", ns=(modified, modified))
            run([made / "a.png"], FakeLazy())
            os.replace(mask_path(made / "a.png"), mask_path(pictures[0]))
            assert held
            held.release()

        lazy.segmenter.also = finished_elsewhere
        found = run(pictures, lazy)
        assert found["b.png"][0] == "segmented" and lazy.segmenter.calls == 1
        assert found["a.png"] == ("fresh", "made meanwhile by another program")

    def test_a_picture_that_another_gave_up_is_made(self, tmp_path: Path):
        pictures, lazy = make(tmp_path, "a.png", "b.png"), FakeLazy()
        held = claim(mask_path(pictures[0]))
        assert held
        lazy.segmenter.also = held.release
        results = cache_pictures(pictures, REQUEST, lazy)  # type: ignore[arg-type]
        assert [(result.picture.name, result.status) for result in results] == [
            ("b.png", "segmented"),
            ("a.png", "segmented"),
        ]

    def test_two_threads_share_the_work(self, tmp_path: Path):
        pictures = make(tmp_path, *(f"{k}.png" for k in range(30)))
        both = [FakeLazy(), FakeLazy()]
        found: list[dict] = []
        threads = [
            threading.Thread(target=lambda lazy=lazy: found.append(run(pictures, lazy))) for lazy in both
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        made = Counter(name for one in found for name, (status, _) in one.items() if status == "segmented")
        assert made == {picture.name: 1 for picture in pictures}
        assert sum(lazy.segmenter.calls for lazy in both) == 30 and len(os.listdir(tmp_path)) == 60

    def test_forced_runs_do_not_redo_what_the_other_just_did(self, tmp_path: Path):
        pictures, lazy = make(tmp_path, "a.png", "b.png"), FakeLazy()
        run(pictures, FakeLazy())
        held = claim(mask_path(pictures[1]))
        assert held

        def other_makes_b() -> None:
            held.release()
            run(pictures[1:], FakeLazy(), force=True)

        lazy.segmenter.also = other_makes_b
        found = run(pictures, lazy, force=True)
        assert found["a.png"][0] == "segmented" and found["b.png"][0] == "fresh"
        assert lazy.segmenter.calls == 1
