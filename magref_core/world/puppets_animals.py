"""Fox, cat, bear and penguin, all on two feet."""

from __future__ import annotations

from .body import build_of, draw_arms, draw_legs
from .brush import Brush, Points, curve, ellipse, soft, turned, xy
from .faces import colours_of, draw_accessory, draw_face, draw_hat
from .identity import Identity
from .palette import INK, WHITE, Colour
from .pose import Pose


def _draw_body(brush: Brush, identity: Identity, pose: Pose, *, half: float, top: float) -> None:
    first, second, _, fourth = colours_of(identity)
    wide = build_of(identity)
    draw_legs(brush, first, fourth, pose, hip=0.8, apart=0.09 * wide, width=0.085)
    draw_arms(brush, first, fourth, pose, shoulder=(0.5 + (half - 0.03) * wide, top + 0.11), reach=0.15)
    body = ellipse(0.5, (top + 0.88) / 2, half * wide, (0.88 - top) / 2)
    brush.fill(body, first, pattern=identity.pattern, second=second)
    draw_accessory(brush, identity, x=0.5, neck=top + 0.05, chest=top + 0.2, half=0.13)


def _draw_ear(
    brush: Brush, outer: Colour, inner: Colour, tip: tuple[float, float], foot: float, side: int
) -> None:
    x, y = tip
    near, far = 0.5 + side * foot, 0.5 + side * (foot + 0.15)
    brush.fill(soft((near, 0.22), (x, y), (far, 0.31), rounds=1), outer)
    middle_x, middle_y = (near + far + x) / 3, (0.22 + 0.31 + y) / 3
    small = [
        (middle_x + 0.5 * (a - middle_x), middle_y + 0.5 * (b - middle_y))
        for a, b in ((near, 0.22), tip, (far, 0.31))
    ]
    brush.fill(xy(*small), inner, edge=False)


def paint_fox(brush: Brush, identity: Identity, pose: Pose) -> None:
    """Tall ears, a pointed face with white cheeks, a bushy tail."""
    first, _, _, fourth = colours_of(identity)
    sway = 0.03 * pose.stride
    tail = soft(
        (0.42, 0.86),
        (0.2, 0.88),
        (0.05, 0.68 + sway),
        (0.1, 0.44 + sway),
        (0.2, 0.56),
        (0.27, 0.7),
        (0.42, 0.74),
    )
    brush.fill(tail, first)
    brush.fill(soft((0.075, 0.62 + sway), (0.095, 0.44 + sway), (0.2, 0.57), (0.14, 0.6)), fourth)
    _draw_body(brush, identity, pose, half=0.17, top=0.47)
    for side in (-1, 1):
        _draw_ear(brush, first, fourth, (0.5 + side * 0.225, 0.05), 0.05, side)
    head = soft(
        (0.5, 0.17),
        (0.68, 0.21),
        (0.78, 0.42),
        (0.58, 0.5),
        (0.5, 0.56),
        (0.42, 0.5),
        (0.22, 0.42),
        (0.32, 0.21),
    )
    brush.fill(head, first)
    for side in (-1, 1):
        cheek = soft(
            (0.5, 0.4),
            (0.5 + side * 0.14, 0.385),
            (0.5 + side * 0.23, 0.415),
            (0.5 + side * 0.1, 0.485),
            (0.5, 0.515),
        )
        brush.fill(cheek, WHITE, edge=False)
    draw_face(brush, identity, x=0.485, y=0.335, size=0.16, blink=pose.blink, mouth=False)
    brush.fill(ellipse(0.5, 0.475, 0.036, 0.028), INK, edge=False)
    draw_hat(brush, identity, x=0.5, y=0.19, width=0.24)


