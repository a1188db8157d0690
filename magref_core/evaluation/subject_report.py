"""The report on who is in a video: verdicts, likeness over time, and what was mistaken for what."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, cast

import numpy as np

from .matching import Floats
from .sightings import Sightings
from .verdicts import Judgement, Verdict

VERSION = 1
PASTED = 0.92
"""Paste score from which on a subject counts as copied."""
UNSTEADY = 0.85
"""Stability below which the report says so."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SubjectLine:
    """What is told of one subject."""

    name: str
    verdict: Verdict
    likeness: float
    """Mean over the frames that were looked at; 1 is the same, 0 nothing alike."""
    curve: tuple[float, ...]
    """Likeness in each of these frames."""
    boxes: tuple[tuple[float, float, float, float], ...]
    """x, y, width and height in each of them, in shares of the frame."""
    best_frame: int
    worst_frame: int
    """Numbers of frames in the video."""
    stability: float
    """In [0, 1]: 1 where the likeness does not change from one frame that was looked at to the next."""
    copy_paste: float | None
    """In [0, 1]: 1 where a frame repeats the picture pixel by pixel; None: not measured."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SubjectReport:
    """All of it; `as_json` writes it."""

    method: str
    width: int
    height: int
    length: int
    """Of the video, in pixels and frames."""
    frames: tuple[int, ...]
    """Numbers of the frames that were looked at."""
    order: tuple[str, ...]
    """Names from left to right as they should stand; empty where that was not told."""
    subjects: tuple[SubjectLine, ...]
    confusion: tuple[tuple[float, ...], ...]
    """By place that belongs to a subject and by the subject that is seen there, in [0, 1]."""
    score: float
    """In [0, 1]: the mean likeness of the subjects, halved where the verdict is wrong; ranks takes."""
    findings: tuple[str, ...]
    """Sentences: what is, and what to do."""

    def as_json(self) -> str:
        """Numbers with four digits."""
        return json.dumps({"version": VERSION} | _rounded(asdict(self)), ensure_ascii=False)


def build_report(
    sightings: Sightings,
    judgement: Judgement,
    *,
    size: tuple[int, int, int],
    pasted: Floats | None = None,
    notes: Sequence[str] = (),
) -> SubjectReport:
    """Put together what was seen and how it was judged.

    Args:
        sightings: of a finder.
        judgement: of `verdicts.judge` on them.
        size: frames, height and width of the video.
        pasted: (F, N) of `pasting.paste_scores`.
        notes: sentences about the input, which come first.
    """
    scores = sightings.scores()
    lines: list[SubjectLine] = []
    for index, name in enumerate(sightings.names):
        curve = tuple(float(value) for value in scores[:, index])
        lines.append(
            SubjectLine(
                name=name,
                verdict=judgement.verdicts[index],
                likeness=float(np.mean(curve)),
                curve=curve,
                boxes=tuple(_box(box) for box in sightings.boxes[:, index]),
                best_frame=sightings.frames[int(np.argmax(curve))],
                worst_frame=sightings.frames[int(np.argmin(curve))],
                stability=stability(curve),
                copy_paste=None if pasted is None else float(pasted[:, index].max()),
            )
        )
    values = [
        min(1.0, max(0.0, line.likeness)) * (1.0 if line.verdict == "correct" else 0.5) for line in lines
    ]
    return SubjectReport(
        method=sightings.method,
        width=size[2],
        height=size[1],
        length=size[0],
        frames=sightings.frames,
        order=judgement.order,
        subjects=tuple(lines),
        confusion=tuple(tuple(float(each) for each in row) for row in judgement.confusion),
        score=float(np.mean(values)),
        findings=(*notes, *_findings(lines, judgement)),
    )


def stability(curve: Sequence[float]) -> float:
    """1 less the mean change between neighbours, as a share of the mean; never below 0.

    One frame alone is steady.
    """
    if len(curve) < 2:
        return 1.0
    changes = float(np.abs(np.diff(curve)).mean())
    return max(0.0, 1 - changes / max(1e-6, abs(float(np.mean(curve)))))


def _box(values: Floats) -> tuple[float, float, float, float]:
    x, y, width, height = (float(value) for value in values)
    return x, y, width, height


def _findings(lines: Sequence[SubjectLine], judgement: Judgement) -> list[str]:
    """One sentence for each thing that is not as it should be."""
    said: list[str] = []
    remedies = {
        "swapped": "stands in the place of another subject: say in the prompt who stands where, or try "
        "another seed",
        "merged": "is mixed with another subject: give each its own words in the prompt, or try another seed",
        "missing": "is not found: name it in the prompt, make its picture larger on the canvas, or try "
        "another seed",
    }
    for line in lines:
        if line.verdict != "correct":
            said.append(f"'{line.name}' {remedies[line.verdict]}")
        elif line.stability < UNSTEADY:
            said.append(
                f"the looks of '{line.name}' change from frame to frame: use more steps, or another seed"
            )
        if line.copy_paste is not None and line.copy_paste >= PASTED:
            said.append(
                f"the picture of '{line.name}' is repeated pixel by pixel: lower the reference scale, "
                "release the references earlier, or decorrelate them"
            )
    if not judgement.order and len(lines) > 1:
        said.append(
            "who should stand where is not told, so a swap cannot be seen: give the names from left to right"
        )
    return said


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 4)
    if isinstance(value, dict):
        pairs = cast("dict[str, Any]", value)
        return {key: _rounded(each) for key, each in pairs.items()}
    if isinstance(value, (list, tuple)):
        return [_rounded(each) for each in cast("Sequence[Any]", value)]
    return value
