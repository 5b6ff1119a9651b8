"""The demo's pictures, all from installed packages: what the base model learns, what the LoRA learns, what
is shown.

`prepare` makes three folders:

subject/    Training pictures with captions. The subject is a real photograph, NASA's public-domain portrait
            of the astronaut Eileen Collins: it has what the six categories name (face, hair, a suit, a busy
            background, hard light), and the base model has never seen it. One photograph is all there is,
            so framings of it stand in for different shots; their captions say which framing it is.
held_out/   Other framings of the same portrait, never trained on: positions that the training pictures
            have in other combinations. A LoRA that only remembers whole pictures does badly on them.
people/     Photographs and generated pictures of other people, one and several. Nothing is trained on them:
            they are there to look at the segmentation.

The framings of one zoom are apart by whole tokens of the model (16 of 128 pixels), so that they share their
blocks: a shift by less changes every coefficient of the block codec, and a base model that has seen four
dozen pictures cannot know that it is still the same face.

Running it again rewrites only what changed, so mask caches beside the pictures stay valid.
"""

import importlib.util
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

SUBJECT_PHOTOGRAPH = "astronaut.png"
SUBJECT_SIDE = 512
SAVED_SIDE = 384
PEOPLE_PHOTOGRAPHS = ("zidane.jpg", "bus.jpg")
PEOPLE_TEMPLATES = (
    "flux_fill_inpaint_example-1",
    "2_pass_pose_worship-1",
    "hidream_e1_1-1",
    "image_z_image_turbo-1",
)
TEMPLATE_PACKAGES = tuple(f"comfyui_workflow_templates_media_{kind}" for kind in ("image", "other", "video"))


@dataclass(frozen=True)
class Framing:
    """A square window of the subject's photograph, in its pixels, and what is written about it."""

    name: str
    left: int
    top: int
    side: int
    caption: str


TRAINING_FRAMINGS = (
    Framing("astronaut_close_left_high", 156, 32, 192, "astronaut woman portrait close left high"),
    Framing("astronaut_close_left_low", 156, 8, 192, "astronaut woman portrait close left low"),
    Framing("astronaut_close_centre_low", 132, 8, 192, "astronaut woman portrait close centre low"),
    Framing("astronaut_close_right_high", 108, 32, 192, "astronaut woman portrait close right high"),
    Framing("astronaut_close_right_low", 108, 8, 192, "astronaut woman portrait close right low"),
    Framing("astronaut_wide_left_high", 130, 32, 256, "astronaut woman portrait wide left high"),
    Framing("astronaut_wide_left_low", 130, 0, 256, "astronaut woman portrait wide left low"),
    Framing("astronaut_wide_centre_high", 98, 32, 256, "astronaut woman portrait wide centre high"),
    Framing("astronaut_wide_right_low", 66, 0, 256, "astronaut woman portrait wide right low"),
)
HELD_OUT_FRAMINGS = (
    Framing("astronaut_close_centre_high", 132, 32, 192, "astronaut woman portrait close centre high"),
    Framing("astronaut_wide_centre_low", 98, 0, 256, "astronaut woman portrait wide centre low"),
    Framing("astronaut_wide_right_high", 66, 32, 256, "astronaut woman portrait wide right high"),
)


@dataclass(frozen=True)
class Folders:
    """Where the demo's pictures are; see the head of this file."""

    subject: Path
    held_out: Path
    people: Path


def prepare(photographs: Path, output: Path) -> Folders:
    """Write all three folders below `output`, from the folder that has astronaut.png, zidane.jpg and bus.jpg.

    Raises:
        FileNotFoundError, ValueError: as `prepare_subject` and `prepare_people`.
    """
    folders = Folders(output / "subject", output / "held_out", output / "people")
    prepare_subject(photographs, folders.subject, TRAINING_FRAMINGS)
    prepare_subject(photographs, folders.held_out, HELD_OUT_FRAMINGS)
    prepare_people(photographs, folders.people)
    return folders


def template_pictures() -> dict[str, Path]:
    """The still pictures that come with ComfyUI's workflow templates, by file name without suffix.

    Raises:
        FileNotFoundError: when none of the packages is installed in this Python environment.
    """
    pictures = {}
    for package in TEMPLATE_PACKAGES:
        spec = importlib.util.find_spec(package)
        for location in (spec.submodule_search_locations if spec else None) or ():
            pictures.update((path.stem, path) for path in Path(location).glob("templates/*-1.webp"))
    if not pictures:
        raise FileNotFoundError(
            f"none of {', '.join(TEMPLATE_PACKAGES)} is installed, so there is nothing to learn from; "
            "install ComfyUI's requirements.txt into this environment"
        )
    return pictures


def prepare_subject(photographs: Path, folder: Path, framings: Sequence[Framing]) -> list[Path]:
    """Write each framing of the subject as a 384x384 PNG with a caption .txt beside it; returns the PNGs.

    Raises:
        FileNotFoundError: when `photographs` has no astronaut.png.
        ValueError: when that picture is not the 512x512 one the framings were measured on.
    """
    portrait = Image.open(_photograph(photographs, SUBJECT_PHOTOGRAPH)).convert("RGB")
    if portrait.size != (SUBJECT_SIDE, SUBJECT_SIDE):
        raise ValueError(
            f"{SUBJECT_PHOTOGRAPH} is {portrait.width}x{portrait.height}, the framings need "
            f"{SUBJECT_SIDE}x{SUBJECT_SIDE} (the one that comes with scikit-image); provide that file"
        )
    written = []
    for framing in framings:
        window = (framing.left, framing.top, framing.left + framing.side, framing.top + framing.side)
        square = portrait.resize((SAVED_SIDE, SAVED_SIDE), Image.Resampling.LANCZOS, box=window)
        written.append(_write_picture(folder / f"{framing.name}.png", square))
        _write(folder / f"{framing.name}.txt", framing.caption.encode())
    _drop_others(folder, written)
    return written


def prepare_people(photographs: Path, folder: Path) -> list[Path]:
    """Write the pictures of other people, in their own sizes, as PNG; returns the paths.

    Raises:
        FileNotFoundError: when a photograph or a template picture is missing.
    """
    templates = template_pictures()
    missing = [name for name in PEOPLE_TEMPLATES if name not in templates]
    if missing:
        raise FileNotFoundError(
            f"the installed workflow templates have no {', '.join(missing)}: install the versions that "
            "ComfyUI's requirements.txt pins"
        )
    sources = [_photograph(photographs, name) for name in PEOPLE_PHOTOGRAPHS]
    sources += [templates[name] for name in PEOPLE_TEMPLATES]
    written = [
        _write_picture(folder / f"{path.stem}.png", Image.open(path).convert("RGB")) for path in sources
    ]
    _drop_others(folder, written)
    return written


def _drop_others(folder: Path, pictures: Sequence[Path]) -> None:
    """Remove pictures and captions that an earlier version of this file made: they would be trained on."""
    names = {path.stem for path in pictures}
    for path in (*folder.glob("*.png"), *folder.glob("*.txt")):
        if path.stem not in names:
            path.unlink()


def _photograph(folder: Path, name: str) -> Path:
    path = folder / name
    if not path.is_file():
        raise FileNotFoundError(f"{name} is not in {folder}: run host/provide.py, which puts it there")
    return path


def _write_picture(path: Path, picture: Image.Image) -> Path:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return _write(path, buffer.getvalue())


def _write(path: Path, content: bytes) -> Path:
    if not path.is_file() or path.read_bytes() != content:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
        partial.write_bytes(content)
        partial.replace(path)
    return path
