"""Photographs and generated pictures of people, to look at their segmentation; nothing is trained on them."""

from pathlib import Path

from PIL import Image

from benchmarks.templates import template_pictures

PHOTOGRAPHS = ("astronaut.png", "zidane.jpg", "bus.jpg")
TEMPLATES = (
    "flux_fill_inpaint_example-1",
    "2_pass_pose_worship-1",
    "hidream_e1_1-1",
    "image_z_image_turbo-1",
)


def prepare(photographs: Path, folder: Path) -> list[Path]:
    """Bring all of them into a folder as PNG, in their own sizes; the files.

    One that is there stays as it is, so that the masks beside it stay fresh.

    Raises:
        FileNotFoundError: a photograph or a template picture is missing.
    """
    templates = template_pictures()
    sources = [photographs / name for name in PHOTOGRAPHS]
    sources += [templates.get(name, photographs / f"{name}.webp") for name in TEMPLATES]
    if missing := [path.name for path in sources if not path.is_file()]:
        raise FileNotFoundError(f"there is no {', '.join(missing)}: run `make setup`")
    folder.mkdir(parents=True, exist_ok=True)
    written = [folder / f"{path.stem}.png" for path in sources]
    for path in folder.glob("*.png"):
        if path not in written:
            path.unlink()
    for source, path in zip(sources, written, strict=True):
        if not path.is_file():
            with Image.open(source) as picture:
                picture.convert("RGB").save(path)
    return written
