"""Run a benchmark in the host's Python: python scripts/bench.py [NAME, else dit_speed] [its options]."""

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
    """Run benchmarks/NAME.py."""
    words = sys.argv[1:]
    name = words.pop(0) if words and not words[0].startswith("-") else "dit_speed"
    script = ROOT / "benchmarks" / f"{name.removesuffix('.py')}.py"
    if not script.exists():
        known = ", ".join(sorted(file.stem for file in (ROOT / "benchmarks").glob("[a-z]*.py")))
        raise HostError(f"there is no benchmark {name}: use {known}")
    found = host.install()
    environment = os.environ | {"COMFYUI_PATH": str(found.source)}
    return subprocess.run([found.python, script, *words], env=environment, check=False).returncode


if __name__ == "__main__":
    try:
        raise SystemExit(main())
    except HostError as error:
        raise SystemExit(f"error: {error}") from error
