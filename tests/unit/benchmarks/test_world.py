"""The drawn world is what it says: masks, captions, text, codec, the losses of others, and the counting."""

import importlib
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from semantic_focus.lora.adapters import AdapterSettings
from semantic_focus.lora.network import LoraAdapters
from semantic_focus.objective.noise_weighting import NoiseLevel
from semantic_focus.training.data import Batch, TrainingPictures
from semantic_focus.training.settings import TrainingSettings

Load = Callable[[str], Any]


@pytest.fixture(scope="module")
def load():
    """Import a module of the folder benchmarks/world by its name."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[3]))
    try:
        yield lambda name: importlib.import_module(f"benchmarks.world.{name}")
    finally:
        sys.path.pop(0)


@pytest.fixture(scope="module")
def people(load: Load) -> ModuleType:
    return load("people")


@pytest.fixture(scope="module")
def person(load: Load) -> Any:
    return load("persons").PERSONS["p2"]


@pytest.mark.parametrize(
    ("region", "of", "change"),
    [
        ("face", "face", {"skin": (0.1, 0.9, 0.1)}),
        ("face", "face", {"eyes": "open"}),
        ("face", "face", {"mouth": "surprise"}),
        ("hair", "scene", {"hair_colour": "pink"}),
        ("clothing", "scene", {"clothes_colour": "red"}),
        ("background", "scene", {"background": "orange"}),
    ],
)
def test_a_change_is_seen_in_its_region_alone(
    load: Load, people: ModuleType, person: Any, region: str, of: str, change: dict[str, Any]
):
    """The masks are exact: where a region is not, its colours and parts have no influence."""
    drawing = load("drawing")
    figure = people.Figure(person.face, person.scene)
    changed = replace(figure, **{of: replace(getattr(figure, of), **change)})
    (before, masks), (after, masks_after) = drawing.draw([figure], seed=1), drawing.draw([changed], seed=1)
    mask = torch.maximum(masks, masks_after)[0, drawing.REGIONS.index(region)]
    moved = (before - after).abs().amax(-1)[0]
    assert moved[mask > 0.5].max() > 0.2
    assert moved[mask < 1e-6].max() < 1e-6
    assert torch.allclose(masks.sum(1), torch.ones_like(masks[:, 0]), atol=1e-5)


def test_any_colour_is_a_mix_of_the_part_in_black_and_in_white(load: Load):
    head = load("parts").load_parts()["head", "head"]
    colour = torch.tensor([0.2, 0.5, 0.7]).view(3, 1, 1)
    middle = (head[:3] + head[3:6] * colour)[:, 60, 64]
    assert middle.tolist() == pytest.approx([0.2, 0.5, 0.7], abs=1 / 255)
    assert head[6, 60, 64] == 1 and head[6, 0, 0] == 0


def test_a_caption_says_what_it_is_told_to(people: ModuleType):
    scene = people.Scene("long", "blond", "plaid", "red", "sky")
    assert people.caption(scene, "sks") == "person sks, blond long hair, red plaid clothes, sky background"
    assert people.caption(scene, said=("hair", "background")) == "person, long hair, sky background"
    assert people.caption(None, "sks") == "person sks"


def test_the_other_scenes_share_nothing_with_the_training_pictures(load: Load, person: Any):
    for scene in load("persons").other_scenes(person, 20):
        assert not set(scene.words().items()) & set(person.scene.words().items())


def test_the_text_says_which_colour_belongs_to_what(load: Load):
    encode = load("text").encode
    tokens, pooled = encode("person, blue hair, red clothes")
    swapped, swapped_pooled = encode("person, red hair, blue clothes")
    assert torch.equal(tokens[0], swapped[0]) and not torch.equal(tokens[1], swapped[1])
    assert torch.nn.functional.cosine_similarity(pooled, swapped_pooled, 0) < 0.8
    assert not torch.equal(encode("person sks")[0], encode("person")[0])
    assert not encode("")[0].any() and not encode("")[1].any()


class Coded(NamedTuple):
    """Pictures, and the codec fitted to them."""

    pixels: Tensor
    codec: Any


@pytest.fixture(scope="module")
def coded(load: Load, people: ModuleType) -> Coded:
    random = np.random.default_rng(0)
    pixels, _ = load("drawing").draw([people.random_figure(random) for _ in range(40)])
    return Coded(pixels, load("codec").WorldCodec.fit(pixels))


class TestCodec:
    def test_a_cell_knows_its_own_block_alone(self, coded: Coded):
        other = coded.pixels[:1].clone()
        other[:, 16:24, 40:48] = 1 - other[:, 16:24, 40:48]
        changed = (coded.codec.encode(other) - coded.codec.encode(coded.pixels[:1])).abs().amax(1)[0] > 1e-4
        assert changed.nonzero().tolist() == [[2, 5]]

    def test_a_mix_of_latents_is_the_latent_of_the_mix(self, coded: Coded):
        one, two = coded.pixels[:1], coded.pixels[1:2]
        encode = coded.codec.encode
        mixed = encode(0.3 * one + 0.7 * two)
        assert torch.allclose(mixed, 0.3 * encode(one) + 0.7 * encode(two), atol=1e-4)

    def test_latents_have_deviation_one_and_come_back_as_the_picture(self, coded: Coded):
        latent = coded.codec.encode(coded.pixels)
        assert latent.std((0, 2, 3)).tolist() == pytest.approx([1] * 16, rel=0.01)
        assert (coded.codec.decode(latent) - coded.pixels).abs().mean() < 0.04


class Shift(nn.Module):
    """Predicts its one weight everywhere, for prompts of the second half ten times that."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(1, 1, bias=False)
        nn.init.constant_(self.layer.weight, 0.5)
        self.requires_grad_(False)

    def corrupt(self, clean: Tensor, noise: Tensor, u: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return noise, u, noise - clean

    def predict(self, noisy: Tensor, sigma: Tensor, pictures: list[int]) -> Tensor:
        factors = torch.tensor([10.0 if picture >= 2 else 1.0 for picture in pictures]).view(-1, 1, 1, 1)
        return self.layer(torch.ones_like(noisy)[..., None])[..., 0] * factors

    def noise_level(self, u: Tensor) -> NoiseLevel:
        return NoiseLevel(u)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        # error 1 in the face (a quarter), 4 around it; the change from the base model is 9 everywhere
        ("OneTrainerMasked", 0.25 * 1 + 0.75 * 0.1 * 4),
        ("OneTrainerMaskedPrior", 0.25 * 1 + 0.75 * 0.1 * 4 + 0.75 * 0.9 * 9),
        # the mask's mean is .25 + .075
        ("InvertedMaskPrior", (0.25 * 1 + 0.075 * 4) / 0.325 + 0.5 * 9),
        # without the name the change is 10 times as large: its square 100 times
        ("DifferentialPreservation", 0.25 * 1 + 0.75 * 4 + 900),
    ],
)
def test_the_losses_of_others_are_what_their_definitions_say(
    load: Load, monkeypatch: pytest.MonkeyPatch, name: str, expected: float
):
    foreign = load("foreign")
    monkeypatch.setattr(foreign, "UNMASKED_SHARE", 0.0)
    face = torch.zeros(2, 1, 2, 2)
    face[..., 0, 0] = 1
    data = TrainingPictures(tuple(torch.zeros(2, 1, 2, 2)), tuple(face), ("face",))
    model = Shift()
    adapters = LoraAdapters({"layer": model.layer}, AdapterSettings(rank=1, alpha=1), seed=0)
    for parameter in adapters.parameters():
        parameter.data.fill_(3**0.5)  # up x down = 3: the change from the base model
    objective = load("recipes").MASKED
    trainer = getattr(foreign, name)(model, adapters, data, objective, TrainingSettings(batch_size=2))
    clean, masks = data.batch([0, 1])
    batch = Batch(clean, clean, masks, [0, 1], [0, 1], torch.full((2,), 0.5))
    v_pred = torch.full((2, 1, 2, 2), 3.5)
    target = torch.where(face > 0, v_pred + 1, v_pred + 2)
    with adapters.attached():
        loss = trainer.loss(batch, clean, batch.u, target, v_pred)
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_a_picture_without_its_mask_is_learnt_whole(load: Load, monkeypatch: pytest.MonkeyPatch):
    foreign = load("foreign")
    monkeypatch.setattr(foreign, "UNMASKED_SHARE", 1.0)
    trainer = SimpleNamespace(_generator=torch.Generator(), prior_weight=0.0)
    batch = SimpleNamespace(masks={"face": torch.zeros(2, 2, 2)})
    two, zero = torch.full((2, 1, 2, 2), 2.0), torch.zeros(2, 1, 2, 2)
    assert foreign.OneTrainerMasked.loss(trainer, batch, zero, zero, zero, two).item() == 4


