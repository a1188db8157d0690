"""Pictures whose subject is known to the pixel: puppets before rough grounds, places and photographs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from magref_core.canvas.references import Kind
from magref_core.world.identity import CATEGORIES, KIND_OF, draw_identity
from magref_core.world.palette import PALETTE
from magref_core.world.places import draw_place
from magref_core.world.portraits import portrait, view_of_place

Bytes = npt.NDArray[np.uint8]
Booleans = npt.NDArray[np.bool_]

FIRST_SEED = 4_000_000
"""Of the drawings; training and the shipped drawings use others."""

SIDES = (320, 448)
"""Pixels between which height and width are drawn."""

_HEIGHTS = (0.5, 0.9)
"""Of the subject, as a share of the picture."""

_CUT_SHARE = 0.2
"""Of the pictures, those in which the lower edge cuts the subject, as it does in a portrait."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Sample:
    """A picture and the truth about it."""

    image: Bytes
    """(H, W, 3) in 0..255."""
    subject: Booleans
    """(H, W); where the subject covers at least half of a pixel."""
    kind: Kind
    """As a user would name it; an animal is an object."""
    group: str
    """person, animal or object."""
    ground: str
    """rough, place or photograph."""
    seed: int


def draw_samples(
    count: int, photographs: Sequence[Bytes], *, first_seed: int = FIRST_SEED
) -> Iterator[Sample]:
    """Draw pictures, half of them over photographs; the first ones are the same whatever the count.

    Args:
        count: of pictures.
        photographs: (h, w, 3) in 0..255; taken in turn.
        first_seed: that of the first picture; the others follow.
    """
    for number in range(count):
        yield _draw(number, photographs, first_seed + number)


