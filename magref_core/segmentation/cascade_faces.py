"""Faces by the detector that comes with OpenCV 4; it needs no weights beside it. OpenCV 5 has none."""

from __future__ import annotations

import hashlib
import importlib
import threading
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from ..canvas.layout import Box
from ..canvas.measures import FaceFinder
from ..canvas.references import Reference
from .arrays import BROKEN_PACKAGE, Array

_CASCADE = "haarcascade_frontalface_default.xml"

_MAX_SIDE = 512
"""Longest side, in pixels, of the picture that is searched."""

_SMALLEST = 1 / 16
"""Of that side: smaller faces are not looked for."""

_STEP = 1.1
_AGREEING = 6
"""Detections at about the same place that make a face; fewer let patterns pass for one."""


_REMEMBERED = 256
"""Pictures whose face is known: a search takes some 75 ms, and a canvas is drawn anew with every change."""


class CascadeFaces:
    """Finds the largest frontal face of a picture, and remembers it.

    Args:
        cv2: the module.
        detector: its `CascadeClassifier`, loaded.
    """

    def __init__(self, cv2: Any, detector: Any) -> None:
        self._cv2, self._detector = cv2, detector
        self._lock = threading.Lock()  # a preview and a run may search at once
        self._known: dict[bytes, Box | None] = {}

    def __call__(self, reference: Reference) -> Box | None:
        """The face in pixels of the picture, or None; what its alpha hides is no face."""
        digest = hashlib.blake2b(repr((reference.height, reference.width)).encode(), digest_size=16)
        for part in (reference.image, reference.alpha):
            digest.update(b"" if part is None else part.numpy().tobytes())
        key = digest.digest()
        with self._lock:
            if key not in self._known:
                if len(self._known) >= _REMEMBERED:
                    self._known.pop(next(iter(self._known)))  # the one that was met first
                self._known[key] = _largest_face(self._cv2, self._detector, reference)
            return self._known[key]


def cascade_finder() -> FaceFinder | None:
    """A way to find frontal faces, or None where the installed OpenCV has no detector or is missing."""
    try:
        cv2: Any = importlib.import_module("cv2")
        return _loaded(cv2)
    except BROKEN_PACKAGE:
        return None


@cache
def _loaded(cv2: Any) -> CascadeFaces | None:
    file = Path(cv2.data.haarcascades) / _CASCADE
    detector: Any = cv2.CascadeClassifier(str(file)) if file.is_file() else None
    return None if detector is None or detector.empty() else CascadeFaces(cv2, detector)


def _largest_face(cv2: Any, detector: Any, reference: Reference) -> Box | None:
    image: Array = reference.image.numpy()
    if reference.alpha is not None:
        image = np.where(reference.alpha.numpy()[..., None] < 128, np.uint8(255), image)
    ratio = min(1.0, _MAX_SIDE / max(reference.height, reference.width))
    size = (max(1, round(reference.width * ratio)), max(1, round(reference.height * ratio)))
    small: Array = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    grey: Array = cv2.equalizeHist(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY))
    least = max(20, round(max(size) * _SMALLEST))
    found = detector.detectMultiScale(grey, _STEP, _AGREEING, minSize=(least, least))
    if not len(found):
        return None
    x, y, width, height = (float(side) / ratio for side in max(found, key=lambda face: face[2] * face[3]))
    return Box(x=round(x), y=round(y), width=round(width), height=round(height))
