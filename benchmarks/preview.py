"""Time from references in memory to canvas, report and views: 832 x 480 with 8 references, on one CPU thread.

python benchmarks/preview.py [--rounds N] [--side PIXELS]

The references are square, of every kind, and every other one has a ragged cut-out. Processor time is what
counts: other programs on the machine change it little. Reading and writing picture files is left out, and so
is the search for faces, which depends on the installed OpenCV.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

if __package__ in (None, ""):
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from scripts.host import use_host_python
from scripts.host_install import HostError

if TYPE_CHECKING:
    from magref_core.canvas.references import Reference

# What needs torch is imported where it is used: at first this may run in a Python without it.

WIDTH, HEIGHT, COUNT = 832, 480, 8
SIDE = 1024
"""Pixels of a reference, in both directions."""
LIMIT_MS = 150


def references(side: int) -> list[Reference]:
    """The references, the same in every run."""
    import torch

    from magref_core.canvas.references import KINDS, Reference

    generator = torch.Generator().manual_seed(0)
    given: list[Reference] = []
    for index in range(COUNT):
        image = torch.randint(0, 256, (side, side, 3), generator=generator, dtype=torch.uint8)
        coarse = torch.randint(0, 2, (side // 32, side // 32), generator=generator, dtype=torch.uint8) * 255
        alpha = coarse.repeat_interleave(32, dim=0).repeat_interleave(32, dim=1) if index % 2 else None
        given.append(Reference(name=f"r{index}", kind=KINDS[index % 3], image=image, alpha=alpha))
    return given


def measure(rounds: int, side: int = SIDE) -> dict[str, float]:
    """Median milliseconds of processor time of each step and of the whole.

    Args:
        rounds: timed rounds, after one that is not timed.
        side: pixels of a reference.
    """
    from magref_core.canvas.compose import compose_canvas
    from magref_core.canvas.placing import place_references
    from magref_core.canvas.report import make_report
    from magref_core.canvas.views import draw_views

    given = references(side)
    placed = place_references(given, height=HEIGHT, width=WIDTH)
    canvas = compose_canvas(given, placed, height=HEIGHT, width=WIDTH)
    steps: dict[str, Callable[[], object]] = {
        "official layout": lambda: place_references(given, height=HEIGHT, width=WIDTH),
        "canvas and mask": lambda: compose_canvas(given, placed, height=HEIGHT, width=WIDTH),
        "report": lambda: make_report(canvas, prompt="r0 and r1 meet r2"),
        "views": lambda: draw_views(canvas),
    }
    runs = [{name: _milliseconds(step) for name, step in steps.items()} for _ in range(rounds + 1)][1:]
    medians = {name: median(run[name] for run in runs) for name in steps}
    return medians | {"all": median(sum(run.values()) for run in runs)}


def table(result: dict[str, float], rounds: int, side: int) -> str:
    """The numbers as a Markdown table, and whether the whole is within its limit."""
    verdict = "within" if result["all"] <= LIMIT_MS else "MISSED"
    return "\n".join(
        [
            "| step | processor time, median |",
            "| --- | ---: |",
            *(f"| {name} | {value:.1f} ms |" for name, value in result.items()),
            "",
            f"{WIDTH} x {HEIGHT}, {COUNT} references of {side} x {side}, {rounds} rounds; "
            f"limit {LIMIT_MS} ms: {verdict}.",
        ]
    )


def _milliseconds(step: Callable[[], object]) -> float:
    started = time.thread_time()
    step()
    return (time.thread_time() - started) * 1000


def main() -> int:
    """Measure, print, and return 1 where the limit is missed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--side", type=int, default=SIDE, help="pixels of a reference, in both directions")
    arguments = parser.parse_args()
    if importlib.util.find_spec("torch") is None:
        use_host_python()
    import torch

    torch.set_num_threads(1)
    result = measure(arguments.rounds, arguments.side)
    print(table(result, arguments.rounds, arguments.side))
    return int(result["all"] > LIMIT_MS)


if __name__ == "__main__":
    try:
        raise SystemExit(main())
    except HostError as error:
        raise SystemExit(f"error: {error}") from error
