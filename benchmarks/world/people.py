"""Who is drawn and what is said about it: faces, scenes, poses and captions."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields, replace

import numpy as np

RGB = tuple[float, float, float]


def rgb(code: str) -> RGB:
    """The colour of six hex digits, each channel in 0..1."""
    red, green, blue = (int(code[place : place + 2], 16) / 255 for place in (0, 2, 4))
    return red, green, blue


HAIR = {
    "long": "long",
    "short": "shortCombover",
    "curly": "curly",
    "pigtails": "pigtails",
    "bun": "straightBun",
    "mohawk": "mohawk",
}
CLOTHES = {"sweater": "rounded", "wrap": "small", "plaid": "checkered"}
"""The word of a caption -> the name of the part."""

HAIR_COLOURS = {
    "black": rgb("2b2233"),
    "brown": rgb("7a4a2e"),
    "blond": rgb("f0cf6a"),
    "ginger": rgb("e0672a"),
    "pink": rgb("f27fb0"),
    "blue": rgb("3f6fe0"),
}
CLOTHES_COLOURS = {
    "red": rgb("dc3545"),
    "blue": rgb("2f5fe0"),
    "green": rgb("3fa34d"),
    "yellow": rgb("f2c230"),
    "purple": rgb("7a4fc9"),
    "white": rgb("f5f5f5"),
}
BACKGROUNDS = {
    "sky": rgb("a9dcf5"),
    "rose": rgb("f9c6d3"),
    "mint": rgb("bdebc6"),
    "cream": rgb("faefc0"),
    "lilac": rgb("d3c8f5"),
    "orange": rgb("f9bd82"),
}
SKIN_TONES = tuple(
    rgb(code) for code in ("eeb4a4", "e7a391", "e5a07e", "d78774", "b16a5b", "92594b", "623d36")
)
BEARD_COLOURS = tuple(rgb(code) for code in ("2b2233", "7a4a2e", "e0672a", "d8d8de"))

SCENE_WORDS: Mapping[str, tuple[str, ...]] = {
    "hair": tuple(HAIR),
    "hair_colour": tuple(HAIR_COLOURS),
    "clothes": tuple(CLOTHES),
    "clothes_colour": tuple(CLOTHES_COLOURS),
    "background": tuple(BACKGROUNDS),
}
"""What a caption can ask for: attribute of a `Scene` -> its words."""

FACE_PARTS: Mapping[str, tuple[str, ...]] = {
    "eyes": ("open", "sleep", "glasses", "happy"),
    "mouth": ("smile", "frown", "surprise", "bigSmile", "lips"),
    "beard": ("none", "beardMustache", "walrus", "goatee"),
}
"""What tells one face from another, besides its skin: attribute of a `Face` -> its parts. No caption names
it.
"""

EYE_HEIGHTS, MOUTH_HEIGHTS, SIZES = (-1.2, 0.0, 1.2), (-0.8, 0.3, 1.4), (1.0, 1.25, 1.5)


@dataclass(frozen=True)
class Face:
    """A person. Heights are in units of the drawing (52 are the picture's side), sizes factors."""

    eyes: str
    mouth: str
    beard: str
    skin: RGB
    beard_colour: RGB
    eye_height: float = 0.0
    eye_size: float = 1.25
    mouth_height: float = 0.3
    mouth_size: float = 1.25


@dataclass(frozen=True)
class Scene:
    """What a person wears and stands before; each attribute is one of its words in `SCENE_WORDS`."""

    hair: str
    hair_colour: str
    clothes: str
    clothes_colour: str
    background: str

    def words(self) -> dict[str, str]:
        """Attribute -> its word."""
        return {item.name: getattr(self, item.name) for item in fields(self)}


@dataclass(frozen=True)
class Figure:
    """One picture to draw: who, in which scene, and how many pixels of 0..2 to the left and up."""

    face: Face
    scene: Scene
    left: int = 1
    top: int = 1


def random_face(random: np.random.Generator) -> Face:
    """Any face; two in five have no beard."""
    step, share = random.integers(len(SKIN_TONES) - 1), random.random()
    red, green, blue = (
        a * (1 - share) + b * share for a, b in zip(SKIN_TONES[step], SKIN_TONES[step + 1], strict=True)
    )
    return Face(
        eyes=str(random.choice(FACE_PARTS["eyes"])),
        mouth=str(random.choice(FACE_PARTS["mouth"])),
        beard=str(random.choice(FACE_PARTS["beard"], p=[0.4, 0.2, 0.2, 0.2])),
        skin=(red, green, blue),
        beard_colour=BEARD_COLOURS[random.integers(len(BEARD_COLOURS))],
        eye_height=float(random.choice(EYE_HEIGHTS)),
        eye_size=float(random.choice(SIZES)),
        mouth_height=float(random.choice(MOUTH_HEIGHTS)),
        mouth_size=float(random.choice(SIZES)),
    )


def random_scene(random: np.random.Generator) -> Scene:
    """Any scene."""
    return Scene(**{name: str(random.choice(words)) for name, words in SCENE_WORDS.items()})


def other_scene(random: np.random.Generator, scene: Scene) -> Scene:
    """A scene that differs from the given one in every attribute."""
    different = {
        name: str(random.choice([word for word in words if word != getattr(scene, name)]))
        for name, words in SCENE_WORDS.items()
    }
    return replace(scene, **different)


def random_figure(random: np.random.Generator) -> Figure:
    """Any face in any scene."""
    return Figure(random_face(random), random_scene(random), int(random.integers(3)), int(random.integers(3)))


def caption(scene: Scene | None, name: str = "", said: Collection[str] = tuple(SCENE_WORDS)) -> str:
    """The caption of a picture: "person sks, blond long hair, red plaid clothes, sky background".

    Args:
        scene: None says nothing of it.
        name: of the person; a word that no other caption has.
        said: the attributes to speak of.
    """
    words = {
        attribute: word for attribute, word in (scene.words() if scene else {}).items() if attribute in said
    }
    phrases = [["person", name] if name else ["person"]]
    for noun, attributes in (
        ("hair", ("hair_colour", "hair")),
        ("clothes", ("clothes_colour", "clothes")),
        ("background", ("background",)),
    ):
        told = [words[attribute] for attribute in attributes if attribute in words]
        if told:
            phrases.append([*told, noun])
    return ", ".join(" ".join(phrase) for phrase in phrases)
