"""Back-end: Segment Anything, told by points, by a box, or left to find what stands out."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from ..canvas.references import Reference
from .arrays import Array, load_opencv
from .contours import smooth_lab
from .cutout import CutOut
from .grading import scene_of, worth
from .prompts import Prompt, Prompter
from .sam_checkpoint import load_segment_anything

_LARGEST_SHARE = 0.95
"""Of the picture: a mask that covers more is its ground, not its subject."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class SegmentAnything:
    """Cuts out what a prompt means; a background stays whole."""

    model: nn.Module
    """`segment_anything.modeling.Sam`, on the device where it shall run."""
    prompter: Prompter | None = None
    """None: all that the model finds without being told, of which the best placed is taken."""
    check_interrupted: Callable[[], None] = lambda: None
    """Called between the blocks of the model and between masks; what it raises ends the run."""
    points_per_side: int = 16
    """Of the grid that is tried without a prompt."""
    least_quality: float = 0.88
    """That the model must expect of a mask that is found without a prompt, in 0..1."""
    least_stability: float = 0.95
    """Of such a mask against another threshold, in 0..1."""

    def __call__(self, reference: Reference, /) -> CutOut:
        """See `Segmenter`.

        Raises:
            MagrefError: segment-anything cannot be imported, or the prompt does not fit the picture.
        """
        if reference.kind == "background":
            return CutOut(alpha=None)
        prompt = self.prompter(reference) if self.prompter else Prompt()
        image: Array = reference.image.cpu().numpy()
        with _interruptible(self.model, self.check_interrupted):
            told = bool(prompt.points or prompt.box)
            mask = self._prompted(image, prompt) if told else self._unprompted(image)
        if mask is None:
            warning = (
                f"Segment Anything finds nothing that stands out in the picture of '{reference.name}', so it "
                "is used as it was: give points or a box, or choose grabcut"
            )
            return CutOut(alpha=None, warnings=(warning,))
        alpha = torch.as_tensor(mask.astype(np.uint8) * 255)
        if reference.alpha is not None:
            alpha = torch.minimum(alpha, reference.alpha.cpu())
        return CutOut(alpha=alpha)

    def _prompted(self, image: Array, prompt: Prompt) -> Array:
        """(H, W) bool; of the three masks for one prompt that which the model trusts most."""
        predictor: Any = load_segment_anything().SamPredictor(self.model)
        predictor.set_image(image)
        points = np.array([(point.x, point.y) for point in prompt.points], np.float32)
        marks = np.array([int(point.on_subject) for point in prompt.points], np.int32)
        box = prompt.box
        corners = (box.x, box.y, box.x + box.width, box.y + box.height) if box else None
        masks, qualities, _ = predictor.predict(
            point_coords=points if len(points) else None,
            point_labels=marks if len(marks) else None,
            box=np.array(corners, np.float32) if corners else None,
            multimask_output=box is None and len(points) == 1,
        )
        return masks[int(np.argmax(qualities))]

    def _unprompted(self, image: Array) -> Array | None:
        """(H, W) bool, or None: among all masks the one that looks most like a figure.

        The model sees no more pixels than its own side has; hundreds of masks in the size of a photograph
        would fill the memory.
        """
        parts: Any = self.model
        small = _within(image, parts.image_encoder.img_size)
        generator: Any = load_segment_anything().SamAutomaticMaskGenerator(
            self.model,
            points_per_side=self.points_per_side,
            pred_iou_thresh=self.least_quality,
            stability_score_thresh=self.least_stability,
        )
        scene = scene_of(small, smooth_lab(small))
        best, most = None, float("-inf")
        for record in generator.generate(small):
            self.check_interrupted()
            mask: Array = record["segmentation"]
            if 0 < mask.mean() <= _LARGEST_SHARE and (value := worth(mask, scene)) > most:
                best, most = mask, value
        if best is None:
            return None
        return load_opencv().resize(best.astype(np.float32), image.shape[1::-1]) >= 0.5


def _within(image: Array, side: int) -> Array:
    """The picture, (H, W, 3), made smaller where its longer side is above `side` pixels."""
    height, width = image.shape[:2]
    scale = side / max(height, width)
    if scale >= 1:
        return image
    cv2 = load_opencv()
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


@contextmanager
def _interruptible(model: nn.Module, check: Callable[[], None]) -> Generator[None, None, None]:
    """Call `check` before every block of the model."""

    def ask(*_: object) -> None:
        check()

    parts: Any = model
    places = [*parts.image_encoder.blocks, parts.mask_decoder]
    handles = [place.register_forward_pre_hook(ask) for place in places]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
