"""What a user should know of a canvas before sampling: each finding with its weight and its remedy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from ..sizes import PATCH_STRIDE
from .compose import OPAQUE, Bytes
from .measures import VISIBLE, Measured, sharing_cells
from .naming import is_named
from .references import Reference

Severity = Literal["info", "warning", "error"]
"""info: worth knowing; warning: the video will probably suffer; error: a subject cannot be seen at all."""

MAX_ENLARGEMENT = 2.0
MIN_FACE_HEIGHT = 64
"""Canvas pixels from forehead to chin."""
MIN_TOKENS = 4
"""Along each side of the smallest square that a subject should fill."""
MAX_SEE_THROUGH = 0.5
"""Share of what can be seen of a picture that may be less than half opaque."""
MIN_FILLED = 0.5
"""Share of its picture that the rectangle around a subject should fill."""
MAX_CUT = 0.25
"""Share of its extent along a border of its picture that a subject may touch."""
MIN_BACKGROUND = 0.25
"""Share of the canvas that a background should cover, and in which it should be seen."""
MAX_COVERED = 0.25
MAX_DISTORTION = 1.1
"""One scale over the other."""
MAX_SUBJECTS = 3
"""References per video in the tests of the paper, a background included."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One thing that a user should know."""

    severity: Severity
    code: str
    """Stable name of the rule, such as "enlarged"."""
    reference: str | None
    """Name of the reference that it is about; None: the canvas as a whole."""
    text: str
    """What is."""
    remedy: str
    """What to do."""

    @property
    def sentence(self) -> str:
        """Text and remedy."""
        return f"{self.text}: {self.remedy}"


def find_all(
    measured: Sequence[Measured], *, height: int, width: int, prompt: str = ""
) -> tuple[Finding, ...]:
    """Every finding on a canvas.

    Args:
        measured: of all references.
        height: of the canvas, in pixels.
        width: of the canvas, in pixels.
        prompt: what the text encoder will be given; empty: not known, and names are not looked for.

    Returns:
        The gravest first, else reference by reference.
    """
    uncut = {one.reference.name for one in measured if one.reference.alpha is None}
    found: list[Finding] = []
    for one in measured:
        found += _on_size(one)
        found += _on_alpha(one)
        found += _on_place(one)
        if one.reference.kind == "background":
            found += _on_background(one, uncut, height=height, width=width)
    found += _on_shared_cells(measured)
    found += _on_count(measured)
    found += names_missing([one.reference for one in measured], prompt)
    grave: tuple[Severity, ...] = ("error", "warning", "info")
    return tuple(sorted(found, key=lambda finding: grave.index(finding.severity)))


def names_missing(references: Sequence[Reference], prompt: str) -> tuple[Finding, ...]:
    """A finding for each subject that a prompt does not name; see `is_named`.

    Args:
        references: several of one subject count once, as the first of them.
        prompt: empty: not known, so nothing is missing.
    """
    if not prompt.strip():
        return ()
    subjects: dict[str, Reference] = {}
    for reference in references:
        subjects.setdefault(reference.subject or reference.name, reference)
    return tuple(
        Finding(
            severity="warning",
            code="name_missing",
            reference=reference.name,
            text=f"the prompt does not name '{subject}'",
            remedy="say in the prompt what it does, or give it the name that the prompt uses",
        )
        for subject, reference in subjects.items()
        if not is_named(subject, prompt)
    )


def _on_size(one: Measured) -> Iterator[Finding]:
    reference, box, name = one.reference, one.placement.box, one.reference.name
    if one.scale > MAX_ENLARGEMENT:
        yield _warn(
            "enlarged",
            name,
            f"the picture of '{name}' is enlarged {one.scale:.1f} times, from {reference.width} x "
            f"{reference.height} to {box.width} x {box.height} pixels",
            "use a larger picture of it, or give it a smaller box",
        )
    if one.face_height is not None and one.face_height < MIN_FACE_HEIGHT:
        yield _warn(
            "small_face",
            name,
            f"the face of '{name}' is {one.face_height:.0f} pixels high on the canvas, but below "
            f"{MIN_FACE_HEIGHT} it is hardly recognised",
            "crop its picture closer to the face, or give it a larger box",
        )
    side = MIN_TOKENS * PATCH_STRIDE
    if 0 < one.pixels < side**2:
        yield _warn(
            "small_subject",
            name,
            f"'{name}' shows in only {one.pixels} pixels, but below {MIN_TOKENS} x {MIN_TOKENS} tokens "
            f"({side} x {side} pixels) hardly anything of it is kept",
            "crop its picture closer to the subject, or give it a larger box",
        )
    across, down = one.scales
    if max(across / down, down / across) > MAX_DISTORTION and abs(across * reference.height - box.height) > 1:
        yield _warn(
            "distorted",
            name,
            f"the picture of '{name}' is {reference.width} x {reference.height} pixels, but its box of "
            f"{box.width} x {box.height} has another shape",
            f"use {box.width} x {max(1, round(across * reference.height))} or "
            f"{max(1, round(down * reference.width))} x {box.height}",
        )


