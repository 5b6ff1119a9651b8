"""What a choice of segmenter and words comes to before anything runs, and the ways to better ones.

A way is a segmenter with the weights that it needs. Which weights are where is looked up each time.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from .damage import SAFETENSORS, TFLITE
from .hub.errors import page
from .hub.fetch import kept_of, place_of
from .model_files import MODELS, NAMED, NO_WEIGHTS, TYPES, find_files, find_model_folders, seen
from .protocol import MissingWeightsError, SegmentRequest, WeightFolders
from .runtimes import taken_on_trust
from .sam2.models import find_weights, size_of
from .table import LazySegmenter, SegmenterTable

WAYS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("sam3_comfy", ("sam3.1-comfy",)),
    ("sam2_large", ("sam2.1-large", "grounding-dino-tiny")),
    ("sam2_base_plus", ("sam2.1-base-plus", "grounding-dino-tiny")),
    ("sam2_small", ("sam2.1-small", "grounding-dino-tiny")),
    ("sam2_tiny", ("sam2.1-tiny", "grounding-dino-tiny")),
    ("sam3", ("sam3",)),
    ("selfie", ("selfie-multiclass",)),
    ("segformer", ("segformer-clothes",)),
    ("segformer", ("segformer-face",)),
    ("segformer", ("segformer-fashn",)),
)
"""Segmenters with the weights that they need; of each kind the best first, and those without a gate first."""


@dataclass(frozen=True)
class Offer:
    """Weights that can be had.

    Attributes:
        name: in the table of models.
        page: where people read about them.
        place: where they go.
        there: they are, complete as far as can be told.
        kept: bytes of them that an interrupted fetch has left.
        fetched: a fetch can bring them; else people put them there.
    """

    name: str
    hub: str
    page: str
    licence: str
    megabytes: int
    gated: bool
    place: str
    there: bool
    kept: int
    fetched: bool


@dataclass(frozen=True)
class Way:
    """A segmenter and its weights.

    Attributes:
        reads_words: it finds categories of the user's own.
        lacks: what else than weights keeps it from running here; empty when nothing does.
    """

    segmenter: str
    description: str
    tier: str
    reads_words: bool
    lacks: str
    offers: tuple[Offer, ...]

    @property
    def ready(self) -> bool:
        return not self.lacks and all(offer.there for offer in self.offers)


@dataclass(frozen=True)
class Outlook:
    """What a choice comes to.

    Attributes:
        segmenter: that would run; empty when none can.
        reads_words: whether words make a difference.
        cannot: categories of the user's own that it cannot find.
        missing: why what was chosen cannot run.
        seen: what lies in the place of its weights, in sentences.
        ways: to have what is missing, or to find by words; empty where nothing is wanting.
    """

    segmenter: str
    reads_words: bool
    cannot: tuple[str, ...]
    missing: str
    seen: tuple[str, ...]
    ways: tuple[Way, ...]

    @property
    def sentence(self) -> str:
        """What there is to know before it runs; empty when nothing is."""
        return cannot_find(self.cannot, self.segmenter, self.ways) if self.cannot else ""


def outlook(backend: str, request: SegmentRequest, folders: WeightFolders, table: SegmenterTable) -> Outlook:
    """What a choice comes to here and now. Nothing is loaded.

    Raises:
        ValueError: no such backend.
    """
    ways = all_ways(folders, table)
    try:
        segmenter = LazySegmenter(backend, folders, table=table)
    except MissingWeightsError as error:
        return Outlook("", False, (), str(error), (), ways)
    if reason := segmenter.missing():
        wanted = _ways_to(segmenter.name, ways) if NO_WEIGHTS in reason.partition("\n")[0] else ()
        names = dict.fromkeys(offer.name for way in wanted for offer in way.offers)
        # who may not have what is gated can have others
        others = [way for way in by_words(ways) if not _gated(way)] if any(map(_gated, wanted)) else []
        lying = tuple(seen(list(names), folders))
        return Outlook("", segmenter.prompted, (), reason, lying, (*others, *wanted))
    cannot = segmenter.cannot_look_for(request)
    reads_words = segmenter.prompted and not segmenter.fixed
    return Outlook(segmenter.name, reads_words, cannot, "", (), by_words(ways) if cannot else ())


def _ways_to(name: str, ways: Sequence[Way]) -> tuple[Way, ...]:
    """The ways to a segmenter, or to one of its family."""
    own = tuple(way for way in ways if way.segmenter == name)
    return own or tuple(way for way in ways if _family(way) == name)


def _family(way: Way) -> str:
    """sam2_large and sam2_tiny are of one; the two that read SAM 3 are not."""
    return "sam2" if way.segmenter.startswith("sam2_") else way.segmenter


def all_ways(folders: WeightFolders, table: SegmenterTable) -> tuple[Way, ...]:
    """Every way of `WAYS` whose segmenter is in the table."""
    return tuple(_way(name, weights, folders, table) for name, weights in WAYS if name in table)


def by_words(ways: Sequence[Way]) -> tuple[Way, ...]:
    """Those that find things by words, one of a family: what can run here first, then what has no gate."""
    best = {_family(way): way for way in reversed(ways) if way.reads_words}
    return tuple(sorted(best.values(), key=lambda way: (bool(way.lacks), _gated(way), ways.index(way))))


def cannot_find(names: Sequence[str], segmenter: str, ways: Sequence[Way]) -> str:
    """That a segmenter cannot find these categories, and the two ways that work."""
    able = next((way for way in by_words(ways) if not way.lacks), None)
    needed = [offer.name for offer in able.offers if not offer.there] if able else []
    weights = f", which needs the weights {' and '.join(needed)}" if needed else ""
    return (
        f"{', '.join(names)}: {segmenter} reads no words and cannot find that, so a weight on it trains "
        "nothing. Draw it, or give its mask to Mask To Category; or take a segmenter that finds things by "
        f"words{f' ({able.segmenter}{weights})' if able else ''}"
    )


def _gated(way: Way) -> bool:
    return any(offer.gated for offer in way.offers)


def _way(name: str, weights: tuple[str, ...], folders: WeightFolders, table: SegmenterTable) -> Way:
    backend = table[name]
    with taken_on_trust():
        reason = backend.functions().missing(MappingProxyType({})) or ""
    lacks = "" if NO_WEIGHTS in reason.partition("\n")[0] else reason
    offers = tuple(_offer(one, folders) for one in weights)
    return Way(name, backend.description, backend.tier, backend.prompted, lacks, offers)


def _offer(name: str, folders: WeightFolders) -> Offer:
    model = MODELS[name]
    place, there = target(name, folders), is_there(name, folders)
    kept = 0 if there else kept_of(place)
    about = (name, model.hub, page(name), model.licence, model.megabytes, model.gated)
    return Offer(*about, str(place), there, kept, bool(model.hub))


def target(name: str, folders: WeightFolders) -> Path:
    """Where a fetch puts weights of the table: in the first folder of their kind."""
    kind = MODELS[name].kind
    return place_of(name, Path(next(iter(folders.get(kind, ())), Path("models", kind))))


def is_there(name: str, folders: WeightFolders) -> bool:
    """Whether weights of the table, or others that do, are where segmenters look; undamaged as far as can be
    told.
    """
    kind = MODELS[name].kind
    if kind == "sam2":
        return any(weights.size == size_of(name) for weights in find_weights(folders))
    if kind in NAMED:
        ending = [SAFETENSORS] if kind == "checkpoints" else [TFLITE]
        return bool(find_files(folders, [kind], ending, lambda file: NAMED[kind] in file))
    found = find_model_folders(folders, [kind], TYPES[kind])
    return bool(found) if kind != "parsers" else any(path.name == place_of(name, path).name for path in found)
