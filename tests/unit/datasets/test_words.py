"""The dataset browser has words of its own for every sentence that the library says of a folder."""

import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from semantic_focus.datasets.cache import picture_digest
from semantic_focus.datasets.contents import REASONS
from semantic_focus.datasets.folder import list_pictures, load_picture, scan
from semantic_focus.datasets.listing import Bounds, Walk
from semantic_focus.datasets.mask_file import mask_path, read_masks, save_masks
from semantic_focus.datasets.remarks import remarks_on
from semantic_focus.datasets.staleness import request_fields
from semantic_focus.datasets.status import dataset_status, picture_in
from semantic_focus.datasets.survey import FIRST_FRAME, Entry
from semantic_focus.datasets.thumbnails import thumbnail
from semantic_focus.files.names import not_allowed
from semantic_focus.keywords import Prompt
from semantic_focus.regions.doubts import Doubt, as_field
from semantic_focus.regions.hand import with_hand
from semantic_focus.regions.layers import HandLayer
from semantic_focus.regions.masks import SemanticMasks
from semantic_focus.segmenters.protocol import SegmentRequest
from semantic_focus.segmenters.table import LazySegmenter
from semantic_focus.settings.access import Access

REQUEST = SegmentRequest({"face": Prompt(("face",)), "background": Prompt(("wall",))})
SEGMENTER = LazySegmenter("mediapipe")
ROW = re.compile(r'^ {2}\[/(.+)/, "(\w+)", \[(.*)\]\],$', re.MULTILINE)

KeyOf = Callable[[str], str]


@pytest.fixture(scope="module")
def key_of(repo: Path) -> KeyOf:
    """key_of(sentence): the text that the browser shows for it, or "" when it stays as it is."""
    source = (repo / "web" / "dataset" / "words.mjs").read_text(encoding="utf-8")
    table = [
        (re.compile(pattern), key, re.findall(r"\w+", names)) for pattern, key, names in ROW.findall(source)
    ]
    assert len(table) == source.count("\n  [/")
    for language in ("en", "zh"):
        texts = json.loads((repo / "locales" / language / "main.json").read_text(encoding="utf-8"))
        says = texts["semanticFocus"]["dataset"]["says"]
        assert set(says) == {key for _, key, _ in table}
        for pattern, key, names in table:
            assert set(re.findall(r"\{(\w+)\}", says[key])) <= set(names) and pattern.groups == len(names)

    return lambda sentence: next((key for pattern, key, _ in table if pattern.search(sentence)), "")


def picture(path: Path) -> Path:
    Image.new("RGB", (8, 6), (200, 100, 50)).save(path)
    return path


def masks(path: Path, fields: Mapping[str, str] = MappingProxyType({}), share: float = 0.5) -> Path:
    """The mask file of a picture, made for REQUEST but for these header fields; the face has this share."""
    face = torch.zeros(6, 8)
    face[:, : round(8 * share)] = 1
    made = {
        **request_fields(REQUEST, SEGMENTER),
        "image_digest": picture_digest(load_picture(path)),
        **fields,
    }
    save_masks(mask_path(path), SemanticMasks(torch.stack([face, 1 - face])[None], REQUEST.labels, (), made))
    return mask_path(path)


def by_hand(path: Path) -> None:
    """A mask file of a picture of which a person decided all."""
    file, everywhere = masks(path), torch.ones(6, 8)
    made = with_hand(read_masks(file), {"face": HandLayer(everywhere / 2, everywhere > 0)})
    save_masks(file, made)


def sentences(folder: Path, **wanted: Any) -> dict[str, list[str]]:
    """What is said of a folder's pictures, by name."""
    found = dataset_status(list_pictures(folder), replace(REQUEST, **wanted), SEGMENTER)
    return {one.name: [*filter(None, [one.reason]), *one.problems, *one.notes] for one in found}


