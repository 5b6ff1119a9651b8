"""What becomes of hand layers when a picture's masks are asked for, made anew, or taken back."""

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from semantic_focus.datasets.bulk import CacheSettings, cache_pictures
from semantic_focus.datasets.cache import get_or_segment
from semantic_focus.datasets.folder import list_pictures, load_picture
from semantic_focus.datasets.freshness import PictureResult
from semantic_focus.datasets.hand_file import regions_by_hand
from semantic_focus.datasets.mask_file import mask_path, read_header, read_masks, save_masks
from semantic_focus.datasets.mending import (
    ChangedMeanwhileError,
    check_can_keep,
    look,
    nothing_yet,
    save,
    take_back,
)
from semantic_focus.datasets.ownership import MaskFileError
from semantic_focus.datasets.report import write
from semantic_focus.datasets.status import dataset_status
from semantic_focus.datasets.survey import survey
from semantic_focus.regions.hand import machine_part, with_hand
from semantic_focus.regions.layers import HandLayer
from semantic_focus.regions.masks import SemanticMasks

from ..faults import FAULTS, refuse
from .fake_segmenter import REQUEST, FakeLazy, make

HEIGHT, WIDTH = 6, 8
UPPER = torch.zeros(HEIGHT, WIDTH, dtype=torch.bool)
UPPER[:3] = True
VALUES = (torch.arange(HEIGHT * WIDTH).view(HEIGHT, WIDTH) * 5) / 255
EVERYWHERE = torch.ones(HEIGHT, WIDTH, dtype=torch.bool)


def all_of_it() -> dict[str, HandLayer]:
    return {"face": HandLayer(VALUES, EVERYWHERE), "hair": HandLayer(1 - VALUES, EVERYWHERE)}


def mend(picture: Path, layers: dict[str, HandLayer] | None = None) -> dict[str, HandLayer]:
    """Have a person decide; what the file then has of it."""
    path = mask_path(picture)
    made = with_hand(read_masks(path), layers or {"hair": HandLayer(VALUES, UPPER)})
    save_masks(path, made, over_hand=True)
    return of_hand(picture)


def of_hand(picture: Path) -> dict[str, HandLayer]:
    hand = read_masks(mask_path(picture)).hand
    return {} if hand is None else dict(hand.layers)


def equal(one: dict[str, HandLayer], other: dict[str, HandLayer]) -> bool:
    return one.keys() == other.keys() and all(
        torch.equal(one[name].said, other[name].said) and torch.equal(one[name].value, other[name].value)
        for name in one
    )


def bulk(picture: Path, lazy: FakeLazy, **settings) -> PictureResult:
    (result,) = cache_pictures([picture], REQUEST, lazy, CacheSettings(**settings))  # type: ignore[arg-type]
    return result


def by_node(picture: Path, lazy: FakeLazy) -> tuple[SemanticMasks, list[str]]:
    said: list[str] = []
    image = load_picture(picture)[None]
    return get_or_segment(image, REQUEST, lazy, [mask_path(picture)], said.append), said  # type: ignore[arg-type]


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """A picture with a mask file of version v1 of the segmenter."""
    (picture,) = make(tmp_path, "a.png")
    bulk(picture, FakeLazy())
    return picture


def edited(picture: Path, size: tuple[int, int] = (WIDTH, HEIGHT)) -> None:
    Image.fromarray(np.full((size[1], size[0], 3), 90, np.uint8)).save(picture)


@dataclass
class Case:
    """What happens to a mended picture, and what has to come of it.

    Attributes:
        weights: version of the segmenter that asks.
        settings: of the run.
        layers: what a person decided.
        calls: how often something is segmented.
        said: what is told.
    """

    status: str
    calls: int
    weights: str = "v1"
    settings: dict[str, object] = field(default_factory=dict)
    layers: Callable[[], dict[str, HandLayer] | None] = lambda: None
    said: str = ""
    change: Callable[[Path], None] = lambda picture: None
    kept: bool = True


