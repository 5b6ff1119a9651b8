"""The weights that segmenters can use: where they come from, under which licence, how to tell them on disk.

Nothing here downloads; `hub` does, when somebody asks for it.
"""

import hashlib
import json
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import MappingProxyType

from ..files.command_lines import INDENT, line, python, to_install, to_run
from .damage import LARGEST_HEADER, is_whole
from .forms import in_hub_cache, kind_of, seen_instead
from .protocol import MissingWeightsError, WeightFolders

SAMPLE = 1 << 16
"""Bytes read at the start, middle and end of a weight file to tell it from others."""


@dataclass(frozen=True)
class ModelFile:
    """One set of weights.

    Attributes:
        licence: its name; "unconfirmed" when the publisher names none.
        megabytes: size of the download.
        kind: the weight folder it belongs into, a folder of ComfyUI's models folder.
        hub: "owner/name" on the model hub; empty when it is not there.
        files: what of the hub's repository is needed, as glob patterns; one plain name is one file.
        url: where it is when it is not on the hub.
        gated: the hub wants an account, and its owner's consent, first.
        alternative: name in `MODELS` of something ungated that does the same work.
    """

    licence: str
    megabytes: int
    kind: str
    hub: str = ""
    files: tuple[str, ...] = ("*.json", "*.txt", "model.safetensors")
    url: str = ""
    gated: bool = False
    alternative: str = ""

    @property
    def size(self) -> str:
        return f"{self.megabytes / 1000:.1f} GB" if self.megabytes >= 1000 else f"{self.megabytes} MB"


MODELS = MappingProxyType(
    {
        "sam3": ModelFile(
            "SAM License", 3440, "sam3", "facebook/sam3", gated=True, alternative="sam3.1-comfy"
        ),
        "sam3.1-comfy": ModelFile(
            "SAM License",
            1750,
            "checkpoints",
            "Comfy-Org/sam3.1",
            ("checkpoints/sam3.1_multiplex_fp16.safetensors",),
        ),
        "sam2.1-tiny": ModelFile("Apache-2.0", 156, "sam2", "facebook/sam2.1-hiera-tiny"),
        "sam2.1-small": ModelFile("Apache-2.0", 184, "sam2", "facebook/sam2.1-hiera-small"),
        "sam2.1-base-plus": ModelFile("Apache-2.0", 324, "sam2", "facebook/sam2.1-hiera-base-plus"),
        "sam2.1-large": ModelFile("Apache-2.0", 898, "sam2", "facebook/sam2.1-hiera-large"),
        "grounding-dino-tiny": ModelFile(
            "Apache-2.0", 689, "grounding-dino", "IDEA-Research/grounding-dino-tiny"
        ),
        "selfie-multiclass": ModelFile(
            "Apache-2.0",
            16,
            "mediapipe",
            url="https://storage.googleapis.com/mediapipe-models/image_segmenter/"
            "selfie_multiclass_256x256/float32/latest/selfie_multiclass_256x256.tflite",
        ),
        "segformer-clothes": ModelFile(
            "unconfirmed", 110, "parsers", "mattmdjaga/segformer_b2_clothes", alternative="selfie-multiclass"
        ),
        "segformer-face": ModelFile(
            "unconfirmed", 340, "parsers", "jonathandinu/face-parsing", alternative="selfie-multiclass"
        ),
        "segformer-fashn": ModelFile(
            "NVIDIA Source Code License for SegFormer",
            260,
            "parsers",
            "fashn-ai/fashn-human-parser",
            alternative="selfie-multiclass",
        ),
    }
)
"""Weights by name. Sizes are those of the publisher's files, rounded."""


NAMED = MappingProxyType({"checkpoints": "sam3", "mediapipe": "selfie_multiclass"})
"""Folders that hold other models as well, and what the names of ours have in them."""

