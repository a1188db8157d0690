"""How often MAGREF Subject Report is right, on drawn videos whose truth is known.

python scripts/bench.py subject_report [--cases 40] [--seed 12]     prints a table, writes a report
python scripts/bench.py subject_report --fit                       fits the weights of the verdicts anew

Each case draws a scene of two or three subjects, two of one category in many of them, and makes a video of
it in which they are as given, two have changed places, one is left out or replaced by a stranger, or two are
merged (the upper part of one on the lower part of the other, once or twice); or it shows a lone subject or a
stranger in its place, which counts for itself. The references are other views.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.util
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

if __package__ in (None, ""):
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from scripts import ROOT
from scripts.host import use_host_python
from scripts.host_install import HostError

SIZES = ((96, 160), (64, 96))
"""Height and width: of the drawn world, and of the demo model."""
FIT_CASES = ((64, 96, 1, 50), (96, 160, 1, 50))
"""Height, width, seed and number of the cases that weights are fitted to; never measured."""
NUM_FRAMES = 7


def measure(size: tuple[int, int], cases: int, seed: int) -> list[dict[str, Any]]:
    """Judge the videos of one size; a record each."""
    from benchmarks.support.report_cases import ALL_KINDS, draw_case
    from magref_core.evaluation.sightings import spread, subjects_of
    from magref_core.evaluation.sprite_finder import find_by_sprites
    from magref_core.evaluation.verdicts import judge

    records: list[dict[str, Any]] = []
    for number in range(cases):
        for kind in ALL_KINDS:
            case = draw_case(kind, number, height=size[0], width=size[1], seed=seed)
            numbers = spread(len(case.frames), NUM_FRAMES)
            sightings = find_by_sprites(case.frames[list(numbers)], numbers, case.references)
            verdicts = judge(sightings, [subject.name for subject in subjects_of(case.references)]).verdicts
            motions = [actor.motion for actor in case.scene.actors]
            record = {"size": f"{size[1]} x {size[0]}", "kind": kind, "how": case.how, "number": number}
            records.append(record | {"motions": motions, "truth": case.truth, "verdicts": verdicts})
        print(f"{size[1]} x {size[0]}: {number + 1} of {cases}", flush=True)
    return records


def table(records: list[dict[str, Any]]) -> str:
    """Verdicts that are right by size and kind, with 95 % intervals over videos, and the mistakes.

    All are those of several subjects; videos of a lone one stand apart.
    """
    lines = ["| video | kind | videos | subjects | verdicts right | videos all right |", "| --- " * 6 + "|"]
    sizes = list(dict.fromkeys(record["size"] for record in records))
    for size in (*sizes, "both"):
        of_size = [each for each in records if size in (each["size"], "both")]
        several = [each for each in of_size if each["kind"] != "lone"]
        for kind in dict.fromkeys(each["kind"] for each in several):
            lines += _row(size, kind, [each for each in several if each["kind"] == kind])
        lines += _row(size, "all", several)
        lines += _row(size, "lone", [each for each in of_size if each["kind"] == "lone"])
    mistakes = Counter(
        (each["kind"] == "lone", truth, verdict)
        for each in records
        for truth, verdict in zip(each["truth"], each["verdicts"], strict=True)
        if truth != verdict
    )
    taken = [
        f"| {truth}{', lone' * lone} | {verdict} | {count} |"
        for (lone, truth, verdict), count in mistakes.most_common()
    ]
    return "\n".join([*lines, "", "| is | was taken for | subjects |", "| --- | --- | --- |", *taken, ""])


def _row(size: str, kind: str, chosen: list[dict[str, Any]]) -> list[str]:
    """One row of the table, or none."""
    from magref_core.evaluation.intervals import estimate

    right = [_num_right(each) for each in chosen]
    count = [len(each["truth"]) for each in chosen]
    found = estimate(right, count) if chosen else None
    if found is None:
        return []
    whole = sum(a == b for a, b in zip(right, count, strict=True)) / len(chosen)
    value = f"{found.value:.3f} [{found.low:.3f}, {found.high:.3f}]"
    return [f"| {size} | {kind} | {len(chosen)} | {sum(count)} | {value} | {whole:.3f} |"]


def _num_right(record: dict[str, Any]) -> int:
    return sum(one == other for one, other in zip(record["truth"], record["verdicts"], strict=True))


def fit_anew() -> None:
    """Fit the weights to the cases that are kept for it."""
    import numpy as np

    from benchmarks.support.report_cases import KINDS, draw_case
    from benchmarks.support.report_fit import fit, network_id, write
    from magref_core.evaluation.sightings import spread
    from magref_core.evaluation.sprite_finder import find_by_sprites
    from magref_core.evaluation.sprite_verdicts import measures_of

    measures, truth = [], []
    for height, width, seed, cases in FIT_CASES:
        for number in range(cases):
            for kind in KINDS:
                case = draw_case(kind, number, height=height, width=width, seed=seed)
                numbers = spread(len(case.frames), NUM_FRAMES)
                sightings = find_by_sprites(case.frames[list(numbers)], numbers, case.references)
                measures.append(measures_of(sightings))
                truth += case.truth
            print(f"{width} x {height}: {number + 1} of {cases}", flush=True)
    file = ROOT / "magref_core" / "evaluation" / "sprite_weights.py"
    write(file, *fit(np.concatenate(measures), truth), cases=FIT_CASES, network=network_id())


def introduction(records: list[dict[str, Any]], seed: int) -> str:
    """What was measured, by which network and which weights."""
    from safetensors import safe_open

    from benchmarks.support.report_fit import network_id
    from magref_core.evaluation.halves import WEIGHTS
    from magref_core.evaluation.sprite_weights import FITTED_TO, NETWORK

    several = [each for each in records if each["kind"] != "lone"]
    right, count = sum(map(_num_right, several)), sum(len(each["truth"]) for each in several)
    with safe_open(str(WEIGHTS), "pt") as file:  # pyright: ignore[reportUnknownVariableType]
        trained: dict[str, str] = file.metadata()  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    fitted = ", ".join(
        f"{4 * cases} videos of {width} x {height} of seed {of_fit}"
        for height, width, of_fit, cases in FITTED_TO
    )
    if FITTED_TO != FIT_CASES or network_id() != NETWORK:
        fitted = "other videos or another network than `--fit` would use now"
    lines = [
        f"Drawn videos of seed {seed}, to which neither the network nor the weights were fitted.",
        "Intervals are 95 %, by bootstrap over videos.",
        f"Right over all kinds but lone: {right / max(1, count):.3f} of {count}.",
        f"The network learned from {trained['frames']} frames, shown {trained['epochs']} times.",
        f"The weights were fitted to {fitted}.",
    ]
    return "\n".join([*lines, ""])


def main() -> int:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", type=int, default=40, help="videos of each kind and size")
    parser.add_argument("--seed", type=int, default=12, help="of the videos; 1 is that of the fit")
    parser.add_argument("--fit", action="store_true", help="fit the weights instead of measuring")
    parser.add_argument("--out", type=Path, help="folder of the report; none is written without it")
    arguments = parser.parse_args()
    if arguments.seed in {seed for _, _, seed, _ in FIT_CASES} or arguments.cases < 1:
        parser.error("use at least one case, and a seed that the weights were not fitted to, such as 12")
    if importlib.util.find_spec("torch") is None:
        use_host_python()
    import torch

    torch.set_num_threads(1)
    if arguments.fit:
        fit_anew()
        return 0
    records = [record for size in SIZES for record in measure(size, arguments.cases, arguments.seed)]
    text = table(records)
    about = introduction(records, arguments.seed)
    print(f"\n{about}\n{text}")
    if arguments.out:
        stem = arguments.out / f"{datetime.date.today().isoformat()}-subject-report"
        stem.with_suffix(".md").write_text(
            f"# Verdicts of the subject report by colours\n\n{about}\n{text}", encoding="utf-8"
        )
        stem.with_suffix(".json").write_text(json.dumps(records), encoding="utf-8")
    return 0


if __name__ == "__main__":
    try:
        raise SystemExit(main())
    except HostError as error:
        raise SystemExit(f"error: {error}") from error
