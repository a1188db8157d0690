"""Memory that runs out while MAGREF Best Of samples: that take is made once more, and the others as ever."""

from __future__ import annotations

import comfy.model_management
import pytest
import torch
from magref_pack.magref_core.errors import MagrefError
from magref_pack.nodes.best_of import Judge, Take

from . import models
from .test_best_of import best, canvas
from .test_memory_plan import FULL, failing, split

__all__ = ["canvas"]

TOGETHER, ONE_BY_ONE = [[1, 0]], [[1], [0]]
"""Prompts of the passes of a step."""
DRAFT_STEPS, STEPS = 1, 2


@pytest.fixture(autouse=True)
def judged(monkeypatch):
    """Seed 6 is the best of 5 and 6; nothing is decoded."""

    def judge(self, seed, steps, latents):
        return Take(seed=seed, steps=steps, score=seed / 10, verdicts={})

    monkeypatch.setattr(Judge, "__call__", judge)


def sampled(model, canvas):
    """Two takes of one step, and the better one in two steps."""
    latent, seed, _ = best(canvas, model, count=2)
    assert seed == 6
    return latent["samples"]


@pytest.mark.parametrize("error", FULL, ids=["cuda", "accelerator", "cpu", "cublas"])
def test_a_draft_that_does_not_fit_is_made_once_more_and_the_other_takes_as_ever(canvas, error, caplog):
    model = models.our_model()
    expected = sampled(model, canvas)
    broken, calls = failing(model, error, 1)
    result = sampled(broken, canvas)
    second_draft_and_finish = TOGETHER * (DRAFT_STEPS + STEPS)
    assert calls == [*TOGETHER, *(ONE_BY_ONE * DRAFT_STEPS), *second_draft_and_finish]
    assert torch.equal(result, expected)
    assert sum("once more from the start" in record.message for record in caplog.records) == 1


def test_the_best_take_is_finished_one_by_one_where_it_does_not_fit(canvas):
    model = models.our_model()
    broken, calls = failing(model, FULL[0], 2 * DRAFT_STEPS + 2)
    result = sampled(broken, canvas)
    assert calls == [*(TOGETHER * (2 * DRAFT_STEPS + 2)), *(ONE_BY_ONE * STEPS)]
    assert torch.equal(result, sampled(split(model), canvas))


def test_takes_that_never_fit_end_with_a_sentence_and_leave_a_clean_state(canvas):
    model = models.our_model()
    before = sampled(model, canvas)
    broken, calls = failing(model, FULL[0], 1, 2)
    with pytest.raises(MagrefError, match=r"sampling 5 frames at 96 x 64 ran out of memory twice"):
        sampled(broken, canvas)
    assert len(calls) == 2
    assert not comfy.model_management.loaded_models()
    assert torch.equal(sampled(model, canvas), before)
