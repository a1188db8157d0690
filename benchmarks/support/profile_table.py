"""What a run of profiles found, as tables."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from magref_core.evaluation.intervals import Estimate, difference

from .profile_run import CONDITIONS, SETS, Condition
from .quality_run import Record
from .quality_sets import MAIN_SETS
from .quality_table import Row, answers, estimate_row

MIB = 2**20
MEASURES: Mapping[str, Row] = {
    "identity": Row(label="identity top-1", measure="identity", sets=MAIN_SETS),
    "swapped": Row(label="swaps", measure="swapped", sets=("pairs",)),
    "direction": Row(label="direction", measure="direction", sets=("walks",)),
    "motion": Row(label="motion", measure="motion", sets=MAIN_SETS),
}


def cost_table(records: Sequence[Record]) -> str:
    """Time, answers and memory of every condition, in Markdown."""
    lines = [
        "| | seconds a clip | of exact | answers computed | latents differ by | memory beside weights |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for label, condition in CONDITIONS.items():
        seconds = statistics.median(record["seconds"][label] for record in records)
        share = time_ratio(records, condition)
        computed = statistics.mean(record["answers"][label] for record in records)
        peaks = [record["peaks"][label] for record in records if record["peaks"].get(label) is not None]
        memory = f"{max(peaks) / MIB:.0f} MiB" if peaks else "not measured"
        away = [record["differences"][label] for record in records if condition.reference]
        apart = f"{statistics.median(away):.1%}" if away else ""
        lines.append(f"| {label} | {seconds:.2f} | {share} | {computed:.1f} | {apart} | {memory} |")
    return "\n".join(lines)


def time_ratio(records: Sequence[Record], condition: Condition) -> str:
    """The median over scenes of the time in units of the exact run's of the same scene."""
    if not condition.reference:
        return "1"
    ratios = [
        record["seconds"][condition.label] / record["seconds"][condition.reference] for record in records
    ]
    return f"{statistics.median(ratios):.2f}"


def price_table(records: Sequence[Record]) -> str:
    """Every measure with its interval, and in the next line its change against exact, in Markdown."""
    lines = [
        "| | " + " | ".join(row.label for row in MEASURES.values()) + " |",
        "| --- |" + " --- |" * len(MEASURES),
    ]
    for label, condition in CONDITIONS.items():
        cells = [_full(estimate_row(records, row, label), "") for row in MEASURES.values()]
        lines.append(f"| {label} | {' | '.join(cells)} |")
        if condition.reference:
            cells = [_full(change(records, row, condition), "+") for row in MEASURES.values()]
            lines.append(f"| minus exact | {' | '.join(cells)} |")
    return "\n".join(lines)


def change(records: Sequence[Record], row: Row, condition: Condition) -> Estimate | None:
    """A condition minus its exact run, on the same scenes and noise."""
    new, old = (
        answers(records, row.measure, row.sets, label) for label in (condition.label, condition.reference)
    )
    return difference((new[0], old[0]), (new[1], old[1])) if new[0] else None


def verdicts(records: Sequence[Record]) -> list[str]:
    """For each profile, which measures fall or rise beyond chance, said plainly."""
    lines: list[str] = []
    for condition in CONDITIONS.values():
        if not condition.reference:
            continue
        changes = {row.label: change(records, row, condition) for row in MEASURES.values()}
        told = [f"{name} {each.value:+.2f}" for name, each in changes.items() if each and each.is_significant]
        lines.append(f"- {condition.label}: {', '.join(told) if told else 'no significant change'}.")
    return lines


def chosen(records: Sequence[Record]) -> list[Record]:
    """Those of the sets that are measured, set by set."""
    order = {name: place for place, name in enumerate(SETS)}
    return sorted(
        (record for record in records if record["set"] in order),
        key=lambda record: (order[record["set"]], record["number"]),
    )


def _full(value: Estimate | None, sign: str) -> str:
    if value is None:
        return ""
    mark = " *" if sign and value.is_significant else ""
    return f"{value.value:{sign}.2f} [{value.low:{sign}.2f}, {value.high:{sign}.2f}]{mark}"