def _on_alpha(one: Measured) -> Iterator[Finding]:
    name = one.reference.name
    if one.reference.alpha is None or one.reference.kind == "background":
        return
    faint = 1 - _count(one.alpha >= OPAQUE) / max(1, _count(one.alpha >= VISIBLE))
    if faint > MAX_SEE_THROUGH:
        yield _warn(
            "transparent",
            name,
            f"{faint:.0%} of what is seen of '{name}' is less than half opaque, so the background shines "
            "through",
            "cut it out again, or use its picture without transparency",
        )
    rows, columns = _extent(one.alpha, axis=1), _extent(one.alpha, axis=0)
    filled = rows * columns / one.alpha.size
    if 0 < filled < MIN_FILLED:
        yield Finding(
            severity="info",
            code="margin",
            reference=name,
            text=f"'{name}' fills only {filled:.0%} of its picture, and the rest is transparent",
            remedy="crop the picture to the subject, so that it is shown larger",
        )
    if cut := list(_cut_sides(one, rows=rows, columns=columns)):
        yield _warn(
            "cut_at_border",
            name,
            f"'{name}' touches the {' and the '.join(cut)} border of its picture, so it seems to be cut off "
            "there",
            "use a picture that shows it whole; if this one does, nothing is to be done",
        )


def _cut_sides(one: Measured, *, rows: int, columns: int) -> Iterator[str]:
    """The borders of its picture that a subject of so many rows and columns touches over some length."""
    opaque = one.alpha >= OPAQUE
    if _count(opaque[:, 0]) > MAX_CUT * rows:
        yield "left"
    if _count(opaque[:, -1]) > MAX_CUT * rows:
        yield "right"
    if _count(opaque[0]) > MAX_CUT * columns:
        yield "upper"
    # A person may end at the lower border: portraits do.
    if one.reference.kind != "person" and _count(opaque[-1]) > MAX_CUT * columns:
        yield "lower"


def _extent(alpha: Bytes, *, axis: int) -> int:
    """Rows (axis 1) or columns (axis 0) from the first to the last that are opaque anywhere."""
    places = np.flatnonzero((alpha >= OPAQUE).any(axis=axis))
    return int(places[-1] - places[0]) + 1 if places.size else 0


def _count(flags: npt.NDArray[np.bool_]) -> int:
    return int(np.count_nonzero(flags))


def _on_place(one: Measured) -> Iterator[Finding]:
    name = one.reference.name
    if one.pixels == 0:
        yield Finding(
            severity="error",
            code="hidden",
            reference=name,
            text=f"nothing of '{name}' can be seen"
            + (f", since '{one.covered_by}' lies over it" if one.covered_by else " at half opacity or more"),
            remedy="move one of the two, or change their order"
            if one.covered_by
            else "cut it out again, or use its picture without transparency",
        )
    elif one.covered > MAX_COVERED and one.reference.kind != "background":
        yield _warn(
            "covered",
            name,
            f"'{one.covered_by}' and what else lies over '{name}' cover {one.covered:.0%} of it",
            "move one of them, or change their order",
        )


def _on_background(one: Measured, uncut: Set[str], *, height: int, width: int) -> Iterator[Finding]:
    """Cut-outs may cover a place as long as enough of it is seen; a whole picture only hides it."""
    name, over = one.reference.name, one.covered_by
    share = _count(one.alpha >= OPAQUE) / (height * width)
    is_hidden = one.covered > MAX_COVERED and over in uncut
    if share < MIN_BACKGROUND:
        yield _warn(
            "small_background",
            name,
            f"the background '{name}' covers only {share:.0%} of the canvas, so its detail is lost",
            "use fewer subjects or the order fitted, or give it a larger box",
        )
    elif one.pixels and (is_hidden or one.pixels < MIN_BACKGROUND * height * width):
        yield _warn(
            "covered_background",
            name,
            f"'{over}' and what else lies over '{name}' cover {one.covered:.0%} of it",
            f"cut '{over}' out, or use the order official"
            if over in uncut
            else "give what lies over it smaller boxes",
        )


def _on_shared_cells(measured: Sequence[Measured]) -> Iterator[Finding]:
    for one, other, count in sharing_cells(tuple(measured)):
        yield Finding(
            severity="info",
            code="shared_latent_cells",
            reference=one.reference.name,
            text=f"'{one.reference.name}' and '{other.reference.name}' share {count} latent "
            f"{'cell' if count == 1 else 'cells'} of 8 x 8 pixels, in which they may blend",
            remedy="nothing is to be done, for the model was trained so; the order fitted keeps them apart",
        )


def _on_count(measured: Sequence[Measured]) -> Iterator[Finding]:
    subjects = {one.subject for one in measured}
    if len(subjects) > MAX_SUBJECTS:
        yield Finding(
            severity="info",
            code="many_subjects",
            reference=None,
            text=f"there are {len(subjects)} subjects, but the paper tested at most {MAX_SUBJECTS}",
            remedy="expect that some are mixed up or left out, or use fewer",
        )


def _warn(code: str, reference: str, text: str, remedy: str) -> Finding:
    return Finding(severity="warning", code=code, reference=reference, text=text, remedy=remedy)
