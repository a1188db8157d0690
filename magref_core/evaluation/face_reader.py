"""Faces and their features by insightface, which is found in a folder of its ONNX files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..errors import CheckpointError, MagrefError
from ..segmentation.faces import load_insightface
from .face_finder import KnownFace, SeeFaces
from .matching import Bytes


def load_face_reader(folder: Path, *, least_score: float = 0.5) -> SeeFaces:
    """Load detector and recogniser of a pack such as antelopev2 or buffalo_l.

    Args:
        folder: nothing is downloaded into it, and nothing written.
        least_score: of a face, in 0..1.

    Raises:
        CheckpointError: the folder lacks one of them, or a file in it is no model.
        MagrefError: insightface cannot be used.
    """
    try:
        package = load_insightface()
    except MagrefError as error:
        raise MagrefError(f"{error} (or choose the method colours or encoder)") from error
    if not folder.is_dir() or not any(folder.glob("*.onnx")):
        raise CheckpointError(
            f"there is no insightface model in '{folder.name}': put the .onnx files of a pack such as "
            "antelopev2 there"
        )
    try:
        analysis = package.app.FaceAnalysis(
            name=str(folder), allowed_modules=["detection", "recognition"], providers=["CPUExecutionProvider"]
        )
        analysis.prepare(ctx_id=-1, det_thresh=least_score)
    except Exception as error:  # whatever onnxruntime raises, and an assertion where the detector is missing
        raise CheckpointError(
            f"the insightface models in '{folder.name}' cannot be used ({str(error)[:120]}): download the "
            "pack again"
        ) from error
    if "recognition" not in analysis.models:
        raise CheckpointError(
            f"the insightface models in '{folder.name}' hold no recogniser: add the file of the pack such as "
            "glintr100.onnx or w600k_r50.onnx"
        )

    def see(picture: Bytes) -> tuple[KnownFace, ...]:
        faces: list[Any] = analysis.get(np.ascontiguousarray(picture[..., ::-1]))  # it wants BGR
        found = [_known(face) for face in faces]
        return tuple(sorted(found, key=lambda face: -face.box[2] * face.box[3]))

    return see


def _known(face: Any) -> KnownFace:
    left, top, right, bottom = (float(value) for value in face.bbox)
    return KnownFace(
        box=(left, top, right - left, bottom - top), features=np.asarray(face.normed_embedding, np.float32)
    )
