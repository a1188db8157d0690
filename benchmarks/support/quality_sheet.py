"""The contact sheet: references, and frames of what was made of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from scripts.training.scoring import spread_frames

Bytes = npt.NDArray[np.uint8]

ROW_WIDTH = 1100
GAP, EDGE, LINE = 10, 24, 30
"""Pixels between pictures, around the sheet, and of a line of text."""
_PAPER, _INK, _QUIET, _FRAME = (250, 249, 246), (30, 30, 36), (120, 118, 112), (205, 203, 196)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Row:
    """One scene."""

    canvas: Bytes
    """(H, W, 3) in 0..255."""
    frames: Bytes
    """(F - 1, H, W, 3) in 0..255: the generated ones, without the canvas."""
    prompt: str


def draw_sheet(rows: Sequence[Row], title: str, file: Path) -> None:
    """Save a picture with a row per scene, all of one size.

    Args:
        rows: one at least.
        title: of the sheet.
        file: PNG.
    """
    num_frames, height, width = rows[0].frames.shape[:3]
    times = spread_frames(num_frames + 1)
    shown_width = (ROW_WIDTH - GAP * len(times)) // (len(times) + 1)
    shown_height = round(shown_width * height / width)
    step = shown_height + LINE + 2 * GAP
    sheet = Image.new("RGB", (ROW_WIDTH + 2 * EDGE, 2 * EDGE + 2 * LINE + step * len(rows)), _PAPER)
    pen = ImageDraw.Draw(sheet)
    pen.text((EDGE, EDGE - 4), title, _INK, ImageFont.load_default(22))
    small = ImageFont.load_default(16)
    for column, words in enumerate(("references", *(f"frame {time}" for time in times))):
        pen.text((EDGE + column * (shown_width + GAP), EDGE + LINE), words, _QUIET, small)
    for index, row in enumerate(rows):
        top = EDGE + 2 * LINE + index * step
        for column, picture in enumerate([row.canvas, *(row.frames[time - 1] for time in times)]):
            left = EDGE + column * (shown_width + GAP)
            enlarged = Image.fromarray(picture).resize((shown_width, shown_height), Image.Resampling.BICUBIC)
            sheet.paste(enlarged, (left, top))
        pen.rectangle((EDGE, top, EDGE + shown_width - 1, top + shown_height - 1), outline=_FRAME)
        pen.text((EDGE, top + shown_height + 4), row.prompt, _INK, small)
    file.parent.mkdir(parents=True, exist_ok=True)
    # 32 levels of a colour look the same and halve the file; a palette would change what is compared.
    levels = np.asarray(sheet) // 8 * 8 + 4
    Image.fromarray(levels.astype(np.uint8)).save(file, optimize=True)
