"""Pictures of the core on their way to the page: files in the temp folder, or text within an answer."""

from __future__ import annotations

import base64
import hashlib
from io import BytesIO
from pathlib import Path
from typing import Any

import folder_paths
from PIL import Image
from torch import Tensor

SUBFOLDER = "magref"


def png_bytes(picture: Tensor) -> bytes:
    """(H, W, 3 or 4) uint8 -> a PNG file, packed quickly rather than tightly."""
    packed = BytesIO()
    Image.fromarray(picture.cpu().numpy()).save(packed, format="PNG", compress_level=1)
    return packed.getvalue()


def data_url(picture: Tensor) -> str:
    """(H, W, 3 or 4) uint8 -> a PNG that HTML takes in place of an address."""
    return f"data:image/png;base64,{base64.b64encode(png_bytes(picture)).decode('ascii')}"


def save_temp(picture: Tensor) -> dict[str, Any]:
    """Write a PNG into the host's temp folder, named after its content, and say where it is.

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
        file.write_bytes(content)
    return {"filename": file.name, "subfolder": SUBFOLDER, "type": "temp"}
