"""Face, hair, bare skin and clothing of each person.

No network of the embedded six names these parts. Small networks of our own do, pixel by pixel, from what the
six know beside their answers (`deep.py`) and what `features.py` measures; see `classifier.py`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ...regions.refine import clean, guided_filter
from .classifier import EVERYTHING, PARTS, Fitted, Heard, classify, heard
from .deep import Sight, sights
from .detect import Face, Pose
from .features import features
from .guess import grey_of, ramp
from .networks import Networks
from .persons import Person

WORK_SIDE = 320
EDGE_RADIUS, EDGE_EPSILON = 0.03, 1e-3
"""Guided filter that draws the parts' borders along the picture's: radius in face heights, variance."""
SPECK = 0.003
"""Pieces of a part, and holes in it, below this share of the person go to what surrounds them."""
UNSURE, SURE = 0.06, 0.18
"""Lead of the likeliest part over the next below which a place is nobody's, and from which it is not."""
ABSENT = (0.05, 0.2)
"""Probability that anybody is there below which a place is nobody's, and from which it is not."""
UNSURE_REACH = 0.06
"""Unsure places narrower than twice this, in face heights, are the border between two parts."""
LIMBS = ((11, 13), (13, 15), (12, 14), (14, 16), (23, 25), (25, 27), (24, 26), (26, 28))
"""Upper and lower arms, then legs, as pairs of pose landmarks."""
HANDS = ((15, 19), (16, 20))
FEET = ((27, 31), (28, 32))
SHOULDERS = slice(11, 13)


Window = tuple[slice, slice]
"""Rows and columns."""


def find_parts(
    networks: Networks, picture: np.ndarray, persons: Sequence[Person], fitted: Fitted | None = None
) -> dict[str, np.ndarray]:
    """Scores of the four parts over all persons.

    Args:
        picture: UInt8[H, W, 3], sRGB.
        fitted: networks of our own to use instead of those in the file.

    Returns:
        Float[H, W] in 0..1 for "face", "hair", "clothing" and "body"; they sum to the persons' union, to less
        where no part is sure: such a place is nobody's, and counts in training as what no region covers.
    """
    result = {name: np.zeros(picture.shape[:2], np.float32) for name in PARTS}
    for person in persons:
        found = parts_of(person, looks_at(networks, picture, person), fitted)
        for name, part in zip(PARTS, found, strict=True):
            result[name][window_of(person)] += part
    return result


@dataclass(frozen=True)
class View:
    """One person, cut out and small: what the parts are found in.

    `picture` UInt8[h, w, 3], `mask` and `limbs` Float[h, w]; `face` and `shoulders` (row of their line,
    NaN where it is not seen) in its pixels.
    """

    picture: np.ndarray
    mask: np.ndarray
    limbs: np.ndarray
    face: Face | None
    shoulders: float

    @staticmethod
    def of(picture: np.ndarray, person: Person, window: Window, side: int = WORK_SIDE) -> "View":
        import cv2

        size = person.mask[window].shape
        scale = min(1.0, side / max(size))
        small = (max(1, round(size[1] * scale)), max(1, round(size[0] * scale)))

        def shrunk(layer: np.ndarray) -> np.ndarray:
            return cv2.resize(layer, small, interpolation=cv2.INTER_AREA)

        corner = np.array([window[1].start, window[0].start])
        pose, shoulders = person.pose, float("nan")
        if pose is not None and pose.visibility[SHOULDERS].min() > 0.5:
            shoulders = (float(pose.landmarks[SHOULDERS, 1].mean()) - corner[1]) * scale
        return View(
            shrunk(picture[window]),
            shrunk(person.mask[window]),
            shrunk(_limb_prior(person, window)),
            None if person.face is None else person.face.moved(-corner).scaled(scale),
            shoulders,
        )

    def features(self) -> np.ndarray:
        """Float[F, h, w]; only for a person whose face is seen."""
        assert self.face is not None
        return features(self.picture, self.mask, self.limbs, self.face, self.shoulders)


