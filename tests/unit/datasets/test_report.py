"""The dataset report: what stands out, and pages that need nothing else."""

import base64
import io
import re
from collections.abc import Mapping
from html.parser import HTMLParser
from pathlib import Path
from types import MappingProxyType

import pytest
import torch
from PIL import Image

from semantic_focus.datasets import report as dataset_report
from semantic_focus.datasets.freshness import PictureResult
from semantic_focus.datasets.mask_file import mask_path, save_masks
from semantic_focus.datasets.report import is_report, thumbnail, write
from semantic_focus.datasets.survey import DatasetSurvey, Entry, spread_of, survey
from semantic_focus.regions.doubts import Doubt, as_field
from semantic_focus.regions.masks import SemanticMasks

SIZE = (20, 30)


def regions(face: float, hair: float = 0.1) -> dict[str, torch.Tensor]:
    """Full rows from the top: `face` of the picture, then `hair`, then background."""
    rows = torch.arange(SIZE[0])[:, None].expand(SIZE)
    first, second = round(face * SIZE[0]), round((face + hair) * SIZE[0])
    return {
        "face": (rows < first).float(),
        "hair": ((rows >= first) & (rows < second)).float(),
        "background": (rows >= second).float(),
    }


def add(
    folder: Path,
    name: str,
    face: float = 0.2,
    persons: int | None = 1,
    status: str = "fresh",
    hair: float = 0.1,
    said: Mapping[str, str] = MappingProxyType({}),
):
    """A picture with a mask file, as a result of a run."""
    picture = folder / name
    Image.new("RGB", (SIZE[1], SIZE[0]), (90, 120, 90)).save(picture)
    masks = regions(face, hair)
    count = () if persons is None else (torch.ones(persons, *SIZE),)
    stacked = torch.stack(list(masks.values()))[None]
    save_masks(mask_path(picture), SemanticMasks(stacked, tuple(masks), count, {"image_digest": "d", **said}))
    return PictureResult(picture, status)


def problems(found: DatasetSurvey) -> dict[str, tuple[str, ...]]:
    return {entry.picture.name: entry.problems for entry in found.entries}


class TestSpread:
    def test_median_and_reach_by_hand(self):
        # median 0.3; deviations 0.2 0.1 0 0.1 0.6, their median 0.1; 3.5 * 1.4826 * 0.1 = 0.51891
        spread = spread_of([0.1, 0.2, 0.3, 0.4, 0.9])
        assert spread.median == pytest.approx(0.3)
        assert spread.low == 0 and spread.high == pytest.approx(0.81891)

    def test_like_pictures_reach_at_least_seven_percent(self):
        # no deviation at all: 3.5 * 0.02
        spread = spread_of([0.5] * 20)
        assert (spread.low, spread.high) == pytest.approx((0.43, 0.57))

    def test_in_four_pictures_none_stands_out(self):
        spread = spread_of([0.1, 0.1, 0.1, 0.9])
        assert (spread.low, spread.high) == (0, 1)


