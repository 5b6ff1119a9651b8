"""Caching a dataset: what is checked, what is made, what is never touched, what happens to bad pictures."""

import os
from pathlib import Path

import pytest
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from semantic_focus.datasets import bulk_work, hand_file, mask_file, mask_limits
from semantic_focus.datasets.cache import get_or_segment
from semantic_focus.datasets.claims import claim
from semantic_focus.datasets.engines.order import SegmenterLoadError
from semantic_focus.datasets.folder import load_picture, picture_files
from semantic_focus.datasets.mask_file import mask_path, read_header, read_masks, save_masks
from semantic_focus.files import writing as atomic
from semantic_focus.files.writing import NotWrittenError
from semantic_focus.keywords import Prompt
from semantic_focus.segmenters.protocol import MissingWeightsError, SegmentRequest

from .fake_segmenter import REQUEST, FakeLazy, make, run, snapshot

TO_COME = 2_000_000_000 * 10**9
"""A date in 2033: later than any file of a test."""


class TestListing:
    def test_subfolders_count_only_when_asked_and_hidden_ones_never(self, tmp_path: Path):
        make(tmp_path, "b.png", "a.jpg", ".hidden.png")
        make(tmp_path / "more" / "deep", "c.webp")
        make(tmp_path / ".git", "d.png")
        (tmp_path / "more" / "loop").symlink_to(tmp_path, target_is_directory=True)
        assert [path.name for path in picture_files(tmp_path)] == ["a.jpg", "b.png"]
        found = [str(path.relative_to(tmp_path)) for path in picture_files(tmp_path, recursive=True)]
        assert found == ["a.jpg", "b.png", os.path.join("more", "deep", "c.webp")]

    def test_like_stems_in_two_folders_are_two_pictures_but_not_in_one(self, tmp_path: Path):
        make(tmp_path, "a.png")
        make(tmp_path / "more", "a.jpg")
        assert len(picture_files(tmp_path, recursive=True)) == 2
        make(tmp_path / "more", "a.bmp")
        with pytest.raises(ValueError, match="a.bmp and a.jpg would share.*rename"):
            picture_files(tmp_path, recursive=True)


