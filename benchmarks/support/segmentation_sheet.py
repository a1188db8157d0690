"""The contact sheet of the cut-outs: picture, what was found and the truth, worst first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

Bytes = npt.NDArray[np.uint8]

SIDE, COLUMNS, GAP, LINE = 150, 4, 8, 20
"""Pixels of a picture's square, cases in a row, pixels between them, and of a line of text."""
_PAPER, _INK, _GREY = (250, 249, 246), (30, 30, 36), 96


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Case:
    """One cut-out."""

    image: Bytes
    """(H, W, 3) in 0..255."""
    found: npt.NDArray[np.bool_]
    """(H, W)."""
    truth: npt.NDArray[np.bool_] | None
    """(H, W); None where nobody knows it."""
    title: str


def draw_sheet(cases: Sequence[Case], file: Path) -> None:
    """Save all cases as one PNG: the picture, the cut-out on grey, and the outline of the truth in red."""
    width, height = 2 * SIDE + 2 * GAP, SIDE + LINE + GAP
    rows = -(-len(cases) // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * width + GAP, rows * height + GAP), _PAPER)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(14)
    for index, case in enumerate(cases):
        left, top = GAP + index % COLUMNS * width, GAP + index // COLUMNS * height
        for place, picture in enumerate((case.image, _cut(case))):
            shown = Image.fromarray(picture)
            shown.thumbnail((SIDE, SIDE))
            sheet.paste(shown, (left + place * (SIDE + GAP // 2), top))
        pen.text((left, top + SIDE + 1), case.title, _INK, font)
    file.parent.mkdir(parents=True, exist_ok=True)
    sheet.quantize(128).save(file, optimize=True)


def _cut(case: Case) -> Bytes:
    picture = np.where(case.found[..., None], case.image, np.uint8(_GREY)).astype(np.uint8)
    if case.truth is None:
        return picture
    outlines, _ = cv2.findContours(case.truth.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return np.asarray(cv2.drawContours(picture.copy(), outlines, -1, (230, 30, 30), 2), np.uint8)
