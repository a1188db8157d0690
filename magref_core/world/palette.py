"""The colours of the drawn world: few, flat and far apart."""

from __future__ import annotations

Colour = tuple[int, int, int]
"""Red, green, blue in 0..255."""

PALETTE: dict[str, Colour] = {
    "red": (217, 45, 50),
    "orange": (246, 133, 31),
    "yellow": (252, 212, 50),
    "lime": (160, 211, 62),
    "green": (36, 137, 72),
    "teal": (22, 165, 160),
    "sky": (113, 196, 242),
    "blue": (41, 82, 204),
    "purple": (125, 62, 176),
    "magenta": (220, 58, 150),
    "pink": (252, 172, 194),
    "brown": (134, 82, 44),
    "cream": (252, 242, 216),
    "charcoal": (66, 68, 84),
}
"""What bodies, patterns, hats and accessories are painted with."""

SKINS: tuple[Colour, ...] = (
    (255, 226, 200),
    (247, 204, 166),
    (226, 172, 126),
    (190, 130, 86),
    (142, 90, 58),
    (98, 62, 44),
)
"""Skin of people, light to dark."""

INK: Colour = (40, 32, 48)
"""Outlines, pupils and mouths."""

WHITE: Colour = (255, 255, 255)


def distance(first: str, second: str) -> float:
    """How far apart two palette colours look, about 0..760 (a weighted RGB distance)."""
    (r1, g1, b1), (r2, g2, b2) = PALETTE[first], PALETTE[second]
    mean_red = (r1 + r2) / 2
    weights = (2 + mean_red / 256, 4.0, 2 + (255 - mean_red) / 256)
    squares = ((r1 - r2) ** 2, (g1 - g2) ** 2, (b1 - b2) ** 2)
    return sum(weight * square for weight, square in zip(weights, squares, strict=True)) ** 0.5
