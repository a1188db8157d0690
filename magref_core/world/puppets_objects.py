"""Ball, kite, teapot and car, each with a face."""

from __future__ import annotations

from .body import build_of
from .brush import Brush, arc, box, curve, ellipse, soft, xy
from .faces import colours_of, draw_bow, draw_face, draw_hat
from .identity import Identity
from .palette import INK, WHITE
from .pose import Pose


def _draw_badge(brush: Brush, identity: Identity, x: float, y: float) -> None:
    third = colours_of(identity)[2]
    if identity.accessory == "bow tie":
        draw_bow(brush, third, x, y, 0.085)
    elif identity.accessory == "patch":
        brush.fill(box(x - 0.055, y - 0.045, x + 0.055, y + 0.045, 0.01), third)


def paint_ball(brush: Brush, identity: Identity, pose: Pose) -> None:
    """A big circle with a band of the fourth colour along its edge."""
    first, second, _, fourth = colours_of(identity)
    radius = {"slim": 0.355, "medium": 0.375, "wide": 0.39}[identity.build]
    y = 0.945 - radius
    brush.fill(ellipse(0.5, y, radius), fourth)
    brush.fill(ellipse(0.5, y, radius * 0.86), first, pattern=identity.pattern, second=second, edge=False)
    draw_face(brush, identity, x=0.49, y=y - 0.04, size=0.22, blink=pose.blink)
    _draw_badge(brush, identity, 0.5, y + 0.22)
    draw_hat(brush, identity, x=0.5, y=y - radius + 0.01, width=0.32)


def paint_kite(brush: Brush, identity: Identity, pose: Pose) -> None:
    """A diamond with a tail of bows."""
    first, second, third, fourth = colours_of(identity)
    half = 0.36 * build_of(identity)
    swing = 0.05 * (pose.stride if pose.stride else (pose.wave - 0.5 if pose.wave else 0.0))
    tail = curve((0.5, 0.72), (0.44 - swing, 0.8), (0.58 + swing, 0.87), (0.48 - 2 * swing, 0.94))
    brush.stroke(tail, fourth, 0.022)
    draw_bow(brush, third, 0.48 - swing / 2, 0.8, 0.055)
    draw_bow(brush, third, 0.515, 0.885, 0.05)
    diamond = xy((0.5, 0.09), (0.5 + half, 0.4), (0.5, 0.77), (0.5 - half, 0.4))
    brush.fill(diamond, first, pattern=identity.pattern, second=second)
    brush.stroke(xy((0.5 - half, 0.4), (0.5 - half * 0.55, 0.4)), fourth, 0.02, edge=False)
    brush.stroke(xy((0.5 + half, 0.4), (0.5 + half * 0.55, 0.4)), fourth, 0.02, edge=False)
    for side in (-1, 1):
        brush.fill(ellipse(0.5 + side * half, 0.4, 0.035), fourth)
    draw_face(brush, identity, x=0.49, y=0.37, size=0.19, blink=pose.blink)
    _draw_badge(brush, identity, 0.5, 0.59)
    draw_hat(brush, identity, x=0.5, y=0.17, width=0.24)


def paint_teapot(brush: Brush, identity: Identity, pose: Pose) -> None:
    """A spout, a handle and a lid."""
    first, second, third, fourth = colours_of(identity)
    half = {"slim": 0.24, "medium": 0.262, "wide": 0.285}[identity.build]
    handle = curve(
        (0.5 - half * 0.8, 0.5),
        (0.52 - 1.1 * half - 0.14, 0.45),
        (0.52 - 1.1 * half - 0.12, 0.8),
        (0.5 - half * 0.8, 0.78),
    )
    brush.stroke(handle, fourth, 0.055)
    edge = 0.5 + half
    spout = soft(
        (edge - 0.08, 0.6),
        (edge + 0.05, 0.58),
        (edge + 0.06, 0.42),
        (edge + 0.16, 0.38),
        (edge + 0.14, 0.55),
        (edge, 0.82),
        (edge - 0.1, 0.8),
    )
    brush.fill(spout, fourth)
    brush.fill(box(0.5 - half * 0.6, 0.88, 0.5 + half * 0.6, 0.95, 0.02), fourth)
    brush.fill(ellipse(0.5, 0.655, half, 0.265), first, pattern=identity.pattern, second=second)
    lid = 0.62 * half
    if identity.hat == "none":
        brush.fill(ellipse(0.5, 0.29, 0.045), third)
    brush.fill(arc(0.5, 0.425, lid, 0.11, 180, 360), first)
    brush.fill(box(0.5 - lid - 0.02, 0.405, 0.5 + lid + 0.02, 0.45, 0.018), third)
    draw_face(brush, identity, x=0.49, y=0.6, size=0.2, blink=pose.blink)
    _draw_badge(brush, identity, 0.5, 0.82)
    draw_hat(brush, identity, x=0.5, y=0.32, width=0.25)


def paint_car(brush: Brush, identity: Identity, pose: Pose) -> None:
    """From the side: a cabin with eyes for a window, two wheels."""
    first, second, third, fourth = colours_of(identity)
    tall = {"slim": 0.0, "medium": 0.03, "wide": 0.06}[identity.build]
    roof = 0.32 - tall
    cabin = soft((0.16, 0.62), (0.24, roof), (0.62, roof), (0.78, 0.62), rounds=1)
    brush.fill(cabin, first)
    brush.fill(
        soft((0.245, 0.585), (0.295, roof + 0.05), (0.58, roof + 0.05), (0.69, 0.585), rounds=1), WHITE
    )
    body = soft((0.05, 0.56), (0.74, 0.56), (0.96, 0.62), (0.97, 0.86), (0.04, 0.86), rounds=2)
    brush.fill(body, first, pattern=identity.pattern, second=second)
    brush.fill(ellipse(0.925, 0.69, 0.035, 0.045), (255, 244, 170))
    brush.fill(box(0.03, 0.79, 0.11, 0.85, 0.02), fourth)
    brush.fill(box(0.89, 0.79, 0.97, 0.85, 0.02), fourth)
    for wheel in (0.26, 0.74):
        brush.fill(ellipse(wheel, 0.845, 0.105), INK)
        brush.fill(ellipse(wheel, 0.845, 0.06), fourth)
        hub = ellipse(wheel + 0.025 * pose.stride, 0.845 - 0.025 * (1 - abs(pose.stride)), 0.02)
        brush.fill(hub, INK, edge=False)
    draw_face(brush, identity, x=0.455, y=roof + 0.15, size=0.17, blink=pose.blink, mouth=False)
    brush.stroke(arc(0.8, 0.7, 0.06, 0.05, 20, 160, 7), INK, 0.02, edge=False)
    if identity.accessory in ("bow tie", "patch", "moustache"):
        _draw_badge(brush, identity, 0.48, 0.7)
    brush.stroke(xy((0.5, 0.62), (0.57, 0.62)), third, 0.025, edge=False)
    draw_hat(brush, identity, x=0.44, y=roof + 0.01, width=0.26)
