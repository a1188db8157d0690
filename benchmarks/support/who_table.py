"""What the benchmark of the subjects' controls found, as a table, in words, and in the docs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from magref_core.evaluation.intervals import Estimate, difference, estimate

from .who_controls import PLAIN
from .who_run import Record

Verdict = Literal["helps", "hurts", "mixed", "no effect seen"]

BETTER_LOW = ("swapped", "reordered")
"""Measures of which less is better."""
MEASURES = {
    "swapped": "swaps",
    "identity": "identity top-1",
    "reordered": "in another order",
    "motion": "motion",
    "pasted": "pasted",
}
"""Measure -> head of its column."""
JUDGED = ("swapped", "identity")
SHOWN_OF_MODELS = (*JUDGED, "reordered", "motion")

DEFINITIONS = (
    "*Swaps*: scenes in which the two subjects do not show the two references one each. *Identity top-1*: "
    "the true puppet explains the subject better than seven others of its category (chance 0.125); the two "
    "may have changed places. *In another order*: among scenes without a swap, those in which left and "
    "right are not as bound; without a control that knows of the binding that is chance, 0.5.",
    "*Motion*: of eight, the one whose drawing explains the clip best is the prompted one. *Pasted*: "
    "subjects that look more like their reference's very picture than like a new view of it.",
    "Brackets hold 95 % bootstrap intervals over scenes. Differences are to plain on the same scenes and "
    "noise; one in bold has an interval without 0.",
)


def labels_of(records: Sequence[Record]) -> list[str]:
    """The controls that were run, in order."""
    return list(dict.fromkeys(label for record in records for label in record["scores"]))


def answers(records: Sequence[Record], label: str, measure: str) -> tuple[list[float], list[float]]:
    """Sums and counts of a measure under a control, scene by scene."""
    pairs = [record["scores"].get(label, {}).get(measure, (0.0, 0.0)) for record in records]
    return [pair[0] for pair in pairs], [pair[1] for pair in pairs]


def value_of(records: Sequence[Record], label: str, measure: str) -> Estimate | None:
    """A measure under a control."""
    return estimate(*answers(records, label, measure))


def change_of(records: Sequence[Record], label: str, measure: str, *, to: str) -> Estimate | None:
    """A measure under a control minus that under another, on the same scenes."""
    new, old = (answers(records, each, measure) for each in (label, to))
    return difference((new[0], old[0]), (new[1], old[1]))


def verdict_of(records: Sequence[Record], label: str, *, to: str) -> Verdict:
    """What a control does to swaps and identity, where an interval excludes 0."""
    signs: set[bool] = set()
    for measure in JUDGED:
        change = change_of(records, label, measure, to=to)
        if change is not None and change.is_significant:
            signs.add((change.value < 0) == (measure in BETTER_LOW))
    if not signs:
        return "no effect seen"
    return "mixed" if len(signs) > 1 else "helps" if True in signs else "hurts"


def best_kinds(records: Sequence[Record], kinds: Mapping[str, str], count: int = 2) -> list[str]:
    """The labels of the best settings of different kinds: fewest swaps, then most identity.

    Args:
        records: of single controls.
        kinds: label -> kind, of the controls that may be joined.
        count: how many.
    """

    def rank(label: str) -> tuple[float, float]:
        swapped, identity = (value_of(records, label, measure) for measure in JUDGED)
        return (swapped.value if swapped else 1.0, -(identity.value if identity else 0.0))

    chosen: dict[str, str] = {}
    for label in sorted(kinds, key=rank):
        chosen.setdefault(kinds[label], label)
    return list(chosen.values())[:count]


def control_table(records: Sequence[Record], answers_per_step: Mapping[str, int]) -> str:
    """All controls with intervals and differences to plain, in Markdown.

    Args:
        records: of the scenes.
        answers_per_step: label -> how often the model is asked in a step.
    """
    heads = "".join(f" {head} |" for head in MEASURES.values())
    lines = [
        f"| | answers per step |{heads} swaps, change | identity, change | |",
        f"| --- | ---: |{' ---: |' * len(MEASURES)} ---: | ---: | --- |",
    ]
    for label in labels_of(records):
        cells = [with_interval(value_of(records, label, measure)) for measure in MEASURES]
        changes, words = ["", ""], ""
        if label != PLAIN.label:
            changes = [_bold(change_of(records, label, measure, to=PLAIN.label)) for measure in JUDGED]
            words = verdict_of(records, label, to=PLAIN.label)
        row = [label, str(answers_per_step.get(label, 1)), *cells, *changes, words]
        lines.append(f"| {' | '.join(row)} |")
    return "\n".join(lines)


SIDE_EFFECTS = {
    "motion": (False, "Motion follows the prompt less with"),
    "pasted": (True, "Subjects look more like the very picture with"),
}
"""Measure -> whether more of it is the side effect, and how the sentence about it begins."""


def in_words(records: Sequence[Record]) -> list[str]:
    """What the table says, as a list of sentences: who helps, who hurts, and at which cost."""
    labels = [label for label in labels_of(records) if label != PLAIN.label]
    verdicts = {label: verdict_of(records, label, to=PLAIN.label) for label in labels}
    heads: dict[Verdict, str] = {
        "helps": "**Helps** (fewer swaps or more identity, and neither is worse)",
        "mixed": "**Mixed** (one is better, the other worse)",
        "no effect seen": "**No effect seen** (both intervals of change hold 0)",
        "hurts": "**Hurts** (more swaps or less identity, and neither is better)",
    }
    lines: list[str] = []
    for verdict, head in heads.items():
        named = [label for label in labels if verdicts[label] == verdict]
        lines.append(f"- {head}: {'; '.join(named) if named else 'none'}.")
    for measure, (is_more, head) in SIDE_EFFECTS.items():
        changes = {label: change_of(records, label, measure, to=PLAIN.label) for label in labels}
        named = [
            label
            for label, change in changes.items()
            if change is not None and change.is_significant and (change.value > 0) == is_more
        ]
        if named:
            lines.append(f"- {head} {'; '.join(named)}.")
    return lines


def model_table(models: Mapping[str, Sequence[Record]], first: str) -> str:
    """Controls under several models, each beside the same control under the first one.

    Args:
        models: name -> records of the same scenes.
        first: the model that the others are compared with.
    """
    lines = [
        "| model | control | swaps | identity top-1 | in another order | motion | swaps, change "
        "| identity, change |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    base = models[first]
    for name, records in models.items():
        for label in labels_of(records):
            cells = [with_interval(value_of(records, label, measure)) for measure in SHOWN_OF_MODELS]
            changes = ["", ""]
            if name != first and label in labels_of(base):
                pairs = [(answers(records, label, m), answers(base, label, m)) for m in JUDGED]
                changes = [_bold(difference((new[0], old[0]), (new[1], old[1]))) for new, old in pairs]
            lines.append(f"| {' | '.join([name, label, *cells, *changes])} |")
    return "\n".join(lines)


def report(result: Mapping[str, Any]) -> str:
    """The report in Markdown."""
    options = result["options"]
    machine = ", ".join(f"{key} {value}" for key, value in result["machine"].items())
    lines = [f"# Who is who, {result['date']}", "", *body(result), ""]
    lines += [
        f"- {options['steps']} steps of {options['solver']}, guidance {options['guidance_scale']:g}, through "
        f"the nodes of the pack in ComfyUI {result['comfyui']}.",
        f"- Files: {', '.join(result['files'])}.",
        f"- Commit: {result['commit']}; {result['seconds']:.0f} s with {result['processes']} processes.",
        f"- Machine: {machine}.",
    ]
    return "\n".join([*lines, ""])


def body(result: Mapping[str, Any]) -> list[str]:
    """What the report and the docs share."""
    records: Sequence[Record] = result["records"]
    lines = [
        f"{len(records)} held-out scenes with two subjects of one category (seeds from "
        f"{result['first_seed']}), measured on {result['date']}.",
        "",
        control_table(records, result["answers_per_step"]),
        "",
        "In words:",
        "",
        *in_words(records),
        "",
        "How to read it:",
        "",
        *(f"- {definition}" for definition in DEFINITIONS),
    ]
    if chosen := result.get("joined"):
        lines.append(
            f"- Joined are the two controls of different kinds with the fewest swaps, "
            f"{' and '.join(chosen)}, chosen on the same scenes."
        )
    if variants := result.get("variants"):
        lines += [
            "",
            "The same scenes and noise with models that were trained on, each beside the first one:",
            "",
            model_table(variants, next(iter(variants))),
        ]
    return lines


def with_interval(value: Estimate | None, *, sign: str = "") -> str:
    """A value and its interval; the sign "+" for differences."""
    if value is None:
        return ""
    return f"{value.value:{sign}.2f} [{value.low:{sign}.2f}, {value.high:{sign}.2f}]"


def _bold(change: Estimate | None) -> str:
    if change is None:
        return ""
    text = f"{change.value:+.3f} [{change.low:+.3f}, {change.high:+.3f}]"
    return f"**{text}**" if change.is_significant else text
