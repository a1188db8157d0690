"""Subject disentanglement in training: whose words go where, and that the same arithmetic runs."""

from dataclasses import replace

import pytest
import torch

from magref_core.errors import MagrefError
from magref_core.training.conditions import DropConfig
from magref_core.training.disentangling import DisentanglingConfig, subject_plan, word_positions
from magref_core.training.files import TrainingError
from magref_core.training.grounding import NO_WORD
from magref_core.training.text_encoder import TextEncoder
from magref_core.training.trainer import Models, Trainer
from tests.training_runs import (
    EMPTY_TEXT,
    TINY_TEXT,
    WITHOUT_DROPS,
    dataset_in,
    sample,
    tiny_dit,
    tiny_trainer,
)

ALWAYS = DisentanglingConfig(rate=1.0, alpha=0.5)
FOX, BEAR, ON, THE, LEFT, RIGHT, END = 7, 5, 10, 11, 12, 13, 1
TWO_FOXES = torch.tensor([2, FOX, ON, THE, LEFT, 3, 4, FOX, ON, THE, RIGHT, 3, END])


def words(*categories):
    rows = [[category, 3] for category in categories]
    return torch.tensor(rows + [[NO_WORD, NO_WORD]] * (3 - len(rows)))


def told(canvas, *categories, count=1):
    """Regions and words of samples, of a canvas on which each patch has the numbers of its subjects."""
    regions = torch.tensor(
        [[[int(str(who) in str(own)) for own in row] for row in canvas] for who in (1, 2, 3)]
    )
    return regions.expand(count, *regions.shape), words(*categories).expand(count, 3, 2)


def test_two_of_a_category_are_told_apart_by_the_words_of_their_sides():
    assert word_positions(words(FOX, FOX), TWO_FOXES) == {1: (1, 2, 3, 4), 2: (7, 8, 9, 10)}


def test_one_alone_has_no_side_and_who_is_not_named_has_no_words():
    assert word_positions(words(FOX), TWO_FOXES) == {1: (1,)}
    assert word_positions(words(BEAR), TWO_FOXES) == {}
    assert word_positions(words(FOX, BEAR), TWO_FOXES) == {1: (1, 2, 3, 4)}
    assert word_positions(words(FOX, FOX, FOX), TWO_FOXES).keys() == {1, 2}


def test_each_region_is_given_alpha_of_the_mean_of_its_own_words():
    given = told([[1, 1, 0], [0, 2, 2]], FOX, FOX)
    plan = subject_plan(*given, TWO_FOXES[None], ALWAYS, torch.Generator(), num_blocks=3, text_len=16)
    (one,) = plan.injections
    assert (one.rows, one.blocks, one.projection) == ((0, 1), (0, 3), "value")
    assert one.amounts.T.tolist() == [[0.5, 0.5, 0, 0, 0, 0], [0, 0, 0, 0, 0.5, 0.5]]
    assert one.averages.shape == (2, 16)
    assert one.averages.nonzero().tolist() == [[0, p] for p in (1, 2, 3, 4)] + [[1, p] for p in (7, 8, 9, 10)]
    torch.testing.assert_close(one.averages.sum(1), torch.ones(2))


def test_a_patch_of_two_regions_is_shared_as_the_node_does():
    given = told([[1, 12, 2]], FOX, FOX)
    plan = subject_plan(*given, TWO_FOXES[None], ALWAYS, torch.Generator(), num_blocks=3, text_len=16)
    assert plan.injections[0].amounts.T.tolist() == [[0.5, 0.25, 0], [0, 0.25, 0.5]]


def test_who_is_not_on_the_canvas_or_beyond_what_is_read_gets_nothing():
    given = told([[1, 0], [0, 0]], FOX, FOX)
    plan = subject_plan(*given, TWO_FOXES[None], ALWAYS, torch.Generator(), num_blocks=1, text_len=16)
    assert plan.injections[0].averages.shape[0] == 1
    assert subject_plan(*given, TWO_FOXES[None], ALWAYS, torch.Generator(), num_blocks=1, text_len=4) is None
    empty = torch.tensor([[END] + [0] * 12])
    assert subject_plan(*given, empty, ALWAYS, torch.Generator(), num_blocks=1, text_len=16) is None


