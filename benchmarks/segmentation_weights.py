"""Fit the weights by which `magref_core/segmentation/grading.py` chooses among parts of a picture.

python scripts/bench.py segmentation_weights [--pictures 156]

Draws pictures as the benchmark of segmentation does, from other seeds, and finds the candidates of each. A
softmax over the graded candidates of a picture is a choice; the weights that make the expected overlap of the
choice with the truth largest are printed. So is the overlap of the best graded candidate, for pictures that
were left out of the fit in turn, and the most that any grading could reach. Nothing is written: a person
copies the weights.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

if __package__ in (None, ""):
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

import cv2
import numpy as np
import numpy.typing as npt

from benchmarks.segmentation import PHOTOGRAPHS, overlap
from benchmarks.support.segmentation_pictures import Sample, draw_samples
from magref_core.canvas.references import read_picture
from magref_core.segmentation.contours import find_candidates, smooth_lab
from magref_core.segmentation.grading import WEIGHTS, cues, scene_of
from scripts import ROOT

FIRST_SEED = 9_000_000
"""Far from the benchmark's, so that what is measured was never fitted."""

MAX_SIDE = 384
SHRINKAGE = 2e-3
STEPS, STEP_SIZE = 200, 0.08
FOLDS = 5
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Choice:
    """The candidates of one picture."""

    cues: Floats
    """(candidates, cues)."""
    overlaps: Floats
    """(candidates,) in 0..1, with the truth."""


def choice_of(sample: Sample) -> Choice | None:
    """Find and measure the candidates of a picture; None if there is no choice."""
    scale = min(1.0, MAX_SIDE / max(sample.subject.shape))
    size = round(sample.subject.shape[1] * scale), round(sample.subject.shape[0] * scale)
    image = np.asarray(cv2.resize(sample.image, size, interpolation=cv2.INTER_AREA), np.uint8)
    truth = (
        np.asarray(cv2.resize(sample.subject.astype(np.float32), size, interpolation=cv2.INTER_AREA)) >= 0.5
    )
    scene = scene_of(image, smooth_lab(image))
    masks = find_candidates(image)
    found = [(cues(mask, scene), overlap(mask, truth)) for mask in masks]
    found = [(values, part) for values, part in found if values]
    if len(found) < 2:
        return None
    rows = [[values[name] for name in WEIGHTS] for values, _ in found]
    return Choice(cues=np.array(rows), overlaps=np.array([part for _, part in found]))


def fit(choices: Sequence[Choice]) -> Floats:
    """The weights, (cues,), with the largest expected overlap, less a small price of their size.

    Cues are compared in units of their spread. Steps are those of Adam.
    """
    rows = np.concatenate([choice.cues for choice in choices])
    spread = rows.std(axis=0)
    rows = (rows - rows.mean(axis=0)) / spread
    overlaps = np.concatenate([choice.overlaps for choice in choices])
    counts = [len(choice.overlaps) for choice in choices]
    starts, owners = np.cumsum([0, *counts[:-1]]), np.repeat(np.arange(len(counts)), counts)
    weights, mean, square = (np.zeros(rows.shape[1]) for _ in range(3))
    for step in range(1, STEPS + 1):
        odds = rows @ weights
        odds = np.exp(odds - np.maximum.reduceat(odds, starts)[owners])
        chances = odds / np.add.reduceat(odds, starts)[owners]
        gain = overlaps - np.add.reduceat(chances * overlaps, starts)[owners]
        slope = rows.T @ (chances * gain) / len(choices) - 2 * SHRINKAGE * weights
        mean, square = 0.9 * mean + 0.1 * slope, 0.999 * square + 0.001 * slope**2
        weights = weights + STEP_SIZE * mean / (1 - 0.9**step) / (np.sqrt(square / (1 - 0.999**step)) + 1e-8)
    return weights / spread


def chosen_overlap(choices: Sequence[Choice], weights: Floats) -> float:
    """Mean overlap of the best graded candidates."""
    return float(np.mean([choice.overlaps[np.argmax(choice.cues @ weights)] for choice in choices]))


def left_out_overlap(choices: Sequence[Choice]) -> float:
    """As `chosen_overlap`, with weights that were fitted without the pictures they choose in."""
    total = 0.0
    for fold in range(FOLDS):
        inside = [choice for number, choice in enumerate(choices) if number % FOLDS != fold]
        outside = choices[fold::FOLDS]
        total += chosen_overlap(outside, fit(inside)) * len(outside)
    return total / len(choices)


def main() -> None:
    """Draw, fit and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pictures", type=int, default=156, help="at least 10; default 156")
    arguments = parser.parse_args()
    folder = ROOT / "workflows" / "pictures"
    photographs = [read_picture(folder / name, label=name)[0].numpy() for name in PHOTOGRAPHS]
    choices: list[Choice] = []
    samples = draw_samples(arguments.pictures, photographs, first_seed=FIRST_SEED)
    for number, sample in enumerate(samples):
        choice = choice_of(sample)
        if choice is not None:
            choices.append(choice)
        if number % 10 == 9:
            print(f"{number + 1} of {arguments.pictures} pictures", file=sys.stderr, flush=True)
    weights = fit(choices)
    print("\n".join(f'"{name}": {weight:.2f},' for name, weight in zip(WEIGHTS, weights, strict=True)))
    best = float(np.mean([choice.overlaps.max() for choice in choices]))
    print(f"pictures with a choice {len(choices)}, chosen {chosen_overlap(choices, weights):.3f}")
    print(f"chosen in pictures left out {left_out_overlap(choices):.3f}, best candidate {best:.3f}")


if __name__ == "__main__":
    main()
