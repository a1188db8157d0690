"""Before and after: references, the plain model, and each control, on the same scenes and noise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from .who_run import key_of

Bytes = npt.NDArray[np.uint8]

FRAMES = (4, 12)
"""Of the generated ones, counted from 0."""
SCALE, GAP, EDGE, LINE, LABEL = 2, 8, 20, 22, 250
"""Enlargement, and pixels between pictures, around the sheet, of a line of text, and of the labels."""
_PAPER, _INK, _QUIET = (250, 249, 246), (30, 30, 36), (120, 118, 112)


def draw_sheet(
    pictures: Mapping[str, Bytes], scenes: Sequence[tuple[int, str]], labels: Sequence[str], file: Path
) -> None:
    """Save a picture with a column per scene and a row per control.

    Args:
        pictures: by `key_of`.
        scenes: index and prompt of each; one at least.
        labels: of the controls, from top to bottom.
        file: PNG.
    """
    height, width = pictures[key_of(scenes[0][0], "canvas")].shape[:2]
    height, width = SCALE * height, SCALE * width
    column = len(FRAMES) * (width + 2) + 2 * GAP
    row = height + GAP
    size = (2 * EDGE + LABEL + column * len(scenes), 2 * EDGE + 2 * LINE + row * (len(labels) + 1))
    sheet = Image.new("RGB", size, _PAPER)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(14)
    for number, (index, prompt) in enumerate(scenes):
        left = EDGE + LABEL + number * column
        for line, text in enumerate(_halves(prompt)):
            pen.text((left, EDGE + line * LINE - 6), text, _QUIET, font)
        for place, label in enumerate(("canvas", *labels)):
            top = EDGE + 2 * LINE + place * row
            if number == 0:
                text = "references" if place == 0 else label.replace(" + ", "\n+ ")
                pen.text((EDGE, top + height // 2 - 8), text, _INK, font)
            shown = pictures[key_of(index, label)]
            for step, picture in enumerate([shown] if place == 0 else [shown[frame] for frame in FRAMES]):
                enlarged = Image.fromarray(picture).resize((width, height), Image.Resampling.BICUBIC)
                sheet.paste(enlarged, (left + step * (width + 2), top))
    file.parent.mkdir(parents=True, exist_ok=True)
    levels = np.asarray(sheet) // 8 * 8 + 4  # looks the same, and halves the file
    Image.fromarray(levels.astype(np.uint8)).save(file, optimize=True)


def _halves(prompt: str) -> tuple[str, str]:
    first, joint, second = prompt.partition(" and ")
    return (first, f"and {second}") if joint else (prompt, "")