class TestFreshness:
    def test_first_all_are_made_then_none_and_no_segmenter_is_loaded(self, tmp_path: Path):
        pictures = make(tmp_path, "a.png", "b.png", "c.png")
        assert {status for status, _ in run(pictures, FakeLazy()).values()} == {"segmented"}
        before = snapshot(tmp_path)
        assert len(before) == 6
        again = FakeLazy()
        assert {status for status, _ in run(pictures, again).values()} == {"fresh"}
        assert again.loads == 0 and snapshot(tmp_path) == before

    def test_the_masks_are_those_of_the_picture(self, tmp_path: Path):
        (picture,) = make(tmp_path, "a.png", colour=(51, 0, 0))
        run([picture], FakeLazy())
        masks = read_masks(mask_path(picture))
        expected = torch.full((6, 8), 51 / 255)
        expected[3, 3] = 0
        assert torch.allclose(masks.region("face")[0], expected, atol=0.5 / 51)
        assert torch.allclose(masks.region("hair")[0], 1 - expected, atol=0.5 / 51)

    def test_a_warm_check_reads_no_picture(self, tmp_path: Path, monkeypatch):
        pictures = make(tmp_path, "a.png", "b.png")
        run(pictures, FakeLazy())
        monkeypatch.setattr(bulk_work, "load_picture", lambda path: pytest.fail(f"{path} was read"))
        assert {status for status, _ in run(pictures, FakeLazy()).values()} == {"fresh"}

    @pytest.mark.parametrize(
        ("lazy", "request_now", "settings", "reason"),
        [
            (FakeLazy("v2"), REQUEST, {}, "fake v1, now fake v2"),
            (FakeLazy(), SegmentRequest({"face": Prompt(("visage",))}), {}, "keywords"),
            (FakeLazy(), SegmentRequest(REQUEST.prompts, "fine"), {}, "fast, now fine"),
            (FakeLazy(), REQUEST, {"encoding": "float"}, "png, now float"),
            (FakeLazy(), REQUEST, {"force": True}, "forced"),
        ],
        ids=["weights", "keywords", "refine", "encoding", "force"],
    )
    def test_what_changed_is_said_and_the_file_is_made_again(
        self, tmp_path: Path, lazy, request_now, settings, reason
    ):
        pictures = make(tmp_path, "a.png")
        run(pictures, FakeLazy())
        lazy.segmenter.calls = 0
        status, why = run(pictures, lazy, request_now, **settings)["a.png"]
        assert status == "segmented" and reason in why and lazy.segmenter.calls == 1
        settings.pop("force", None)
        assert run(pictures, lazy, request_now, **settings)["a.png"][0] == "fresh"

    def test_a_float_file_also_answers_a_request_for_png(self, tmp_path: Path):
        pictures = make(tmp_path, "a.png")
        run(pictures, FakeLazy(), encoding="float")
        assert read_header(mask_path(pictures[0]))["encoding"] == "float"
        assert run(pictures, FakeLazy())["a.png"][0] == "fresh"

    @pytest.mark.parametrize("again", ["same bytes", "other metadata"])
    def test_a_picture_written_again_with_the_same_pixels_is_fresh_and_read_once(
        self, tmp_path: Path, monkeypatch, again: str
    ):
        (picture,) = make(tmp_path, "a.png")
        run([picture], FakeLazy())
        before, header = read_masks(mask_path(picture)), read_header(mask_path(picture))
        if again == "other metadata":
            about = PngInfo()
            about.add_text("Title", "a")
            with Image.open(picture) as opened:
                opened.save(picture, pnginfo=about)
        os.utime(picture, ns=(TO_COME, TO_COME))
        lazy = FakeLazy()
        assert run([picture], lazy)["a.png"] == ("fresh", "the picture file was written again")
        assert lazy.loads == 0
        renewed = read_header(mask_path(picture))
        assert (renewed.pop("picture_stamp") == header.pop("picture_stamp")) == (again == "same bytes")
        assert renewed == header and torch.equal(read_masks(mask_path(picture)).masks, before.masks)
        monkeypatch.setattr(bulk_work, "load_picture", lambda path: pytest.fail(f"{path} was read"))
        assert run([picture], lazy)["a.png"][0] == "fresh"

    def test_an_edited_picture_is_segmented_again(self, tmp_path: Path):
        (picture,) = make(tmp_path, "a.png")
        run([picture], FakeLazy())
        make(tmp_path, "a.png", colour=(10, 10, 10))
        assert run([picture], FakeLazy(), dry_run=True)["a.png"] == (
            "due",
            "its mask file is stale: the picture was edited since",
        )
        assert run([picture], FakeLazy())["a.png"][0] == "segmented"
        assert read_masks(mask_path(picture)).region("face")[0, 0, 0] == pytest.approx(10 / 255)

    def test_masks_made_in_the_graph_are_taken_over(self, tmp_path: Path):
        (picture,) = make(tmp_path, "a.png")
        get_or_segment(load_picture(picture)[None], REQUEST, FakeLazy(), [mask_path(picture)])  # type: ignore[arg-type]
        lazy = FakeLazy()
        assert run([picture], lazy)["a.png"][0] == "fresh" and lazy.loads == 0

    @pytest.mark.parametrize("content", [b"", b"broken", b"\xff" * 64])
    def test_a_damaged_file_is_replaced(self, tmp_path: Path, content: bytes):
        (picture,) = make(tmp_path, "a.png")
        mask_path(picture).write_bytes(content)
        status, reason = run([picture], FakeLazy())["a.png"]
        assert status == "segmented" and "damaged" in reason
        assert read_masks(mask_path(picture)).labels == ("face", "hair")

    def test_a_truncated_file_is_noticed_by_its_header(self, tmp_path: Path):
        (picture,) = make(tmp_path, "a.png")
        run([picture], FakeLazy())
        content = mask_path(picture).read_bytes()
        mask_path(picture).write_bytes(content[:-1])
        assert run([picture], FakeLazy())["a.png"][0] == "segmented"
        assert len(mask_path(picture).read_bytes()) == len(content)


