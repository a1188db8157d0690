from dataclasses import replace

import pytest
import torch

from magref_core.errors import MagrefError
from magref_core.training.conditions import DropConfig
from magref_core.training.dataset import Dataset
from magref_core.training.files import TrainingError
from magref_core.training.grounding import (
    NO_WORD,
    Grounding,
    GroundingConfig,
    Parts,
    Reader,
    attention_loss,
    wanted_attention,
    wanted_places,
    wanted_words,
)
from magref_core.training.trainer import Models, Trainer
from tests.training_runs import TINY_DIT, WITHOUT_DROPS, dataset_in, sample, tiny_dit, tiny_trainer

CONFIG = GroundingConfig(weight=0.5, blocks=(0,), read_blocks=(0,))
CANVAS = [[1, 1, 0, 2], [1, 1, 0, 2]]
LATER = [[2, 2, 0, 1], [2, 2, 3, 1]]
HEIGHTS = [[0, 0, 0, 0], [1, 1, 1, 1]]


def parts(canvas=CANVAS, later=LATER):
    return Parts(
        owners=torch.tensor([[canvas, later]]),
        heights=torch.tensor([[HEIGHTS, HEIGHTS]]).float(),
        words=torch.tensor([[[7, 3], [5, 4], [NO_WORD, 6]]]),
    )


def grounded_sample(seed):
    """Two frames of 2 x 2 patches; the subject is on the left of the canvas and on the right of the clip."""
    owners = torch.tensor([[[1, 0], [1, 0]], [[0, 1], [0, 1]]], dtype=torch.uint8)
    heights = torch.tensor([[[0, 0], [255, 255]]] * 2, dtype=torch.uint8)
    words = torch.tensor([[1 + seed % 2, 3], [NO_WORD] * 2, [NO_WORD] * 2], dtype=torch.int16)
    return sample(seed) | {"owners": owners, "heights": heights, "words": words}


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
    k = torch.eye(8)[None] * 8**0.5
    right = (targets + 1e-6).log().clamp(min=-20)
    wrong = right.roll(2, -1)
    even = attention_loss(torch.zeros(1, 8, 8), k, targets, counted)
    torch.testing.assert_close(even, torch.tensor(8.0).log())
    assert attention_loss(right, k, targets, counted) < even < attention_loss(wrong, k, targets, counted)
    entropy = -(targets * targets.clamp(min=1e-9).log()).sum(-1)[counted].mean()
    torch.testing.assert_close(attention_loss(right, k, targets, counted), entropy, atol=0.01, rtol=0.01)


def test_without_any_subject_the_loss_is_nothing():
    targets, counted = wanted_attention(parts(later=[[0] * 4] * 2), spread=0.15)
    q = torch.randn(1, 8, 16, generator=torch.Generator().manual_seed(0))
    assert attention_loss(q, q, targets, counted) == 0


def test_only_the_chosen_blocks_and_their_first_head_are_taught():
    grounding = Grounding(parts(), CONFIG)
    q = torch.randn(1, 16, 2, 8, generator=torch.Generator().manual_seed(0), requires_grad=True)
    for block in range(3):
        seen = {"x": torch.ones(1), "q": q, "k": q.detach(), "transformer_options": {"block_index": block}}
        assert grounding._listen(seen) is seen["x"]
    assert len(grounding.part_losses) == 1 and not grounding.reading_losses
    grounding.loss().backward()
    assert q.grad[:, :, 0].any() and not q.grad[:, :, 1].any()


def test_a_patch_shows_its_subject_which_does_something_in_the_video_alone():
    nouns, deeds = wanted_words(parts())[0].unbind(-1)
    assert nouns.tolist() == [
        *(7, 7, NO_WORD, 5, 7, 7, NO_WORD, 5),
        *(5, 5, NO_WORD, 7, 5, 5, NO_WORD, 7),
    ]  # the third subject has no noun
    assert deeds.tolist() == [NO_WORD] * 8 + [4, 4, NO_WORD, 3, 4, 4, 6, 3]


def test_places_run_from_0_to_1_along_columns_and_rows_of_every_frame():
    places = wanted_places(parts())
    assert places.shape == (16, 2) and places[:8].equal(places[8:])
    torch.testing.assert_close(places[:4, 0], torch.linspace(0, 1, 4))
    assert places[:8, 1].tolist() == [0] * 4 + [1] * 4


