"""The image encoder that is trained along with the DiT."""

from dataclasses import replace

import pytest
import torch

from magref_core.canvas.clip_view import clip_pixels
from magref_core.training.clip_vision import ClipVision, ClipVisionConfig, quick_clip_pixels
from magref_core.training.conditions import DropConfig
from magref_core.training.files import TrainingError
from magref_core.training.trainer import Models, Trainer
from tests.training_runs import TINY, TINY_DIT, dataset_in, sample, tiny_dit, with_lora

TINY_TOWER = ClipVisionConfig(
    hidden_size=16,
    intermediate_size=16,
    num_attention_heads=2,
    num_hidden_layers=2,
    image_size=32,
    patch_size=16,
)


@pytest.mark.parametrize(
    ("height", "width", "size"), [(96, 160, 224), (160, 96, 224), (480, 832, 224), (64, 64, 64)]
)
def test_the_quick_view_is_the_exact_one(height, width, size):
    pixels = torch.rand((2, 3, height, width), generator=torch.Generator().manual_seed(0)) * 2 - 1
    torch.testing.assert_close(
        quick_clip_pixels(pixels, size=size), clip_pixels(pixels, size=size), rtol=0, atol=1e-5
    )


def canvas_of(seed):
    return torch.randint(0, 256, (32, 32, 3), generator=torch.Generator().manual_seed(seed)).to(torch.uint8)


def models_with_tower():
    assert TINY_DIT.clip_dim == TINY_TOWER.hidden_size
    return Models(dit=tiny_dit(), image_encoder=ClipVision(TINY_TOWER, torch.Generator().manual_seed(2)))


def trainer_in(folder, config=TINY, *, has_canvas=True):
    samples = []
    for seed in range(4):
        one = sample(seed)
        del one["image_tokens"]
        samples.append(one | ({"canvas": canvas_of(seed)} if has_canvas else {}))
    return Trainer(models_with_tower(), dataset_in(folder / "samples", samples), config, folder / "run")


def test_it_sees_the_stretched_canvas():
    models = models_with_tower()
    canvas = canvas_of(1)[None]
    pixels = clip_pixels(canvas.permute(0, 3, 1, 2) / 127.5 - 1, size=32)
    tokens = models.image_encoder.tokens(pixels)
    torch.testing.assert_close(models.look(canvas), tokens, rtol=0, atol=1e-5)


def test_it_is_trained_with_the_dit_and_saved_with_it(tmp_path):
    trainer = trainer_in(tmp_path)
    for block in trainer.models.dit.blocks:  # as made, the DiT does not listen to it yet
        torch.nn.init.normal_(block.cross_attn.v_img.weight, std=0.1)
    name = "image_encoder.vision_model.embeddings.patch_embedding.weight"
    before = trainer.weights[name].detach().clone()
    trainer.train()
    assert not torch.equal(before, trainer.weights[name])
    again = trainer_in(tmp_path)
    again.resume()
    assert torch.equal(again.weights[name], trainer.weights[name])
    assert again.step == TINY.steps


def test_where_the_references_are_dropped_it_says_nothing(tmp_path):
    trainer = trainer_in(tmp_path, replace(TINY, drops=DropConfig(text=0, references=1)))
    seen = []
    forward = trainer.models.dit.forward
    trainer.models.dit.forward = lambda *inputs, **_options: seen.append(inputs) or forward(*inputs)
    trainer.train_step()
    assert not seen[0][3].any()


def test_samples_without_a_canvas_are_refused(tmp_path):
    with pytest.raises(TrainingError, match=r"0\.safetensors:\d.* hold no canvas"):
        trainer_in(tmp_path, has_canvas=False).train_step()


def test_a_lora_leaves_it_alone(tmp_path):
    trainer = trainer_in(tmp_path, with_lora())
    assert not any(name.startswith("image_encoder") for name in trainer.weights)
