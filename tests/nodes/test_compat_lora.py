"""LoRAs through the host's loaders: equal to a model whose weights were merged by hand."""

from __future__ import annotations

import pytest
import torch
from comfy_extras.nodes_hooks import CreateHookLoraModelOnly, SetModelHooksOnCond
from comfy_extras.nodes_lora_debug import LoraLoaderBypassModelOnly
from safetensors.torch import save_file

import nodes

from . import lora_files, runs

pytestmark = pytest.mark.usefixtures("one_attention")

STRENGTH = 0.8
LIMIT = 1e-4
GUIDED_LIMIT = 9 * LIMIT
"""At guidance of 5: 5 times one answer less 4 times the other."""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The host's folder of LoRAs."""
    lora_files.show_folder(tmp_path, monkeypatch)
    return tmp_path


def save_lora(folder, style="native", *, seed=0):
    name = f"{style} {seed}.safetensors"
    save_file(lora_files.lora(style, seed=seed), folder / name)
    return name


def load_weights(weights, folder):
    save_file(weights, folder / "model.safetensors")
    return runs.our_model(folder / "model.safetensors")


def sample(model, **changes):
    return runs.sample(model, cfg=1.0, **changes)


def assert_merged(result, expected, plain):
    assert runs.largest_difference(result, expected) <= LIMIT
    assert runs.largest_difference(expected, plain) > 0.1


@pytest.mark.parametrize("style", lora_files.STYLES)
def test_a_lora_equals_weights_merged_by_hand(folder, style):
    model = runs.our_model()
    (with_lora,) = nodes.LoraLoaderModelOnly().load_lora_model_only(model, save_lora(folder, style), STRENGTH)
    plain, result = sample(model), sample(with_lora)
    assert_merged(result, sample(load_weights(lora_files.merged(style, STRENGTH), folder)), plain)
    assert torch.equal(sample(model), plain)


def test_two_loras_add_up(folder):
    model = with_loras = runs.our_model()
    for seed, style in enumerate(("native", "kohya")):
        name = save_lora(folder, style, seed=seed)
        (with_loras,) = nodes.LoraLoaderModelOnly().load_lora_model_only(with_loras, name, STRENGTH)
    expected = lora_files.merged("native", STRENGTH)
    base = lora_files.weights()
    for name, weight in lora_files.merged("kohya", STRENGTH, seed=1).items():
        expected[name] += weight - base[name]
    assert_merged(sample(with_loras), sample(load_weights(expected, folder)), sample(model))


def test_a_lora_gives_the_numbers_of_native_wan(folder):
    name = save_lora(folder)
    ours, native = (
        sample(nodes.LoraLoaderModelOnly().load_lora_model_only(model, name, STRENGTH)[0])
        for model in (runs.our_model(), runs.native_model())
    )
    assert runs.largest_difference(ours, native) <= 5 * LIMIT


def test_differences_of_norms_biases_and_patches_apply(folder):
    generator = torch.Generator().manual_seed(0)
    expected = lora_files.weights()
    differences = {}
    for name in (
        "blocks.1.norm3",
        "blocks.0.self_attn.norm_q",
        "patch_embedding",
        "blocks.2.ffn.0",
        "head.head",
    ):
        for kind, suffix in (("weight", "diff"), ("bias", "diff_b")):
            if f"{name}.{kind}" in expected:
                noise = torch.randn(expected[f"{name}.{kind}"].shape, generator=generator) * 0.05
                differences[f"diffusion_model.{name}.{suffix}"] = noise
                expected[f"{name}.{kind}"] += STRENGTH * noise
    save_file(differences, folder / "differences.safetensors")
    model = runs.our_model()
    (patched,) = nodes.LoraLoaderModelOnly().load_lora_model_only(model, "differences.safetensors", STRENGTH)
    assert_merged(sample(patched), sample(load_weights(expected, folder)), sample(model))


def test_a_bypass_lora_equals_weights_merged_by_hand(folder):
    model = runs.our_model()
    bypass = LoraLoaderBypassModelOnly().load_lora_model_only(model, save_lora(folder), STRENGTH)[0]
    plain, result = sample(model), sample(bypass)
    assert_merged(result, sample(load_weights(lora_files.merged("native", STRENGTH), folder)), plain)
    assert torch.equal(sample(model), plain)


def test_a_hook_lora_equals_weights_merged_by_hand(folder):
    model = runs.our_model()
    (hooks,) = CreateHookLoraModelOnly().create_hook_model_only(save_lora(folder), STRENGTH)
    pair = tuple(SetModelHooksOnCond().attach_hook(prompt, hooks)[0] for prompt in runs.prompts())
    plain, result = runs.sample(model), runs.sample(model, pair=pair)
    expected = runs.sample(load_weights(lora_files.merged("native", STRENGTH), folder))
    assert runs.largest_difference(result, expected) <= GUIDED_LIMIT
    assert runs.largest_difference(expected, plain) > 0.1
    assert torch.equal(runs.sample(model), plain)


def test_a_hook_lora_on_the_positive_alone_leaves_the_negative_plain(folder):
    model = runs.our_model()
    (hooks,) = CreateHookLoraModelOnly().create_hook_model_only(save_lora(folder), STRENGTH)
    positive, negative = runs.prompts()
    (hooked,) = SetModelHooksOnCond().attach_hook(positive, hooks)
    with_lora = load_weights(lora_files.merged("native", STRENGTH), folder)
    cond = sample(with_lora, steps=1, pair=(positive, negative))
    uncond = sample(model, steps=1, pair=(negative, negative))
    result = runs.sample(model, steps=1, pair=(hooked, negative))
    torch.testing.assert_close(result, uncond + 5 * (cond - uncond), rtol=0, atol=GUIDED_LIMIT)