def places(window: Window, shape: tuple[int, int]) -> np.ndarray:
    """Float[h * w, 2]: middles (x, y), in the picture, of the pixels of a window that is seen in [h, w]."""
    rows, columns = np.divmod(np.arange(shape[0] * shape[1]), shape[1])
    x = window[1].start + (columns + 0.5) * (window[1].stop - window[1].start) / shape[1]
    y = window[0].start + (rows + 0.5) * (window[0].stop - window[0].start) / shape[0]
    return np.stack([x, y], 1)


def window_of(person: Person) -> Window:
    """Rows and columns that a person's mask takes."""
    rows, columns = np.where(person.mask.max(1) > 0)[0], np.where(person.mask.max(0) > 0)[0]
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def windows_of(person: Person) -> list[Window]:
    """What a person is looked at in: all of it, and the head again from near if it is small in that."""
    whole = window_of(person)
    height, width = person.mask[whole].shape
    if person.face is None or max(height, width) <= 1.2 * WORK_SIDE:
        return [whole]
    (x, y), size = person.face.centre, max(person.face.height, person.face.width)
    rows = slice(max(whole[0].start, int(y - 1.7 * size)), min(whole[0].stop, int(y + 2.2 * size)))
    columns = slice(max(whole[1].start, int(x - 1.7 * size)), min(whole[1].stop, int(x + 1.7 * size)))
    near = max(rows.stop - rows.start, columns.stop - columns.start)
    return [whole, (rows, columns)] if 16 < near < 0.8 * max(height, width) else [whole]


@dataclass(frozen=True)
class Look:
    """One look at a person, whole or from near: all that is known of each pixel of a window.

    `place` Float[F, h, w] (None where no face is seen), `points` Float[h * w, 2] of the view's pixels in the
    picture, and what the networks see, by square.
    """

    window: Window
    view: View
    place: np.ndarray | None
    points: np.ndarray
    seen: Mapping[str, Sight]

    def probabilities(
        self,
        squares: Mapping[str, Heard],
        using: Sequence[Sequence[str]] = (EVERYTHING,),
        fitted: Fitted | None = None,
    ) -> np.ndarray:
        """Float[U, 5, h, w] at the view's size: what each pixel is (see `classify`), by U choices of sources.

        `squares` is `heard` of what is `seen`: the same for all looks at a person.
        """
        return classify(self.place, squares, self.points, self.view.mask > 0.02, using, fitted)


def looks_at(
    networks: Networks,
    picture: np.ndarray,
    person: Person,
    windows: Sequence[Window] | None = None,
    side: int = WORK_SIDE,
) -> list[Look]:
    """The whole person, then the head from near where that shows more; the networks look once for both.

    Args:
        windows: other windows than `windows_of` gives.
        side: longer side of a view, in pixels.
    """
    seen = sights(networks, picture, person, window_of(person))
    looks = []
    for window in windows_of(person) if windows is None else windows:
        view = View.of(picture, person, window, side)
        place = None if view.face is None else view.features()
        looks.append(Look(window, view, place, places(window, view.mask.shape), seen))
    return looks


def parts_of(person: Person, looks: Sequence[Look], fitted: Fitted | None = None) -> np.ndarray:
    """Float[4, h, w] inside the person's window: the mask, shared out among the parts, less where that would
    be a guess.
    """
    first, *near = looks
    squares = heard(first.seen, fitted)
    whole, shares = first.window, _shares_in(first, squares, fitted)
    for look in near:
        rows = slice(look.window[0].start - whole[0].start, look.window[0].stop - whole[0].start)
        columns = slice(look.window[1].start - whole[1].start, look.window[1].stop - whole[1].start)
        inside = _fading((rows, columns), (shares.shape[1], shares.shape[2]))
        shares[:, rows, columns] += inside * (_shares_in(look, squares, fitted) - shares[:, rows, columns])
    return shares * person.mask[whole]