class TestCounting:
    """A reader that knows the truth stands in for the network."""

    @pytest.fixture
    def count(self, load: Load, person: Any) -> Callable[..., Any]:
        reader, persons, measure = load("reader"), load("persons"), load("measure")
        people = load("people")

        def count(face: Any, scene_of: Callable[[Any], Any]) -> Any:
            scenes = persons.other_scenes(person, 4)

            def read(drawn: list[Any]) -> Any:
                return reader.Reading(
                    reader.true_words(drawn), torch.stack([reader.traits(figure.face) for figure in drawn])
                )

            figures = [people.Figure(face, scene_of(scene)) for scene in scenes]
            samples = measure.Samples(figures, figures, figures[:2], scenes)
            return measure.count(samples, SimpleNamespace(read=read), person)

        return count

    def test_the_person_as_asked_for_is_perfect(self, count: Any, person: Any):
        counts = count(person.face, lambda scene: scene)
        assert (counts.parts, counts.identity, counts.same, counts.distance) == (1, 1, 1, 0)
        assert set(counts.follow.values()) == {1} and set(counts.leak.values()) == {0}
        assert counts.strangers == 1, "without the trigger it is the person as well"

    def test_the_training_pictures_again_leak_all(self, count: Any, person: Any):
        counts = count(person.face, lambda scene: person.scene)
        assert set(counts.leak.values()) == {1} and set(counts.follow.values()) == {0}
        assert counts.diversity == 0 and counts.bare_leak == 1

    def test_another_skin_is_another_person(self, count: Any, person: Any):
        pale = replace(person.face, skin=(1.0, 1.0, 1.0))
        counts = count(pale, lambda scene: scene)
        assert (counts.identity, counts.same, counts.strangers) == (1, 0, 0) and counts.distance > 0

    def test_each_sample_is_rated_by_face_and_scene(self, load: Load, person: Any):
        people, reader = load("people"), load("reader")
        scenes = load("persons").other_scenes(person, 4)
        faces = [person.face, replace(person.face, mouth="smile"), person.face, person.face]
        seen = [
            scenes[0],
            scenes[1],
            replace(scenes[2], hair_colour=person.scene.hair_colour),
            replace(scenes[3], clothes=person.scene.clothes, background=person.scene.background),
        ]
        figures = [people.Figure(face, scene) for face, scene in zip(faces, seen, strict=True)]
        read = reader.Reading(reader.true_words(figures), torch.zeros(4, 7))
        rated = load("measure").is_as_asked(read, scenes, person)
        assert load("measure").ASPECTS == ("face", "hair", "clothes", "background")
        assert rated.int().tolist() == [[1, 1, 1, 1], [0, 1, 1, 1], [1, 0, 1, 1], [1, 1, 0, 0]]

    def test_one_part_of_three_wrong(self, count: Any, person: Any):
        counts = count(replace(person.face, eyes="happy"), lambda scene: scene)
        assert counts.parts == pytest.approx(2 / 3) and counts.identity == 0


