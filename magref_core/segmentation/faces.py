"""Faces found by insightface: prompts for a segmenter, and how much of a person around a face to keep."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch

from ..canvas.references import Reference
from ..errors import CheckpointError, MagrefError
from .arrays import BROKEN_PACKAGE, Array
from .cutout import CutOut, Segmenter
from .prompts import Box, Point, Prompt

FaceCrop = Literal["face", "head", "person", "whole"]
FACE_CROPS: tuple[FaceCrop, ...] = get_args(FaceCrop)

_MARGINS: dict[FaceCrop, tuple[float, float, float]] = {
    "face": (0.05, 0.1, 0.05),
    "head": (0.45, 0.7, 0.3),
    "person": (1.6, 0.8, 8.0),
}
"""What to keep beside, above and below a face, in widths and heights of it."""

_OLDEST = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Face:
    """One face in a picture, in its pixels."""

    box: Box
    landmarks: tuple[tuple[float, float], ...]
    """Eyes, nose and corners of the mouth, or nothing where the detector gives none."""
    score: float
    """Of the detector, in 0..1."""


FaceFinder = Callable[[Array], tuple[Face, ...]]
"""(H, W, 3) uint8, RGB -> the faces, the largest first."""


def load_insightface() -> Any:
    """The package `insightface`.

    Raises:
        MagrefError: it is missing, broken or older than version 2.
    """
    try:
        package: Any = importlib.import_module("insightface")
        importlib.import_module("insightface.app")
    except BROKEN_PACKAGE as error:
        raise MagrefError(
            f"faces are found by insightface, which cannot be imported ({error}): install insightface 2 or "
            "newer, or set face_crop to whole"
        ) from error
    version = str(package.__version__)
    if not version.split(".")[0].isdigit() or int(version.split(".")[0]) < _OLDEST:
        raise MagrefError(
            f"insightface is of version {version}, but {_OLDEST} or newer is needed: update insightface"
        )
    return package


def load_face_finder(folder: Path, *, least_score: float = 0.5) -> FaceFinder:
    """Load the detector of a folder of insightface's ONNX files, such as antelopev2 or buffalo_l.

    Args:
        folder: nothing is downloaded into it, and nothing written.
        least_score: of a face, in 0..1.

    Raises:
        CheckpointError: there is no detector in the folder, or a file in it is no model.
        MagrefError: insightface cannot be used.
    """
    package = load_insightface()
    if not folder.is_dir() or not any(folder.glob("*.onnx")):
        raise CheckpointError(
            f"there is no insightface model in '{folder.name}': put the .onnx files of a pack such as "
            "antelopev2 there"
        )
    try:
        analysis = package.app.FaceAnalysis(
            name=str(folder), allowed_modules=["detection"], providers=["CPUExecutionProvider"]
        )
        analysis.prepare(ctx_id=-1, det_thresh=least_score)
    except AssertionError as error:
        raise CheckpointError(
            f"the insightface models in '{folder.name}' hold no face detector: add the det_*.onnx of the pack"
        ) from error
    except Exception as error:
        raise CheckpointError(
            f"the insightface models in '{folder.name}' cannot be read ({str(error)[:120]}): download the "
            "pack again"
        ) from error
    detector: Any = analysis.det_model

    def find(image: Array) -> tuple[Face, ...]:
        boxes, landmarks = detector.detect(np.ascontiguousarray(image[..., ::-1]))  # it wants BGR
        faces = [
            _face(values, None if landmarks is None else landmarks[index], image.shape)
            for index, values in enumerate(boxes)
        ]
        found = [face for face in faces if face is not None]
        return tuple(sorted(found, key=lambda face: -face.box.width * face.box.height))

    return find


def _face(values: Array, landmarks: Array | None, shape: tuple[int, ...]) -> Face | None:
    """Left, top, right, bottom and score as a face; None outside of the picture."""
    left, top, right, bottom, score = (float(value) for value in values)
    if not all(np.isfinite(values)) or right <= left or bottom <= top:
        return None
    box = Box(x=left, y=top, width=right - left, height=bottom - top).within(shape[1], shape[0])
    if box is None:
        return None
    points = () if landmarks is None else tuple((float(x), float(y)) for x, y in landmarks)
    return Face(box=box, landmarks=points, score=score)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class FacePrompter:
    """Points at the person to whom a face belongs."""

    find: FaceFinder
    number: int = 1
    """1 for the largest face, 2 for the next ..."""
    crop: FaceCrop = "whole"

    def __call__(self, reference: Reference, /) -> Prompt:
        """See `Prompter`; without a face the middle of the picture is meant."""
        faces = self.find(reference.image.cpu().numpy())
        if len(faces) < self.number:
            return Prompt(points=(Point(x=reference.width / 2, y=reference.height / 2),))
        face = faces[self.number - 1]
        box = region_around(face, self.crop, height=reference.height, width=reference.width)
        centre = Point(x=face.box.x + face.box.width / 2, y=face.box.y + face.box.height / 2)
        spots = tuple(
            Point(x=x, y=y)
            for x, y in face.landmarks
            if 0 <= x < reference.width and 0 <= y < reference.height
        )
        return Prompt(points=spots or (centre,), box=box)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class FaceCropped:
    """Keeps of another back-end's answer what lies around one face; persons only."""

    segmenter: Segmenter
    find: FaceFinder
    crop: FaceCrop
    number: int = 1

    def __call__(self, reference: Reference, /) -> CutOut:
        """See `Segmenter`; without a face the answer stays as it is, with a warning."""
        found = self.segmenter(reference)
        if reference.kind != "person" or self.crop == "whole":
            return found
        faces = self.find(reference.image.cpu().numpy())
        if not faces:
            warning = (
                f"no face is found in the picture of '{reference.name}', so nothing is cropped: take a "
                "larger or clearer picture, or set face_crop to whole"
            )
            return CutOut(alpha=found.alpha, warnings=(*found.warnings, warning))
        warnings = found.warnings
        if len(faces) < self.number:
            count = "1 face is" if len(faces) == 1 else f"{len(faces)} faces are"
            warnings = (
                *warnings,
                f"{count} found in the picture of '{reference.name}', but face {self.number} is wanted, so "
                f"the smallest is taken: set face_number to at most {len(faces)}",
            )
        elif len(faces) > 1 and self.number == 1:
            warnings = (
                *warnings,
                f"{len(faces)} faces are found in the picture of '{reference.name}' and the largest is "
                "taken: set face_number for another",
            )
        face = faces[min(self.number, len(faces)) - 1]
        return CutOut(alpha=self._cropped(reference, found, face), warnings=warnings)

    def _cropped(self, reference: Reference, found: CutOut, face: Face) -> torch.Tensor:
        box = region_around(face, self.crop, height=reference.height, width=reference.width)
        alpha = found.alpha if found.alpha is not None else reference.alpha
        if alpha is None:
            alpha = torch.full((reference.height, reference.width), 255, dtype=torch.uint8)
        rows = slice(int(box.y), round(box.y + box.height))
        columns = slice(int(box.x), round(box.x + box.width))
        kept = torch.zeros_like(alpha)
        kept[rows, columns] = alpha[rows, columns]
        return kept


def region_around(face: Face, crop: FaceCrop, *, height: int, width: int) -> Box:
    """The part of a picture of height x width to keep around a face; all of it for whole."""
    if crop == "whole":
        return Box(x=0, y=0, width=width, height=height)
    beside, above, below = _MARGINS[crop]
    box = face.box
    wanted = Box(
        x=box.x - beside * box.width,
        y=box.y - above * box.height,
        width=box.width * (1 + 2 * beside),
        height=box.height * (1 + above + below),
    )
    region = wanted.within(width, height)
    assert region is not None  # the face lies in the picture
    return region
