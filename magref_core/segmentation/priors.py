"""Where in a picture its subject probably is: from the kind, a face, a plain background and the colours.

All functions work on small pictures, since they only start a segmentation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..canvas.references import Kind
from .arrays import Array, clip, load_opencv

LOWEST, HIGHEST = 0.02, 0.95
"""Bounds of what a place in the picture alone can say."""

_PLAIN_DISTANCE = 14.0
"""Of 8-bit Lab colours that pass for the same background."""

_PLAIN_SHARE: dict[Kind, float] = {"person": 0.5, "object": 0.6, "background": 0.6}
"""Share of the border, where it lies outside the subject's outline, that must have one colour."""

_BESIDE_PLAIN: dict[Kind, float] = {"person": 0.6, "object": 0.8, "background": 0.8}
"""The least probability of what a plain background leaves over."""

_PLANE_ROUNDS = 5
"""Of fitting the background's colour and looking again what follows it."""

_APARTNESS = (-2.5, 0.5)
"""The least and the most that the distance from the border can add to the log odds of a place."""

_SWEEPS = 6
_GRAIN = 2.0
"""Steps of colour between neighbours that do not count."""
_DETOUR = 0.15
"""What every pixel of a way costs, in steps of colour."""

_BINS = 16
"""Of the colour histograms, along each axis of Lab."""

_COLOUR_ROUNDS = 4
_COLOUR_WEIGHT = 3.0
"""The most that colour can add to, or take from, the log odds of a place."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Prior:
    """What is known before segmenting."""

    probability: Array
    """(h, w) in 0..1 of belonging to the subject."""
    subject: Array
    """(h, w); certainly on the subject."""
    background: Array
    """(h, w); certainly beside it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Ellipse:
    """A face; everything as a share of the picture's width (x) or height (y)."""

    x: float
    y: float
    half_width: float
    half_height: float


def subject_prior(image: Array, kind: Kind, *, stands_alone: bool = False) -> Prior:
    """Guess where the subject is.

    A person is a head, found by the colour of skin, above a body. Anything else is near the centre. A plain
    background is recognised by the border of the picture. Colours then decide between places: those of the
    probable subject against those of the probable background, a few times over.

    Args:
        image: (h, w, 3), RGB; a few hundred pixels a side.
        kind: of the reference; a background has no subject and is treated like an object.
        stands_alone: suppose that the subject nowhere reaches the border of the picture, so that what
            leads there without a step of colour is background.

    Returns:
        The prior.
    """
    is_person = kind == "person"
    score, core = _person_outline(image) if is_person else _object_outline(image)
    lab: Array = load_opencv().cvtColor(image, load_opencv().COLOR_RGB2LAB)
    log_odds = 5 * score + _apartness(lab) if stands_alone else 5 * score
    places: Array = clip(_sigmoid(log_odds), LOWEST, HIGHEST)
    never = core if is_person else np.zeros_like(core)  # an object may lie anywhere on a plain background
    plain = plain_background(lab, places, never, _PLAIN_SHARE[kind])
    if plain.any():
        places = np.where(plain, LOWEST, np.maximum(places, _BESIDE_PLAIN[kind])).astype(np.float32)
    return Prior(probability=_with_colours(lab, places), subject=core & ~plain, background=plain)


def find_face(image: Array) -> Ellipse | None:
    """The largest patch of skin in the middle of the upper half, as an ellipse.

    Skin of any tone has similar chroma; its brightness is ignored but for near-black.

    Args:
        image: (h, w, 3), RGB.

    Returns:
        The ellipse with the moments of the patch, or None if there is hardly any skin.
    """
    cv2 = load_opencv()
    skin = _skin(image)
    side = max(3, min(skin.shape) // 40) | 1
    skin = cv2.morphologyEx(skin, cv2.MORPH_OPEN, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)))
    count, labels = cv2.connectedComponents(skin)
    y, x = _places(skin.shape)
    central = np.exp(-(((x - 0.5) / 0.3) ** 2) - ((y - 0.38) / 0.3) ** 2)
    scores = np.bincount(labels.ravel(), central.ravel(), count)
    scores[0] = 0
    patch = labels == scores.argmax()
    if not scores.any() or patch.mean() < 0.004:
        return None
    weights = patch * central / scores.max()
    centre_x, centre_y = float((weights * x).sum()), float((weights * y).sum())
    return Ellipse(
        x=centre_x,
        y=centre_y,
        half_width=2 * float((weights * (x - centre_x) ** 2).sum()) ** 0.5,
        half_height=2 * float((weights * (y - centre_y) ** 2).sum()) ** 0.5,
    )