@pytest.mark.parametrize(
    ("fields", "wanted", "key"),
    [
        ({"format_version": "1"}, {}, "staleFormat"),
        ({"sam_version": "other 1"}, {}, "staleSegmenter"),
        ({"processing": "0"}, {}, "staleVersion"),
        ({"image_digest": "0"}, {}, "staleEdited"),
        ({}, {"refine": "fine"}, "staleRefine"),
        ({"overlaps": "kept"}, {}, "staleOverlaps"),
        ({}, {"prompts": {"face": Prompt(("face",)), "hair": Prompt(("hair",))}}, "staleKeywords"),
    ],
)
def test_why_masks_are_stale(
    tmp_path: Path, key_of: KeyOf, fields: dict[str, str], wanted: dict[str, Any], key: str
):
    masks(picture(tmp_path / "a.png"), fields)
    assert [key_of(one) for one in sentences(tmp_path, **wanted)["a.png"]] == [key]


def test_what_ails_a_picture(tmp_path: Path, key_of: KeyOf):
    for number in range(8):
        masks(picture(tmp_path / f"usual {number}.png"))
    masks(picture(tmp_path / "much.png"), share=0.875)
    masks(picture(tmp_path / "nobody.png"), share=0)
    masks(picture(tmp_path / "group.png"), {"persons": "3"})
    place = ((0.5, 0.5), (0.4, 0.4, 0.6, 0.6))
    masks(picture(tmp_path / "unsure.png"), as_field([[Doubt("face", "hair", 0.8, *place)]]))
    masks(picture(tmp_path / "extent.png"), as_field([[Doubt("face", "", 0.8, *place)]]))
    picture(tmp_path / "new.png")
    mask_path(picture(tmp_path / "damaged.png")).write_bytes(b"damaged")
    (tmp_path / "torn.png").write_bytes(b"torn")
    masks(picture(tmp_path / "latin.png"))
    (tmp_path / "latin.txt").write_bytes(b"\xff")
    save_file({"lora_up.weight": torch.ones(2)}, mask_path(picture(tmp_path / "lora.png")))
    mask_path(picture(tmp_path / "folder.png")).mkdir()
    labels = ("face", "background")
    save_masks(
        mask_path(picture(tmp_path / "hand.png")), SemanticMasks(torch.full((1, 2, 6, 8), 0.5), labels)
    )
    by_hand(picture(tmp_path / "grown.png"))
    Image.new("RGB", (9, 6)).save(tmp_path / "grown.png")
    found = {name: {key_of(one) for one in said} for name, said in sentences(tmp_path).items()}
    assert {name: keys for name, keys in found.items() if keys} == {
        "much.png": {"much", "little"},
        "nobody.png": {"noPerson", "much", "little"},
        "group.png": {"persons"},
        "unsure.png": {"doubt"},
        "extent.png": {"doubtExtent"},
        "new.png": {"noMaskFile"},
        "damaged.png": {"damaged"},
        "torn.png": {"unreadable"},
        "latin.png": {"captionEncoding"},
        "hand.png": {"byHand"},
        "grown.png": {"byHandSize"},
        "lora.png": {"notOurs"},
        "folder.png": {"notOurs"},
    }


def refusal(act: Callable[[], Any]) -> str:
    with pytest.raises((ValueError, OSError)) as raised:
        act()
    return str(raised.value)


def test_why_a_folder_or_a_picture_cannot_be_shown(tmp_path: Path, key_of: KeyOf):
    (tmp_path / "empty").mkdir()
    (tmp_path / "twins").mkdir()
    for suffix in ("png", "jpg"):
        picture(tmp_path / "twins" / f"a and b.{suffix}")
    (tmp_path / "torn.png").write_bytes(b"torn")
    folders = {
        "noFolder": " ",
        "noSuchFolder": tmp_path / "nowhere",
        "aFile": tmp_path / "torn.png",
        "noHome": "~nobody is called so",
        "noPicture": tmp_path / "empty",
        "shared": tmp_path / "twins",
    }
    for key, folder in folders.items():
        assert key_of(refusal(lambda folder=folder: sentences(folder))) == key
    assert key_of(refusal(lambda: picture_in(tmp_path, "gone.png"))) == "gone"
    assert key_of(refusal(lambda: thumbnail(tmp_path / "torn.png", 192))) == "unreadable"