CASES = {
    "nothing changed": Case("fresh", 0),
    "another segmenter": Case("segmented", 1, "v2"),
    "all anew": Case("segmented", 1, settings={"force": True}),
    "all by hand, another segmenter": Case("fresh", 0, "v2", layers=all_of_it),
    "all by hand, all anew": Case("fresh", 0, settings={"force": True}, layers=all_of_it),
    "all by hand, another picture": Case(
        "fresh",
        0,
        layers=all_of_it,
        change=edited,
        said="the picture was edited, what was made by hand is kept: face, hair",
    ),
    "floats": Case("segmented", 1, settings={"encoding": "float"}),
    "the picture was edited": Case(
        "segmented", 1, change=edited, said="the picture was edited, what was made by hand is kept: hair"
    ),
    "the picture was written again": Case("fresh", 0, change=lambda picture: _again(picture)),
    "forget": Case(
        "fresh", 0, settings={"by_hand": "forget"}, kept=False, said="taken back what was made by hand: hair"
    ),
    "forget, another segmenter": Case(
        "segmented",
        1,
        "v2",
        {"by_hand": "forget"},
        kept=False,
        said="taken back what was made by hand: hair",
    ),
    "forget, all anew": Case(
        "segmented",
        1,
        settings={"by_hand": "forget", "force": True},
        kept=False,
        said="taken back what was made by hand: hair",
    ),
    "forget, all by hand": Case(
        "fresh",
        0,
        settings={"by_hand": "forget"},
        layers=all_of_it,
        kept=False,
        said="taken back what was made by hand: face, hair",
    ),
}


def _again(picture: Path) -> None:
    with Image.open(picture) as opened:
        pixels = opened.copy()
    pixels.save(picture, compress_level=0)


@pytest.mark.parametrize("name", CASES)
def test_what_a_run_makes_of_a_mended_picture(picture: Path, name: str):
    case = CASES[name]
    made, lazy = mend(picture, case.layers()), FakeLazy(case.weights)
    case.change(picture)
    result = bulk(picture, lazy, **case.settings)
    assert (result.status, lazy.segmenter.calls, result.said) == (case.status, case.calls, case.said)
    assert equal(of_hand(picture), made if case.kept else {})
    masks, header = read_masks(mask_path(picture)), read_header(mask_path(picture))
    if case.calls:
        assert header["sam_version"] == f"fake {case.weights}"
        red = load_picture(picture)[..., 0]
        assert (machine_part(masks).region("face")[0] - red).abs().max() < 0.02
    # and now it is a hit, for the node as for the next run
    again = FakeLazy(case.weights)
    settings = {key: value for key, value in case.settings.items() if key == "encoding"}
    assert bulk(picture, again, **settings).status == "fresh"
    found, _ = by_node(picture, again)
    assert found.provenance["cache"] == "1/1" and again.loads == 0
    assert torch.equal(found.masks, masks.masks)


def test_a_dry_run_says_what_would_be_taken_back_and_writes_nothing(picture: Path):
    mend(picture)
    known = mask_path(picture).read_bytes()
    result = bulk(picture, FakeLazy(), by_hand="forget", dry_run=True)
    assert (result.status, result.reason) == ("due", "made by hand: hair; to be taken back")
    assert bulk(picture, FakeLazy(), dry_run=True).status == "fresh"
    assert mask_path(picture).read_bytes() == known


@pytest.mark.parametrize("settings", [{}, {"force": True}, {"dry_run": True}])
def test_a_picture_of_another_size_loses_nothing_and_says_what_to_do(picture: Path, settings: dict):
    mend(picture)
    known, lazy = mask_path(picture).read_bytes(), FakeLazy()
    edited(picture, (WIDTH + 2, HEIGHT))
    if "dry_run" not in settings or not settings.get("force"):
        result = bulk(picture, lazy, **settings)
        assert result.status == "failed" and lazy.segmenter.calls == 0
        assert "for a picture of 8x6: hair; and the picture is 10x6 now. Bring back" in result.reason
    with pytest.raises(MaskFileError, match=r"8x6: hair.*10x6 now.*move the mask file away"):
        by_node(picture, lazy)
    assert mask_path(picture).read_bytes() == known
    assert bulk(picture, FakeLazy(), by_hand="forget").status == "segmented"


def test_the_node_segments_around_what_was_made_and_says_so(picture: Path):
    made, lazy = mend(picture), FakeLazy("v2")
    masks, said = by_node(picture, lazy)
    assert lazy.segmenter.calls == 1 and equal(of_hand(picture), made)
    assert said == [
        "a_zi_masks.safetensors is stale: its segmenter is fake v1, now fake v2; segmenting again, around "
        "what was made by hand: hair"
    ]
    assert torch.equal(masks.masks, read_masks(mask_path(picture)).masks)
    assert torch.equal(masks.region("hair")[0][UPPER], VALUES[UPPER])