def test_the_rate_is_the_share_of_samples():
    given, text = told([[1]], FOX, count=400), TWO_FOXES.expand(400, -1)
    config = replace(ALWAYS, rate=0.3)
    plan = subject_plan(*given, text, config, torch.Generator().manual_seed(0), num_blocks=1, text_len=16)
    assert 90 < len(plan.injections) < 150
    assert len({injection.rows for injection in plan.injections}) == len(plan.injections)


@pytest.mark.parametrize(
    "wrong", [{"rate": 1.5}, {"rate": float("nan")}, {"alpha": 0.0}, {"alpha": 3.0}, {"projection": "key"}]
)
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(MagrefError, match="disentangling"):
        DisentanglingConfig(**wrong)


def told_sample(seed):
    """The subject is on the left half of the canvas, and the second word of the prompt."""
    owners = torch.tensor([[[1, 0], [1, 0]], [[0, 1], [0, 1]]], dtype=torch.uint8)
    given = sample(seed, has_ids=True)
    category = int(given["text"][1])
    listed = torch.tensor([[category, 3], [NO_WORD] * 2, [NO_WORD] * 2], dtype=torch.int16)
    regions = torch.zeros(3, 2, 2, dtype=torch.uint8)
    regions[0, :, 0] = 1
    maps = {"owners": owners, "heights": torch.zeros_like(owners), "regions": regions}
    return given | maps | {"words": listed}


def trainer_of(folder, config, *, without=()):
    samples = [told_sample(seed) for seed in range(4)]
    kept = [{name: value for name, value in one.items() if name not in without} for one in samples]
    dataset = dataset_in(folder / "samples", kept)
    encoder = TextEncoder(TINY_TEXT, torch.Generator().manual_seed(1))
    models = Models(dit=tiny_dit(), text_encoder=encoder, empty_text=EMPTY_TEXT)
    return Trainer(models, dataset, config, folder / "run")


def loss_of(trainer):
    generator = torch.Generator().manual_seed(3)
    return trainer.loss(trainer.dataset.batch(2, generator), generator)


def test_the_loss_changes_with_it_and_its_gradient_reaches_the_values_of_the_words(tmp_path):
    plain = trainer_of(tmp_path / "plain", WITHOUT_DROPS)
    with_words = trainer_of(tmp_path / "words", replace(WITHOUT_DROPS, disentangling=ALWAYS))
    assert loss_of(plain).item() != loss_of(with_words).item()
    loss_of(with_words).backward()
    assert with_words.models.dit.blocks[0].cross_attn.v.weight.grad.abs().sum() > 0


def test_a_rate_of_0_and_dropped_prompts_leave_the_loss_as_it_is(tmp_path):
    no_text = replace(WITHOUT_DROPS, drops=DropConfig(text=1.0, references=0.0))
    plain = trainer_of(tmp_path / "plain", no_text)
    dropped = trainer_of(tmp_path / "dropped", replace(no_text, disentangling=ALWAYS))
    assert loss_of(plain).item() == loss_of(dropped).item()
    off = trainer_of(tmp_path / "off", replace(WITHOUT_DROPS, disentangling=replace(ALWAYS, rate=0.0)))
    assert loss_of(trainer_of(tmp_path / "other", WITHOUT_DROPS)).item() == loss_of(off).item()


def test_dropped_canvases_leave_the_loss_as_it_is(tmp_path):
    no_canvas = replace(WITHOUT_DROPS, drops=DropConfig(text=0.0, references=1.0))
    plain = trainer_of(tmp_path / "plain", no_canvas)
    dropped = trainer_of(tmp_path / "dropped", replace(no_canvas, disentangling=ALWAYS))
    assert loss_of(plain).item() == loss_of(dropped).item()


def test_samples_without_regions_are_refused_with_the_remedy(tmp_path):
    trainer = trainer_of(tmp_path, replace(WITHOUT_DROPS, disentangling=ALWAYS), without=("regions",))
    with pytest.raises(
        TrainingError, match="where on the canvas the boxes of each subject lie: make the data"
    ):
        loss_of(trainer)
    loss_of(trainer_of(tmp_path / "off", WITHOUT_DROPS, without=("regions",)))


def test_samples_that_do_not_tell_are_refused_with_the_remedy(tmp_path):
    config = replace(WITHOUT_DROPS, disentangling=ALWAYS)
    with pytest.raises(TrainingError, match="set the rate of disentangling to 0"):
        tiny_trainer(tmp_path / "run", config, has_text_encoder=True).train_step()
