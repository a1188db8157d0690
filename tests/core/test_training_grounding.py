from dataclasses import replace

import pytest
import torch

from magref_core.errors import MagrefError
from magref_core.training.dataset import Dataset
from magref_core.training.files import TrainingError
from magref_core.training.grounding import (
    Grounding,
    GroundingConfig,
    Parts,
    attention_loss,
    wanted_attention,
)
from magref_core.training.trainer import Models, Trainer
from tests.training_runs import WITHOUT_DROPS, dataset_in, sample, tiny_dit, tiny_trainer

CONFIG = GroundingConfig(weight=0.5, blocks=(0,))
CANVAS = [[1, 1, 0, 2], [1, 1, 0, 2]]
LATER = [[2, 2, 0, 1], [2, 2, 3, 1]]
HEIGHTS = [[0, 0, 0, 0], [1, 1, 1, 1]]


def parts(canvas=CANVAS, later=LATER):
    return Parts(owners=torch.tensor([[canvas, later]]), heights=torch.tensor([[HEIGHTS, HEIGHTS]]).float())


def grounded_sample(seed):
    """Two frames of 2 x 2 patches; the subject is on the left of the canvas and on the right of the clip."""
    owners = torch.tensor([[[1, 0], [1, 0]], [[0, 1], [0, 1]]], dtype=torch.uint8)
    heights = torch.tensor([[[0, 0], [255, 255]]] * 2, dtype=torch.uint8)
    return sample(seed) | {"owners": owners, "heights": heights}


def test_a_patch_should_look_at_the_same_height_of_its_own_subject():
    targets, counted = wanted_attention(parts(), spread=0.15)
    assert targets.shape == (1, 8, 8) and counted.shape == (1, 8)
    # Canvas patches are numbered row by row: 0 1 . 3 / 4 5 . 7
    upper_of_two, lower_of_one = targets[0, 0], targets[0, 7]
    torch.testing.assert_close(upper_of_two, torch.eye(8)[3])
    torch.testing.assert_close(lower_of_one, (torch.eye(8)[4] + torch.eye(8)[5]) / 2)


def test_nobody_and_who_is_not_on_the_canvas_do_not_count():
    targets, counted = wanted_attention(parts(), spread=0.15)
    assert counted[0].tolist() == [True, True, False, True, True, True, False, True]
    assert not targets[0, 2].any() and not targets[0, 6].any()


def test_a_wide_spread_asks_for_the_subject_and_not_for_the_part():
    targets, _ = wanted_attention(parts(), spread=1e6)
    torch.testing.assert_close(targets[0, 0], (torch.eye(8)[3] + torch.eye(8)[7]) / 2)


def test_the_loss_is_least_where_attention_is_as_wanted():
    targets, counted = wanted_attention(parts(), spread=0.15)
    k = torch.eye(16)[None] * 4
    right = torch.zeros(1, 16, 16)
    right[0, 8:, :8] = (targets[0] + 1e-6).log().clamp(min=-20)
    wrong = right.roll(2, -1)
    even = attention_loss(torch.zeros(1, 16, 16), k, targets, counted)
    torch.testing.assert_close(even, torch.tensor(8.0).log())
    assert attention_loss(right, k, targets, counted) < even < attention_loss(wrong, k, targets, counted)
    entropy = -(targets * targets.clamp(min=1e-9).log()).sum(-1)[counted].mean()
    torch.testing.assert_close(attention_loss(right, k, targets, counted), entropy, atol=0.01, rtol=0.01)


def test_without_any_subject_the_loss_is_nothing():
    targets, counted = wanted_attention(parts(later=[[0] * 4] * 2), spread=0.15)
    q = torch.randn(1, 16, 16, generator=torch.Generator().manual_seed(0))
    assert attention_loss(q, q, targets, counted) == 0


def test_only_the_chosen_blocks_and_their_first_head_are_taught():
    grounding = Grounding(parts(), CONFIG)
    q = torch.randn(1, 16, 2, 8, generator=torch.Generator().manual_seed(0), requires_grad=True)
    for block in range(3):
        seen = {"x": torch.ones(1), "q": q, "k": q.detach(), "transformer_options": {"block_index": block}}
        assert grounding._listen(seen) is seen["x"]
    assert len(grounding.losses) == 1
    grounding.loss().backward()
    assert q.grad[:, :, 0].any() and not q.grad[:, :, 1].any()


def test_training_moves_attention_to_where_it_should_be(tmp_path):
    dataset = dataset_in(tmp_path / "samples", [grounded_sample(seed) for seed in range(4)])
    losses = {}
    for weight in (0.0, 1.0):
        config = replace(WITHOUT_DROPS, steps=40, grounding=replace(CONFIG, weight=weight))
        trainer = Trainer(Models(dit=tiny_dit()), dataset, config, tmp_path / str(weight))
        for _ in range(40):
            trainer.train_step()
        losses[weight] = missed(trainer, dataset)
    assert losses[1.0] < 0.7 * losses[0.0]


def missed(trainer: Trainer, dataset: Dataset) -> float:
    """What attention lacks on a batch, whatever the weight in training was."""
    batch = dataset.batch(4, torch.Generator().manual_seed(5))
    heard = []
    listen = Grounding._listen

    def keep(grounding, seen):
        heard.append(grounding)
        return listen(grounding, seen)

    trainer.config = replace(trainer.config, grounding=replace(CONFIG, weight=1e-9))
    with pytest.MonkeyPatch.context() as patch, torch.no_grad():
        patch.setattr(Grounding, "_listen", keep)
        trainer.loss(batch, torch.Generator().manual_seed(5))
    return heard[0].loss().item()


def test_samples_that_do_not_tell_who_is_where_are_refused(tmp_path):
    trainer = tiny_trainer(tmp_path / "run", replace(WITHOUT_DROPS, grounding=CONFIG))
    with pytest.raises(
        TrainingError, match=r"0\.safetensors:\d.* do not tell what shows whom: make the data"
    ):
        trainer.train_step()


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"weight": -1.0}, "weight -1.0"),
        ({"weight": float("nan")}, "weight nan"),
        ({"spread": 0.0}, "spread 0"),
    ],
)
def test_values_out_of_range_are_refused(values, words):
    with pytest.raises(MagrefError, match=words):
        GroundingConfig(**values)


def test_grounding_and_gradient_checkpointing_exclude_each_other():
    with pytest.raises(MagrefError, match="gradient checkpointing computes anew: switch one of them off"):
        replace(WITHOUT_DROPS, grounding=CONFIG, gradient_checkpointing=True)
