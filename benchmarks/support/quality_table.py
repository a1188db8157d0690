"""What a quality run found, as tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from magref_core.evaluation.intervals import Estimate, difference, estimate

from .quality_run import ABLATIONS, FILM, OURS, ROUND_TRIP, Record
from .quality_sets import MAIN_SETS, SetName

_EACH_MAIN_SET: tuple[tuple[SetName, ...], ...] = (("one",), ("two",), ("three",))


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One measure on some sets."""

    label: str
    measure: str
    sets: tuple[SetName, ...]
    chance: str = ""
    """What guessing gives."""


ROWS: tuple[Row, ...] = (
    Row(label="identity top-1, 1 subject", measure="identity", sets=("one",), chance="0.125"),
    Row(label="identity top-1, 2 subjects", measure="identity", sets=("two",), chance="0.125"),
    Row(label="identity top-1, 3 subjects", measure="identity", sets=("three",), chance="0.125"),
    Row(label="swaps, two of a category", measure="swapped", sets=("pairs",), chance="0.5"),
    Row(label="identity top-1, two of a category", measure="identity", sets=("pairs",), chance="0.2"),
    Row(label="in another order, two of a category", measure="reordered", sets=("pairs",), chance="0.5"),
    Row(label="colours of another subject", measure="bled", sets=("two", "three")),
    Row(label="direction of walks", measure="direction", sets=("walks",)),
    Row(label="motion", measure="motion", sets=MAIN_SETS, chance="0.125"),
    Row(label="background, from its reference", measure="place", sets=("places",), chance="0.125"),
    Row(label="kind of background, from the prompt", measure="place_word", sets=MAIN_SETS, chance="0.125"),
    Row(label="pasted from the reference", measure="pasted", sets=MAIN_SETS),
    Row(label="copy-paste margin", measure="paste_margin", sets=MAIN_SETS),
    Row(label="roughness of subjects, film = 1", measure="roughness", sets=MAIN_SETS),
    Row(label="flicker of the background, grey levels", measure="flicker", sets=MAIN_SETS),
)

