"""What tells a segmenter which thing in the picture is meant: points and a box."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Protocol

from ..canvas.references import Reference
from ..errors import MagrefError

POINTS_EXAMPLE = "120,80; 200,260; !15,15"
MAX_POINTS = 64

_POINT = re.compile(r"(!?)\s*(\d+(?:\.\d+)?)\s*,\s*(\d+(?:\.\d+)?)")


@dataclass(frozen=True, kw_only=True, slots=True)
class Box:
    """A rectangle in pixels of the picture.

    Raises:
        MagrefError: a number is not finite, or width or height is not above 0.
    """

    x: float
    y: float
    width: float
    height: float

    def __post_init__(self) -> None:
        numbers = (self.x, self.y, self.width, self.height)
        if not all(math.isfinite(number) for number in numbers) or min(self.width, self.height) <= 0:
            raise MagrefError(
                f"the box is {self.width:g} x {self.height:g} at {self.x:g}, {self.y:g}, but it needs a "
                "width and a height above 0: draw it anew"
            )

    def within(self, width: int, height: int) -> Box | None:
        """The part that lies in a picture of this size; None if there is none."""
        left, top = max(0.0, self.x), max(0.0, self.y)
        right, bottom = min(float(width), self.x + self.width), min(float(height), self.y + self.height)
        if right - left < 1 or bottom - top < 1:
            return None
        return Box(x=left, y=top, width=right - left, height=bottom - top)


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """A place in pixels of the picture that lies on the subject, or beside it."""

    x: float
    y: float
    on_subject: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class Prompt:
    """Which thing is meant; neither points nor a box: whatever stands out."""

    points: tuple[Point, ...] = ()
    box: Box | None = None


class Prompter(Protocol):
    """Somebody who knows where the subject is."""

    def __call__(self, reference: Reference, /) -> Prompt:
        """Point at the subject of one reference."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class GivenPrompt:
    """Points and a box that the user gives, in pixels of the picture."""

    prompt: Prompt

    def __call__(self, reference: Reference, /) -> Prompt:
        """See `Prompter`.

        Raises:
            MagrefError: a point or the whole box lies outside the picture.
        """
        size = f"{reference.width} x {reference.height} pixels"
        for point in self.prompt.points:
            if point.x >= reference.width or point.y >= reference.height:
                raise MagrefError(
                    f"the point {point.x:g},{point.y:g} lies outside the picture of '{reference.name}', "
                    f"which is {size}: give x below {reference.width} and y below {reference.height}"
                )
        if self.prompt.box is None:
            return self.prompt
        box = self.prompt.box.within(reference.width, reference.height)
        if box is None:
            raise MagrefError(
                f"the box lies outside the picture of '{reference.name}', which is {size}: move it there"
            )
        return Prompt(points=self.prompt.points, box=box)


def read_points(text: str) -> tuple[Point, ...]:
    """Read points such as `POINTS_EXAMPLE`.

    Each is x,y in pixels, with semicolons between, and ! before one that lies beside the subject.

    Raises:
        MagrefError: the text is none of that, or has too many points, or none on the subject.
    """
    parts = [part.strip() for part in text.split(";") if part.strip()]
    points: list[Point] = []
    for part in parts:
        match = _POINT.fullmatch(part)
        if match is None:
            raise MagrefError(
                f"the point {part[:40]!r} cannot be read: write x,y in pixels of the picture, such as "
                f"{POINTS_EXAMPLE}"
            )
        points.append(Point(x=float(match[2]), y=float(match[3]), on_subject=not match[1]))
    if len(points) > MAX_POINTS:
        raise MagrefError(
            f"{len(points)} points are given, but at most {MAX_POINTS} are used: leave some out"
        )
    if points and not any(point.on_subject for point in points):
        raise MagrefError(
            f"all points lie beside the subject: give at least one without !, such as {POINTS_EXAMPLE}"
        )
    return tuple(points)
