"""The pack inside this process, under the name `magref_pack`, loaded as the host loads it."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from functools import cache
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parents[1]
NAME = "magref_pack"


def is_host_at_hand() -> bool:
    """Whether the environment variable COMFYUI_PATH names a ComfyUI folder."""
    path = os.environ.get("COMFYUI_PATH")
    return bool(path) and (Path(path) / "comfy" / "sd.py").is_file()


@cache
def load_pack() -> ModuleType:
    """Import the host, on the CPU where there is no CUDA, and then the pack and its nodes."""
    # First on the path: the host's module `nodes` must win over our folder of that name.
    sys.path.insert(0, os.environ["COMFYUI_PATH"])
    torch = importlib.import_module("torch")
    importlib.import_module("comfy.cli_args").args.cpu = not torch.cuda.is_available()
    importlib.import_module("nodes")
    spec = importlib.util.spec_from_file_location(
        NAME, ROOT / "__init__.py", submodule_search_locations=[str(ROOT)]
    )
    assert spec is not None and spec.loader is not None
    pack = sys.modules[NAME] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(pack)
    importlib.import_module(f"{NAME}.nodes")
    return pack
