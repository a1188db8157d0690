"""LoRA files of many tools: every name finds its layer, and what does not fit is told."""

from __future__ import annotations

import json

import pytest
import torch

from magref_core.dit.attention import Backend
from magref_core.dit.config import DiTConfig
from magref_core.dit.lora import normalise_lora
from magref_core.dit.model import MagrefDiT
from magref_core.dit.naming import from_diffusers, to_diffusers
from magref_core.errors import CheckpointError
from magref_core.sampling.distilled import PRESETS, preset_for
from magref_core.sampling.schedule import flow_schedule

CONFIG = DiTConfig(dim=128, ffn_dim=64, num_heads=1, num_layers=12, text_dim=8, clip_dim=12, freq_dim=16)
SHAPES = {
    name: tuple(value.shape) for name, value in MagrefDiT(CONFIG, Backend(device="meta")).state_dict().items()
}
MATRICES = [name.removesuffix(".weight") for name, shape in SHAPES.items() if len(shape) == 2]

STYLES = {
    "upstream": ("diffusion_model.{}", str, "lora_A.weight", "lora_B.weight"),
    "bare": ("{}", str, "lora_down.weight", "lora_up.weight"),
    "full prefix": ("model.diffusion_model.{}", str, "lora_down.weight", "lora_up.weight"),
    "peft": ("base_model.model.{}", str, "lora_A.weight", "lora_B.weight"),
    "peft with adapter": ("base_model.model.{}", str, "lora_A.default.weight", "lora_B.default.weight"),
    "DiffSynth": ("pipe.dit.{}", str, "lora_A.default.weight", "lora_B.default.weight"),
    "diffusers": ("transformer.{}", to_diffusers, "lora_A.weight", "lora_B.weight"),
    "diffusers, bare": ("{}", to_diffusers, "lora_A.weight", "lora_B.weight"),
    "diffusers, old": ("transformer.{}", to_diffusers, "lora.down.weight", "lora.up.weight"),
    "kohya": ("lora_unet_{}", lambda name: name.replace(".", "_"), "lora_down.weight", "lora_up.weight"),
    "Wan-Fun": ("lora_unet__{}", lambda name: name.replace(".", "_"), "lora_down.weight", "lora_up.weight"),
    "OneTrainer": (
        "lora_transformer_{}",
        lambda name: to_diffusers(name).replace(".", "_"),
        "lora_down.weight",
        "lora_up.weight",
    ),
}


def factors(layer, rank=2):
    out, size = SHAPES[f"{layer}.weight"]
    generator = torch.Generator().manual_seed(len(layer))
    return torch.randn(rank, size, generator=generator), torch.randn(out, rank, generator=generator)


def file_of(style, layers=MATRICES, alpha=None):
    frame, rename, down, up = STYLES[style]
    result = {}
    for layer in layers:
        a, b = factors(layer)
        name = frame.format(rename(layer))
        result |= {f"{name}.{down}": a, f"{name}.{up}": b}
        if alpha is not None:
            result[f"{name}.alpha"] = torch.tensor(alpha)
    return result


def normalised(tensors, **more):
    return normalise_lora(tensors, SHAPES, label="my.safetensors", **more)


@pytest.mark.parametrize("style", STYLES)
def test_every_matrix_is_found_under_the_names_of_each_tool(style):
    lora = normalised(file_of(style, alpha=1.0))
    assert lora.unknown == lora.misfits == ()
    assert lora.num_matched == lora.num_keys == 3 * len(MATRICES)
    assert set(lora.layers) == set(MATRICES)
    assert lora.ranks == (2,)
    assert len(lora.weights) == 3 * len(MATRICES)
    for layer in MATRICES:
        a, b = factors(layer)
        assert torch.equal(lora.weights[f"diffusion_model.{layer}.lora_down.weight"], a)
        assert torch.equal(lora.weights[f"diffusion_model.{layer}.lora_up.weight"], b)
        assert lora.weights[f"diffusion_model.{layer}.alpha"] == 1.0


def test_names_of_diffusers_and_back_are_the_same_for_every_weight():
    assert all(from_diffusers(to_diffusers(name)) == name for name in SHAPES)
    assert len({to_diffusers(name) for name in SHAPES}) == len(SHAPES)


def test_differences_of_lightx2v_find_weights_biases_and_modulation():
    generator = torch.Generator().manual_seed(0)
    tensors = {
        "diffusion_model.blocks.10.norm3.diff": torch.randn(128, generator=generator),
        "diffusion_model.blocks.1.ffn.0.diff_b": torch.randn(64, generator=generator),
        "diffusion_model.blocks.1.diff_m": torch.randn(1, 6, 128, generator=generator),
        "diffusion_model.blocks.11.modulation.diff": torch.randn(1, 6, 128, generator=generator),
        "transformer.blocks.3.scale_shift_table.diff": torch.randn(1, 6, 128, generator=generator),
        "diffusion_model.head.diff_m": torch.randn(1, 2, 128, generator=generator),
        "diffusion_model.patch_embedding.diff": torch.randn(128, 36, 1, 2, 2, generator=generator),
    }
    lora = normalised(tensors)
    assert lora.unknown == ()
    assert set(lora.modulation) == {
        *(f"blocks.{index}.modulation" for index in (1, 3, 11)),
        "head.modulation",
    }
    assert set(lora.weights) == {
        "diffusion_model.blocks.10.norm3.diff",
        "diffusion_model.blocks.1.ffn.0.diff_b",
        "diffusion_model.patch_embedding.diff",
    }


def test_lengths_of_dora_become_columns():
    tensors = file_of("peft", ["blocks.0.ffn.0"])
    tensors["base_model.model.blocks.0.ffn.0.lora_magnitude_vector.default.weight"] = torch.ones(64)
    assert normalised(tensors).weights["diffusion_model.blocks.0.ffn.0.dora_scale"].shape == (64, 1)


