"""What a film shows: who, where, doing what, under which camera and light."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from ..errors import MagrefError
from ..sizes import check_num_frames
from .brush import Bytes
from .identity import CATEGORIES, check_category, draw_identity
from .motions import MOTIONS, PAIR_MOTIONS, SOLO_MOTIONS, Actor, check_motion
from .places import PLACES, Place, check_place, draw_place, place_of_photo

CAMERAS = ("still", "pans left", "pans right", "zooms in", "zooms out")
LIGHTS = ("steady", "gets dark", "gets bright")
MIN_SIDE = 32
MAX_SUBJECTS = 3

_SLOTS: dict[int, tuple[float, ...]] = {1: (0.5,), 2: (0.27, 0.73), 3: (0.2, 0.5, 0.8)}
_HEIGHTS: dict[int, tuple[float, float]] = {1: (0.68, 0.76), 2: (0.57, 0.63), 3: (0.48, 0.52)}
_WIDTHS: dict[int, float] = {1: 1.0, 2: 1.25, 3: 1.45}
_WALKS: dict[int, float] = {1: 0.36, 2: 0.34, 3: 0.3}
_EDGES: dict[int, float] = {1: 0.2, 2: 0.12, 3: 0.08}
_JITTER = 0.02


@dataclass(frozen=True, kw_only=True, slots=True)
class Camera:
    """How the frame moves over the scene."""

    motion: str = "still"
    """One of `CAMERAS`."""
    amount: float = 0.0
    """Of a pan: frame widths in the whole film; of a zoom: the change of the factor."""

    def __post_init__(self) -> None:
        """Refuse an unknown motion with a `MagrefError`."""
        _check_word("camera motion", self.motion, CAMERAS)

    def view(self, part: float) -> tuple[float, float]:
        """Shift to the right in frame widths and zoom factor, `part` 0..1 through the film."""
        if self.motion == "pans left":
            return self.amount * (0.5 - part), 1.0
        if self.motion == "pans right":
            return self.amount * (part - 0.5), 1.0
        if self.motion == "zooms in":
            return 0.0, 1.0 + self.amount * part
        if self.motion == "zooms out":
            return 0.0, 1.0 + self.amount * (1 - part)
        return 0.0, 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Light:
    """A factor on all colours, changing evenly over the film."""

    motion: str = "steady"
    """One of `LIGHTS`."""
    start: float = 1.0
    end: float = 1.0

    def __post_init__(self) -> None:
        """Refuse an unknown motion with a `MagrefError`."""
        _check_word("light motion", self.motion, LIGHTS)

    def gain(self, part: float) -> float:
        """The factor `part` 0..1 through the film."""
        return self.start + (self.end - self.start) * part


@dataclass(frozen=True, kw_only=True, slots=True)
class Scene:
    """Everything that a film is drawn from; two equal scenes give equal films."""

    height: int
    width: int
    length: int
    """Frames."""
    place: Place
    actors: tuple[Actor, ...]
    """In the order in which a caption names them: by slot, from left to right; a walk crosses its slot."""
    order: tuple[int, ...]
    """Indices of `actors` from back to front."""
    camera: Camera = field(default_factory=Camera)
    light: Light = field(default_factory=Light)
    background_reference: bool = False
    """Whether the place is to be given as a reference too."""


def _check_word(what: str, word: str, words: tuple[str, ...]) -> None:
    if word not in words:
        raise MagrefError(f"there is no {what} '{word}': choose one of {', '.join(words)}")


def _default_subjects() -> Mapping[int, float]:
    return {1: 0.5, 2: 0.35, 3: 0.15}


@dataclass(frozen=True, kw_only=True, slots=True)
class SceneOptions:
    """What `draw_scene` draws from.

    Raises:
        MagrefError: an unknown category, motion or place, a size, length, weight or chance out of range.
        ShapeError: a length that is not 4 n + 1.
    """

    height: int = 96
    width: int = 160
    length: int = 17
    categories: tuple[str, ...] = CATEGORIES
    places: tuple[str, ...] = PLACES
    motions: tuple[str, ...] = MOTIONS
    subjects: Mapping[int, float] = field(default_factory=_default_subjects)
    """Weights of 1, 2 and 3 actors."""
    same_category: float = 0.15
    """Chance that two actors share a category."""
    camera: float = 0.15
    """Chance that the camera moves; then the light is steady."""
    light: float = 0.1
    """Chance that the light changes."""
    background_reference: float = 0.3
    """Chance that the place is a reference."""
    photos: tuple[Bytes, ...] = field(default=(), compare=False, repr=False)
    """Pictures (h, w, 3) in 0..255 that may stand for a place."""
    photo: float = 0.0
    """Chance of a photo; needs `photos`."""

    def __post_init__(self) -> None:
        """Check all values."""
        _check_options(self)


def _check_options(options: SceneOptions) -> None:
    if min(options.height, options.width) < MIN_SIDE:
        size = f"{options.width} x {options.height}"
        raise MagrefError(f"a film of {size} pixels is too small: both sides need at least {MIN_SIDE}")
    check_num_frames(options.length)
    for name in ("categories", "places", "motions"):
        if not getattr(options, name):
            raise MagrefError(f"the list of {name} is empty: give at least one")
    for category in options.categories:
        check_category(category)
    for place in options.places:
        check_place(place)
    for motion in options.motions:
        check_motion(motion)
    if all(motion in PAIR_MOTIONS for motion in options.motions):
        raise MagrefError(
            f"the motions need one that a single puppet can do: add one of {', '.join(SOLO_MOTIONS)}"
        )
    _check_subjects(options.subjects)
    for name in ("same_category", "camera", "light", "background_reference", "photo"):
        chance = float(getattr(options, name))
        if not 0.0 <= chance <= 1.0:
            raise MagrefError(f"the chance '{name}' is {chance:g}: give a number from 0 to 1")
    _check_photos(options)


def _check_photos(options: SceneOptions) -> None:
    if options.photo > 0 and not options.photos:
        raise MagrefError(
            f"the chance of a photo is {options.photo:g}, but there are none: give some or set it to 0"
        )
    for photo in options.photos:
        if (
            photo.dtype != np.uint8
            or photo.ndim != 3
            or photo.shape[2] != 3
            or min(photo.shape[:2]) < MIN_SIDE
        ):
            raise MagrefError(
                f"a photo has the shape {photo.shape} of {photo.dtype}: give (height, width, 3) of uint8, "
                f"both sides at least {MIN_SIDE}"
            )


def _check_subjects(subjects: Mapping[int, float]) -> None:
    counts = ", ".join(str(count) for count in range(1, MAX_SUBJECTS + 1))
    if not subjects:
        raise MagrefError(f"no number of subjects is given: give weights for some of {counts}")
    for count, weight in subjects.items():
        if count not in _SLOTS:
            raise MagrefError(f"a scene cannot have {count} subjects: choose from {counts}")
        if not (weight > 0 and math.isfinite(weight)):
            raise MagrefError(
                f"the weight of {count} subjects is {weight:g}: give a positive number, or leave it out"
            )


def draw_scene(rng: np.random.Generator, options: SceneOptions | None = None) -> Scene:
    """Draw a scene.

    Args:
        rng: the same state gives the same scene.
        options: what to draw from; all defaults if not given.

    Returns:
        the scene; `film`, `caption` and `portrait` make the pictures and the words of it.
    """
    options = SceneOptions() if options is None else options
    counts = sorted(options.subjects)
    weights = np.array([options.subjects[count] for count in counts], np.float64)
    count = counts[int(rng.choice(len(counts), p=weights / weights.sum()))]
    categories = _draw_categories(rng, options, count)
    motions = _draw_motions(rng, options, count)
    actors = _place_actors(rng, options, categories, motions)
    camera, light = _draw_camera_and_light(rng, options)
    if rng.random() < options.photo:
        place = place_of_photo(options.photos[int(rng.integers(len(options.photos)))], rng)
    else:
        place = draw_place(rng, options.places[int(rng.integers(len(options.places)))])
    return Scene(
        height=options.height,
        width=options.width,
        length=options.length,
        place=place,
        actors=actors,
        order=tuple(sorted(range(count), key=lambda index: actors[index].ground)),
        camera=camera,
        light=light,
        background_reference=bool(rng.random() < options.background_reference),
    )


def _draw_categories(rng: np.random.Generator, options: SceneOptions, count: int) -> list[str]:
    """All different where there are enough, but for a pair with the chance `same_category`."""
    words = options.categories
    chosen = [words[int(index)] for index in rng.permutation(len(words))[:count]]
    while len(chosen) < count:
        chosen.append(words[int(rng.integers(len(words)))])
    if count > 1 and rng.random() < options.same_category:
        first, second = (int(index) for index in rng.permutation(count)[:2])
        chosen[second] = chosen[first]
    return chosen


def _draw_motions(rng: np.random.Generator, options: SceneOptions, count: int) -> list[str]:
    solo = [motion for motion in options.motions if motion in SOLO_MOTIONS]
    pairs = [motion for motion in options.motions if motion in PAIR_MOTIONS]
    if count == 2 and pairs and rng.random() < len(pairs) / len(options.motions):
        pair = pairs[int(rng.integers(len(pairs)))]
        other = "meets" if pair == "meets" else "stands"
        return [pair, other] if rng.random() < 0.5 else [other, pair]
    return [solo[int(rng.integers(len(solo)))] for _ in range(count)]


def _place_actors(
    rng: np.random.Generator, options: SceneOptions, categories: list[str], motions: list[str]
) -> tuple[Actor, ...]:
    count = len(categories)
    low, high = _HEIGHTS[count]
    unit = min(1.0, options.width / options.height / _WIDTHS[count])
    depths = rng.permutation(count)
    actors: list[Actor] = []
    for index, (category, motion) in enumerate(zip(categories, motions, strict=True)):
        start, end = _path(motion, index, count)
        if motion == "stands" and "passes in front" in motions:
            start = end = 0.4 if index == 0 else 0.6
        jitter = float(rng.uniform(-_JITTER, _JITTER))
        front = 1.0 if motion == "passes in front" else float(depths[index]) / 2 * 0.8
        facing = _facing(rng, start, end, index, count)
        actors.append(
            Actor(
                identity=draw_identity(category, rng),
                motion=motion,
                start=start + jitter,
                end=end + jitter if end != start else start + jitter,
                ground=0.9 + 0.05 * front,
                height=unit * float(rng.uniform(low, high)),
                facing=facing,
            )
        )
    return tuple(actors)


def _facing(rng: np.random.Generator, start: float, end: float, index: int, count: int) -> int:
    if start != end:
        return 1 if end > start else -1
    if count > 1 and index in (0, count - 1):
        return 1 if index == 0 else -1
    return 1 if rng.random() < 0.5 else -1


def _path(motion: str, index: int, count: int) -> tuple[float, float]:
    """Where an actor of a slot begins and ends."""
    slot = _SLOTS[count][index]
    if motion == "meets":
        return (0.12, 0.37) if index == 0 else (0.88, 0.63)
    if motion == "passes in front":
        return (0.14, 0.86) if index == 0 else (0.86, 0.14)
    if motion not in ("walks left", "walks right"):
        return slot, slot
    reach = _EDGES[count] + _WALKS[count] / 2
    centre = min(max(slot, reach), 1 - reach)
    half = _WALKS[count] / 2 if motion == "walks right" else -_WALKS[count] / 2
    return centre - half, centre + half


def _draw_camera_and_light(rng: np.random.Generator, options: SceneOptions) -> tuple[Camera, Light]:
    if rng.random() < options.camera:
        motion = CAMERAS[1 + int(rng.integers(len(CAMERAS) - 1))]
        return Camera(motion=motion, amount=0.16 if motion.startswith("pans") else 0.2), Light()
    if rng.random() < options.light:
        motion = LIGHTS[1 + int(rng.integers(2))]
        dark, bright = 0.5, 1.0
        start, end = (bright, dark) if motion == "gets dark" else (dark, bright)
        return Camera(), Light(motion=motion, start=start, end=end)
    return Camera(), Light()
