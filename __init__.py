"""ComfyUI-MAGREF: reference-guided video inside ComfyUI."""

from __future__ import annotations

import re

WEB_DIRECTORY = "./web"
LOWEST_HOST = (0, 30, 0)


async def comfy_entrypoint():
    # Imported here, so that tools and tests can import this folder without ComfyUI.
    from comfyui_version import __version__

    check_host_version(__version__)
    from .nodes import MagrefExtension

    return MagrefExtension()


def check_host_version(version: str) -> None:
    """Refuse a ComfyUI that lacks what the nodes stand on.

    Args:
        version: such as "0.30.0", "0.30" or "0.31.0rc1"; one that does not start with a number passes.

    Raises:
        ImportError: the host is too old.
    """
    leading = [re.match(r"\d+", part) for part in version.split(".")[:3]]
    if not leading[0]:
        return
    numbers = [int(match[0]) if match else 0 for match in (*leading, None, None)][:3]
    if tuple(numbers) < LOWEST_HOST:
        lowest = ".".join(map(str, LOWEST_HOST))
        raise ImportError(
            f"ComfyUI-MAGREF needs ComfyUI {lowest} or newer, but this is {version}: update ComfyUI"
        )
