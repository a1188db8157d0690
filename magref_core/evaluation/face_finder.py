"""Finding people by their faces, with a detector and a recogniser that are handed in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..canvas.references import Reference
from ..errors import MagrefError
from .matching import Bytes, Floats
from .sightings import Sightings, subjects_of


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class KnownFace:
    """One face of a picture."""

    box: tuple[float, float, float, float]
    """x, y, width and height in pixels."""
    features: Floats
    """(D,) of a recogniser such as ArcFace; compared by cosine."""


SeeFaces = Callable[[Bytes], Sequence[KnownFace]]
"""(H, W, 3) in 0..255 -> the faces, the largest first."""


def find_by_faces(
    frames: Bytes,
    numbers: Sequence[int],
    references: Sequence[Reference],
    *,
    see: SeeFaces,
    check: Callable[[], None] = lambda: None,
) -> Sightings:
    """Look for each subject by its face; see `sightings.Finder`.

    A frame without faces shows nobody: its likeness is 0 and its boxes are empty.

    Args:
        frames: (F, H, W, 3) in 0..255.
        numbers: (F,) of the frames in the video.
        references: of all subjects; each needs one photo with a face, whose largest one counts.
        see: finds and describes faces.
        check: asked often; may raise to stop.

    Raises:
        MagrefError: no photo of a subject shows a face.
    """
    subjects = subjects_of(references)
    known: list[Floats] = []
    for subject in subjects:
        check()
        seen = [see(photo.image.numpy()) for photo in subject.references]
        faces = [_unit(found[0].features) for found in seen if found]
        if not faces:
            raise MagrefError(
                f"no face is found in the picture of '{subject.name}', but subjects are to be told by their "
                "faces: choose the method colours or encoder, or take a larger and clearer picture"
            )
        known.append(np.stack(faces))
    count, total = len(subjects), len(frames)
    boxes = np.zeros((total, count, 4), np.float32)
    likeness = np.zeros((total, count, count), np.float32)
    for index, frame in enumerate(frames):
        check()
        faces = see(frame)
        if not faces:
            continue
        alike = _alike(faces, known)  # (faces, N)
        for place in range(count):
            chosen = int(alike[:, place].argmax())
            likeness[index, place] = alike[chosen]
            boxes[index, place] = np.array(faces[chosen].box, np.float32) / _sides(frame)
    return Sightings(
        names=tuple(subject.name for subject in subjects),
        frames=tuple(numbers),
        boxes=boxes,
        likeness=likeness,
        shares=_shares(likeness),
        alone=_alone(likeness),
        method="faces",
    )


def _unit(features: Floats) -> Floats:
    return features / max(float(np.linalg.norm(features)), 1e-6)


def _alike(faces: Sequence[KnownFace], known: Sequence[Floats]) -> Floats:
    """(faces, N): cosine to the nearest photo."""
    features = np.stack([_unit(face.features) for face in faces])
    return np.stack([np.max(features @ np.transpose(photos), 1) for photos in known], 1).astype(np.float32)


def _sides(frame: Bytes) -> npt.NDArray[np.float32]:
    height, width = frame.shape[:2]
    return np.array([width, height, width, height], np.float32)


def _alone(likeness: Floats) -> Floats:
    """(F, N): likeness to the own face, 0 where that looks more like somebody else."""
    own = np.diagonal(likeness, axis1=1, axis2=2)
    return np.asarray(np.where(own >= likeness.max(2), own, 0), np.float32)


def _shares(likeness: Floats) -> Floats:
    """(F, N, 1, N): likeness above 0 as parts of their sum; a face that is like two is shared by them."""
    positive = np.maximum(likeness, 0)
    return (positive / np.maximum(positive.sum(2, keepdims=True), 1))[:, :, None]