class TestTables:
    """What `python -m benchmarks.world` writes down."""

    @pytest.fixture
    def row(self, load: Load) -> Callable[..., Any]:
        runs, counts = load("runs"), load("measure").Counts
        groups = dict.fromkeys(("all", "hair", "clothes", "background"), 0.25)

        def row(identity: float, recipe: str = "by region", **task: Any) -> Any:
            counted = counts(0.5, identity, 0.5, 12.5, groups, groups, 0.5, 0.5, 0.5, 0.5, 1.0)
            return runs.Row(runs.Task(recipe=recipe, **task), 300, 20.0, counted)

        return row

    def test_a_table_for_each_set_of_trainings(self, load: Load, row: Callable[..., Any]):
        rows = [
            row(0.9, person="p1", rank=32),
            row(0.9, person="p1"),
            row(0.7, person="p2", seed=2),
            row(0.25, "whole picture (MSE)", person="p1"),
            row(1.0, person="p1", full=True, pictures=30),
        ]
        names = list(load("recipes").RECIPES)
        first, second, third = (
            load("report").tables(rows, names, {"identity": lambda r: r.counts.identity}).split("\n\n**")
        )
        assert first.splitlines() == [
            "**Rank 8, 10 pictures, the trigger word alone** (2 persons, 2 seeds):",
            "",
            "| way of training | identity |",
            "| --- | --- |",
            "| whole picture (MSE) (1 training) | .250 |",
            "| **by region** | **.800 ± .14** |",
        ]
        assert second.startswith("Rank 32, 10 pictures, the trigger word alone** (1 person, 1 seed)")
        assert third.startswith("Rank 8, 30 pictures, full captions**") and "**1.000**" in third

    def test_differences_are_taken_between_trainings_that_share_everything_else(
        self, load: Load, row: Callable[..., Any]
    ):
        rows = [row(0.9, person="p1"), row(0.5, person="p2"), row(0.5, person="p1", seed=2)]
        rows += [row(0.8, "whole picture (MSE)", person="p1"), row(0.6, "whole picture (MSE)", person="p2")]
        report = load("report")
        last = report.tables(rows, ["whole picture (MSE)"], report.differences(rows)).splitlines()[-1]
        assert last.startswith("| whole picture (MSE) (2 trainings) | .000 ± .14 | .000 ± .00 |")

    def test_every_column_has_its_number(self, load: Load, row: Callable[..., Any]):
        report = load("report")
        names = list(load("recipes").RECIPES)
        line = report.tables([row(0.9, person="p1")], names, report.DETAILS).splitlines()[-1]
        expected = [".500", "12.500", *[".250"] * 6, ".500", ".500", "1.000"]
        assert [cell.strip("* ") for cell in line.split("|")[2:-1]] == expected


def test_a_table_comes_between_its_two_lines_of_a_page(load: Load, tmp_path: Path):
    page_tables = importlib.import_module("benchmarks.page_tables")
    page = tmp_path / "page.md"
    page.write_text(
        "# Title\n\n<!-- one -->\nold\n<!-- end of one -->\nmiddle\n<!-- two -->\n<!-- end of two -->\nend\n"
    )
    page_tables.insert_table(page, "two", "second")
    page_tables.insert_table(page, "one", "first")
    assert page.read_text() == (
        "# Title\n\n<!-- one -->\n\nfirst\n\n<!-- end of one -->\nmiddle\n"
        "<!-- two -->\n\nsecond\n\n<!-- end of two -->\nend\n"
    )
    with pytest.raises(ValueError, match="page.md has no lines <!-- three --> and <!-- end of three -->"):
        page_tables.insert_table(page, "three", "third")