_DEFINITIONS = (
    "*Identity top-1*: the true puppet, drawn on its true track, explains the subject better than seven "
    "others of its category; the best shift (6 pixels) and size (10 %) in each of four frames count.",
    "*Swaps*: of two subjects of one category, told apart by nothing in the prompt, each shows the reference "
    "that explains it best; a scene counts as swapped when both show the same one. *In another order*: among "
    "the rest, those that stand in another order than the references; either order is right.",
    "*Colours of another subject*: its own shape in the colours of another subject explains it better.",
    "*Direction*: sign of the straight line through the subject's tracked places. *Motion*: of eight, the "
    "one whose drawing explains the clip best.",
    "*Background*: the true place explains the pixels outside the subjects better than seven of the same "
    "word. *Kind of background*: the word of the nearest of 256 places, colours set aside.",
    "*Pasted*: the reference's very picture explains the subject better than the true new view; the margin "
    "is the difference of the mean squared colours, below 0 for a new view.",
    "*Roughness*: mean absolute second difference in time on subjects, relative to the film. *Flicker*: the "
    "same on a background that stands still, in grey levels of 255.",
    "Intervals are 95 % bootstrap intervals over scenes.",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Floor:
    """What must be reached."""

    label: str
    """Of the row."""
    value: float
    at_most: bool = False

    def verdict(self, reached: float) -> str:
        """In words."""
        is_met = reached <= self.value if self.at_most else reached >= self.value
        return f"{'<=' if self.at_most else '>='} {self.value:.2f} {'met' if is_met else 'MISSED'}"


def _floors(*identity: float, direction: float) -> tuple[Floor, ...]:
    labels = [f"identity top-1, {count}" for count in ("1 subject", "2 subjects", "3 subjects")]
    return (
        *(Floor(label=label, value=value) for label, value in zip(labels, identity, strict=False)),
        Floor(label="direction of walks", value=direction),
    )


FLOORS: Mapping[str, tuple[Floor, ...]] = {
    "cuda": (
        *_floors(0.90, 0.85, 0.75, direction=0.90),
        Floor(label="swaps, two of a category", value=0.10, at_most=True),
        Floor(label="background, from its reference", value=0.85),
    ),
    "cpu": _floors(0.75, 0.40, direction=0.85),
}
"""By preset of the training."""
OTHERS_FLOOR = Floor(label="other references", value=0.20, at_most=True)


def answers(
    records: Sequence[Record], measure: str, sets: Iterable[str], condition: str
) -> tuple[list[float], list[float]]:
    """Sums and counts of a measure, scene by scene; 0 of 0 where a scene has no answer."""
    chosen = [record for record in records if record["set"] in set(sets)]
    pairs = [record["scores"].get(condition, {}).get(measure, (0.0, 0.0)) for record in chosen]
    return [pair[0] for pair in pairs], [pair[1] for pair in pairs]


def estimate_row(records: Sequence[Record], row: Row, condition: str) -> Estimate | None:
    """A measure under a condition."""
    sums, counts = answers(records, row.measure, row.sets, condition)
    return estimate(sums, counts) if sums else None


def compare(records: Sequence[Record], measure: str, sets: Iterable[str], condition: str) -> Estimate | None:
    """Ours minus a condition, on the same scenes."""
    ours, other = (answers(records, measure, sets, name) for name in (OURS, condition))
    return difference((ours[0], other[0]), (ours[1], other[1])) if ours[0] else None


def quality_table(records: Sequence[Record], preset: str) -> str:
    """All measures of ours beside the ceilings, in Markdown."""
    floors = {floor.label: floor for floor in FLOORS.get(preset, ())}
    lines = [
        "| | answers | chance | model | VAE round trip | film | floor |",
        "| --- | ---: | ---: | ---: | ---: | ---: | --- |",
    ]
    for row in ROWS:
        ours = estimate_row(records, row, OURS)
        if ours is None:
            continue
        ceilings = [_plain(estimate_row(records, row, name)) for name in (ROUND_TRIP, FILM)]
        floor = floors[row.label].verdict(ours.value) if row.label in floors else ""
        count = f"{ours.count:.0f}" if row.measure != "roughness" else ""
        lines.append(
            f"| {row.label} | {count} | {row.chance} | {_full(ours)} | {' | '.join(ceilings)} | {floor} |"
        )
    return "\n".join(lines)


def ablation_table(records: Sequence[Record]) -> str:
    """Identity under each condition, and how far below ours it is, in Markdown."""
    lines = [
        "| identity top-1 | 1 subject | 2 subjects | 3 subjects | together | ours minus this | |",
        "| --- | ---: | ---: | ---: | ---: | ---: | --- |",
    ]
    for condition in (OURS, *ABLATIONS):
        rows = [Row(label="", measure="identity", sets=sets) for sets in (*_EACH_MAIN_SET, MAIN_SETS)]
        estimates = [estimate_row(records, row, condition) for row in rows]
        together = estimates[-1]
        if together is None:
            continue
        gap, words = "", ""
        if condition != OURS:
            compared = compare(records, "identity", MAIN_SETS, condition)
            gap = _full(compared, sign="+")
            words = "significant" if compared and compared.is_significant else "not significant"
        if condition == OTHERS_FLOOR.label:
            words += f"; {OTHERS_FLOOR.verdict(together.value)}"
        cells = [*(_plain(each) for each in estimates[:-1]), _full(together), gap, words]
        label = f"{condition}: {ABLATIONS[condition]}" if condition in ABLATIONS else condition
        lines.append(f"| {label} | {' | '.join(cells)} |")
    return "\n".join(lines)


def mask_sentence(records: Sequence[Record]) -> str:
    """Whether the region mask does anything, said plainly; empty without ablations."""
    gap = compare(records, "identity", MAIN_SETS, "full mask")
    if gap is None:
        return ""
    if gap.low > 0:
        return f"With the full-frame mask identity is significantly below ours, by {_full(gap)}."
    return (
        f"With the full-frame mask identity is not significantly below ours: the difference is {_full(gap)}."
    )


def report(result: Mapping[str, Any]) -> str:
    """The whole report in Markdown."""
    records, options = result["records"], result["options"]
    machine = ", ".join(f"{key} {value}" for key, value in result["machine"].items())
    lines = [
        f"# Quality of the demo model, {result['date']}",
        "",
        f"{len(records)} held-out scenes (seeds from {result['first_seed']}), {options['steps']} steps of "
        f"{options['solver']}, guidance {options['guidance_scale']:g}, through the nodes of the pack in "
        f"ComfyUI {result['comfyui']}.",
        "",
        quality_table(records, result["preset"]),
        "",
        *(f"- {definition}" for definition in _DEFINITIONS),
    ]
    if options["ablations"]:
        lines += ["", "## The same scenes and noise, one thing changed", "", ablation_table(records), ""]
        lines += [mask_sentence(records)]
    return "\n".join(
        [
            *lines,
            "",
            f"- Model: preset `{result['preset']}`; files {', '.join(result['files'])}.",
            f"- Batches differ from single clips by at most {result['batch_difference']:.1e} in latents.",
            f"- Commit: {result['commit']}; {result['seconds']:.0f} s with {result['processes']} processes.",
            f"- Machine: {machine}.",
            "",
        ]
    )


def _plain(value: Estimate | None) -> str:
    return "" if value is None else f"{value.value:.2f}"


def _full(value: Estimate | None, sign: str = "") -> str:
    return "" if value is None else f"{value.value:{sign}.2f} [{value.low:{sign}.2f}, {value.high:{sign}.2f}]"
