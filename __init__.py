"""ComfyUI-MAGREF: reference-guided video inside ComfyUI."""

from __future__ import annotations

WEB_DIRECTORY = "./web"


async def comfy_entrypoint():
    # Imported here, so that tools and tests can import this folder without ComfyUI.
    from .nodes import MagrefExtension

    return MagrefExtension()
