"""Pictures of the core on their way to the page: files in the temp folder, or text within an answer."""

from __future__ import annotations

import base64
import hashlib
from io import BytesIO
from pathlib import Path
from typing import Any
from uuid import uuid4

import folder_paths
from PIL import Image
from torch import Tensor

from ..magref_core.canvas.references import Reference
from ..magref_core.canvas.views import thumbnail

SUBFOLDER = "magref"
"""Below the folder for temporary files."""
MAX_SIDE_SHOWN = 512
"""Longest side, in pixels, of the pictures of references that the page is given."""


def png_bytes(picture: Tensor) -> bytes:
    """(H, W, 3 or 4) uint8 -> a PNG file, packed quickly rather than tightly."""
    packed = BytesIO()
    Image.fromarray(picture.cpu().numpy()).save(packed, format="PNG", compress_level=1)
    return packed.getvalue()


def data_url(picture: Tensor) -> str:
    """(H, W, 3 or 4) uint8 -> a PNG that HTML takes in place of an address."""
    return f"data:image/png;base64,{base64.b64encode(png_bytes(picture)).decode('ascii')}"


def save_temp(picture: Tensor) -> dict[str, Any]:
    """Write a PNG into the host's temp folder, whole or not at all, and say where it is.

    It is named after its content, so that a second run adds none.

    Args:
        picture: (H, W, 3 or 4) uint8.

    Returns:
        filename, subfolder and type, as the host's route /view takes them.
    """
    content = png_bytes(picture)
    folder = Path(folder_paths.get_temp_directory()) / SUBFOLDER
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{hashlib.sha256(content).hexdigest()[:32]}.png"
    if not file.exists():
        part = folder / f"{file.name}.{uuid4().hex}.part"
        part.write_bytes(content)
        part.replace(file)
    return {"filename": file.name, "subfolder": SUBFOLDER, "type": "temp"}


def save_reference(reference: Reference) -> dict[str, Any]:
    """Save a small picture of a reference, transparent where it is cut away.

    Returns:
        What the page needs: reference (its name), kind, subject (the name that its photos share, or None),
        width and height of the whole picture in pixels, has_alpha (whether a part is cut away), and filename,
        subfolder and type as `save_temp` gives them.
    """
    return {
        "reference": reference.name,
        "kind": reference.kind,
        "subject": reference.subject,
        "width": reference.width,
        "height": reference.height,
        "has_alpha": reference.alpha is not None,
        **save_temp(thumbnail(reference.image, reference.alpha, max_side=MAX_SIDE_SHOWN)),
    }