class TestSurvey:
    def test_a_dataset_of_like_pictures_has_no_problem(self, tmp_path: Path):
        found = survey(tmp_path, [add(tmp_path, f"{k}.png") for k in range(8)])
        assert found.with_problems == 0 and found.labels == ("face", "hair", "background")
        assert found.spread["face"].median == pytest.approx(0.2)
        assert found.entries[0].coverage == pytest.approx({"face": 0.2, "hair": 0.1, "background": 0.7})

    def test_each_problem_is_named_and_comes_first(self, tmp_path: Path):
        results = [add(tmp_path, f"{k}.png") for k in range(8)]
        results += [add(tmp_path, "hairy.png", hair=0.7), add(tmp_path, "back.png", face=0)]
        results += [add(tmp_path, "two.png", persons=2), add(tmp_path, "nobody.png", persons=0)]
        found = survey(tmp_path, results)
        named = {name: told for name, told in problems(found).items() if told}
        assert named == {
            "hairy.png": ("much hair: 70%, usually 10%", "little background: 10%, usually 70%"),
            "back.png": (
                "no face found",
                "little face: 0%, usually 20%",
                "much background: 90%, usually 70%",
            ),
            "two.png": ("2 persons",),
            "nobody.png": ("no person found",),
        }
        order = [entry.picture.name for entry in found.entries]
        assert order[:4] == ["back.png", "hairy.png", "nobody.png", "two.png"] and order[4:] == sorted(
            order[4:]
        )

    @pytest.mark.parametrize(("name", "face"), [("near.png", 0.8), ("far.png", 0.05)])
    def test_a_face_nearer_or_farther_than_usual_is_no_fault(self, tmp_path: Path, name: str, face: float):
        results = [add(tmp_path, f"{k}.png") for k in range(8)] + [add(tmp_path, name, face=face)]
        found = {entry.picture.name: entry for entry in survey(tmp_path, results).entries}
        assert found[name].problems == () and any(" face: " in note for note in found[name].notes)

    def test_what_the_segmenter_doubts_comes_first_the_gravest_of_all(self, tmp_path: Path):
        said = {"sure": 0.3, "unsure": 0.6, "wrong": 0.9}
        place = ((0.25, 0.5), (0.1, 0.2, 0.4, 0.8))
        fields = {
            name: as_field([[Doubt("clothing", "body", score, *place)]]) for name, score in said.items()
        }
        results = [add(tmp_path, f"{name}.png", said=field) for name, field in fields.items()]
        results += [add(tmp_path, f"{k}.png") for k in range(4)] + [add(tmp_path, "two.png", persons=2)]
        found = survey(tmp_path, results)
        assert [entry.picture.stem for entry in found.entries[:3]] == ["wrong", "unsure", "two"]
        assert problems(found)["wrong.png"] == ("look at this: clothing or skin?",)
        assert problems(found)["sure.png"] == () and found.entries[0].doubts[0].at == (0.25, 0.5)

    def test_missing_stale_failed_and_hand_made_masks(self, tmp_path: Path):
        results = [add(tmp_path, "stale.png", status="due"), add(tmp_path, "hand.png", status="kept")]
        results[0] = PictureResult(results[0].picture, "due", "its mask file is stale: the keywords changed")
        for name, status, reason in [
            ("missing.png", "due", "it has no mask file"),
            ("bad.png", "failed", "cannot be read"),
            ("removed.png", "fresh", ""),
        ]:
            results.append(PictureResult(tmp_path / name, status, reason))
        add(tmp_path, "damaged.png")
        mask_path(tmp_path / "damaged.png").write_bytes(b"broken")
        results.append(PictureResult(tmp_path / "damaged.png", "fresh"))
        found = survey(tmp_path, results)
        told = problems(found)
        assert told["stale.png"] == ("its mask file is stale: the keywords changed",)
        assert told["missing.png"] == told["removed.png"] == ("it has no mask file",)
        assert told["bad.png"] == ("cannot be read",) and "not a complete" in told["damaged.png"][0]
        by_name = {entry.picture.name: entry for entry in found.entries}
        assert told["hand.png"] == () and by_name["hand.png"].notes == ("masks made by hand",)

    def test_masks_of_another_program_are_measured(self, tmp_path: Path):
        from safetensors.torch import save_file

        picture = tmp_path / "a.png"
        save_file({"face_mask": torch.full(SIZE, 0.25), "hat_mask": torch.ones(SIZE)}, mask_path(picture))
        (entry,) = survey(tmp_path, [PictureResult(picture, "kept")]).entries
        assert entry.coverage == {"face": 0.25, "hat": 1.0} and entry.detected == {"hat"}
        assert entry.persons is None and entry.problems == ("no face found",)

    def test_without_persons_a_picture_of_surroundings_has_no_person(self, tmp_path: Path):
        picture = tmp_path / "a.png"
        save_masks(mask_path(picture), {"face": torch.zeros(SIZE), "background": torch.ones(SIZE)})
        (entry,) = survey(tmp_path, [PictureResult(picture, "kept")]).entries
        assert entry.problems == ("no person found",)

    @pytest.mark.parametrize("content", ['{"face": 2}', '{"face": "x"}', "[1]", "{", "[" * 9999])
    def test_a_hostile_header_is_not_believed(self, tmp_path: Path, content: str):
        from safetensors.torch import save_file

        picture = tmp_path / "a.png"
        header = {"coverage": content, "categories_detected": "[]"}
        save_file({"face_mask": torch.full(SIZE, 0.5)}, mask_path(picture), header)
        (entry,) = survey(tmp_path, [PictureResult(picture, "kept")]).entries
        assert entry.coverage == {"face": 0.5}


class TestThumbnail:
    def test_regions_are_drawn_in_their_colours(self, tmp_path: Path):
        add(tmp_path, "a.png", face=0.5)
        drawn = thumbnail(tmp_path / "a.png", 30)
        assert drawn.size == (30, 20)
        # half of (90, 120, 90) and half of the face's (232, 78, 70)
        assert drawn.getpixel((5, 2)) == pytest.approx((161, 99, 80), abs=1)

    def test_without_masks_it_is_the_picture_and_without_a_picture_grey(self, tmp_path: Path):
        Image.new("RGB", (400, 100), (10, 200, 30)).save(tmp_path / "a.png")
        plain = thumbnail(tmp_path / "a.png", 40)
        assert plain.size == (40, 10) and plain.getpixel((20, 5)) == (10, 200, 30)
        grey = thumbnail(tmp_path / "none.png", 40)
        assert grey.size == (40, 40) and len(grey.getcolors() or []) == 1


class Page(HTMLParser):
    """What a page refers to, and its text."""

    def __init__(self, content: str):
        super().__init__()
        self.tags: list[str] = []
        self.references: list[str] = []
        self.text = ""
        self.feed(content)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.references += [value for name, value in attrs if name in ("src", "href") and value]

    def handle_data(self, data):
        self.text += data