def paint_cat(brush: Brush, identity: Identity, pose: Pose) -> None:
    """A round face with whiskers and a long thin tail."""
    first, _, _, fourth = colours_of(identity)
    sway = 0.03 * pose.stride
    tail = curve((0.42, 0.82), (0.2, 0.92), (0.08, 0.74), (0.2, 0.6 + sway), (0.1, 0.46 + sway))
    brush.stroke(tail, first, 0.055)
    brush.fill(ellipse(0.108, 0.475 + sway, 0.04), fourth)
    _draw_body(brush, identity, pose, half=0.16, top=0.47)
    for side in (-1, 1):
        _draw_ear(brush, first, fourth, (0.5 + side * 0.2, 0.1), 0.05, side)
    brush.fill(ellipse(0.5, 0.345, 0.215, 0.175), first)
    draw_face(brush, identity, x=0.485, y=0.325, size=0.175, blink=pose.blink, mouth=False)
    brush.fill(ellipse(0.5, 0.43, 0.085, 0.055), WHITE, edge=False)
    brush.fill(soft((0.47, 0.395), (0.53, 0.395), (0.5, 0.43), rounds=1), (240, 110, 130))
    brush.stroke(
        curve((0.45, 0.445), (0.475, 0.465), (0.5, 0.44), (0.525, 0.465), (0.55, 0.445)),
        INK,
        0.014,
        edge=False,
    )
    for side in (-1, 1):
        for rise in (-0.02, 0.025):
            brush.stroke(
                xy((0.5 + side * 0.12, 0.42 + rise / 2), (0.5 + side * 0.28, 0.41 + rise)),
                INK,
                0.01,
                edge=False,
            )
    draw_hat(brush, identity, x=0.5, y=0.185, width=0.24)


def paint_bear(brush: Brush, identity: Identity, pose: Pose) -> None:
    """Round ears, a muzzle and a big belly."""
    first, _, _, fourth = colours_of(identity)
    _draw_body(brush, identity, pose, half=0.225, top=0.44)
    for side in (-1, 1):
        brush.fill(ellipse(0.5 + side * 0.175, 0.19, 0.08), first)
        brush.fill(ellipse(0.5 + side * 0.175, 0.19, 0.042), fourth, edge=False)
    brush.fill(ellipse(0.5, 0.335, 0.215, 0.185), first)
    brush.fill(ellipse(0.5, 0.42, 0.1, 0.075), WHITE)
    brush.fill(ellipse(0.5, 0.385, 0.042, 0.03), INK, edge=False)
    brush.stroke(
        curve((0.45, 0.44), (0.475, 0.465), (0.5, 0.435), (0.525, 0.465), (0.55, 0.44)),
        INK,
        0.016,
        edge=False,
    )
    draw_face(brush, identity, x=0.485, y=0.29, size=0.165, blink=pose.blink, mouth=False)
    draw_hat(brush, identity, x=0.5, y=0.165, width=0.27)


def paint_penguin(brush: Brush, identity: Identity, pose: Pose) -> None:
    """One egg of a body, flippers, a beak and flat feet."""
    first, second, _, fourth = colours_of(identity)
    wide = build_of(identity)
    for side in (-1, 1):
        lift = 0.03 if pose.stride * side < 0 else 0.0
        foot = 0.5 + side * 0.11 * wide + 0.03 * pose.stride * side
        brush.fill(ellipse(foot + 0.015, 0.915 - lift, 0.1, 0.036), fourth)
    half = 0.24 * wide
    flap = {0.0: 25, 0.5: 70, 1.0: 125}[pose.wave]
    for side, turn in ((-1, 25), (1, flap)):
        angle = -side * turn
        flipper = ellipse(0, 0.115, 0.055, 0.135)
        brush.fill(_hang(flipper, angle, (0.5 + side * (half - 0.05), 0.47)), first)
    brush.fill(
        soft(
            (0.4, 0.14),
            (0.6, 0.14),
            (0.5 + half + 0.03, 0.55),
            (0.5 + half, 0.94),
            (0.5 - half, 0.94),
            (0.5 - half - 0.03, 0.55),
        ),
        first,
    )
    belly = ellipse(0.5, 0.68, half * 0.76, 0.215)
    brush.fill(
        belly, first if identity.pattern != "plain" else second, pattern=identity.pattern, second=second
    )
    brush.fill(ellipse(0.435, 0.335, 0.095, 0.11), WHITE, edge=False)
    brush.fill(ellipse(0.575, 0.335, 0.095, 0.11), WHITE, edge=False)
    draw_face(brush, identity, x=0.49, y=0.31, size=0.15, blink=pose.blink, mouth=False)
    brush.fill(soft((0.43, 0.39), (0.5, 0.365), (0.58, 0.39), (0.505, 0.465), rounds=1), fourth)
    draw_accessory(brush, identity, x=0.5, neck=0.495, chest=0.66, half=0.2 * wide)
    draw_hat(brush, identity, x=0.5, y=0.165, width=0.25)


def _hang(points: Points, degrees: float, joint: tuple[float, float]) -> Points:
    return turned(points, degrees, (0.0, 0.0)) + joint
