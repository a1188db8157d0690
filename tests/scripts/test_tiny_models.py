import pytest
import torch
from safetensors.torch import load_file

from scripts import ROOT, tiny_models, tiny_shapes

GOLDEN = ROOT / "tests" / "golden" / "data"


def shapes_of(weights):
    return {key: tuple(value.shape) for key, value in weights.items()}


def test_the_transformer_has_the_keys_and_shapes_of_the_official_one():
    official = shapes_of(load_file(GOLDEN / "dit_weights.safetensors"))
    assert dict(tiny_shapes.dit_shapes(dim=256, ffn_dim=512, num_layers=3)) == official


def test_the_vae_has_the_keys_and_shapes_of_the_official_one():
    official = shapes_of(load_file(GOLDEN / "vae_weights.safetensors"))
    width = official["decoder.head.0.gamma"][0]
    assert dict(tiny_shapes.vae_shapes(dim=width)) == official


def test_no_key_is_given_twice():
    for entries in (
        tiny_shapes.dit_shapes(dim=256, ffn_dim=512, num_layers=2),
        tiny_shapes.vae_shapes(dim=4),
        tiny_shapes.umt5_shapes(width=64, num_heads=2, head_width=8, ff=16, num_layers=2, vocabulary=9),
        tiny_shapes.clip_vision_shapes(width=64, ff=16, num_layers=2, image_size=56),
    ):
        keys = [key for key, _ in entries]
        assert len(keys) == len(set(keys))


@pytest.mark.parametrize(
    "make",
    [tiny_models.tiny_dit, tiny_models.tiny_vae, tiny_models.tiny_clip_vision, tiny_models.tiny_lora],
)
def test_a_seed_repeats_the_weights_and_another_changes_them(make):
    first, again, other = make(seed=7), make(seed=7), make(seed=8)
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not any(torch.equal(first[key], other[key]) for key in first)


def test_the_lora_fits_a_layer_of_the_tiny_transformer():
    weights = tiny_models.tiny_lora()
    (down,) = (key for key in weights if key.endswith(".lora_A.weight"))
    up = down.replace("lora_A", "lora_B")
    layer = tiny_models.tiny_dit()[down.replace("lora_A.", "").removeprefix("diffusion_model.")]
    assert (weights[up] @ weights[down]).shape == layer.shape
    assert set(weights) == {up, down}


def test_the_tiny_tokenizer_spells_any_prompt():
    import sentencepiece

    tokenizer = sentencepiece.SentencePieceProcessor(model_proto=tiny_models.tiny_tokenizer())
    prompt = "Zwei Kätzchen & 1 dog (日本)!"
    ids = tokenizer.encode(prompt)
    assert tokenizer.decode(ids) == prompt
    assert tokenizer.unk_id() not in ids
    assert tokenizer.get_piece_size() <= 512
