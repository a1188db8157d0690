"""The report as one picture: of each subject its reference, its best and its worst frame, and its curve."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from .matching import Bytes
from .sightings import Subject
from .subject_report import SubjectLine, SubjectReport

CELL = 180
"""Side of a picture."""
CURVE = 300
"""Width of a curve."""
HEAD, GAP, CAPTION = 34, 10, 18
INK, PALE, PAPER = (32, 34, 40), (206, 210, 218), (255, 255, 255)
COLOURS = {
    "correct": (30, 132, 73),
    "swapped": (183, 91, 0),
    "merged": (125, 60, 152),
    "missing": (192, 57, 43),
}
_WIDTH = 3 * (CELL + GAP) + CURVE + 2 * GAP


def draw_sheet(report: SubjectReport, frames: Bytes, subjects: Sequence[Subject]) -> Bytes:
    """Draw the report.

    Args:
        report: of these frames.
        frames: (F, H, W, 3) in 0..255, the whole video.
        subjects: in the order of the report.

    Returns:
        (H, W, 3) in 0..255.
    """
    rows = [
        _row(line, report, frames, subject) for line, subject in zip(report.subjects, subjects, strict=True)
    ]
    parts = [_headline(report), *rows, _matrix(report)]
    sheet = Image.new("RGB", (_WIDTH, sum(part.height for part in parts)), PAPER)
    top = 0
    for part in parts:
        sheet.paste(part, (0, top))
        top += part.height
    return np.asarray(sheet)


def _headline(report: SubjectReport) -> Image.Image:
    wrong = sum(line.verdict != "correct" for line in report.subjects)
    text = f"{len(report.subjects) - wrong} of {len(report.subjects)} subjects correct"
    text += f"    score {report.score:.2f}"
    text += f"    by {report.method}, {len(report.frames)} of {report.length} frames"
    part = Image.new("RGB", (_WIDTH, HEAD), PAPER)
    ImageDraw.Draw(part).text((GAP, 9), text, INK, _font(15))
    return part


def _row(line: SubjectLine, report: SubjectReport, frames: Bytes, subject: Subject) -> Image.Image:
    part = Image.new("RGB", (_WIDTH, HEAD + CELL + CAPTION + GAP), PAPER)
    draw = ImageDraw.Draw(part)
    draw.line((0, 0, _WIDTH, 0), PALE)
    draw.rectangle((GAP, 9, GAP + 12, 21), COLOURS[line.verdict])
    title = f"{line.name}: {line.verdict}    likeness {line.likeness:.2f}    stability {line.stability:.2f}"
    if line.copy_paste is not None:
        title += f"    copy-paste {line.copy_paste:.2f}"
    draw.text((GAP + 20, 6), title, INK, _font(14))
    pictures = [("reference", _reference(subject))]
    for name, number in (("best", line.best_frame), ("worst", line.worst_frame)):
        box = line.boxes[report.frames.index(number)]
        pictures.append((f"{name}: frame {number}", _crop(frames[number], box)))
    for column, (caption, picture) in enumerate(pictures):
        left = GAP + column * (CELL + GAP)
        picture.thumbnail((CELL, CELL), Image.Resampling.LANCZOS)
        part.paste(picture, (left + (CELL - picture.width) // 2, HEAD + (CELL - picture.height) // 2))
        draw.text((left, HEAD + CELL + 1), caption, INK, _font(12))
    _curve(draw, line, report, (GAP + 3 * (CELL + GAP), HEAD))
    return part


def _reference(subject: Subject) -> Image.Image:
    """The first photo on white."""
    reference = subject.references[0]
    picture = Image.fromarray(reference.image.numpy())
    if reference.alpha is not None:
        paper = Image.new("RGB", picture.size, PAPER)
        paper.paste(picture, mask=Image.fromarray(reference.alpha.numpy()))
        picture = paper
    return _enlarged(picture)


def _crop(frame: Bytes, box: tuple[float, float, float, float]) -> Image.Image:
    """The place of a subject with a little around it; the whole frame where there is none."""
    height, width = frame.shape[:2]
    x, y, wide, tall = box
    if wide <= 0 or tall <= 0:
        return _enlarged(Image.fromarray(frame))
    margin = 0.1 * max(wide * width, tall * height)
    left, top = max(0, round(x * width - margin)), max(0, round(y * height - margin))
    right = min(width, round((x + wide) * width + margin))
    bottom = min(height, round((y + tall) * height + margin))
    return _enlarged(
        Image.fromarray(np.ascontiguousarray(frame[top : max(bottom, top + 1), left : max(right, left + 1)]))
    )


def _enlarged(picture: Image.Image) -> Image.Image:
    """At least as large as a cell along one side, so that small videos can be seen."""
    factor = CELL / max(picture.size)
    if factor <= 1:
        return picture.copy()
    size = (max(1, round(picture.width * factor)), max(1, round(picture.height * factor)))
    return picture.resize(size, Image.Resampling.BICUBIC)


def _curve(
    draw: ImageDraw.ImageDraw, line: SubjectLine, report: SubjectReport, corner: tuple[int, int]
) -> None:
    """Likeness over the frames, 0 at the bottom and 1 at the top."""
    left, top = corner
    draw.rectangle((left, top, left + CURVE, top + CELL), outline=PALE)
    for level in (0.25, 0.5, 0.75):
        draw.line((left, top + CELL * (1 - level), left + CURVE, top + CELL * (1 - level)), PALE)
    last = max(1, report.length - 1)
    points = [
        (left + CURVE * number / last, top + CELL * (1 - min(1.0, max(0.0, value))))
        for number, value in zip(report.frames, line.curve, strict=True)
    ]
    if len(points) > 1:
        draw.line(points, COLOURS[line.verdict], 2)
    for x, y in points:
        draw.ellipse((x - 3, y - 3, x + 3, y + 3), COLOURS[line.verdict])
    draw.text((left, top + CELL + 1), f"likeness, frames 0 to {report.length - 1}", INK, _font(12))


def _matrix(report: SubjectReport) -> Image.Image:
    """What is seen (columns) in the place of each subject (rows)."""
    count = len(report.subjects)
    part = Image.new("RGB", (_WIDTH, HEAD + 24 * (count + 1) + GAP), PAPER)
    draw = ImageDraw.Draw(part)
    draw.line((0, 0, _WIDTH, 0), PALE)
    draw.text((GAP, 8), "In the place of (rows) is seen (columns)", INK, _font(14))
    wide = min(120, (_WIDTH - 160 - 2 * GAP) // count)
    for index, line in enumerate(report.subjects):
        draw.text((160 + index * wide, HEAD), line.name[:14], INK, _font(12))
        draw.text((GAP, HEAD + 24 * (index + 1) + 4), line.name[:20], INK, _font(12))
        for column, value in enumerate(report.confusion[index]):
            shade = round(255 - 200 * min(1.0, max(0.0, value)))
            place = (160 + column * wide, HEAD + 24 * (index + 1))
            draw.rectangle((*place, place[0] + wide - 4, place[1] + 21), (shade, shade, 255))
            draw.text((place[0] + 6, place[1] + 4), f"{value:.2f}", INK if shade > 130 else PAPER, _font(12))
    return part


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
