"""How well subjects are cut out, on pictures whose subject is known to the pixel.

python scripts/bench.py segmentation [--pictures 200] [--floor 0.9]

Puppets are drawn before rough grounds, drawn places and the photographs of the example workflows. Prints the
intersection over union with the truth (mean, quartiles, worst cases, by kind and ground) and the seconds per
picture; writes all single results as JSON and a contact sheet with the worst cases and the photographs
themselves, whose cut-outs a person must judge.
"""

from __future__ import annotations

import argparse
import datetime
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

if __package__ in (None, ""):
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

import numpy as np
import numpy.typing as npt
import torch

from benchmarks.support import machine
from benchmarks.support.segmentation_pictures import FIRST_SEED, Sample, draw_samples
from benchmarks.support.segmentation_sheet import Case, draw_sheet
from magref_core.canvas.references import Kind, Reference, read_picture
from magref_core.segmentation.cutout import cut_out
from magref_core.segmentation.grabcut import GrabCut
from scripts import ROOT

PHOTOGRAPHS: dict[str, Kind] = {"astronaut.png": "person", "cat.png": "object", "coffee.png": "object"}
SHOWN_WORST, SHOWN_REST = 24, 24
SHOWN_EVERY = 10
Bytes = npt.NDArray[np.uint8]


def segment(image: Bytes, kind: Kind) -> tuple[npt.NDArray[np.bool_], float]:
    """Where the default back-end finds the subject, and the seconds it takes."""
    reference = Reference(name="subject", kind=kind, image=torch.as_tensor(image))
    started = time.perf_counter()
    result, _ = cut_out(reference, GrabCut())
    seconds = time.perf_counter() - started
    if result.alpha is None:
        return np.ones(image.shape[:2], np.bool_), seconds
    return result.alpha.numpy() >= 128, seconds


def overlap(found: npt.NDArray[np.bool_], truth: npt.NDArray[np.bool_]) -> float:
    """Intersection over union, in 0..1."""
    return float((found & truth).sum() / (found | truth).sum())


def measure(count: int, photographs: dict[str, Bytes]) -> tuple[list[dict[str, Any]], list[Case]]:
    """One record per picture, and what the sheet shows of it; worst first."""
    records: list[dict[str, Any]] = []
    cases: list[Case] = []
    for number, sample in enumerate(draw_samples(count, list(photographs.values()))):
        found, seconds = segment(sample.image, sample.kind)
        record = _record(number, sample, overlap(found, sample.subject), seconds)
        records.append(record)
        title = f"{number} {sample.group}, {sample.ground}: {record['iou']:.3f}"
        cases.append(Case(image=sample.image, found=found, truth=sample.subject, title=title))
        if not len(cases) % SHOWN_EVERY:
            mean = statistics.fmean(record["iou"] for record in records)
            print(f"{len(cases)} of {count}: mean {mean:.3f}", file=sys.stderr, flush=True)
    order = sorted(range(count), key=lambda number: records[number]["iou"])
    return [records[number] for number in order], [cases[number] for number in order]


def _record(number: int, sample: Sample, iou: float, seconds: float) -> dict[str, Any]:
    return {
        "number": number,
        "seed": sample.seed,
        "group": sample.group,
        "ground": sample.ground,
        "iou": round(iou, 4),
        "seconds": round(seconds, 4),
    }


def summary(records: list[dict[str, Any]]) -> dict[str, float]:
    """Mean and quartiles of the overlap, the share above 0.9, and the median time."""
    values = [record["iou"] for record in records]
    lower, median, upper = statistics.quantiles(values, n=4, method="inclusive")
    return {
        "pictures": len(values),
        "mean": statistics.fmean(values),
        "lower_quartile": lower,
        "median": median,
        "upper_quartile": upper,
        "worst": min(values),
        "above_0.9": sum(value > 0.9 for value in values) / len(values),
        "seconds": statistics.median(record["seconds"] for record in records),
    }


def table(records: list[dict[str, Any]]) -> tuple[str, dict[str, dict[str, float]]]:
    """A row for all, for each group and for each ground; as text and as numbers."""
    tests: dict[str, Callable[[dict[str, Any]], bool]] = {"all": lambda record: True}
    for field in ("group", "ground"):
        for value in sorted({record[field] for record in records}):
            tests[value] = lambda record, field=field, value=value: record[field] == value
    rows = {name: list(filter(test, records)) for name, test in tests.items()}
    figures = {name: summary(chosen) for name, chosen in rows.items() if len(chosen) > 1}
    lines = [f"{'':12}" + "".join(f"{key:>16}" for key in figures["all"])]
    for name, numbers in figures.items():
        lines.append(f"{name:12}" + "".join(f"{_shown(number):>16}" for number in numbers.values()))
    return "\n".join(lines), figures


def _shown(number: float) -> str:
    return str(number) if isinstance(number, int) else f"{number:.3f}"


def photograph_cases(photographs: dict[str, Bytes]) -> list[Case]:
    """The cut-outs of the photographs, of which no exact mask is known."""
    cases: list[Case] = []
    for name, image in photographs.items():
        found, seconds = segment(image, PHOTOGRAPHS[name])
        title = f"{name}: {found.mean():.0%} kept, {seconds:.2f} s"
        cases.append(Case(image=image, found=found, truth=None, title=title))
    return cases


def main() -> None:
    """Measure, print, and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pictures", type=int, default=200, help="at least 2; default 200")
    parser.add_argument("--floor", type=float, help="fail below this mean")
    parser.add_argument("--folder", type=Path, default=ROOT / "benchmarks" / "reports", help="for the report")
    arguments = parser.parse_args()
    folder = ROOT / "workflows" / "pictures"
    photographs = {name: read_picture(folder / name, label=name)[0].numpy() for name in PHOTOGRAPHS}
    records, cases = measure(arguments.pictures, photographs)
    text, figures = table(records)
    print(text)
    print("\nworst: " + ", ".join(f"{each['number']} ({each['iou']:.3f})" for each in records[:10]))
    result = {
        "date": datetime.date.today().isoformat(),
        "commit": machine.commit(ROOT),
        "machine": machine.describe("cpu"),
        "first_seed": FIRST_SEED,
        "figures": figures,
    }
    file = arguments.folder / f"{result['date']}-segmentation"
    rest = cases[SHOWN_WORST :: max(1, (len(cases) - SHOWN_WORST) // SHOWN_REST)]
    draw_sheet([*photograph_cases(photographs), *cases[:SHOWN_WORST], *rest], file.with_suffix(".png"))
    lines = ",\n".join(json.dumps(record) for record in records)
    head = json.dumps(result, indent=1)[:-2]
    file.with_suffix(".json").write_text(f'{head},\n "records": [\n{lines}\n]}}\n', encoding="utf-8")
    print(f"written: {file.name}.json and .png in {arguments.folder}")
    if arguments.floor is not None and figures["all"]["mean"] < arguments.floor:
        raise SystemExit(f"error: the mean is {figures['all']['mean']:.3f}, below {arguments.floor}")


if __name__ == "__main__":
    main()
