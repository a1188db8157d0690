"""OpenCV, imported when it is used, and the arrays it works on."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import MagrefError

Array = npt.NDArray[Any]
"""A picture or a map of one, as OpenCV takes it; its docstring says shape and range."""


def load_opencv() -> ModuleType:
    """The module `cv2`.

    Raises:
        MagrefError: it is not installed, or cannot be loaded.
    """
    try:
        return importlib.import_module("cv2")
    except ImportError as error:
        raise MagrefError(
            f"this cut-out needs OpenCV, which cannot be imported ({error}): install opencv-python, or "
            "connect a mask instead"
        ) from error


def clip(values: Array, lowest: float, highest: float) -> Array:
    """The values, with those outside of the bounds moved onto them."""
    return np.minimum(np.maximum(values, lowest), highest)
