from __future__ import annotations

import pytest

from magref_core.dit.attention import Backend
from magref_core.dit.config import DiTConfig
from magref_core.dit.families import refuse_other_models
from magref_core.dit.model import MagrefDiT
from magref_core.dit.naming import upstream_names
from magref_core.errors import CheckpointError

CONFIG = DiTConfig(dim=128, ffn_dim=64, num_heads=1, num_layers=2, text_dim=8, clip_dim=12, freq_dim=16)


def good():
    """Names and shapes of a whole MAGREF DiT."""
    weights = MagrefDiT(CONFIG, Backend(device="meta")).state_dict()
    return {name: tuple(weight.shape) for name, weight in weights.items()}


def wan(in_dim, *, image_branch=True, **extra):
    shapes = good()
    shapes["patch_embedding.weight"] = (128, in_dim, 1, 2, 2)
    if not image_branch:
        shapes = {name: shape for name, shape in shapes.items() if "img" not in name}
    return shapes | extra


OTHERS = {
    "a Wan text-to-video model": wan(16, image_branch=False),
    "a Wan 2.2 image-to-video model": wan(36, image_branch=False),
    "the Wan 2.2 TI2V 5B model": wan(48, image_branch=False),
    "a Wan Fun Control model": wan(48),
    "a Wan model with 100 input channels": wan(100),
    "a Wan VACE model": wan(16, image_branch=False, **{"vace_patch_embedding.weight": (128, 96, 1, 2, 2)}),
    "the VACE part of a Wan model": {"vace_blocks.0.self_attn.q.weight": (128, 128)},
    "a Wan 2.2 S2V model": wan(16, **{"casual_audio_encoder.encoder.final_linear.weight": (1, 1)}),
    "a Wan 2.2 Animate model": wan(36, **{"face_adapter.fuser_blocks.0.k_norm.weight": (1,)}),
    "a Wan Fun Camera model": wan(32, **{"control_adapter.conv.weight": (1, 1, 1, 1)}),
    "a HuMo": wan(36, **{"audio_proj.audio_proj_glob_1.layer.bias": (1,)}),
    "a Wan 2.1 FLF2V model": wan(36, **{"img_emb.emb_pos": (1, 514, 1280)}),
    "a LoRA": {
        f"diffusion_model.blocks.{i}.self_attn.q.lora_{side}.weight": (8, 8) for i in (0, 1) for side in "AB"
    },
    "the Wan 2.1 VAE": {
        "decoder.head.0.gamma": (96, 1, 1, 1),
        "decoder.middle.0.residual.0.gamma": (384, 1, 1, 1),
    },
    "the Wan 2.2 VAE": {
        "decoder.head.0.gamma": (96, 1, 1, 1),
        "decoder.upsamples.0.upsamples.0.residual.0.gamma": (1,),
    },
    "a T5 text encoder": {"shared.weight": (9, 9), "encoder.block.0.layer.0.SelfAttention.q.weight": (9, 9)},
    "the original umt5 text encoder": {"token_embedding.weight": (9, 9), "blocks.0.attn.q.weight": (9, 9)},
    "a CLIP vision model": {"vision_model.encoder.layers.0.mlp.fc1.weight": (9, 9)},
    "a CLIP text encoder": {"text_model.encoder.layers.0.mlp.fc1.weight": (9, 9)},
    "a language model": {"model.embed_tokens.weight": (9, 9), "model.layers.0.mlp.up_proj.weight": (9, 9)},
    "a Stable Diffusion model": {"model.diffusion_model.input_blocks.0.0.weight": (9, 9, 3, 3)},
    "a Stable Diffusion or Flux VAE": {"decoder.up.0.block.0.conv1.weight": (9, 9, 3, 3)},
    "a Flux or Hunyuan model": {"double_blocks.0.img_attn.qkv.weight": (9, 9)},
    "of an unknown kind, none of its 1 tensors": {"model.0.weight": (3, 3)},
}


@pytest.mark.parametrize("kind", OTHERS)
def test_another_kind_of_file_is_named_with_what_to_choose_instead(kind):
    shapes = {name: OTHERS[kind][raw] for raw, name in upstream_names(OTHERS[kind]).items()}
    with pytest.raises(CheckpointError, match=rf"^file.safetensors is {kind}\b.*choose a MAGREF checkpoint"):
        refuse_other_models(shapes, label="file.safetensors")


def test_kohya_loras_and_difference_loras_are_recognised():
    kohya = {
        f"lora_unet_blocks_0_ffn_0.{part}": (1,) for part in ("lora_up.weight", "lora_down.weight", "alpha")
    }
    difference = {"diffusion_model.blocks.0.norm3.diff": (1,), "diffusion_model.blocks.0.ffn.0.diff_b": (1,)}
    for shapes in (kohya, difference):
        with pytest.raises(CheckpointError, match="is a LoRA: load it with a LoRA loader node"):
            refuse_other_models(shapes, label="x")


def test_a_plain_model_under_the_hosts_prefix_is_not_taken_for_a_lora():
    prefixed = {f"model.diffusion_model.{name}": shape for name, shape in good().items()}
    refuse_other_models(prefixed | good(), label="x")
    with pytest.raises(CheckpointError, match="is a LoRA"):
        refuse_other_models({f"{name}.diff": shape for name, shape in prefixed.items()}, label="x")
