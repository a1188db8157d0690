"""The files of the small demo model, looked at without the packages that load them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from scripts import ROOT
from scripts.comfy_client import ComfyError

BUNDLE = ROOT / "models" / "demo"
HASHES = "hashes.json"
RESTORE = "restore the folder models/demo of ComfyUI-MAGREF, for instance by installing the pack again"


def check_demo_files(bundle: Path = BUNDLE) -> None:
    """Make sure that the demo model is whole, as its loaders would while a server runs.

    Raises:
        ComfyError: with one sentence; a file is missing or not the one that was shipped.
    """
    try:
        hashes = json.loads((bundle / HASHES).read_text(encoding="utf-8")).items()
    except FileNotFoundError as error:
        raise ComfyError(f"the list of demo files, {HASHES}, is missing: {RESTORE}") from error
    except (OSError, ValueError, AttributeError) as error:
        raise ComfyError(f"the list of demo files, {HASHES}, cannot be read: {RESTORE}") from error
    for name, expected in hashes:
        file = bundle / name
        if not file.is_file():
            raise ComfyError(f"the demo file {name} is missing: {RESTORE}")
        if hashlib.sha256(file.read_bytes()).hexdigest() != expected:
            raise ComfyError(
                f"the demo file {name} is not the one that was shipped (its SHA-256 differs): {RESTORE}"
            )
