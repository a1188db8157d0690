"""What another DiT does to the quality benchmark: two runs on the same scenes and noise, side by side."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from magref_core.evaluation.intervals import Estimate, difference
from scripts import ROOT
from scripts.host_install import HostError

from .quality_run import OURS, Record
from .quality_table import ROWS, Row, answers, estimate_row


def run_quality(bundle: Path, dit: Path, options: Sequence[str]) -> list[Record]:
    """The records of the quality benchmark with another DiT in a bundle.

    Args:
        bundle: the other files of the model, laid out like models/demo.
        dit: the DiT.
        options: of the benchmark.

    Raises:
        HostError: the bundle lacks parts, or the benchmark failed.
    """
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "bundle"
        place_bundle(bundle, dit, folder)
        print(f"quality of {dit.name}", file=sys.stderr, flush=True)
        command = [sys.executable, ROOT / "benchmarks" / "quality.py", "--models", folder]
        command += ["--folder", folder / "report", *options]
        if subprocess.run(command, stdout=sys.stderr, check=False).returncode:
            raise HostError(f"the quality benchmark failed on {dit.name}; the lines above say why")
        (report,) = (folder / "report").glob("*.json")
        return json.loads(report.read_text(encoding="utf-8"))["records"]


def place_bundle(bundle: Path, dit: Path, folder: Path) -> None:
    """A copy of a bundle with another DiT.

    Raises:
        HostError: the bundle lacks the other parts.
    """
    for name in ("vae", "text_encoders", "clip_vision"):
        if not (bundle / name).is_dir():
            raise HostError(
                f"{bundle} holds no folder {name}: give --bundle a folder laid out like models/demo"
            )
        shutil.copytree(bundle / name, folder / name)
    (folder / "diffusion_models").mkdir()
    shutil.copy(dit, folder / "diffusion_models" / dit.name)


def change_table(before: Sequence[Record], after: Sequence[Record]) -> str:
    """What a change of the model does to every measure, in Markdown.

    Args:
        before: records of one run.
        after: records of another run with the same options; scene by scene the same.

    Raises:
        ValueError: they are of other scenes.
    """
    _check_same_scenes(before, after)
    lines = [
        f"Quality on the same {len(before)} scenes and noise, with 95 % intervals of the change:",
        "",
        "| | before | after | after minus before | |",
        "| --- | ---: | ---: | ---: | --- |",
    ]
    for row in ROWS:
        values = [estimate_row(run, row, OURS) for run in (before, after)]
        if values[0] is None or values[1] is None:
            continue
        change = change_of(before, after, row)
        words = "" if change is None else "significant" if change.is_significant else "not significant"
        lines.append(
            f"| {row.label} | {values[0].value:.3f} | {values[1].value:.3f} | {_change(change)} | {words} |"
        )
    return "\n".join(lines)


def changes_table(before: Sequence[Record], runs: Mapping[str, Sequence[Record]]) -> str:
    """What each of several models changes, a column for each, in Markdown; bold where 0 is outside.

    Args:
        before: records of the model that the others were made from.
        runs: name -> records of one of the others.

    Raises:
        ValueError: some are of other scenes.
    """
    for run in runs.values():
        _check_same_scenes(before, run)
    lines = [
        f"| {len(before)} scenes | before | {' | '.join(runs)} |",
        f"| --- | ---: |{' ---: |' * len(runs)}",
    ]
    for row in ROWS:
        value = estimate_row(before, row, OURS)
        if value is None:
            continue
        changes = [change_of(before, run, row) for run in runs.values()]
        cells = [
            f"**{_change(each)}**" if each and each.is_significant else _change(each) for each in changes
        ]
        lines.append(f"| {row.label} | {value.value:.3f} | {' | '.join(cells)} |")
    return "\n".join(lines)


def change_of(before: Sequence[Record], after: Sequence[Record], row: Row) -> Estimate | None:
    """After minus before, of one measure."""
    new, old = (answers(run, row.measure, row.sets, OURS) for run in (after, before))
    return difference((new[0], old[0]), (new[1], old[1]))


def _check_same_scenes(*runs: Sequence[Record]) -> None:
    scenes = [[(record["set"], record["number"], record["seed"]) for record in run] for run in runs]
    if scenes[0] != scenes[1]:
        raise ValueError("the two runs are of other scenes: give both the same options")


def _change(change: Estimate | None) -> str:
    return "" if change is None else f"{change.value:+.3f} [{change.low:+.3f}, {change.high:+.3f}]"
