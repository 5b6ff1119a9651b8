"""The kinds of files that are damaged: how one is made, how it is read, and what its reader may raise."""

import contextlib
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn

from benchmarks import damage
from benchmarks.damage import COMMON, Damage
from semantic_focus.datasets.cached_latents import DatasetSource, load_dataset
from semantic_focus.datasets.folder import DatasetError, caption_of, load_picture
from semantic_focus.datasets.freshness import Freshness, PictureResult
from semantic_focus.datasets.mask_file import check_file, read_masks, save_masks
from semantic_focus.datasets.mask_pictures import MaskPictureError, read_mask_picture
from semantic_focus.datasets.ownership import DamagedMaskFileError, MaskFileError
from semantic_focus.datasets.survey import judge, read_entry
from semantic_focus.datasets.thumbnails import region_layer, thumbnail
from semantic_focus.lora.adapters import AdapterSettings
from semantic_focus.lora.file import load_metadata, save_lora
from semantic_focus.lora.keys import KeyMap, generic_tensors
from semantic_focus.lora.layers import linear_layers
from semantic_focus.lora.network import LoraAdapters
from semantic_focus.lora.reading import read_lora
from semantic_focus.objective.total import Objective
from semantic_focus.regions.hand import with_hand
from semantic_focus.regions.layers import HandLayer
from semantic_focus.regions.masks import SemanticMasks
from semantic_focus.settings.toml import ConfigError
from semantic_focus.settings.training import load_config
from semantic_focus.training.data import TrainingPictures
from semantic_focus.training.run import RunOptions, run_training
from semantic_focus.training.run_folder import RunFolder, choose_run
from semantic_focus.training.settings import TrainingSettings
from semantic_focus.training.state import TrainStateError, load_train_state
from semantic_focus.training.trainer import Trainer

SAFETENSORS, PNG = ".safetensors", ".png"
HEIGHT, WIDTH = 48, 64


@dataclass(frozen=True)
class Kind:
    """One kind of file.

    Attributes:
        make: writes it, and what it needs beside it, into an empty folder.
        read: reads it as the library does; gives what was read.
        errors: what the reader may raise, by its documentation; empty: nothing.
        is_target: which files are damaged.
    """

    name: str
    make: Callable[[Path], None]
    read: Callable[[Path], Any]
    errors: tuple[type[Exception], ...] = ()
    is_target: Callable[[Path], bool] = lambda path: True

    def damages(self, path: Path) -> tuple[Damage, ...]:
        """What can happen to a file."""
        if path.suffix == SAFETENSORS:
            return (*COMMON, *(damage.hostile_safetensors,) * 6)
        if path.suffix == PNG:
            return (*COMMON, *(damage.hostile_png,) * 3)
        if path.suffix in (".toml", ".json", ".jsonl", ".txt"):
            return (*COMMON, *(damage.hostile_text,) * 6)
        return COMMON

    def before(self, path: Path, content: bytes, chance: random.Random) -> bytes:
        """The file that is damaged: half of those with a digest lose it, for the reader's other checks."""
        return (
            damage.without_digest(content)
            if path.suffix == SAFETENSORS and chance.random() < 0.5
            else content
        )


def _masks(encoding: str, mended: bool = False) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        across = torch.linspace(0, 1, WIDTH).expand(HEIGHT, WIDTH)
        layers = {
            "face": across * 0.5,
            "hair": (1 - across) * 0.5,
            "background": torch.full_like(across, 0.5),
        }
        layers["lighting"] = across
        persons = torch.zeros(2, HEIGHT, WIDTH)
        persons[0, :, :20], persons[1, :, 30:] = 1, 1
        masks = SemanticMasks(
            torch.stack(list(layers.values()))[None],
            tuple(layers),
            (persons,),
            {"backend": "fake", "scores": '[{"face": 0.5}]', "image_digest": "0" * 64, "sam_version": "a b"},
        )
        if mended:
            decided = HandLayer(across, across > 0.5)
            masks = with_hand(masks, {"hair": decided, "tattoo": decided})
        save_masks(folder / "a_zi_masks.safetensors", masks, encoding=encoding)

    return make


def _read_masks(folder: Path) -> Any:
    path = folder / "a_zi_masks.safetensors"
    check_file(path)
    masks = read_masks(path)
    return masks.labels, masks.masks, masks.persons


