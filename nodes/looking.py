"""From frames to a report on their subjects: the same for MAGREF Subject Report and MAGREF Best Of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import comfy.model_management
import torch
from torch import Tensor

from ..magref_core.canvas.compose import Canvas
from ..magref_core.canvas.references import Reference
from ..magref_core.errors import CheckpointError, MagrefError, ShapeError
from ..magref_core.evaluation.face_finder import SeeFaces, find_by_faces
from ..magref_core.evaluation.face_reader import load_face_reader
from ..magref_core.evaluation.matching import Bytes
from ..magref_core.evaluation.pasting import paste_scores
from ..magref_core.evaluation.patch_finder import find_by_patches
from ..magref_core.evaluation.sightings import Sightings, spread, subjects_of
from ..magref_core.evaluation.sprite_finder import find_by_sprites
from ..magref_core.evaluation.subject_report import SubjectReport, build_report
from ..magref_core.evaluation.verdicts import judge, parse_order
from .host import DEMO_MARK
from .segmenters import FACES, face_folders

METHODS = ("auto", "faces", "encoder", "colours")
PASTE_FRAMES = 3
"""Frames in which copies of a picture are looked for."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """How a video is looked at.

    Raises:
        MagrefError: the method is unknown, or the number of frames not in 1..1000.
    """

    method: str = "auto"
    order: str = ""
    """Names from left to right, with commas between; empty where nobody has a place of its own."""
    num_frames: int = 9
    """At most so many, spread over the video."""
    encoder: Any = None
    """CLIP_VISION, for the method encoder."""

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise MagrefError(
                f"the method is '{self.method}', which is unknown: choose one of {', '.join(METHODS)}"
            )
        if not 1 <= self.num_frames <= 1000:
            raise MagrefError(f"{self.num_frames} frames are to be looked at: use 1 to 1000, such as 9")


def look_at(
    images: Tensor, references: Sequence[Reference], look: Look, canvas: Canvas | None = None
) -> SubjectReport:
    """Find the subjects in a video and judge them.

    Args:
        images: IMAGE (F, H, W, 3 or 4) in [0, 1], without the frames of the canvas.
        references: of the subjects; backgrounds are left out.
        look: how.
        canvas: to note where the video has another shape.

    Raises:
        MagrefError: there is no subject, the order names an unknown one, or the method cannot be used.
        ShapeError: there are no frames.
    """
    if images.ndim != 4 or not images.numel():
        raise ShapeError(
            f"the frames are of shape {tuple(images.shape)}, but at least one picture is needed: connect "
            "images of MAGREF Decode Video"
        )
    subjects = subjects_of(references)
    if not subjects:
        raise MagrefError(
            "there is no subject to look for, only backgrounds: give at least one reference the kind person "
            "or object"
        )
    order = parse_order(look.order, [subject.name for subject in subjects])
    numbers = spread(len(images), look.num_frames)
    frames = pixels_of(images[list(numbers)])
    sightings = _sightings(frames, numbers, references, look)
    few = [numbers.index(number) for number in _some(numbers)]
    comfy.model_management.throw_exception_if_processing_interrupted()
    return build_report(
        sightings,
        judge(sightings, order),
        size=(len(images), images.shape[1], images.shape[2]),
        pasted=paste_scores(frames[few], references),
        notes=_notes(images, canvas),
    )


def pixels_of(images: Tensor) -> Bytes:
    """IMAGE -> (F, H, W, 3) in 0..255; what is no number becomes black."""
    levels = torch.nan_to_num(images[..., :3].float()).clamp(0, 1).mul(255).round()
    return levels.to(torch.uint8).cpu().numpy()


def _some(numbers: Sequence[int]) -> list[int]:
    """A few of them, from the first to the last."""
    return [numbers[place] for place in spread(len(numbers), PASTE_FRAMES)]


def _sightings(
    frames: Bytes, numbers: Sequence[int], references: Sequence[Reference], look: Look
) -> Sightings:
    check = comfy.model_management.throw_exception_if_processing_interrupted
    method = _chosen(look, references)
    if method == "colours":
        return find_by_sprites(frames, numbers, references, check=check)
    if method == "encoder":
        return find_by_patches(frames, numbers, references, encode=_encoder(look.encoder), check=check)
    return find_by_faces(frames, numbers, references, see=_face_reader(), check=check)


def _chosen(look: Look, references: Sequence[Reference]) -> str:
    """What auto stands for: an encoder that knows likeness, else faces of people, else colours."""
    if look.method != "auto":
        return look.method
    if look.encoder is not None and DEMO_MARK not in look.encoder.config:
        return "encoder"
    people = all(reference.kind == "person" for reference in references if reference.kind != "background")
    if people and face_folders():
        try:
            _face_reader()
        except MagrefError:
            return "colours"
        return "faces"
    return "colours"


def _face_reader() -> SeeFaces:
    """Of the best insightface pack in the host's models.

    Raises:
        MagrefError: there is none, or it cannot be used.
    """
    folders = face_folders()
    if not folders:
        raise CheckpointError(
            "there is no insightface model: put the .onnx files of antelopev2 or buffalo_l into "
            f"ComfyUI's models/{FACES}/models/antelopev2 (or buffalo_l), or choose the method colours"
        )
    return load_face_reader(Path(folders[0]))


def _encoder(clip_vision: Any) -> Any:
    """The host's image encoder as `patch_finder.Encode`.

    Raises:
        MagrefError: none is connected, or that of the demo model, which was not trained to tell likeness.
    """
    if clip_vision is None:
        raise MagrefError(
            "the method is encoder, but no image encoder is connected: connect Load CLIP Vision with DINO or "
            "CLIP, or choose the method colours"
        )
    if DEMO_MARK in clip_vision.config:
        raise MagrefError(
            "the method is encoder, but the image encoder of the demo model cannot tell who is like whom: "
            "connect Load CLIP Vision with DINO or CLIP, or choose the method colours"
        )

    def encode(pictures: Tensor) -> tuple[Tensor, Tensor]:
        seen = clip_vision.encode_image(pictures, crop=False)
        tokens = seen.last_hidden_state
        summaries = getattr(seen, "image_embeds", None)
        return tokens[:, 1:], tokens[:, 0] if summaries is None else summaries

    return encode


def _notes(images: Tensor, canvas: Canvas | None) -> list[str]:
    """What is odd about the video, and no error."""
    if canvas is None:
        return []
    height, width = images.shape[1:3]
    if abs(width / height - canvas.width / canvas.height) < 0.01 * width / height:
        return []
    return [
        f"the video is {width} x {height} pixels, the canvas {canvas.width} x {canvas.height}: it was cut or "
        "stretched since, which lowers the likeness"
    ]
