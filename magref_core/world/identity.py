"""Who a puppet is: a category and a draw from many looks that the caption never tells."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ..errors import MagrefError
from .palette import PALETTE, SKINS, distance

KIND_OF: dict[str, str] = {
    "girl": "person",
    "boy": "person",
    "robot": "person",
    "witch": "person",
    "fox": "animal",
    "cat": "animal",
    "bear": "animal",
    "penguin": "animal",
    "ball": "object",
    "kite": "object",
    "teapot": "object",
    "car": "object",
}
"""The kind of every category: person, animal or object."""

CATEGORIES: tuple[str, ...] = tuple(KIND_OF)
"""The words a caption may use for a puppet."""

PATTERNS = ("plain", "stripes", "bars", "dots", "halves", "checks", "diagonal")
EYES = ("round", "dots", "sleepy", "iris")
MOUTHS = ("smile", "open", "round", "grin")
BUILDS = ("slim", "medium", "wide")

_HATS = ("none", "bow", "top hat", "beanie", "crown", "party", "flower")
HATS: dict[str, tuple[str, ...]] = {
    category: _HATS for category in CATEGORIES if category not in ("robot", "witch")
}
HATS["robot"] = ("ball", "square", "twin", "dish", "flag")
HATS["witch"] = ("band", "star", "moon", "buckle", "patch")

_BODY_ACCESSORIES = ("none", "glasses", "scarf", "bow tie", "star", "heart")
_OBJECT_ACCESSORIES = ("none", "glasses", "moustache", "bow tie", "cheeks", "patch")
HAIRS = ("short", "long", "curly")
_MIN_DISTANCE = 190.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Identity:
    """All that tells a puppet from another one of its category; hashable."""

    category: str
    colours: tuple[str, str, str, str]
    """Names of `PALETTE`: body, pattern, hat and accessory, details (hair, ears, wheels)."""
    pattern: str
    hat: str
    """Of `HATS`; the antenna of a robot, the ornament of a witch's hat."""
    eyes: str
    mouth: str
    accessory: str
    hair: str
    skin: int
    """Index into `SKINS`; 0 on all but people."""
    build: str


def is_object(category: str) -> bool:
    """Whether a category moves and sways where people and animals walk and wave."""
    return KIND_OF[category] == "object"


def accessories_of(category: str) -> tuple[str, ...]:
    """The accessories that a category can wear."""
    return _OBJECT_ACCESSORIES if is_object(category) else _BODY_ACCESSORIES


def skins_of(category: str) -> int:
    """How many skin tones a category has: 1 where none shows."""
    return len(SKINS) if category in ("girl", "boy", "witch") else 1


def hairs_of(category: str) -> tuple[str, ...]:
    """The hair styles of a category: one where there is no hair."""
    return HAIRS if category in ("girl", "boy", "witch") else HAIRS[:1]


def mouths_of(category: str) -> tuple[str, ...]:
    """The mouths of a category: one where the face has a muzzle or a beak, or looks out of a window."""
    return MOUTHS[:1] if KIND_OF[category] == "animal" or category == "car" else MOUTHS


@lru_cache(maxsize=1)
def colour_sets() -> tuple[tuple[str, str, str, str], ...]:
    """All sets of four different colours whose body stands apart from its pattern, hat and details."""
    return tuple(
        names
        for names in itertools.permutations(PALETTE, 4)
        if all(distance(names[0], other) >= _MIN_DISTANCE for other in names[1:])
    )


def count_identities(category: str) -> int:
    """How many identities a category has.

    Raises:
        MagrefError: the category is unknown.
    """
    check_category(category)
    looks = (HATS[category], accessories_of(category), hairs_of(category), mouths_of(category))
    count = len(colour_sets()) * skins_of(category)
    for options in (*looks, PATTERNS, EYES, BUILDS):
        count *= len(options)
    return count


def draw_identity(category: str, rng: np.random.Generator) -> Identity:
    """Draw one identity, all of them equally likely.

    Raises:
        MagrefError: the category is unknown.
    """
    check_category(category)

    def pick(options: tuple[str, ...]) -> str:
        return options[int(rng.integers(len(options)))]

    sets = colour_sets()
    return Identity(
        category=category,
        colours=sets[int(rng.integers(len(sets)))],
        pattern=pick(PATTERNS),
        hat=pick(HATS[category]),
        eyes=pick(EYES),
        mouth=pick(mouths_of(category)),
        accessory=pick(accessories_of(category)),
        hair=pick(hairs_of(category)),
        skin=int(rng.integers(skins_of(category))),
        build=pick(BUILDS),
    )


def check_category(category: str) -> None:
    """Refuse a word that is no category.

    Raises:
        MagrefError: the message lists the categories.
    """
    if category not in KIND_OF:
        raise MagrefError(f"there is no puppet '{category}': choose one of {', '.join(CATEGORIES)}")
