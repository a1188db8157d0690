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


BROKEN_PACKAGE = (ImportError, OSError, RuntimeError, AttributeError, TypeError, ValueError)
"""What importing a package raises that is missing, lacks a library of the system, or was built for another
version of what it stands on."""


def load_opencv() -> ModuleType:
    """The module `cv2`.

    Raises:
        MagrefError: it is not installed, or cannot be loaded.
    """
    try:
        cv2 = importlib.import_module("cv2")
    except BROKEN_PACKAGE as error:
        raise MagrefError(
            f"this cut-out needs OpenCV, which cannot be imported ({error}): install opencv-python, or "
            "connect a mask instead"
        ) from error
    if not hasattr(cv2, "grabCut"):  # a folder that an uninstalled OpenCV left behind is imported as well
        raise MagrefError(
            "this cut-out needs OpenCV, of which only an empty folder cv2 is left: install opencv-python "
            "again, or connect a mask instead"
        )
    return cv2


def clip(values: Array, lowest: float, highest: float) -> Array:
    """The values, with those outside of the bounds moved onto them."""
    return np.minimum(np.maximum(values, lowest), highest)