SAVED_MODEL = "folder with config.json and model.safetensors"
FORMS = MappingProxyType(
    {
        "checkpoints": "safetensors checkpoint",
        "mediapipe": "selfie_multiclass_256x256.tflite",
        **dict.fromkeys(
            ("sam2", "sams"), f"{SAVED_MODEL}, nor a .pt named after its size (sam2.1_hiera_large.pt)"
        ),
    }
)
"""What is taken in a folder of each kind, if not a saved model."""
NO_WEIGHTS = "has no weights"
"""In the first line of what is said where nothing else is missing."""
DEPTH, MOST_FOLDERS = 4, 500
"""How deep weights are looked for, and in how many subfolders of a level: `models--x--y/snapshots/<commit>`
of the hub's own cache has three."""
TYPES = MappingProxyType(
    {
        "sam3": ("sam3", "sam3_video"),
        "sam2": ("sam2", "sam2_video"),
        "grounding-dino": ("grounding-dino",),
        "parsers": ("segformer",),
    }
)
"""What config.json calls the models of a kind of folder."""
MOST_SEEN = 8
"""How much of what lies in a folder is named."""


def candidates(folders: WeightFolders, kinds: Sequence[str]) -> Iterator[Path]:
    """Everything that may be a model: the folders of these kinds, what lies in them by name, then what lies
    in their subfolders. Names that begin with a dot are passed over.
    """
    for kind in kinds:
        for folder in map(Path, folders.get(kind, ())):
            if not folder.is_dir():
                continue
            yield folder
            level = [folder]
            for _ in range(DEPTH):
                entries = [entry for place in level for entry in _entries(place)]
                yield from entries
                level = [entry for entry in entries if entry.is_dir()][:MOST_FOLDERS]


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    except OSError:
        return []


def find_model_folders(
    folders: WeightFolders, kinds: Sequence[str], model_types: Sequence[str]
) -> list[Path]:
    """Folders that hold a complete saved model (`save_pretrained` layout) of one of these `model_type`s.

    Complete means: a config.json that names the type, and safetensors (all shards, when there is an index)
    that are not damaged as far as `damage` can tell.
    """
    return [
        path
        for path in candidates(folders, kinds)
        if _model_type(path) in model_types and _has_weights(path) and is_whole(path)
    ]


def first_found(found: Sequence[Path], reason: str | None) -> Path:
    """The weights that a backend takes: the first of those that are there.

    Raises:
        MissingWeightsError: with the reason, if there is one, why the backend cannot be loaded.
    """
    if reason:
        raise MissingWeightsError(reason)
    return found[0]


def find_files(
    folders: WeightFolders, kinds: Sequence[str], suffixes: Sequence[str], wanted: Callable[[str], bool]
) -> list[Path]:
    """Undamaged files in the folders of these kinds, with a wanted suffix and lower-case name."""
    return [
        path
        for path in candidates(folders, kinds)
        if path.suffix in suffixes and wanted(path.name.lower()) and path.is_file() and is_whole(path)
    ]


