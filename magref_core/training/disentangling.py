"""Train with subject disentanglement: each subject's words are added to its place on the canvas.

The paper asks for it in every layer and credits it with a tenth of likeness; the released weights were
probably trained without, so that at inference it meets a model that does not know it. Here the same
regions and the same arithmetic as at inference, of `subjects` and `dit.subjects`, serve in a share of the
samples of a training. A place on the canvas is no subject here and gets no words.

Source: MAGREF (arXiv 2505.23742 v2), section 3.2, eq. 5 and 6; the share, alpha and the region are ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

import torch
from torch import Tensor

from ..dit.subjects import Injection, Projection, SubjectPlan, averages_of
from ..errors import MagrefError
from ..subjects.controls import amounts_of
from .grounding import NO_WORD

MAX_ALPHA = 2.0
SIDE_WORDS = 3
"""Words behind a category that tell its subject from the others of a caption, such as "on the left"."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DisentanglingConfig:
    """How often, and how strongly.

    Raises:
        MagrefError: a value is outside its range.
    """

    rate: float = 0.0
    """Share of the samples, in [0, 1]; 0 for none."""
    alpha: float = 0.5
    """How much of its words each region is given."""
    projection: Projection = "value"
    """As in `dit.subjects`; "value" is the letter of the paper."""

    def __post_init__(self) -> None:
        if not 0 <= self.rate <= 1 or not 0 < self.alpha <= MAX_ALPHA:
            raise MagrefError(
                f"disentangling has rate {self.rate} and alpha {self.alpha}: use 0 to 1, and above 0 to "
                f"{MAX_ALPHA:g}"
            )
        if self.projection not in get_args(Projection):
            raise MagrefError(
                f"the projection of disentangling is '{self.projection}', which is unknown: choose one of "
                f"{', '.join(get_args(Projection))}"
            )


def subject_plan(
    regions: Tensor,
    words: Tensor,
    text: Tensor,
    config: DisentanglingConfig,
    generator: torch.Generator,
    *,
    num_blocks: int,
    text_len: int,
) -> SubjectPlan | None:
    """What one forward of a batch shall add.

    The region of a subject is the patches of the canvas of which its boxes cover at least half; its words are
    its category in the prompt and, where there are several subjects, the words of its side.

    Args:
        regions: (B, S, h, w) of `Parts`; all 0 for a sample without a canvas, see `Parts.told_by`.
        words: (B, S, 2) of `Parts`.
        text: (B, L) token ids; of several subjects of one category the first named is the first of the parts.
        config: how.
        generator: on the CPU, advanced by B draws.
        num_blocks: of the model.
        text_len: rows of text that the model reads.

    Returns:
        The plan; None if no sample of the batch is chosen or tells anything.
    """
    chosen = [bool(draw < config.rate) for draw in torch.rand(len(text), generator=generator)]
    injections = [
        injection
        for row, is_chosen in enumerate(chosen)
        if is_chosen
        and (
            injection := _injection(
                row, regions[row], word_positions(words[row], text[row]), config, num_blocks, text_len
            )
        )
    ]
    return SubjectPlan(injections=tuple(injections)) if injections else None


def word_positions(words: Tensor, text: Tensor) -> dict[int, tuple[int, ...]]:
    """Rows of the text that are each subject's words.

    Args:
        words: (S, 2) token ids, as `Parts.words` of one sample; the first is the category.
        text: (L,) token ids of its prompt.

    Returns:
        Subject, counted from 1 -> rows; without subjects that the text does not name.
    """
    categories = [int(word) for word in words[:, 0]]
    num_subjects = sum(word != NO_WORD for word in categories)
    ids = [int(token) for token in text]
    found: dict[int, tuple[int, ...]] = {}
    for subject, category in enumerate(categories, start=1):
        if category == NO_WORD:
            continue
        places = [place for place, token in enumerate(ids) if token == category]
        number = categories[: subject - 1].count(category)
        if number < len(places):
            start = places[number]
            end = start + 1 + (SIDE_WORDS if num_subjects > 1 else 0)
            found[subject] = tuple(range(start, min(end, len(ids))))
    return found


def _injection(
    row: int,
    regions: Tensor,
    positions: dict[int, tuple[int, ...]],
    config: DisentanglingConfig,
    num_blocks: int,
    text_len: int,
) -> Injection | None:
    """Of one sample; None where nobody is both on the canvas and in the prompt."""
    subjects = [
        subject
        for subject, rows in positions.items()
        if bool(regions[subject - 1].any()) and rows[-1] < text_len
    ]
    if not subjects:
        return None
    masks = regions[[subject - 1 for subject in subjects]].float()  # (K, h, w)
    amounts = amounts_of(masks, [config.alpha] * len(subjects), normalise=True)
    averages = averages_of(tuple(positions[subject] for subject in subjects), text_len)
    return Injection(
        rows=(row, row + 1),
        blocks=(0, num_blocks),
        averages=averages.to(regions.device),
        amounts=amounts,
        projection=config.projection,
    )
