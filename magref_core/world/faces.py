"""Eyes, mouths, hats and accessories, placed where a puppet says."""

from __future__ import annotations

from .brush import Brush, arc, box, ellipse, heart, soft, star, xy
from .identity import Identity
from .palette import INK, PALETTE, WHITE, Colour

_LOOK = 0.16
_BLUSH: Colour = (250, 128, 128)


def colours_of(identity: Identity) -> tuple[Colour, Colour, Colour, Colour]:
    """Body, pattern, hat and accessory, details."""
    first, second, third, fourth = identity.colours
    return PALETTE[first], PALETTE[second], PALETTE[third], PALETTE[fourth]


def draw_face(
    brush: Brush, identity: Identity, *, x: float, y: float, size: float, blink: bool, mouth: bool = True
) -> None:
    """Eyes at (x, y), `size` apart, looking a little to the right; a mouth below."""
    for side in (-0.5, 0.5):
        _draw_eye(brush, identity, x + side * size + 0.1 * size, y, 0.33 * size, blink=blink)
    if mouth:
        _draw_mouth(brush, identity.mouth, x + 0.1 * size, y + 0.62 * size, 0.3 * size)
    if identity.accessory == "glasses":
        third = colours_of(identity)[2]
        for side in (-0.5, 0.5):
            ring = ellipse(x + side * size + 0.1 * size, y, 0.42 * size)
            brush.stroke(xy(*map(tuple, ring), tuple(ring[0])), third, 0.02, edge=False)
    if identity.accessory == "moustache":
        shape = soft(*((x + 0.1 * size + a * size, y + b * size) for a, b in _MOUSTACHE))
        brush.fill(shape, colours_of(identity)[2])
    if identity.accessory == "cheeks":
        for side in (-0.95, 1.15):
            brush.fill(ellipse(x + side * size, y + 0.5 * size, 0.22 * size, 0.16 * size), _BLUSH, edge=False)


_MOUSTACHE = (
    (0, 0.32),
    (0.35, 0.3),
    (0.75, 0.6),
    (0.3, 0.66),
    (0, 0.52),
    (-0.3, 0.66),
    (-0.75, 0.6),
    (-0.35, 0.3),
)


def _draw_eye(brush: Brush, identity: Identity, x: float, y: float, radius: float, *, blink: bool) -> None:
    if blink:
        brush.stroke(arc(x, y, radius, radius * 0.6, 20, 160, 7), INK, 0.018, edge=False)
        return
    tall = radius * 1.2
    look = x + _LOOK * radius
    if identity.eyes == "dots":
        brush.fill(ellipse(x, y, radius * 0.72, tall * 0.85), INK, edge=False)
        brush.fill(ellipse(x + 0.2 * radius, y - 0.4 * radius, radius * 0.26), WHITE, edge=False)
        return
    brush.fill(ellipse(x, y, radius, tall), WHITE)
    if identity.eyes == "iris":
        brush.fill(ellipse(look, y, radius * 0.72, tall * 0.76), colours_of(identity)[2], edge=False)
        brush.fill(ellipse(look, y, radius * 0.38, tall * 0.4), INK, edge=False)
    else:
        brush.fill(ellipse(look + 0.1 * radius, y + 0.1 * radius, radius * 0.58, tall * 0.6), INK, edge=False)
    brush.fill(ellipse(look + 0.2 * radius, y - 0.3 * radius, radius * 0.22), WHITE, edge=False)
    if identity.eyes == "sleepy":
        lid = arc(x, y, radius * 1.05, tall * 1.05, 180, 360, 10)
        brush.fill(lid, colours_of(identity)[3])


def _draw_mouth(brush: Brush, mouth: str, x: float, y: float, radius: float) -> None:
    if mouth == "smile":
        brush.stroke(arc(x, y - radius * 0.4, radius, radius * 0.7, 20, 160, 8), INK, 0.02, edge=False)
    elif mouth == "round":
        brush.fill(ellipse(x, y, radius * 0.45, radius * 0.55), (150, 40, 60))
    elif mouth == "open":
        brush.fill(arc(x, y - radius * 0.4, radius, radius * 1.1, 0, 180, 9), (170, 40, 60))
    else:
        brush.fill(arc(x, y - radius * 0.35, radius, radius * 0.85, 0, 180, 9), WHITE)


