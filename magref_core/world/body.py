"""What people and animals share: build, legs and arms."""

from __future__ import annotations

from .brush import Brush, ellipse, xy
from .identity import Identity
from .palette import Colour
from .pose import Pose

_BUILD = {"slim": 0.88, "medium": 1.0, "wide": 1.14}


def build_of(identity: Identity) -> float:
    """How wide the body is, 1 for medium."""
    return _BUILD[identity.build]


def draw_legs(
    brush: Brush, colour: Colour, shoe: Colour, pose: Pose, *, hip: float, apart: float, width: float = 0.06
) -> None:
    """Two legs from the hip to the ground, the feet moved by the stride."""
    for side in (-1, 1):
        forward = 0.075 * pose.stride * side
        lift = 0.025 if pose.stride * side < 0 else 0.0
        foot = 0.5 + side * apart + forward
        brush.stroke(xy((0.5 + side * apart, hip), (foot, 0.905 - lift)), colour, width)
        brush.fill(ellipse(foot + 0.018, 0.92 - lift, 0.058, 0.032), shoe)


def draw_arms(
    brush: Brush,
    sleeve: Colour,
    hand: Colour,
    pose: Pose,
    *,
    shoulder: tuple[float, float],
    reach: float = 0.17,
) -> None:
    """A resting arm on the left, a waving one on the right; `shoulder` is that on the right."""
    x, y = shoulder
    swing = 0.04 * pose.stride
    left = (1 - x - 0.11 + swing, y + reach)
    brush.stroke(xy((1 - x, y), left), sleeve, 0.05)
    brush.fill(ellipse(*left, 0.036), hand)
    right = (x + 0.11 - swing, y + reach)
    if pose.wave > 0:
        right = (x + 0.2, y + 0.03) if pose.wave < 0.75 else (x + 0.13, y - 0.17)
    brush.stroke(xy((x, y), right), sleeve, 0.05)
    brush.fill(ellipse(*right, 0.036), hand)
