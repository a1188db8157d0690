"""Is this pack here once? Asked while the host starts."""

from __future__ import annotations

import importlib
import logging
import sys
from pathlib import Path

from comfy_api.latest import io

logger = logging.getLogger(__name__)


def is_loaded_already(node: type[io.ComfyNode]) -> bool:
    """Whether another folder of custom_nodes holds this pack and was loaded before this one."""
    # By name: a type checker would take `nodes` for our own folder.
    host_nodes = importlib.import_module("nodes")
    other = host_nodes.NODE_CLASS_MAPPINGS.get(node.GET_SCHEMA().node_id)
    if other is None or other.__module__ == node.__module__:
        return False
    folders = [Path(sys.modules[cls.__module__].__file__ or "").parents[1] for cls in (other, node)]
    logger.warning(
        "ComfyUI-MAGREF is installed twice: %s is used and %s is ignored; remove one of the two folders",
        *folders,
    )
    return True
