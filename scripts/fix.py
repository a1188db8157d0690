"""Let ruff format the code and mend what it can."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

if __package__ in (None, ""):
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from scripts import ROOT, host
from scripts.host_install import HostError


def main() -> int:
    """Format, mend, and return ruff's verdict."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    python = host.use_host_python().python
    mended = subprocess.run([python, "-m", "ruff", "check", "--fix", "."], cwd=ROOT, check=False).returncode
    return subprocess.run([python, "-m", "ruff", "format", "."], cwd=ROOT, check=False).returncode or mended


if __name__ == "__main__":
    try:
        raise SystemExit(main())
    except HostError as error:
        raise SystemExit(f"error: {error}") from error