def _model_type(folder: Path) -> str | None:
    try:
        return str(json.loads((folder / "config.json").read_text(encoding="utf-8"))["model_type"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _has_weights(folder: Path) -> bool:
    if (folder / "model.safetensors").is_file():
        return True
    try:
        index = json.loads((folder / "model.safetensors.index.json").read_text(encoding="utf-8"))
        shards = set(index["weight_map"].values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False
    return bool(shards) and all((folder / shard).is_file() for shard in shards)


def fingerprint(path: Path) -> str:
    """Name, size and a digest of a weight file or model folder, from a few hundred kilobytes of it.

    The digest covers the configuration, every weight file's size, its safetensors header when it has one, and
    samples of its bytes: another training of the same network differs in the samples.

    Raises:
        OSError: something cannot be read.
    """
    files = [*sorted(path.glob("*.json")), *sorted(path.glob("*.safetensors"))] if path.is_dir() else [path]
    digest, total = hashlib.sha256(), 0
    for file in files:
        size = file.stat().st_size
        total += size
        digest.update(f"{file.name}:{size}:".encode())
        with file.open("rb") as stream:
            digest.update(_safetensors_header(file, size))
            for start in {0, max(0, size // 2 - SAMPLE // 2), max(0, size - SAMPLE)}:
                stream.seek(start)
                digest.update(stream.read(SAMPLE))
    return f"{path.name} {total} bytes sha256:{digest.hexdigest()[:16]}"


def _safetensors_header(file: Path, size: int) -> bytes:
    if file.suffix != ".safetensors" or size < 8:
        return b""
    with file.open("rb") as stream:
        (length,) = struct.unpack("<Q", stream.read(8))
        return stream.read(length) if length <= min(size, LARGEST_HEADER) else b""


def missing_message(backend: str, names: Sequence[str], folders: WeightFolders) -> str:
    """What to say when none of these weights is there: what lies in their place, and how to get each."""
    lines = [f"segmentation backend {backend!r} {NO_WEIGHTS}"]
    lines += [f"- found instead: {line}" for line in seen(names, folders)]
    return "\n".join([*lines, offers(names, folders)])


def seen(names: Sequence[str], folders: WeightFolders) -> list[str]:
    """What was found instead of these weights, a line each, and what would make it usable."""
    kinds = dict.fromkeys(MODELS[name].kind for name in names)
    lines = []
    for kind in (*kinds, *(["sams"] if "sam2" in kinds else [])):
        looked_for = [name for name in names if MODELS[name].kind == kind.replace("sams", "sam2")]
        named = [path for path in candidates(folders, [kind]) if NAMED.get(kind, "") in path.name.lower()]
        lines += seen_instead(named, FORMS.get(kind, SAVED_MODEL), looked_for)
        lines += _misplaced(kind, folders)
    lines += in_hub_cache({name: MODELS[name].hub for name in names if not is_one_file(MODELS[name])})
    more = len(lines) - MOST_SEEN
    return [*lines[:MOST_SEEN], *([f"and {more} more"] if more > 0 else [])]


def _misplaced(kind: str, folders: WeightFolders) -> list[str]:
    """Models of a kind that lie in the folders of another."""
    others = [other for other in folders if other not in (kind, "sams" if kind == "sam2" else kind)]
    wanted = TYPES.get(kind, ())
    return [
        f"{path} is a {kind_of(path)} in the wrong folder: move it to models/{kind}"
        for path in (candidates(folders, others) if wanted else ())
        if path.is_dir() and _model_type(path) in wanted
    ]


def offers(names: Sequence[str], folders: WeightFolders) -> str:
    """How to get these weights: each one's licence, size, place and command."""
    lines = []
    for name in names:
        lines.append(f"- {_offer(name, folders)}")
        alternative = MODELS[name].alternative
        if alternative and alternative not in names:
            lines.append(f"  without an account: {_offer(alternative, folders)}")
    return "\n".join(lines)


def _offer(name: str, folders: WeightFolders) -> str:
    model = MODELS[name]
    places = [str(folder) for folder in folders.get(model.kind, ())]
    place = Path(places[0] if places else f"ComfyUI/models/{model.kind}")
    target = place if is_one_file(model) or not model.hub else place / model.hub.split("/")[1]
    about = f"{name} ({model.hub or 'not on the hub'}, licence {model.licence}, {model.size}"
    if model.gated:
        about += f", gated: ask for access at https://huggingface.co/{model.hub} and log in first"
    if not model.hub:
        return f"{about}): put {model.url} into {target}"
    return f"{about}):{_to_log_in() if model.gated else ''}{to_run('fetch', name, '--to', target)}"


def _to_log_in() -> str:
    return INDENT + line(python(), "-c", "from huggingface_hub import login; login()")


def is_one_file(model: ModelFile) -> bool:
    """Whether a model is one file of its repository."""
    return len(model.files) == 1 and "*" not in model.files[0]


def missing_package(
    backend: str, package: str, minimum: tuple[int, ...] = (), install: str = ""
) -> str | None:
    """Why an optional package cannot be used, and the command that installs it; None when it can.

    Only the installed metadata is read; nothing is imported.
    """
    install = install or package
    command = to_install(install)
    try:
        found = version(package)
    except PackageNotFoundError:
        return f"segmentation backend {backend!r} needs the package {package}:{command}"
    if minimum and _numbers(found) < minimum:
        needed = ".".join(map(str, minimum))
        return (
            f"segmentation backend {backend!r} needs {package} {needed} or newer, here is {found}:{command}"
        )
    return None


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("+")[0].split(".")[:3] if part.isdigit())