def test_keys_of_lycoris_keep_their_kind():
    sizes = {"w1": (8, 8), "w2": (8, 16)}
    tensors = {f"lycoris_blocks_0_ffn_0.lokr_{part}": torch.ones(size) for part, size in sizes.items()}
    assert set(normalised(tensors).weights) == {
        "diffusion_model.blocks.0.ffn.0.lokr_w1",
        "diffusion_model.blocks.0.ffn.0.lokr_w2",
    }


def test_alpha_in_the_metadata_of_diffusers_counts_where_a_layer_has_none():
    told = {"transformer.r": 2, "transformer.lora_alpha": 8, "transformer.alpha_pattern": {"ffn.net.2": 3}}
    tensors = file_of("diffusers", ["blocks.0.ffn.0", "blocks.0.ffn.2"])
    tensors["transformer.blocks.1.attn1.to_q.alpha"] = torch.tensor(5.0)
    tensors |= file_of("diffusers", ["blocks.1.self_attn.q"])
    weights = normalised(tensors, metadata={"lora_adapter_metadata": json.dumps(told)}).weights
    alphas = {
        name.removeprefix("diffusion_model."): value.item()
        for name, value in weights.items()
        if "alpha" in name
    }
    assert alphas == {
        "blocks.0.ffn.0.alpha": 8,
        "blocks.0.ffn.2.alpha": 3,
        "blocks.1.self_attn.q.alpha": 5,
    }


@pytest.mark.parametrize("text", ["no json", "[]", "{}"])
def test_metadata_that_tell_no_alpha_are_passed_over(text):
    lora = normalised(file_of("diffusers"), metadata={"lora_adapter_metadata": text})
    assert not any("alpha" in name for name in lora.weights)


def test_keys_without_a_place_are_counted_and_the_rest_is_used():
    tensors = file_of("upstream", ["blocks.0.ffn.0"]) | {
        "lora_te_text_model.lora_down.weight": torch.ones(2, 2),
        "diffusion_model.vace_blocks.0.ffn.0.lora_A.weight": torch.ones(2, 2),
        "diffusion_model.blocks.0.ffn.0.lora_B.bias": torch.ones(2),
    }
    lora = normalised(tensors)
    assert (lora.num_matched, lora.num_keys) == (2, 5)
    assert len(lora.unknown) == 3


def test_a_lora_of_another_family_matches_nothing():
    lora = normalised({"lora_unet_double_blocks_0_img_attn_qkv.lora_down.weight": torch.ones(2, 2)})
    assert lora.layers == () and lora.num_matched == 0


def test_a_lora_of_a_narrower_wan_is_refused_with_both_shapes():
    tensors = {"blocks.0.self_attn.q.lora_A.weight": torch.ones(4, 1536)}
    tensors["blocks.0.self_attn.q.lora_B.weight"] = torch.ones(1536, 4)
    pattern = (
        "my.safetensors is a LoRA of another model: its blocks.0.self_attn.q is 1536 x 1536 "
        r"\(Wan 2.1 1.3B is that wide\), but here it is 128 x 128: choose a LoRA that was made for this model"
    )
    with pytest.raises(CheckpointError, match=pattern):
        normalised(tensors)


def test_an_embedding_of_another_shape_is_left_out_and_told():
    tensors = file_of("upstream", ["blocks.0.ffn.0"])
    tensors["diffusion_model.patch_embedding.diff"] = torch.ones(128, 16, 1, 2, 2)
    lora = normalised(tensors)
    assert lora.misfits == ("patch_embedding",)
    assert lora.num_matched == 2
    assert "diffusion_model.patch_embedding.diff" not in lora.weights


def test_factors_of_two_ranks_are_refused():
    tensors = {
        "blocks.0.ffn.0.lora_A.weight": torch.ones(4, 128),
        "blocks.0.ffn.0.lora_B.weight": torch.ones(64, 8),
    }
    with pytest.raises(
        CheckpointError, match=r"do not fit each other, 4 x 128 and 64 x 8, but the rank must be"
    ):
        normalised(tensors)


def test_a_factor_without_the_other_is_refused():
    with pytest.raises(
        CheckpointError, match=r"one of the two factors of blocks.0.ffn.0 .* and lacks the other"
    ):
        normalised({"blocks.0.ffn.0.lora_A.weight": torch.ones(4, 128)})


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_values_that_are_not_finite_are_refused(value):
    tensors = file_of("kohya", ["blocks.0.ffn.0"])
    next(iter(tensors.values()))[0, 0] = value
    with pytest.raises(
        CheckpointError, match=r"my.safetensors has values that are not finite numbers .lora_unet_"
    ):
        normalised(tensors)


@pytest.mark.parametrize(
    ("name", "preset"),
    [
        ("lightx2v_I2V_14B_480p_cfg_step_distill_rank64_bf16.safetensors", "lightx2v_4_steps"),
        ("Wan21_I2V_14B_LightX2V_StepDistill.safetensors", "lightx2v_4_steps"),
        ("my_face.safetensors", None),
    ],
)
def test_a_distilled_lora_is_known_by_the_name_of_its_file(name, preset):
    assert preset_for(name) == preset


def test_four_steps_of_lightx2v_are_at_the_timesteps_that_its_makers_name():
    preset = PRESETS["lightx2v_4_steps"]
    sigmas = flow_schedule(preset.solver, preset.steps, preset.shift).sigmas
    told = torch.tensor([1000, 750, 500, 250, 0]) / 1000
    torch.testing.assert_close(sigmas.float(), 5 * told / (1 + 4 * told), rtol=0, atol=1e-6)