class TestNothingIsLost:
    @pytest.mark.parametrize("force", [False, True])
    def test_masks_made_by_hand_are_kept_and_the_others_made(self, tmp_path: Path, force: bool):
        pictures = make(tmp_path, "a.png", "b.png")
        save_masks(mask_path(pictures[0]), {"face": torch.ones(6, 8)})
        before = mask_path(pictures[0]).read_bytes()
        found = run(pictures, FakeLazy(), force=force)
        assert found["a.png"][0] == "kept" and "made by hand" in found["a.png"][1]
        assert found["b.png"][0] == "segmented" and mask_path(pictures[0]).read_bytes() == before

    def test_a_dry_run_says_what_would_be_done_and_writes_nothing(self, tmp_path: Path):
        pictures = make(tmp_path, "a.png", "b.png", "c.png", "d.png")
        run(pictures[1:2], FakeLazy("v0"))
        run(pictures[2:], FakeLazy())
        os.utime(pictures[3], ns=(1, 1))
        (tmp_path / ".a_zi_masks.safetensors.0123abcd.part").write_bytes(b"half")
        before, lazy = snapshot(tmp_path), FakeLazy()
        found = run(pictures, lazy, dry_run=True)
        assert found["a.png"] == ("due", "it has no mask file")
        assert found["b.png"][0] == "due" and "fake v0, now fake v1" in found["b.png"][1]
        assert found["c.png"] == ("fresh", "") and found["d.png"][0] == "fresh"
        assert lazy.loads == 0 and snapshot(tmp_path) == before

    def test_leftovers_of_killed_runs_go_and_other_files_stay(self, tmp_path: Path):
        pictures = make(tmp_path, "a.png", "b.png")
        run(pictures[:1], FakeLazy())
        ours = [".a_zi_masks.safetensors.0123abcd.part", ".b_zi_masks.safetensors.89abcdef.part"]
        theirs = [".z_zi_masks.safetensors.0123abcd.part", ".a_zi_masks.safetensors.part", "a.txt"]
        for name in (*ours, *theirs, ".zi_masks.lock"):
            (tmp_path / name).write_bytes(b"x")
        run(pictures, FakeLazy())
        masks = ["a_zi_masks.safetensors", "b_zi_masks.safetensors"]
        assert sorted(os.listdir(tmp_path)) == sorted(["a.png", "b.png", *masks, *theirs])

    def test_mask_files_are_written_under_no_name_that_a_later_run_does_not_know(
        self, tmp_path: Path, monkeypatch
    ):
        opened, flushed = [], []
        open_file, flush = os.open, os.fsync

        def opening(path, flags, mode=0o777):
            handle = open_file(path, flags, mode)
            if str(path).endswith(".part"):
                opened.append(os.fstat(handle).st_ino)
            return handle

        def flushing(handle):
            flushed.append(os.fstat(handle).st_ino)
            flush(handle)

        monkeypatch.setattr(atomic.os, "open", opening)
        monkeypatch.setattr(atomic.os, "fsync", flushing)
        pictures = make(tmp_path, "a.png")
        run(pictures, FakeLazy())
        os.utime(pictures[0], ns=(TO_COME, TO_COME))
        run(pictures, FakeLazy())
        # a trial whether the folder takes files, and two files: what is moved into place is what was opened,
        # not another one put in its place
        assert len(opened) == 3 and flushed == opened

    def test_the_lock_file_of_a_killed_run_goes_even_if_there_is_nothing_to_do(self, tmp_path: Path):
        pictures = make(tmp_path, "a.png")
        run(pictures, FakeLazy())
        (tmp_path / ".zi_masks.lock").touch()
        run(pictures, FakeLazy())
        assert sorted(os.listdir(tmp_path)) == ["a.png", "a_zi_masks.safetensors"]

    def test_the_temporary_file_of_a_writer_at_work_stays(self, tmp_path: Path):
        pictures = make(tmp_path, "a.png")
        run(pictures, FakeLazy())
        part = tmp_path / ".a_zi_masks.safetensors.0123abcd.part"
        part.write_bytes(b"half")
        held = claim(mask_path(pictures[0]))
        run(pictures, FakeLazy())
        assert held and part.is_file()
        held.release()

    def test_two_pictures_with_one_mask_file_are_refused(self, tmp_path: Path):
        with pytest.raises(ValueError, match="a.png and a.jpg would share"):
            run(make(tmp_path, "a.png", "a.jpg"), FakeLazy())