def _draw(number: int, photographs: Sequence[Bytes], seed: int) -> Sample:
    rng = np.random.default_rng(seed)
    category = CATEGORIES[number % len(CATEGORIES)]
    height, width = (int(side) for side in rng.integers(*SIDES, 2))
    turn = number // len(CATEGORIES)
    ground = ("photograph", "rough", "photograph", "place")[(turn + number) % 4]
    if ground == "photograph":
        image = crop(photographs[(turn + number) // 2 % len(photographs)], rng, height, width)
    elif ground == "rough":
        image = rough_ground(rng, height, width)
    else:
        image = view_of_place(draw_place(rng), rng, height, width)
    group = KIND_OF[category]
    image, subject = _put_on(image, category, rng)
    kind: Kind = "person" if group == "person" else "object"
    return Sample(image=image, subject=subject, kind=kind, group=group, ground=ground, seed=seed)


def _put_on(ground: Bytes, category: str, rng: np.random.Generator) -> tuple[Bytes, Booleans]:
    """Place a puppet near the middle: the picture and where the puppet is."""
    height, width = ground.shape[:2]
    wanted = float(rng.uniform(*_HEIGHTS)) * height
    sprite = portrait(draw_identity(category, rng), rng, size=round(wanted * 1.2))
    scale = min(wanted / sprite.shape[0], 0.9 * width / sprite.shape[1])
    size = max(1, round(sprite.shape[1] * scale)), max(1, round(sprite.shape[0] * scale))
    alpha = sprite[..., 3:].astype(np.float32) / 255
    layers = np.concatenate([sprite[..., :3] * alpha, alpha], 2)
    layers = np.asarray(cv2.resize(layers, size, interpolation=cv2.INTER_AREA))
    left = round((width - size[0]) * float(rng.uniform(0.25, 0.75)))
    top = round((height - size[1]) * float(rng.uniform(0.25, 0.75)))
    if rng.random() < _CUT_SHARE:
        top = height - round(size[1] * float(rng.uniform(0.6, 0.9)))
    layers = layers[: height - top]
    rows, columns = slice(top, top + len(layers)), slice(left, left + size[0])
    image = ground.astype(np.float32)
    image[rows, columns] = image[rows, columns] * (1 - layers[..., 3:]) + layers[..., :3]
    subject = np.zeros((height, width), np.bool_)
    subject[rows, columns] = layers[..., 3] >= 0.5
    return np.clip(np.rint(image), 0, 255).astype(np.uint8), subject


def crop(photograph: Bytes, rng: np.random.Generator, height: int, width: int) -> Bytes:
    """A part of a photograph, perhaps mirrored, in the size that is wanted."""
    room = min(photograph.shape[0] / height, photograph.shape[1] / width) * float(rng.uniform(0.6, 1.0))
    rows, columns = int(height * room), int(width * room)
    top = int(rng.integers(photograph.shape[0] - rows + 1))
    left = int(rng.integers(photograph.shape[1] - columns + 1))
    part = photograph[top : top + rows, left : left + columns]
    part = part[:, ::-1] if rng.random() < 0.5 else part
    return np.asarray(cv2.resize(part, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)


def rough_ground(rng: np.random.Generator, height: int, width: int) -> Bytes:
    """Clouds, cloth, boards or stones in two colours, with grain and a slope of light."""
    first, second = (np.array(PALETTE[str(name)], np.float32) for name in rng.permutation(list(PALETTE))[:2])
    painters: tuple[Callable[..., npt.NDArray[np.float32]], ...] = (_clouds, _cloth, _boards, _stones)
    share = painters[int(rng.integers(len(painters)))](rng, height, width)[..., None]
    strength = float(rng.uniform(0.25, 0.6))
    image = first + (second - first) * share * strength
    image = image + rng.normal(0, float(rng.uniform(2, 9)), image.shape)
    slope = np.linspace(-1, 1, width)[None, :, None] * float(rng.uniform(-25, 25))
    return np.clip(np.rint(image + slope), 0, 255).astype(np.uint8)


def _clouds(rng: np.random.Generator, height: int, width: int) -> npt.NDArray[np.float32]:
    """Smooth noise of three sizes, (height, width) in 0..1."""
    total = np.zeros((height, width), np.float32)
    for sigma in (4, 12, 36):
        noise = np.asarray(
            cv2.GaussianBlur(rng.normal(0, 1, (height, width)).astype(np.float32), (0, 0), sigma)
        )
        total += noise / noise.std()
    return np.asarray(np.clip(0.5 + total / 6, 0, 1), np.float32)


def _cloth(rng: np.random.Generator, height: int, width: int) -> npt.NDArray[np.float32]:
    """A weave of two waves."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    across, along = float(rng.uniform(4, 24)), float(rng.uniform(4, 24))
    return np.asarray(0.5 + 0.25 * np.sin(x * 6.28 / across) + 0.25 * np.sin(y * 6.28 / along), np.float32)


def _boards(rng: np.random.Generator, height: int, width: int) -> npt.NDArray[np.float32]:
    """Upright boards of different brightness with a long grain."""
    board = int(rng.integers(30, 90))
    tones = rng.uniform(0.1, 0.9, width // board + 1).astype(np.float32)
    grain = rng.normal(0, 1, (height, width)).astype(np.float32)
    grain = np.asarray(cv2.GaussianBlur(grain, (0, 0), sigmaX=1, sigmaY=25))
    values = tones[np.arange(width) // board][None] + 0.1 * grain / grain.std()
    return np.asarray(np.clip(values, 0, 1), np.float32)


def _stones(rng: np.random.Generator, height: int, width: int) -> npt.NDArray[np.float32]:
    """The cells around scattered points, each of its own brightness."""
    points = rng.uniform(0, 1, (int(rng.integers(40, 160)), 2)) * (height, width)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    distances = np.stack([np.hypot(y - row, x - column) for row, column in points])
    tones = rng.uniform(0, 1, len(points)).astype(np.float32)
    return np.asarray(tones[distances.argmin(0)], np.float32)