def _shares_in(look: Look, squares: Mapping[str, Heard], fitted: Fitted | None) -> np.ndarray:
    """Float[4, h, w] of one window: shares that sum to 1 where the parts are sure, to less elsewhere."""
    import cv2

    view, window = look.view, look.window
    radius = 2 if view.face is None else max(1, round(EDGE_RADIUS * view.face.height))
    probability = look.probabilities(squares, fitted=fitted)[0]
    *smooth, presence = guided_filter(grey_of(view.picture), probability, radius, EDGE_EPSILON, 2)
    crisp = np.clip(smooth, 1e-4, 1) ** 2
    size = (window[1].stop - window[1].start, window[0].stop - window[0].start)
    sure = _sureness(np.stack(smooth), view.face) * ramp(presence, *ABSENT)
    whole = tidy(crisp / crisp.sum(0), view.mask) * sure
    return np.stack([cv2.resize(layer, size, interpolation=cv2.INTER_LINEAR) for layer in whole])


def _sureness(probability: np.ndarray, face: Face | None) -> np.ndarray:
    """Float[h, w] in 0..1: 0 where two parts are about as likely, over more than the width of a border."""
    import cv2

    second, first = np.partition(probability, -2, 0)[-2:]
    unsure = ramp(first - second, SURE, UNSURE).astype(np.float32)
    reach = 2 if face is None else max(2, round(UNSURE_REACH * face.height))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    return 1 - cv2.morphologyEx(unsure, cv2.MORPH_OPEN, disc)


def _fading(window: Window, shape: tuple[int, int]) -> np.ndarray:
    """Float[h, w] of a window in an area of `shape`: 1, towards its borders inside the area 0."""
    fades = []
    for part, length in zip(window, shape, strict=True):
        place, margin = np.arange(part.start, part.stop), 0.15 * (part.stop - part.start)
        before = (place - part.start) / margin if part.start > 0 else np.ones(len(place))
        after = (part.stop - 1 - place) / margin if part.stop < length else np.ones(len(place))
        fades.append(np.clip(np.minimum(before, after), 0, 1))
    return np.outer(*fades).astype(np.float32)


def tidy(shares: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Give specks of a part, and holes in it, to what surrounds them.

    Args:
        shares: Float[K, h, w], the parts' shares of each pixel.
        mask: Float[h, w], the person.

    Returns:
        Float[K, h, w] that sums to 1.
    """
    import cv2

    limit = max(4, round(SPECK * float(mask.sum())))
    kept = np.stack([clean(layer, limit, limit) for layer in shares])
    side = 2 * max(1, round(0.5 * limit**0.5)) + 1
    around = np.stack([cv2.blur(layer, (side, side)) for layer in kept])
    filled = kept + 1e-2 * around + 1e-6
    return filled / filled.sum(0)


def _limb_prior(person: Person, window: tuple[slice, slice]) -> np.ndarray:
    """Float[h, w] in 0..1: 1 at hands and feet, less along arms and legs."""
    import cv2

    height, width = person.mask[window].shape
    prior = np.zeros((height, width), np.float32)
    pose = person.pose
    if pose is None:
        return prior
    points = pose.landmarks - (window[1].start, window[0].start)
    thickness = 0.35 * _shoulder_width(pose)
    for pairs, strength, share in ((LIMBS, 0.5, 0.8), (FEET, 0.5, 0.6), (HANDS, 1.0, 1.0)):
        for a, b in pairs:
            if min(pose.visibility[a], pose.visibility[b]) > 0.5:
                layer = np.zeros((height, width), np.uint8)
                ends = [tuple(int(v) for v in points[i]) for i in (a, b)]
                cv2.line(layer, ends[0], ends[1], 1, max(1, round(thickness * share)))
                prior = np.maximum(prior, strength * layer)
    return prior


def _shoulder_width(pose: Pose) -> float:
    shoulders = np.hypot(*(pose.landmarks[11] - pose.landmarks[12]))
    torso = np.hypot(*(pose.landmarks[11:13].mean(0) - pose.landmarks[23:25].mean(0)))
    return float(max(shoulders, 0.5 * torso))