def test_the_stream_is_read_after_the_chosen_blocks():
    grounding = Grounding(parts(), CONFIG, Reader(8, 9, CONFIG))
    stream = torch.randn(1, 16, 8, generator=torch.Generator().manual_seed(0), requires_grad=True)
    for block in range(3):
        seen = {"img": stream, "block_index": block}
        assert grounding._read(seen) is seen
    assert len(grounding.reading_losses) == 1 and not grounding.part_losses
    grounding.loss().backward()
    assert stream.grad.any(-1).all()  # a place has even what is no subject


def test_reading_costs_nothing_where_words_and_places_are_right():
    class Right(Reader):
        def forward(self, tokens, block):
            logits = 50.0 * torch.nn.functional.one_hot(wanted_words(parts()), self.num_pieces)
            return logits, wanted_places(parts())[None]

    reader = Right(8, 9, CONFIG)
    grounding = Grounding(parts(), CONFIG, reader)
    grounding._read({"img": torch.zeros(1, 16, 8), "block_index": 0})
    torch.testing.assert_close(grounding.loss(), torch.tensor(0.0), atol=1e-6, rtol=0)
    told = parts().told_by(text=torch.tensor([False]), references=torch.tensor([True]))
    without_text = Grounding(told, CONFIG, Reader(8, 9, CONFIG))
    without_text._read({"img": torch.zeros(1, 16, 8), "block_index": 0})
    assert without_text.loss() > 1


def test_what_is_left_out_is_not_taught():
    yes, no = torch.tensor([True]), torch.tensor([False])
    without_text = parts().told_by(text=no, references=yes)
    assert wanted_words(without_text)[0, :8].any() and not wanted_words(without_text)[0, 8:].any()
    without_references = parts().told_by(text=yes, references=no)
    assert not wanted_words(without_references)[0, :8].any() and wanted_words(without_references)[0, 8:].any()
    for told in (without_text, without_references):
        assert not wanted_attention(told, spread=0.15)[1].any()
    assert parts().told_by(text=yes, references=yes).owners.equal(parts().owners)


@pytest.mark.parametrize("drops", [DropConfig(text=1, references=0), DropConfig(text=0, references=1)])
def test_the_trainer_teaches_nothing_of_what_it_dropped(tmp_path, drops):
    dataset = dataset_in(tmp_path / "samples", [grounded_sample(seed) for seed in range(4)])
    trainer = Trainer(
        Models(dit=tiny_dit()), dataset, replace(WITHOUT_DROPS, grounding=CONFIG, drops=drops), tmp_path
    )
    heard = listen_to(trainer, dataset)
    canvas, later = heard.words.unflatten(1, (2, 4)).unbind(1)
    assert not heard.counted.any()
    assert (bool(canvas.any()), bool(later.any())) == (drops.references == 0, drops.text == 0)


def test_training_moves_attention_to_where_it_should_be(tmp_path):
    dataset = dataset_in(tmp_path / "samples", [grounded_sample(seed) for seed in range(4)])
    parts_missed, words_missed = {}, {}
    for weight in (0.0, 1.0):
        config = replace(WITHOUT_DROPS, steps=40, grounding=replace(CONFIG, weight=weight))
        models = Models(dit=tiny_dit(), reader=Reader(TINY_DIT.dim, 9, CONFIG))
        trainer = Trainer(models, dataset, config, tmp_path / str(weight))
        for _ in range(40):
            trainer.train_step()
        heard = listen_to(trainer, dataset)
        parts_missed[weight], words_missed[weight] = (
            heard.part_losses[0].item(),
            heard.reading_losses[0].item(),
        )
    assert parts_missed[1.0] < 0.7 * parts_missed[0.0]
    assert words_missed[1.0] < 0.7 * words_missed[0.0]


def listen_to(trainer: Trainer, dataset: Dataset) -> Grounding:
    """What is heard on a batch, whatever the weight in training was."""
    batch = dataset.batch(4, torch.Generator().manual_seed(5))
    heard = []
    options = Grounding.options

    def keep(grounding):
        heard.append(grounding)
        return options(grounding)

    trainer.config = replace(trainer.config, grounding=replace(CONFIG, weight=1e-9))
    with pytest.MonkeyPatch.context() as patch, torch.no_grad():
        patch.setattr(Grounding, "options", keep)
        trainer.loss(batch, torch.Generator().manual_seed(5))
    return heard[0]


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
