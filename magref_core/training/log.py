"""The log of a run: a CSV table, and its curves as a picture."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image, ImageDraw

from .files import TrainingError, save_text, write_whole

PLOT = (640, 200)
"""Width and height of one curve, in pixels."""
MARGIN = (70, 24)
"""Left and top of the plot, in pixels."""
INK, GRID, LINE = (60, 60, 60), (225, 225, 225), (31, 119, 180)


class Log:
    """Rows of numbers, one per report; the file is rewritten whole, so that it is never cut off.

    Args:
        file: `.csv`; rows of an earlier part of the run are kept.
        until: drop rows after this step, which is where a resumed run goes on.

    Raises:
        TrainingError: the file is there, but is no such table.
    """

    def __init__(self, file: Path, *, until: int | None = None) -> None:
        self.file = file
        self.rows: list[dict[str, float]] = []
        if file.is_file():
            self.rows = [row for row in _read(file) if until is None or row["step"] <= until]

    def add(self, row: Mapping[str, float]) -> None:
        """Append a row, which needs a `step`, and write the file."""
        self.rows.append(dict(row))
        names = list(dict.fromkeys(name for each in self.rows for name in each))
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: _number(value) for name, value in each.items()} for each in self.rows)
        save_text(self.file, text.getvalue())

    def draw(self, file: Path, names: Sequence[str]) -> None:
        """Draw curves over the steps, one below the other, as a PNG."""
        image = draw_curves([(name, self.curve(name)) for name in names])
        write_whole(file, lambda path: image.save(path, format="PNG"))

    def curve(self, name: str) -> list[tuple[float, float]]:
        """(step, value) of every row that has a finite value."""
        return [(row["step"], row[name]) for row in self.rows if math.isfinite(row.get(name, math.nan))]


def _read(file: Path) -> list[dict[str, float]]:
    try:
        text = file.read_text(encoding="utf-8")
        rows = [
            {name: float(value) for name, value in row.items() if value}
            for row in csv.DictReader(io.StringIO(text))
        ]
    except (OSError, ValueError, TypeError, csv.Error) as error:
        raise TrainingError(f"{file.name} is no table of numbers ({error}): move it away") from error
    if not all("step" in row for row in rows):
        raise TrainingError(f"{file.name} has a row without a step: move it away")
    return rows


def _number(value: float) -> str:
    """Six digits; whole numbers, such as steps, in full."""
    return str(int(value)) if float(value).is_integer() else f"{value:.6g}"


def draw_curves(curves: Sequence[tuple[str, Sequence[tuple[float, float]]]]) -> Image.Image:
    """Draw named curves of (x, y) points, one below the other, each on its own scale."""
    width, height = PLOT[0] + MARGIN[0] + 20, PLOT[1] + 2 * MARGIN[1]
    image = Image.new("RGB", (width, height * max(1, len(curves))), "white")
    draw = ImageDraw.Draw(image)
    for index, (name, points) in enumerate(curves):
        _draw_curve(draw, name, points, top=index * height + MARGIN[1])
    return image


def _draw_curve(
    draw: ImageDraw.ImageDraw, name: str, points: Sequence[tuple[float, float]], *, top: int
) -> None:
    left, (width, height) = MARGIN[0], PLOT
    draw.text((left, top - 16), name, fill=INK)
    if not points:
        return
    xs, ys = [x for x, _ in points], [y for _, y in points]
    low, high, last = min(ys), max(ys), max(xs) or 1.0
    span = high - low or 1.0
    for part in range(5):
        y = top + height - height * part / 4
        draw.line((left, y, left + width, y), fill=GRID)
        draw.text((4, y - 6), f"{low + span * part / 4:.4g}", fill=INK)
    draw.text((left + width - 40, top + height + 4), f"{last:g}", fill=INK)
    line = [(left + width * x / last, top + height - height * (y - low) / span) for x, y in points]
    if len(line) > 1:
        draw.line(line, fill=LINE, width=2)