def draw_hat(brush: Brush, identity: Identity, *, x: float, y: float, width: float) -> None:
    """The hat of people, animals and objects on a head `width` wide whose top is at (x, y)."""
    third, fourth = colours_of(identity)[2:]
    half = width / 2
    hat = identity.hat
    if hat == "bow":
        draw_bow(brush, third, x + 0.45 * half, y + 0.01, 0.5 * half)
    elif hat == "top hat":
        brush.fill(box(x - 0.62 * half, y - 0.13, x + 0.62 * half, y + 0.02, 0.012), third)
        brush.fill(box(x - 0.62 * half, y - 0.035, x + 0.62 * half, y + 0.005, 0.004), fourth)
        brush.fill(box(x - 1.0 * half, y, x + 1.0 * half, y + 0.035, 0.015), third)
    elif hat == "beanie":
        brush.fill(ellipse(x, y - 0.1, 0.035), fourth)
        brush.fill(arc(x, y + 0.04, 0.92 * half, 0.125, 180, 360), third)
        brush.fill(box(x - 0.98 * half, y + 0.01, x + 0.98 * half, y + 0.055, 0.02), fourth)
    elif hat == "crown":
        tops = [
            (x + a * half, y - b)
            for a, b in ((-0.7, 0.1), (-0.35, 0.03), (0, 0.12), (0.35, 0.03), (0.7, 0.1))
        ]
        brush.fill(xy((x - 0.6 * half, y + 0.03), *tops, (x + 0.6 * half, y + 0.03)), third)
    elif hat == "party":
        cone = xy((x - 0.5 * half, y + 0.03), (x, y - 0.12), (x + 0.5 * half, y + 0.03))
        brush.fill(cone, third, pattern="stripes", second=fourth)
        brush.fill(ellipse(x, y - 0.115, 0.026), fourth)
    elif hat == "flower":
        centre = (x + 0.4 * half, y + 0.005)
        for a, b in ((0, -0.05), (0.048, -0.015), (0.03, 0.04), (-0.03, 0.04), (-0.048, -0.015)):
            brush.fill(ellipse(centre[0] + a, centre[1] + b, 0.036), third)
        brush.fill(ellipse(*centre, 0.03), fourth)


def draw_bow(brush: Brush, colour: Colour, x: float, y: float, size: float) -> None:
    """A bow, 2 `size` wide."""
    for side in (-1, 1):
        brush.fill(
            soft((x, y), (x + side * size, y - 0.7 * size), (x + side * size, y + 0.7 * size), rounds=1),
            colour,
        )
    brush.fill(ellipse(x, y, 0.28 * size), colour)


def draw_accessory(
    brush: Brush, identity: Identity, *, x: float, neck: float, chest: float, half: float
) -> None:
    """What is worn on the neck (`half` wide each way) or on the chest."""
    third = colours_of(identity)[2]
    if identity.accessory == "scarf":
        end = xy(
            (x + 0.2 * half, neck),
            (x + 0.75 * half, neck),
            (x + 0.8 * half, neck + 0.15),
            (x + 0.3 * half, neck + 0.15),
        )
        brush.fill(end, third)
        brush.fill(box(x - half, neck - 0.03, x + half, neck + 0.03, 0.028), third)
    elif identity.accessory == "bow tie":
        draw_bow(brush, third, x, neck + 0.03, 0.075)
    elif identity.accessory == "star":
        brush.fill(star(x, chest, 0.075), third)
    elif identity.accessory == "heart":
        brush.fill(heart(x, chest, 0.06), third)
    elif identity.accessory == "patch":
        brush.fill(box(x - 0.05, chest - 0.05, x + 0.05, chest + 0.05, 0.01), third)
