"""What a puppet does over the frames of a film."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..errors import MagrefError
from .identity import Identity, is_object
from .pose import STRIDES, WAVES, Pose

SOLO_MOTIONS = ("stands", "walks left", "walks right", "jumps", "spins", "waves", "bounces", "grows")
"""Motions of one puppet."""

PAIR_MOTIONS = ("meets", "passes in front")
"""Motions of two puppets: both walk towards each other, or one walks past the other, which stands."""

MOTIONS: tuple[str, ...] = SOLO_MOTIONS + PAIR_MOTIONS
"""Every motion; `Actor.motion` is one of them."""

WALKS = ("walks left", "walks right", *PAIR_MOTIONS)
"""The motions that change the place."""

_FRAMES_PER_PASS = 16
"""Steps, hops and waves repeat at a fixed pace, counted in this many frames."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Actor:
    """A puppet in a scene, and where it goes.

    Horizontal places are those of its middle in frame widths, heights are in frame heights; `height` is that
    of the puppet's body and `ground` is where its feet are, from the top.
    """

    identity: Identity
    motion: str
    start: float
    end: float
    """Differs from `start` only in `WALKS`."""
    ground: float
    height: float
    facing: int
    """1 looks to the right, -1 to the left."""

    @property
    def direction(self) -> str:
        """Where it goes: "left", "right" or "none"."""
        if self.start == self.end:
            return "none"
        return "right" if self.end > self.start else "left"


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """One frame of a track."""

    x: float
    """Middle, in frame widths."""
    y: float
    """Feet, in frame heights from the top."""
    scale: float
    """Factor on the actor's height."""
    angle: float
    """Turn about the middle in degrees, clockwise."""
    squash: float
    """Factor on the height, its inverse on the width; the feet stay."""
    facing: int
    pose: Pose


def track(actor: Actor, num_frames: int) -> tuple[Step, ...]:
    """The steps of an actor, one per frame.

    A walk has a constant speed and covers its distance in all frames, whatever their number. Hops, steps and
    waves keep their pace, so that a longer film shows more of them.
    """
    return tuple(_step(actor, index, num_frames) for index in range(num_frames))


def check_motion(motion: str) -> None:
    """Refuse a word that is no motion.

    Raises:
        MagrefError: the message lists the motions.
    """
    if motion not in MOTIONS:
        raise MagrefError(f"there is no motion '{motion}': choose one of {', '.join(MOTIONS)}")


def _step(actor: Actor, index: int, num_frames: int) -> Step:
    part = index / max(1, num_frames - 1)
    passes = index / _FRAMES_PER_PASS
    lift, scale, angle, squash, pose = 0.0, 1.0, 0.0, 1.0, Pose()
    if actor.motion in WALKS:
        lift, angle, pose = _walk(index, as_object=is_object(actor.identity.category))
    elif actor.motion == "jumps":
        lift, squash = _jump(passes)
    elif actor.motion == "bounces":
        lift, squash = _bounce(passes)
    elif actor.motion == "spins":
        angle = 360.0 * passes
    elif actor.motion == "waves":
        pose = Pose(wave=WAVES[(index // 2) % 2])
        angle = 14.0 * math.sin(2 * math.pi * 2 * passes) if is_object(actor.identity.category) else 0.0
    elif actor.motion == "grows":
        scale = 0.5 + 0.5 * part
    return Step(
        x=actor.start + (actor.end - actor.start) * part,
        y=actor.ground - lift * actor.height,
        scale=scale,
        angle=angle,
        squash=squash,
        facing=actor.facing,
        pose=pose,
    )


def _walk(index: int, *, as_object: bool) -> tuple[float, float, Pose]:
    quarter = STRIDES[(index // 2) % 4]
    if as_object:
        return 0.05 * abs(math.sin(math.pi * index / 4)), 4.0 * quarter, Pose(stride=quarter)
    return 0.02 * abs(quarter), 0.0, Pose(stride=quarter)


def _jump(passes: float) -> tuple[float, float]:
    """One high arc: crouch, fly, land."""
    phase = passes % 1.0
    if phase < 0.2:
        return 0.0, 1 - 0.16 * math.sin(math.pi * phase / 0.2)
    if phase < 0.85:
        flight = (phase - 0.2) / 0.65
        return 0.3 * 4 * flight * (1 - flight), 1 + 0.08 * abs(1 - 2 * flight)
    return 0.0, 1 - 0.12 * math.sin(math.pi * (phase - 0.85) / 0.15)


def _bounce(passes: float) -> tuple[float, float]:
    """Three low hops, squashed on the ground and stretched above it."""
    hop = abs(math.sin(math.pi * 3 * passes))
    return 0.13 * hop, 0.84 + 0.24 * hop