def test_what_may_not_be_read_and_what_was_left_out_has_words(
    tmp_path: Path, key_of: KeyOf, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "out").symlink_to("/")
    picture(tmp_path / "a.png")
    own = Access((str(tmp_path),), False)
    refused = {
        "notAllowed": (own, Path("/etc")),
        "network": (own, Path("//host/share")),
        "strayLink": (own, tmp_path / "links"),
        "rulesFault": (Access((), False, "line 3"), tmp_path),
        "tooLong": (own, tmp_path / ("x" * 256)),
    }
    for key, (access, place) in refused.items():
        assert key_of(refusal(lambda access=access, place=place: access.admitted(place))) == key

    (tmp_path / "more" / "deep").mkdir(parents=True)
    closed = Bounds(refused=lambda folder: f"{folder}: cannot be opened (Permission denied)")
    for key, bounds in {
        "mostEntries": Bounds(entries=3),
        "mostSeconds": Bounds(seconds=0),
        "closed": closed,
    }.items():
        walk = Walk(bounds)
        list(walk.folders(tmp_path, True))
        assert {key_of(reason) for reason in walk.left_out} == {key}
    for number in range(5):
        (tmp_path / f"{number}").mkdir()
    walk = Walk(closed)
    list(walk.folders(tmp_path, True))
    assert key_of(walk.left_out[-1]) == "moreRefused"
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda place: scandir("/nowhere" if place.name == "more" else place))
    walk = Walk(Bounds())
    list(walk.folders(tmp_path, True))
    assert {key_of(reason) for reason in walk.left_out} == {"someClosed"}
    monkeypatch.undo()

    (tmp_path / "more" / "a.txt").touch()
    hurried = refusal(lambda: list_pictures(tmp_path / "more", bounds=Bounds(seconds=0)))
    assert key_of(hurried) == "onlyOthers"


def test_what_is_said_of_a_folder_as_a_whole(tmp_path: Path, key_of: KeyOf):
    """Every reason for leaving something out, and every remark of a run, has words of its own."""
    assert {key_of(f"a.x, b.x ({reason})") for reason in REASONS.values()} == {
        key_of(f"left out: a.x ({reason})") for reason in REASONS.values()
    }
    assert len({key_of(f"a.x ({reason})") for reason in REASONS.values()} - {""}) == len(REASONS)
    for name, words in (("a", ""), ("b", "a (hat)")):
        picture(tmp_path / f"{name}.png")
        (tmp_path / f"{name}.txt").write_text(words)
    entries = [Entry(tmp_path / "a.png", {"face": 0.5}, notes=(FIRST_FRAME,))]
    asked = SegmentRequest({name: Prompt((name,)) for name in ("face", "hair", "tattoo")})
    said = [*scan(tmp_path).notes, *remarks_on([], entries, asked, SEGMENTER), FIRST_FRAME]
    assert [key_of(one) for one in said] == [
        *("emptyCaptions", "brackets", "cannotFind", "inNoPicture", "firstFrames", "firstFrame")
    ]
    assert key_of(not_allowed(tmp_path)) == "noPermission"
    (tmp_path / "b.txt").write_bytes(bytes(2_000_000))
    found = sentences(tmp_path)
    assert [key_of(one) for one in found["b.png"]][-1] == "captionTooLong"
    only = tmp_path / "only"
    (only / "10_x").mkdir(parents=True)
    picture(only / "10_x" / "a.png")
    assert key_of(refusal(lambda: list_pictures(only))) == "onlyOthers"
