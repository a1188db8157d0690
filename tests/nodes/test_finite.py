"""Bad numbers that the loader's sample misses: the first step stops, and what spoiled it is named."""

from __future__ import annotations

import math

import pytest
import torch
from magref_pack.magref_core.errors import CheckpointError, MagrefError
from magref_pack.nodes import sampling
from magref_pack.nodes.finite import refuse_not_finite
from safetensors.torch import save_file

import nodes
from benchmarks.support.gguf_writing import write_gguf

from . import lora_files, quantised_files, runs

LAYER = "blocks.1.ffn.0.weight"
WIDER = 8
"""How much wider the feed-forward becomes: its matrices are then too large to be read through at loading."""


def wide_weights():
    """The golden DiT with large matrices."""
    weights = dict(quantised_files.exact_weights())
    for name, weight in weights.items():
        if ".ffn.0." in name:
            weights[name] = weight.repeat_interleave(WIDER, dim=0)
        elif ".ffn.2.weight" in name:
            weights[name] = weight.repeat_interleave(WIDER, dim=1) / WIDER
    assert weights[LAYER].numel() > 2**19
    return weights


@pytest.fixture(scope="module")
def weights():
    return wide_weights()


def spoiled(weights, value, name=LAYER):
    """One bad number, in the middle."""
    changed = weights[name].clone()
    changed.view(-1)[changed.numel() // 2 + 3] = value
    return weights | {name: changed}


def steps_of(model, monkeypatch):
    """What a run raises, and how often the model was asked."""
    watched, calls = runs.watch(model)
    with pytest.raises(MagrefError) as raised:
        runs.magref_sample(watched, steps=3, cfg=1.0)
    return raised.value, len(calls)


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("load", [runs.our_model, runs.native_model])
def test_a_bad_number_in_a_large_matrix_stops_the_first_step_and_is_named(
    tmp_path, weights, value, load, monkeypatch
):
    save_file(spoiled(weights, value), tmp_path / "bad.safetensors")
    error, calls = steps_of(load(tmp_path / "bad.safetensors"), monkeypatch)
    assert isinstance(error, CheckpointError)
    assert str(error) == (
        f"bad.safetensors has weights that are not finite numbers ({LAYER}), which spoil every video: "
        "download it again or choose another file"
    )
    assert calls == 1


def test_a_bad_scale_in_a_large_gguf_matrix_is_named(tmp_path, weights, monkeypatch):
    changed = weights[LAYER].clone()
    changed.view(-1)[changed.numel() // 2 + 3] = 1e9  # its block's scale overflows
    file = write_gguf(weights | {LAYER: changed}, tmp_path / "bad.gguf", "Q4_0")
    error, calls = steps_of(runs.our_model(file), monkeypatch)
    assert f"bad.gguf has weights that are not finite numbers ({LAYER})" in str(error)
    assert calls == 1


def test_a_bad_byte_in_a_large_fp8_matrix_is_named(tmp_path, weights, monkeypatch):
    content, metadata = quantised_files.comfy_quant(weights)
    content[LAYER].view(torch.uint8).view(-1)[content[LAYER].numel() // 2] = 0x7F  # NaN in e4m3fn
    file = quantised_files.save((content, metadata), tmp_path, "bad")
    error, calls = steps_of(runs.our_model(file, None), monkeypatch)
    assert f"bad.safetensors has weights that are not finite numbers ({LAYER})" in str(error)
    assert calls == 1


def test_a_bad_lora_of_the_hosts_own_loader_is_blamed_and_not_the_model(tmp_path, monkeypatch):
    lora_files.show_folder(tmp_path, monkeypatch)
    lora = lora_files.lora("native")
    name = next(name for name in lora if LAYER.removesuffix(".weight") in name)
    lora[name].view(-1)[-1] = math.nan
    save_file(lora, tmp_path / "bad.safetensors")
    model = nodes.LoraLoaderModelOnly().load_lora_model_only(runs.our_model(), "bad.safetensors", 1.0)[0]
    error, _ = steps_of(model, monkeypatch)
    assert str(error).startswith(
        "a LoRA on dit_weights.safetensors has values that are not finite numbers (for "
    )
    assert LAYER in str(error)


def test_a_lora_that_is_too_strong_is_told_from_a_broken_file(tmp_path, monkeypatch):
    lora_files.show_folder(tmp_path, monkeypatch)
    save_file(lora_files.lora("native"), tmp_path / "strong.safetensors")
    loader = nodes.LoraLoaderModelOnly()
    model = loader.load_lora_model_only(runs.our_model(), "strong.safetensors", 1e39)[0]
    error, _ = steps_of(model, monkeypatch)
    assert "are not finite numbers with the LoRAs on them" in str(error)
    assert "lower their strengths" in str(error)


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("text", "the prompt has values that are not finite numbers: look at the text encoder"),
        ("concat_latent_image", "the canvas or its mask has values that are not finite"),
        ("clip", "the image embedding has values that are not finite numbers: look at the CLIP vision model"),
        ("latent", "the latent that sampling starts from has values that are not finite numbers"),
    ],
)
def test_a_bad_input_is_blamed_and_not_the_model(place, words):
    pair, latent = runs.prompts(), runs.empty()
    for text, extras in (*pair[0], *pair[1]):
        if place == "text":
            text[0, 1, 5] = math.nan
        elif place == "clip":
            extras["clip_vision_output"]["penultimate_hidden_states"][0, 0, 0] = math.inf
        elif place != "latent":
            extras[place] = extras[place].index_fill(2, torch.tensor(0), math.nan)
    if place == "latent":
        latent["samples"][0, 0, 0, 0, 0] = math.nan
    with pytest.raises(MagrefError) as raised:
        runs.magref_sample(runs.our_model(), pair=pair, latent=latent)
    assert str(raised.value).startswith(words)


def test_numbers_that_overflow_in_between_are_told_from_bad_weights(monkeypatch):
    model = runs.our_model()
    monkeypatch.setattr(model.model.diffusion_model.blocks[0], "forward", lambda x, *_, **__: x / 0)
    error, calls = steps_of(model, monkeypatch)
    assert "though its weights and what it was given are: numbers in between grew too large" in str(error)
    assert calls == 1


def test_numbers_that_overflow_late_are_caught_at_the_end(monkeypatch):
    real = sampling.SOLVERS["unipc"]
    monkeypatch.setitem(sampling.SOLVERS, "unipc", lambda *args, **kwargs: real(*args, **kwargs) * math.inf)
    with pytest.raises(MagrefError, match="the model's answer is no finite numbers"):
        runs.magref_sample(runs.our_model(), steps=2, cfg=1.0)


def test_what_is_finite_is_handed_on_untouched():
    latent = torch.randn(1, 16, 2, 4, 6)
    assert refuse_not_finite(latent, None) is latent
