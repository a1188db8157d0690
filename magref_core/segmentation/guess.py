"""A prompt for pictures of which nobody said where the subject is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..canvas.compose import OPAQUE
from ..canvas.references import Reference
from .arrays import Array, load_opencv
from .cutout import Segmenter
from .faces import FacePrompter
from .prompts import Box, Point, Prompt


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class GuessedPrompt:
    """Points at a person's face where one is found, else at what a simpler back-end cuts out."""

    segmenter: Segmenter
    """Whose answer becomes a box and the point farthest inside."""
    faces: FacePrompter | None = None

    def __call__(self, reference: Reference, /) -> Prompt:
        """See `Prompter`; a picture without any clue gets a point in its middle.

        Raises:
            MagrefError: the simpler back-end cannot work.
        """
        if self.faces is not None and reference.kind == "person":
            prompt = self.faces(reference)
            if prompt.box is not None:
                return prompt
        found = self.segmenter(reference).alpha
        if found is None or not bool((found >= OPAQUE).any()):
            return Prompt(points=(Point(x=reference.width / 2, y=reference.height / 2),))
        cv2 = load_opencv()
        opaque: Array = np.pad((found.cpu().numpy() >= OPAQUE).astype(np.uint8), 1)
        depth: Array = cv2.distanceTransform(opaque, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1]
        row, column = (int(place) for place in np.unravel_index(int(depth.argmax()), depth.shape))
        left, top, width, height = (int(number) for number in cv2.boundingRect(opaque[1:-1, 1:-1]))
        box = Box(x=left, y=top, width=width, height=height)
        return Prompt(points=(Point(x=column + 0.5, y=row + 0.5),), box=box)
