"""Two quality runs on the same scenes and noise, side by side."""

from __future__ import annotations

from collections.abc import Sequence

from magref_core.evaluation.intervals import Estimate, difference

from .quality_run import OURS, Record
from .quality_table import ROWS, answers, estimate_row


def change_table(before: Sequence[Record], after: Sequence[Record]) -> str:
    """What a change of the model does to every measure, in Markdown.

    Args:
        before: records of one run.
        after: records of another run with the same options; scene by scene the same.

    Raises:
        ValueError: they are of other scenes.
    """
    scenes = [
        [(record["set"], record["number"], record["seed"]) for record in run] for run in (before, after)
    ]
    if scenes[0] != scenes[1]:
        raise ValueError("the two runs are of other scenes: give both the same options")
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
        new, old = (answers(run, row.measure, row.sets, OURS) for run in (after, before))
        change = difference((new[0], old[0]), (new[1], old[1]))
        words = "" if change is None else "significant" if change.is_significant else "not significant"
        lines.append(
            f"| {row.label} | {values[0].value:.3f} | {values[1].value:.3f} | {_change(change)} | {words} |"
        )
    return "\n".join(lines)


def _change(change: Estimate | None) -> str:
    return "" if change is None else f"{change.value:+.3f} [{change.low:+.3f}, {change.high:+.3f}]"
