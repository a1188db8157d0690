"""Compare us with reference numbers of the official code: python scripts/golden.py [DIR]."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

if __package__ in (None, ""):
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from scripts import ROOT, host
from scripts.host_install import HostError


def main() -> int:
    """Run `python -m tests.golden` in the host's Python."""
    found = host.install()
    arguments = [str(Path(word).resolve()) if Path(word).is_dir() else word for word in sys.argv[1:]]
    # The host path of the comparison imports ComfyUI into its own process.
    environment = os.environ | {"COMFYUI_PATH": str(found.source)}
    command = [found.python, "-m", "tests.golden", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode


if __name__ == "__main__":
    try:
        raise SystemExit(main())
    except HostError as error:
        raise SystemExit(f"error: {error}") from error