def test_where_nothing_can_be_written_the_hand_counts_all_the_same(
    picture: Path, monkeypatch: pytest.MonkeyPatch
):
    mend(picture)

    def full(*arguments, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("semantic_focus.datasets.hand_file.save_masks", full)
    masks, said = by_node(picture, FakeLazy("v2"))
    assert torch.equal(masks.region("hair")[0][UPPER], VALUES[UPPER]) and "used all the same" in said[-1]


def test_what_is_wholly_by_hand_is_read_though_the_segmenter_is_another(picture: Path):
    mend(picture, all_of_it())
    masks, said = by_node(picture, FakeLazy("v2", error=RuntimeError("not to be loaded")))
    assert torch.equal(masks.region("face")[0], VALUES)
    assert "all of it was made by hand, and is read as it is" in said[0]


def test_a_damaged_file_is_moved_aside_with_all_that_was_made(picture: Path):
    mend(picture)
    path = mask_path(picture)
    content = bytearray(path.read_bytes())
    content[-9] ^= 255
    path.write_bytes(content)
    assert bulk(picture, FakeLazy()).status == "segmented"
    assert path.with_name(f"{path.name}.damaged").read_bytes() == content


def test_masks_made_elsewhere_are_kept_whatever_is_asked(picture: Path):
    save_masks(picture.with_name("b_zi_masks.safetensors"), {"face": torch.ones(HEIGHT, WIDTH)})
    (other,) = make(picture.parent, "b.png")
    known = mask_path(other).read_bytes()
    for settings in ({}, {"by_hand": "forget"}, {"force": True, "by_hand": "forget"}):
        assert bulk(other, FakeLazy(), **settings).status == "kept"
    assert mask_path(other).read_bytes() == known


def test_what_is_made_while_a_picture_is_segmented_is_not_lost(picture: Path):
    lazy, made = FakeLazy("v2"), {}

    def meanwhile() -> None:
        made.update(mend(picture))

    lazy.segmenter.also = meanwhile
    assert bulk(picture, lazy).status == "segmented"
    assert made and equal(of_hand(picture), made)
    assert read_header(mask_path(picture))["sam_version"] == "fake v2"


def test_state_and_report_say_what_was_made_by_hand(picture: Path, tmp_path: Path):
    mend(picture)
    doubt = {"region": "hair", "other": "", "score": 0.9, "at": [0.5, 0.5], "box": [0, 0, 1, 1]}
    path = mask_path(picture)
    masks = read_masks(path)
    doubts = json.dumps([[doubt, {**doubt, "region": "face"}]])
    save_masks(path, masks, {"doubts": doubts}, over_hand=True)
    (status,) = dataset_status(list_pictures(tmp_path), REQUEST, FakeLazy())  # type: ignore[arg-type]
    assert (status.status, list(status.by_hand), list(status.notes)) == ("ok", ["hair"], [])
    assert [one.region for one in status.doubts] == ["face"]
    (entry,) = survey(tmp_path, [PictureResult(picture, "fresh")]).entries
    assert entry.by_hand == ("hair",) and entry.notes == ("by hand: hair",)
    write(survey(tmp_path, [PictureResult(picture, "fresh")]), tmp_path / "report.html")
    assert "by hand: hair" in (tmp_path / "report.html").read_text(encoding="utf-8")


class TestMending:
    """What an editor reads and writes."""

    size = (HEIGHT, WIDTH)

    def start(self) -> SemanticMasks:
        return nothing_yet(self.size, "d")

    def test_of_two_editors_the_second_is_told(self, picture: Path):
        path = mask_path(picture)
        stamp = look(path, self.size, self.start).stamp
        after = save(path, stamp, self.size, self.start, {"hair": HandLayer(VALUES, UPPER)})
        known = path.read_bytes()
        for change in (
            lambda: save(path, stamp, self.size, self.start, {"face": HandLayer(VALUES, UPPER)}),
            lambda: take_back(path, stamp, self.size, self.start),
            lambda: save(path, "", self.size, self.start, {"face": HandLayer(VALUES, UPPER)}),
        ):
            with pytest.raises(ChangedMeanwhileError):
                change()
        assert path.read_bytes() == known
        assert look(path, self.size, self.start).stamp == after.stamp != stamp

    def test_of_many_at_once_each_change_is_kept_or_refused(self, picture: Path):
        path, kept = mask_path(picture), []

        def change(name: str) -> None:
            while True:
                stamp = look(path, self.size, self.start).stamp
                try:
                    save(path, stamp, self.size, self.start, {name: HandLayer(VALUES, UPPER)})
                    kept.append(name)
                    return
                except ChangedMeanwhileError:
                    continue

        threads = [threading.Thread(target=change, args=(f"own {number}",)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(regions_by_hand(path)) == sorted(kept) == [f"own {number}" for number in range(6)]

    def test_a_picture_without_masks_is_begun_and_given_up(self, tmp_path: Path):
        (picture,) = make(tmp_path, "new.png")
        path = mask_path(picture)
        opened = look(path, self.size, self.start)
        assert opened.stamp == "" and opened.masks.region("background").min() == 1
        made = save(path, "", self.size, self.start, {"hair": HandLayer(VALUES, UPPER)})
        lazy = FakeLazy()
        assert bulk(picture, FakeLazy(), dry_run=True).reason.endswith("nobody yet, now fake v1")
        assert take_back(path, made.stamp, self.size, self.start).stamp == "" and not path.exists()
        made = save(path, "", self.size, self.start, {"hair": HandLayer(VALUES, UPPER)})
        assert bulk(picture, lazy).status == "segmented" and regions_by_hand(path) == ("hair",)

    def test_one_region_of_several_is_taken_back(self, picture: Path):
        path = mask_path(picture)
        mend(picture, {"hair": HandLayer(VALUES, UPPER), "face": HandLayer(1 - VALUES, UPPER)})
        stamp = look(path, self.size, self.start).stamp
        found = take_back(path, stamp, self.size, self.start, ["hair", "not there"])
        assert found.masks.hand is not None and set(found.masks.hand.layers) == {"face"}

    @pytest.mark.parametrize(
        ("name", "layer", "said"),
        [
            ("9 lives", HandLayer(VALUES, UPPER), "letter first"),
            ("hair", HandLayer(VALUES[:2], UPPER[:2]), r"hair: a layer of \[2, 8\]"),
        ],
    )
    def test_what_cannot_be_a_region_is_refused(self, picture: Path, name: str, layer: HandLayer, said: str):
        path = mask_path(picture)
        known = path.read_bytes()
        with pytest.raises(ValueError, match=said):
            save(path, look(path, self.size, self.start).stamp, self.size, self.start, {name: layer})
        assert path.read_bytes() == known

    def test_a_folder_that_takes_no_files_is_said_beforehand(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ):
        check_can_keep(tmp_path / "a_zi_masks.safetensors")
        assert list(tmp_path.iterdir()) == []
        refuse(monkeypatch, tmp_path, FAULTS["read-only"])
        with pytest.raises(OSError, match="the disk is read-only"):
            check_can_keep(tmp_path / "a_zi_masks.safetensors")
        with pytest.raises(MaskFileError, match="there is no folder"):
            check_can_keep(tmp_path / "gone" / "a_zi_masks.safetensors")

    def test_masks_made_elsewhere_are_not_changed(self, tmp_path: Path):
        path = tmp_path / "b_zi_masks.safetensors"
        save_masks(path, {"face": torch.ones(HEIGHT, WIDTH)})
        with pytest.raises(MaskFileError, match="as a whole, or by another program, and are never changed"):
            look(path, self.size, self.start)

    def test_of_a_large_picture_only_what_was_touched_changes(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ):
        """An editor sees 3x4 of 6x8 pixels."""
        monkeypatch.setattr("semantic_focus.datasets.mending.WORKING_SIDE", 4)
        path, small = tmp_path / "a_zi_masks.safetensors", (3, 4)
        masks = with_hand(nothing_yet(self.size, "d"), {"hair": HandLayer(VALUES, UPPER)})
        save_masks(path, masks)
        opened = look(path, self.size, self.start)
        shown = torch.nn.functional.avg_pool2d(read_masks(path).region("hair"), 2)[0]
        said = torch.tensor([[True] * 4, [True] * 4, [False] * 4])  # half of the second row is decided
        value = (shown * 255).round() / 255
        value[0, 3], value[2, 0], said[2, 0] = 1, 0.5, True
        after = save(path, opened.stamp, self.size, self.start, {"hair": HandLayer(value, said)}).masks
        assert after.hand is not None and tuple(value.shape) == small
        layer = after.hand.layers["hair"]
        expected = UPPER.clone()
        expected[4:, :2] = True
        assert torch.equal(layer.said, expected)
        untouched = UPPER.clone()
        untouched[:2, 6:] = False
        assert torch.equal(layer.value[untouched], VALUES[untouched])
        assert layer.value[0, 7] == 1 and layer.value[5, 0] == pytest.approx(128 / 255, abs=0.3)