class TestPage:
    def test_it_needs_no_other_file_and_no_script_and_shows_every_picture(self, tmp_path: Path):
        results = [add(tmp_path, f"{k}.png") for k in range(6)] + [add(tmp_path, "hairy.png", hair=0.7)]
        write(survey(tmp_path, results), tmp_path / "report.html")
        content = (tmp_path / "report.html").read_text(encoding="utf-8")
        page = Page(content)
        assert "script" not in page.tags and "link" not in page.tags and page.tags.count("img") == 7
        assert all(one.startswith("data:image/jpeg;base64,") for one in page.references)
        assert not re.search(r"https?://|url\(|@import", content)
        for one in page.references:
            Image.open(io.BytesIO(base64.b64decode(one.split(",")[1]))).load()
        assert page.text.index("hairy.png") < page.text.index("0.png") and "prefers-color-scheme" in content
        assert "7 pictures, 1 to look at" in page.text and "much hair: 70%, usually 10%" in page.text
        assert "width:70.0%" in content

    def test_names_and_reasons_are_text_and_never_markup(self, tmp_path: Path):
        name = "<img src=x onerror=alert(1)>&\"'.png"
        result = PictureResult(tmp_path / name, "failed", "<script>alert(2)</script>")
        write(survey(tmp_path, [result]), tmp_path / "report.html")
        page = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
        assert name in page.text and "<script>alert(2)</script>" in page.text
        assert "script" not in page.tags and page.tags.count("img") == 1

    def test_a_file_name_that_is_no_unicode_is_shown_with_a_replacement(self, tmp_path: Path):
        result = PictureResult(tmp_path / "a\udcff.png", "failed", "cannot be read")
        write(survey(tmp_path, [result]), tmp_path / "report.html")
        assert "a\ufffd.png" in (tmp_path / "report.html").read_text(encoding="utf-8")


class TestContactSheet:
    def test_it_has_a_row_for_every_six_pictures(self, tmp_path: Path):
        results = [add(tmp_path, f"{k}.png") for k in range(7)]
        write(survey(tmp_path, results[:6]), tmp_path / "one.png")
        write(survey(tmp_path, results), tmp_path / "two.png")
        one, two = Image.open(tmp_path / "one.png"), Image.open(tmp_path / "two.png")
        assert one.width == two.width and two.height - one.height == pytest.approx(326, abs=60)
        two.load()

    def test_a_large_dataset_is_cut_and_the_sheet_says_so(self, tmp_path: Path, monkeypatch):
        results = [add(tmp_path, f"{k}.png") for k in range(9)]
        said: list[str] = []
        monkeypatch.setattr(dataset_report, "MOST_ON_SHEET", 6)
        text = dataset_report.ImageDraw.ImageDraw.text

        def heard(self, place, line, *rest):
            said.append(line)
            return text(self, place, line, *rest)

        monkeypatch.setattr(dataset_report.ImageDraw.ImageDraw, "text", heard)
        write(survey(tmp_path, results), tmp_path / "sheet.png")
        assert any("first 6 of 9" in line for line in said) and "5.png" in said and "6.png" not in said
        assert said.count("face 20%, hair 10%, background 70%") == 6

    @pytest.mark.parametrize("name", ["report.html", "sheet.png"])
    def test_what_a_check_raises_ends_the_writing_and_leaves_the_file_of_before(
        self, tmp_path: Path, name: str
    ):
        results = [add(tmp_path, f"{k}.png") for k in range(3)]
        path = tmp_path / "reports" / name
        path.parent.mkdir()
        write(survey(tmp_path, results), path)
        before = path.read_bytes()
        calls = 0

        def check():
            nonlocal calls
            calls += 1
            if calls == 3:
                raise InterruptedError("cancelled")

        with pytest.raises(InterruptedError, match="cancelled"):
            write(survey(tmp_path, [*results, add(tmp_path, "new.png")]), path, check)
        assert calls == 3
        assert [file.name for file in path.parent.iterdir()] == [name] and path.read_bytes() == before

    @pytest.mark.parametrize("name", ["report.html", "sheet.png"])
    def test_a_report_is_replaced_and_anything_else_gets_another_name(self, tmp_path: Path, name: str):
        results = [add(tmp_path, "one & two.png")]
        path = tmp_path / "reports" / name
        path.parent.mkdir()
        path.write_bytes(b"mine")
        for _ in range(2):
            write(survey(tmp_path, results), path)
        assert sorted(file.name for file in path.parent.iterdir()) == [name, f"{name}.before"]
        assert (path.parent / f"{name}.before").read_bytes() == b"mine" and is_report(path)

    def test_another_ending_is_refused(self, tmp_path: Path):
        with pytest.raises(ValueError, match="report.pdf: a report is one of .html, .png"):
            write(DatasetSurvey(tmp_path, (Entry(tmp_path / "a.png", {}),), {}), tmp_path / "report.pdf")
