"""Girl, boy, robot and witch."""

from __future__ import annotations

from .body import build_of, draw_arms, draw_legs
from .brush import Brush, arc, box, curve, ellipse, soft, star, turned, xy
from .faces import colours_of, draw_accessory, draw_bow, draw_face, draw_hat
from .identity import Identity
from .palette import SKINS, WHITE, Colour
from .pose import Pose


def _draw_fringe(brush: Brush, identity: Identity, x: float, y: float, radius: float) -> None:
    hair = colours_of(identity)[3]
    if identity.hair == "curly":
        for angle in (-0.95, -0.5, 0.0, 0.5, 0.95):
            brush.fill(ellipse(x + angle * radius, y - radius * (0.92 - 0.5 * angle**2), 0.3 * radius), hair)
    elif identity.hair == "long":
        cap = arc(x, y - 0.05 * radius, 1.04 * radius, 1.04 * radius, 185, 355)
        brush.fill(xy(*map(tuple, cap), (x + 0.1 * radius, y - 0.62 * radius)), hair)
    else:
        cap = arc(x, y - 0.1 * radius, 1.02 * radius, 0.98 * radius, 190, 350)
        zigzag = [
            (x + a * radius, y - b * radius)
            for a, b in ((0.5, 0.65), (0.25, 0.42), (-0.1, 0.68), (-0.5, 0.4))
        ]
        brush.fill(xy(*map(tuple, cap), *zigzag), hair)


def paint_girl(brush: Brush, identity: Identity, pose: Pose) -> None:
    """A dress and two pigtails."""
    first, second, third, hair = colours_of(identity)
    skin, wide = SKINS[identity.skin], build_of(identity)
    sway = 0.015 * pose.stride
    for side in (-1, 1):
        tail = ellipse(0.5 + side * 0.245 - sway, 0.42, 0.072, 0.115, -side * 22)
        brush.fill(tail, hair)
        brush.fill(ellipse(0.5 + side * 0.19, 0.325, 0.038), third)
    draw_legs(brush, skin, second, pose, hip=0.78, apart=0.07 * wide)
    draw_arms(brush, skin, skin, pose, shoulder=(0.5 + 0.09 * wide, 0.555))
    hem = 0.255 * wide
    dress = soft(
        (0.5 - 0.08 * wide, 0.47),
        (0.5 + 0.08 * wide, 0.47),
        (0.5 + 0.13 * wide, 0.6),
        (0.5 + hem + sway, 0.83),
        (0.5, 0.87),
        (0.5 - hem + sway, 0.83),
        (0.5 - 0.13 * wide, 0.6),
        rounds=1,
    )
    brush.fill(dress, first, pattern=identity.pattern, second=second)
    draw_accessory(brush, identity, x=0.5, neck=0.51, chest=0.66, half=0.1)
    brush.fill(ellipse(0.5, 0.33, 0.185, 0.17), skin)
    _draw_fringe(brush, identity, 0.5, 0.33, 0.182)
    draw_face(brush, identity, x=0.5, y=0.345, size=0.15, blink=pose.blink)
    draw_hat(brush, identity, x=0.5, y=0.165, width=0.3)


def paint_boy(brush: Brush, identity: Identity, pose: Pose) -> None:
    """A broad shirt, trousers and a short neck."""
    first, second, _, hair = colours_of(identity)
    skin, wide = SKINS[identity.skin], build_of(identity)
    draw_legs(brush, second, hair, pose, hip=0.76, apart=0.075 * wide, width=0.1)
    draw_arms(brush, first, skin, pose, shoulder=(0.5 + 0.15 * wide, 0.545))
    half = 0.18 * wide
    brush.fill(box(0.5 - half, 0.475, 0.5 + half, 0.8, 0.05), first, pattern=identity.pattern, second=second)
    draw_accessory(brush, identity, x=0.5, neck=0.52, chest=0.65, half=0.11)
    for side in (-1, 1):
        brush.fill(ellipse(0.5 + side * 0.185, 0.35, 0.035, 0.045), skin)
    brush.fill(box(0.5 - 0.18, 0.17, 0.5 + 0.18, 0.5, 0.14), skin)
    _draw_fringe(brush, identity, 0.5, 0.33, 0.182)
    draw_face(brush, identity, x=0.5, y=0.35, size=0.155, blink=pose.blink)
    draw_hat(brush, identity, x=0.5, y=0.165, width=0.3)


def _draw_antenna(brush: Brush, identity: Identity) -> None:
    _, second, third, _ = colours_of(identity)
    if identity.hat == "twin":
        for side in (-1, 1):
            brush.stroke(xy((0.5 + 0.06 * side, 0.19), (0.5 + 0.12 * side, 0.08)), second, 0.016)
            brush.fill(ellipse(0.5 + 0.12 * side, 0.075, 0.036), third)
        return
    brush.stroke(xy((0.5, 0.19), (0.5, 0.09)), second, 0.016)
    if identity.hat == "ball":
        brush.fill(ellipse(0.5, 0.085, 0.045), third)
    elif identity.hat == "square":
        brush.fill(box(0.455, 0.04, 0.545, 0.125, 0.01), third)
    elif identity.hat == "dish":
        brush.fill(turned(arc(0.5, 0.08, 0.1, 0.075, 0, 180), -25, (0.5, 0.08)), third)
    else:
        brush.fill(xy((0.5, 0.03), (0.64, 0.075), (0.5, 0.12)), third)