def _make_listing(folder: Path) -> None:
    _masks("png")(folder)
    _picture().save(folder / "a.png")


def _read_listing(folder: Path) -> Any:
    """As the panel of a dataset does, for which every mask file is a picture in a list."""
    wanted = {"image_digest": "0" * 64, "sam_version": "a b"}
    found = Freshness(wanted, "png").check(folder / "a.png")
    reason = "" if isinstance(found, PictureResult) else found.reason
    entry = read_entry(PictureResult(folder / "a.png", "due", reason))
    with contextlib.suppress(MaskFileError, FileNotFoundError):
        region_layer(folder / "a.png", 32, {})
    return [(one.coverage, one.problems) for one in judge(folder, [entry]).entries]


class _Layers(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(3, 8), nn.Linear(8, 3)
        self.requires_grad_(False)

    def forward(self, pixels: Tensor) -> Tensor:
        return self.second(torch.tanh(self.first(pixels.movedim(1, -1)))).movedim(-1, 1)


class _Velocity(nn.Module):
    """A velocity model of two layers, which predicts each pixel by itself."""

    def __init__(self):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.layers = _Layers()

    def corrupt(self, clean: Tensor, noise: Tensor, u: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        share = u.view(-1, 1, 1, 1)
        return (1 - share) * clean + share * noise, u, noise - clean

    def predict(self, noisy: Tensor, sigma: Tensor, pictures: list[int]) -> Tensor:
        return self.layers(noisy)

    def noise_level(self, u: Tensor) -> Any:
        raise NotImplementedError("the objective asks for none")


IDENTITY = {"model": "tiny", "data": "three pictures", "training": {"steps": 8, "rate": 0.01}}


def _trainer() -> Trainer:
    generator = torch.Generator().manual_seed(1)
    latents = tuple(torch.randn(3, 4, 4, generator=generator) for _ in range(3))
    data = TrainingPictures(latents, (torch.ones(1, 4, 4),) * 3, ("face",))
    model = _Velocity()
    adapters = LoraAdapters(linear_layers(model.layers, "all linear layers"), AdapterSettings(rank=2), 0)
    settings = TrainingSettings(steps=8, batch_size=2, ema_decay=0.9)
    return Trainer(
        model, adapters, data, Objective(weights={"face": 1.0}, prior_weight=0.0), settings, IDENTITY
    )


def _make_run(folder: Path) -> None:
    trainer = _trainer()
    run, _ = choose_run(folder, "person", IDENTITY, resume=True)
    run_training(trainer, run, None, RunOptions(save_every=2))
    run.begin(IDENTITY)  # as if it was not finished


def _read_run(folder: Path) -> Any:
    trainer = _trainer()
    run, state = choose_run(folder, "person", IDENTITY, True, accept=trainer.load)
    curves = run.curves()
    run.release()
    totals = [(record.step, record.total, record.learning_rate) for record in curves]
    return trainer.lora(), totals, None if state is None else state.tensors


def _make_state(folder: Path) -> None:
    trainer = _trainer()
    with trainer.adapters.attached():
        trainer.step()
    RunFolder(folder).save_state(trainer.state())


def _read_state(folder: Path) -> Any:
    state = load_train_state(next(folder.glob("*.safetensors")))
    trainer = _trainer()
    trainer.load(state)
    found = trainer.state()
    return found.tensors, found.step, found.values


def _make_lora(folder: Path) -> None:
    save_lora(
        folder / "a.safetensors", _trainer().lora(), {"ss_steps": "1", "semantic_focus.settings": '{"a": 1}'}
    )


def _read_lora(folder: Path) -> Any:
    layers = dict(_Layers().named_modules())
    linear = {name: layer for name, layer in layers.items() if isinstance(layer, nn.Linear)}
    path = folder / "a.safetensors"
    metadata = load_metadata(path)
    return metadata, generic_tensors(read_lora(path, linear, KeyMap.of_layers(linear)).adapters)


def _make_origin(folder: Path) -> None:
    generator = torch.Generator().manual_seed(2)
    rows, columns = HEIGHT // 8, WIDTH // 8
    latents = torch.randn(16, rows, columns, generator=generator).bfloat16()
    name = f"a_{WIDTH}x{HEIGHT}_zi.safetensors"
    save_file({f"latents_1x{rows}x{columns}_bf16": latents}, folder / name, {"format": "pt"})
    text = {"varlen_vl_embed_bf16": torch.randn(5, 32, generator=generator).bfloat16()}
    save_file({**text, "pooled_output": torch.ones(8)}, folder / "a_zi_te.safetensors")
    _masks("png")(folder)


def _read_origin(folder: Path) -> Any:
    dataset = load_dataset([DatasetSource(folder)])
    return dataset.latents, dataset.conditionings, [masks.masks for masks in dataset.masks]


def _make_config(folder: Path) -> None:
    (folder / "config.toml").write_text(CONFIG, encoding="utf-8")


def _picture() -> Image.Image:
    return Image.radial_gradient("L").resize((WIDTH, HEIGHT)).convert("RGB")


def _make_pictures(folder: Path) -> None:
    picture = _picture()
    for suffix in ("png", "jpg", "webp", "bmp"):
        picture.save(folder / f"a.{suffix}")
    turned = Image.Exif()
    turned[0x0112] = 6
    picture.save(folder / "turned.jpg", exif=turned)
    picture.convert("P").save(folder / "palette.png", transparency=3)
    Image.new("I;16", (WIDTH, HEIGHT), 30_000).save(folder / "deep.png")
    picture.convert("RGBA").save(folder / "alpha.webp")


def _read_pictures(folder: Path) -> Any:
    return [(load_picture(path), thumbnail(path, 32).size) for path in sorted(folder.iterdir())]


def _make_captions(folder: Path) -> None:
    (folder / "a.txt").write_text(
        "a woman in an orange suit, 女孩, été, (smiling:1.2)\n" * 3, encoding="utf-8"
    )


def _make_mask_pictures(folder: Path) -> None:
    grey = Image.radial_gradient("L").resize((WIDTH, HEIGHT))
    grey.save(folder / "a.png")
    Image.new("I;16", (WIDTH, HEIGHT), 30_000).save(folder / "deep.png")
    grey.convert("LA").save(folder / "alpha.png")


CONFIG = """
[model]
path = "model.safetensors"
dtype = "bf16"
[lora]
kind = "loha"
rank = 16
alpha = 8.0
dropout = 0.1
include = ["attn", "mlp"]
[training]
steps = 500
learning_rate = 1e-4
schedule = "cosine"
warmup = 10
ema_decay = 0.99
seed = 3
save_every = 100
resume = true
[timesteps]
kind = "anchors"
anchors = [0.1, 0.5, 0.9]
jitter = 0.02
[[dataset.sources]]
cache_directory = "dataset"
num_repeats = 2
[semantic_cosine]
enabled = true
face_weight = 1.0
prior_weight = 1.0
"""

MASK_ERRORS = (MaskFileError, DamagedMaskFileError)
WITH_DIGEST = (
    Kind("LoRAs", _make_lora, _read_lora, (ValueError,)),
    Kind("states", _make_state, _read_state, (TrainStateError,)),
    Kind("mask files, png", _masks("png"), _read_masks, MASK_ERRORS),
    Kind("mask files, float", _masks("float"), _read_masks, MASK_ERRORS),
    Kind("mask files, mended", _masks("png", mended=True), _read_masks, MASK_ERRORS),
)
"""Kinds of which every byte is covered."""

KINDS = (
    *WITH_DIGEST,
    Kind("run folders", _make_run, _read_run),
    Kind(
        "mask files in a listing", _make_listing, _read_listing, (), lambda path: path.suffix == SAFETENSORS
    ),
    Kind("origin caches", _make_origin, _read_origin, (DatasetError, *MASK_ERRORS)),
    Kind("config.toml", _make_config, lambda folder: load_config(folder / "config.toml"), (ConfigError,)),
    Kind("pictures", _make_pictures, _read_pictures, (DatasetError,)),
    Kind("captions", _make_captions, lambda folder: caption_of(folder / "a.png"), (DatasetError,)),
    Kind(
        "mask pictures",
        _make_mask_pictures,
        lambda folder: [read_mask_picture(path) for path in sorted(folder.iterdir())],
        (MaskPictureError,),
    ),
)