def plain_background(lab: Array, places: Array, never: Array, share: float) -> Array:
    """What the border of the picture leads to in the colour that prevails there.

    The colour may change evenly across the picture, as that of a sky or of a lit wall does.

    Args:
        lab: (h, w, 3), 8-bit Lab.
        places: (h, w) in 0..1; the border counts where this is small.
        never: (h, w); what is no background, whatever its colour.
        share: of that border which must have the colour.

    Returns:
        (h, w); empty if no colour prevails.
    """
    colours = lab.astype(np.float32)
    border = _border(places.shape) & (places < 0.3)
    prevailing = _prevailing_colour(colours, border)
    if _close(colours, prevailing)[border].sum() < max(share * border.sum(), sum(places.shape) // 8):
        return np.zeros(places.shape, np.bool_)
    same = (_close(colours, prevailing) & ~never).astype(np.uint8)
    _, labels = load_opencv().connectedComponents(same, connectivity=4)
    connected = np.unique(labels[border])
    return np.isin(labels, connected[connected > 0])


def _prevailing_colour(colours: Array, border: Array) -> Array:
    """The most frequent colour of the border, continued linearly over the picture; (h, w, 3)."""
    y, x = np.broadcast_arrays(*_places(border.shape))
    terms = np.stack([np.ones_like(x), x, y], -1)
    samples, sample_terms = colours[border], terms[border]
    if not len(samples):
        return np.zeros_like(colours)
    candidates = samples[:: max(1, len(samples) // 64)]
    followers = max((_close(samples, candidate) for candidate in candidates), key=np.count_nonzero)
    plane: Array = np.zeros((3, 3), np.float32)
    for _ in range(_PLANE_ROUNDS):
        plane = np.linalg.lstsq(sample_terms[followers], samples[followers])[0]
        followers = _close(samples, sample_terms @ plane)
        if not followers.any():
            break
    return terms @ plane


def _person_outline(image: Array) -> tuple[Array, Array]:
    """How far inside the outline of head and body each place is, and what surely is.

    Returns:
        score, (h, w): 1 at the centre, 0 on the outline, negative outside; core, (h, w).
    """
    y, x = _places(image.shape[:2])
    height, width = image.shape[:2]
    face = find_face(image) or Ellipse(x=0.5, y=0.38, half_width=0.2, half_height=0.26 * width / height)
    across = np.abs(x - face.x) / max(face.half_width, 0.02)  # in half faces
    down = (y - face.y) / max(face.half_height, 0.02)
    head = 1 - np.hypot(across / 1.45, (down + 0.25) / 1.65)
    half_body = 1 + 1.6 * clip((down - 0.9) / 1.2, 0, 1) + 0.3 * clip(down - 2.1, 0, 3)
    body = np.where(down > 0.6, (half_body - across) / 1.5, -2)
    in_face = np.hypot(across / 0.65, (down + 0.1) / 0.95) < 1
    in_chest = (across < 0.45) & (down > 0.9) & (down < 5)
    return np.maximum(head, body).astype(np.float32), in_face | in_chest


def _object_outline(image: Array) -> tuple[Array, Array]:
    """As `_person_outline`, for a thing in the middle of the picture."""
    y, x = _places(image.shape[:2])
    distance = np.hypot(x - 0.5, y - 0.5)
    return (1 - distance / 0.45).astype(np.float32), distance < 0.06


def _apartness(lab: Array) -> Array:
    """Log odds that a place is not background, by its distance from the border in steps of colour; (h, w)."""
    distance = _distance_from_border(lab)
    height, width = distance.shape
    middle = distance[height // 3 : -(height // 3), width // 3 : -(width // 3)]
    return clip(2 * np.log((distance + 2) / (np.median(middle) / 2 + 2)), *_APARTNESS)


def _distance_from_border(lab: Array) -> Array:
    """The least sum of colour steps on any way from the border, along rows and columns; (h, w).

    Sweeps back and forth, each exact along its direction, come as near as is needed in a few rounds.
    """
    smooth: Array = load_opencv().GaussianBlur(lab.astype(np.float32), (0, 0), 1.5)
    distance: Array = np.where(_border(lab.shape[:2]), 0, 1e4).astype(np.float32)
    sums = [_summed_steps(smooth, axis) for axis in (0, 1)]
    for _ in range(_SWEEPS):
        for axis, steps in enumerate(sums):
            distance = np.minimum.accumulate(distance - steps, axis=axis) + steps
            backwards = np.flip(distance + steps, axis)
            distance = np.flip(np.minimum.accumulate(backwards, axis=axis), axis) - steps
    return distance


def _summed_steps(colours: Array, axis: int) -> Array:
    """The steps of colour from the first place along an axis to each, less what is mere grain; (h, w)."""
    steps = np.linalg.norm(np.diff(colours, axis=axis), axis=-1)
    steps = np.maximum(steps - _GRAIN, 0) + _DETOUR
    return np.cumsum(np.insert(steps, 0, 0, axis=axis), axis=axis)


def _with_colours(lab: Array, places: Array) -> Array:
    """Weigh the colours of probable subject and background against each other, given the places."""
    cv2 = load_opencv()
    prior = np.log(places / (1 - places))
    cells = (lab.astype(np.int32) * _BINS) // 256
    indices = (cells[..., 0] * _BINS + cells[..., 1]) * _BINS + cells[..., 2]
    probability = places
    for _ in range(_COLOUR_ROUNDS):
        subject = _histogram(indices, clip(probability - 0.6, 0, 1))
        background = _histogram(indices, clip(0.4 - probability, 0, 1))
        evidence = cv2.blur(np.log(subject[indices] / background[indices]).astype(np.float32), (5, 5))
        probability = _sigmoid(prior + clip(evidence, -_COLOUR_WEIGHT, _COLOUR_WEIGHT))
    return probability


def _histogram(indices: Array, weights: Array) -> Array:
    """Weighted frequencies of the colour cells, smoothed over neighbours, never 0; (cells,)."""
    counts: Array = np.bincount(indices.ravel(), weights.ravel(), _BINS**3)
    counts = np.reshape(counts, (_BINS, _BINS, _BINS))
    for axis in range(3):
        padded = np.pad(counts, [(1, 1) if other == axis else (0, 0) for other in range(3)])
        lower, middle, upper = (np.take(padded, range(start, start + _BINS), axis) for start in range(3))
        counts = 0.25 * lower + 0.5 * middle + 0.25 * upper
    return (counts / max(counts.sum(), 1e-6) + 1e-5).ravel().astype(np.float32)


def _skin(image: Array) -> Array:
    """(h, w) in {0, 1}; 1 where the chroma is that of skin."""
    cv2 = load_opencv()
    smooth = cv2.GaussianBlur(image, (0, 0), 2)
    luma, red, blue = np.moveaxis(cv2.cvtColor(smooth, cv2.COLOR_RGB2YCrCb).astype(np.int32), -1, 0)
    reddish = (red > 134) & (red < 176) & (red - blue > 8)
    return (reddish & (blue > 80) & (blue < 128) & (luma > 40)).astype(np.uint8)


def _close(colours: Array, colour: Array) -> Array:
    return np.linalg.norm(colours - colour, axis=-1) < _PLAIN_DISTANCE


def _border(shape: tuple[int, ...]) -> Array:
    inner: Array = np.zeros(shape, np.bool_)
    inner[1:-1, 1:-1] = True
    return ~inner


def _places(shape: tuple[int, ...]) -> tuple[Array, Array]:
    """Pixel centres as shares of height and width: y, (h, 1), and x, (1, w)."""
    height, width = shape
    y = ((np.arange(height, dtype=np.float32) + 0.5) / height)[:, None]
    x = ((np.arange(width, dtype=np.float32) + 0.5) / width)[None]
    return y, x


def _sigmoid(log_odds: Array) -> Array:
    return (1 / (1 + np.exp(-log_odds))).astype(np.float32)