def paint_robot(brush: Brush, identity: Identity, pose: Pose) -> None:
    """Boxes, an antenna and claws."""
    first, second, third, fourth = colours_of(identity)
    wide = build_of(identity)
    _draw_antenna(brush, identity)
    for side in (-1, 1):
        forward, lift = 0.05 * pose.stride * side, (0.03 if pose.stride * side < 0 else 0.0)
        foot = 0.5 + side * 0.1 * wide + forward
        brush.stroke(xy((0.5 + side * 0.1 * wide, 0.77), (foot, 0.88 - lift)), second, 0.05)
        brush.fill(box(foot - 0.075, 0.875 - lift, foot + 0.085, 0.95 - lift, 0.015), fourth)
    draw_arms(brush, second, fourth, pose, shoulder=(0.5 + 0.2 * wide, 0.56))
    half = 0.205 * wide
    brush.fill(box(0.5 - half, 0.49, 0.5 + half, 0.81, 0.02), first, pattern=identity.pattern, second=second)
    for side in (-1, 1):
        brush.fill(box(0.5 + side * 0.225 - 0.03, 0.29, 0.5 + side * 0.225 + 0.03, 0.39, 0.012), third)
    brush.fill(box(0.27, 0.18, 0.73, 0.475, 0.03), first)
    brush.fill(box(0.315, 0.225, 0.685, 0.43, 0.03), WHITE)
    draw_face(brush, identity, x=0.49, y=0.3, size=0.165, blink=pose.blink)
    draw_accessory(brush, identity, x=0.5, neck=0.5, chest=0.65, half=0.15)


def _draw_broom(brush: Brush, fourth: Colour, hand: tuple[float, float]) -> None:
    x, y = hand
    brush.stroke(xy((x + 0.02, y - 0.22), (x - 0.03, 0.8)), (160, 108, 62), 0.024)
    brush.fill(xy((x - 0.055, 0.74), (x + 0.005, 0.745), (x + 0.03, 0.94), (x - 0.11, 0.93)), fourth)


def paint_witch(brush: Brush, identity: Identity, pose: Pose) -> None:
    """A cloak to the ground, a bent hat and a broom."""
    first, second, third, hair = colours_of(identity)
    skin, wide = SKINS[identity.skin], build_of(identity)
    step = 0.03 * pose.stride
    for side in (-1, 1):
        brush.fill(ellipse(0.52 + side * 0.09 + step * side * 1.5, 0.925, 0.06, 0.03), third)
    brush.fill(
        soft((0.5 - 0.2, 0.3), (0.5 + 0.2, 0.3), (0.5 + 0.24, 0.62), (0.5 - 0.24, 0.62), rounds=2), hair
    )
    hem = 0.27 * wide
    cloak = soft(
        (0.44, 0.48),
        (0.56, 0.48),
        (0.5 + 0.17 * wide, 0.62),
        (0.5 + hem + step, 0.91),
        (0.5 - hem + step, 0.91),
        (0.5 - 0.17 * wide, 0.62),
        rounds=1,
    )
    brush.fill(cloak, first, pattern=identity.pattern, second=second)
    _draw_broom(brush, second, (0.5 - 0.1 * wide - 0.15, 0.7))
    draw_arms(brush, first, skin, pose, shoulder=(0.5 + 0.11 * wide, 0.58), reach=0.13)
    draw_accessory(brush, identity, x=0.5, neck=0.53, chest=0.7, half=0.11)
    brush.fill(ellipse(0.5, 0.39, 0.155, 0.145), skin)
    draw_face(brush, identity, x=0.5, y=0.385, size=0.135, blink=pose.blink)
    hat = soft((0.34, 0.3), (0.42, 0.12), (0.36, 0.02), (0.53, 0.07), (0.66, 0.3), rounds=1)
    brush.fill(hat, first)
    band = curve((0.37, 0.255), (0.5, 0.285), (0.635, 0.255))
    brush.stroke(band, third, 0.035, edge=False)
    if identity.hat == "star":
        brush.fill(star(0.51, 0.19, 0.055), third)
    elif identity.hat == "moon":
        brush.fill(ellipse(0.5, 0.18, 0.045), third)
    elif identity.hat == "buckle":
        brush.fill(box(0.455, 0.235, 0.545, 0.305, 0.008), WHITE)
    elif identity.hat == "patch":
        draw_bow(brush, third, 0.5, 0.2, 0.07)
    brush.fill(ellipse(0.5, 0.305, 0.27, 0.04), first)
