"""Compare us with the numbers of the official code: `python -m tests.golden [DIR]`.

DIR holds files in the format of `data/README.md`; other seeds, sizes and cases are welcome. Without DIR the
numbers that the repository ships are used. The exit status is 0 if every row passes.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path

from tests import pack

from .report import Row, table

DATA = Path(__file__).parent / "data"

AREAS = ("canvas", "cond", "clip", "vae", "blocks", "dit", "schedulers", "pipeline", "host_path")
"""Modules with `FILES`, all of which an area reads, and `check(folder)`, which yields rows."""


def main(arguments: list[str]) -> int:
    """Check a folder and print a row for each quantity."""
    parser = argparse.ArgumentParser(prog="python -m tests.golden", description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=DATA, metavar="DIR")
    folder: Path = parser.parse_args(arguments).folder
    if not folder.is_dir():
        parser.error(f"there is no folder {folder}")
    rows: list[Row] = []
    notes: list[str] = []
    for area in AREAS:
        print(f"checking {area} ...", file=sys.stderr, flush=True)
        found, note = _check(area, folder)
        rows += found
        notes += [note] if note else []
    print(table(rows))
    return _conclude(rows, notes, folder)


def _check(area: str, folder: Path) -> tuple[list[Row], str | None]:
    """The rows of one area, and why something in it was skipped."""
    module = importlib.import_module(f".{area}", __package__)
    missing = [name for name in module.FILES if not (folder / name).is_file()]
    rows: list[Row] = list(module.check(folder))
    if missing and not rows:
        return rows, f"skipped {area}: {folder} has no {', '.join(missing)}"
    if not rows:
        return rows, f"skipped {area}: it needs ComfyUI, set COMFYUI_PATH to its folder"
    return rows, None


def _conclude(rows: list[Row], notes: list[str], folder: Path) -> int:
    for note in notes:
        print(note)
    if not pack.is_host_at_hand():
        print("skipped what runs through ComfyUI's own VAE and image encoder: COMFYUI_PATH names no ComfyUI")
    failed = sum(not row.passed for row in rows)
    print(f"{len(rows) - failed} passed, {failed} failed")
    if not rows:
        print(f"nothing was compared: {folder} holds none of the files of the golden format")
    return 1 if failed or not rows else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