class TestBadPictures:
    def test_each_says_what_is_wrong_and_the_rest_is_done(self, tmp_path: Path, monkeypatch):
        good = make(tmp_path, "a.png", "z.png")
        (tmp_path / "broken.png").write_bytes(b"no picture")
        make(tmp_path, "blue.png", colour=(0, 0, 255))
        Image.new("RGB", (80, 80)).save(tmp_path / "huge.png")
        Image.new("RGB", (40, 1)).save(tmp_path / "long.png")
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
        monkeypatch.setattr(mask_limits, "MAX_SIDE", 32)
        names = ["broken.png", "blue.png", "huge.png", "long.png", "gone.png"]
        found = run([good[0], *(tmp_path / name for name in names), good[1]], FakeLazy())
        assert {name: status for name, (status, _) in found.items()} == {
            "a.png": "segmented",
            "z.png": "segmented",
            **dict.fromkeys(names, "failed"),
        }
        reasons = {"broken": "cannot be read as a picture", "blue": "RuntimeError: cannot do blue"}
        reasons |= {
            "huge": "exceeds limit",
            "long": "40x1, a mask file holds sides up to 32",
            "gone": "No such",
        }
        for name, reason in reasons.items():
            assert reason in found[f"{name}.png"][1]
        assert len(list(tmp_path.glob("*_zi_masks.safetensors"))) == 2

    def test_a_file_that_cannot_be_written_fails_that_picture_only(self, tmp_path: Path, monkeypatch):
        pictures = make(tmp_path, "a.png", "b.png")

        def full(path, masks, metadata=None, encoding="png", **options):
            if path.name.startswith("a_"):
                raise NotWrittenError(path, OSError(28, "No space left on device"))
            mask_file.save_masks(path, masks, metadata, encoding)

        monkeypatch.setattr(hand_file, "save_masks", full)
        found = run(pictures, FakeLazy())
        assert (
            found["a.png"][0] == "failed" and "a_zi_masks.safetensors: cannot be written" in found["a.png"][1]
        )
        assert "the disk is full" in found["a.png"][1] and found["b.png"][0] == "segmented"

    @pytest.mark.parametrize(
        ("error", "raised"),
        [
            (MissingWeightsError("get them"), MissingWeightsError),
            (RuntimeError("bad file"), SegmenterLoadError),
        ],
    )
    def test_a_segmenter_that_cannot_be_loaded_stops_the_run_at_once(self, tmp_path: Path, error, raised):
        lazy = FakeLazy(error=error)
        with pytest.raises(raised, match=str(error)):
            run(make(tmp_path, "a.png", "b.png", "c.png"), lazy)
        assert lazy.loads == 1 and sorted(os.listdir(tmp_path)) == ["a.png", "b.png", "c.png"]

    def test_without_a_readable_picture_no_segmenter_is_loaded(self, tmp_path: Path):
        (tmp_path / "broken.png").write_bytes(b"no picture")
        lazy = FakeLazy()
        assert run([tmp_path / "broken.png"], lazy)["broken.png"][0] == "failed" and lazy.loads == 0
