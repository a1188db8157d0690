from __future__ import annotations

import comfy.latent_formats
import comfy.ldm.flux.layers
import comfy.ldm.wan.model
import comfy.memory_management
import comfy.model_base
import comfy.model_management
import comfy.model_patcher
import comfy.model_prefetch
import comfy.ops
import comfy.patcher_extension
import latent_preview
import pytest
import torch
from magref_pack.nodes.model import HostMagrefDiT, MagrefBaseModel, load_magref_dit, middle_frame

from . import models

NUM_BLOCKS = 3
TINY = {"dim": 256, "ffn_dim": 512, "num_heads": 2, "num_layers": 1}


def inputs(*, size=(2, 6, 8), batch=2, tokens=512):
    generator = torch.Generator().manual_seed(0)
    context = torch.zeros(batch, tokens, 4096)
    context[:, :9] = torch.randn(batch, 9, 4096, generator=generator)
    return {
        "x": torch.randn(batch, 36, *size, generator=generator),
        "timestep": torch.linspace(999, 45, batch),
        "context": context,
        "clip_fea": torch.randn(batch, 257, 1280, generator=generator),
    }


def answer(patcher, *, options=None, **changes):
    """The velocity that the DiT of a MODEL predicts."""
    return patcher.model.diffusion_model(
        **inputs() | changes, transformer_options={} if options is None else options
    )


@pytest.fixture(scope="module")
def ours():
    with torch.inference_mode():
        return models.our_model()


@pytest.fixture(scope="module")
def native():
    with torch.inference_mode():
        return models.native_model()


@pytest.mark.parametrize("size", [(3, 6, 8), (1, 4, 4), (2, 7, 9)])
def test_the_velocity_equals_that_of_native_wan(ours, native, size):
    given = inputs(size=size)
    velocity = answer(ours, **given)
    assert velocity.shape == (2, 16, *size)
    # 1e-4: native computes the sinusoid of the timestep in float32.
    torch.testing.assert_close(velocity, answer(native, **given), atol=1e-4, rtol=0)


def test_frames_joined_at_the_end_work_as_on_native_wan(ours, native):
    extra = torch.randn(2, 36, 1, 6, 8, generator=torch.Generator().manual_seed(1))
    velocity = answer(ours, time_dim_concat=extra)
    assert velocity.shape == (2, 16, 2, 6, 8)
    torch.testing.assert_close(velocity, answer(native, time_dim_concat=extra), atol=1e-4, rtol=0)
    assert not torch.allclose(velocity, answer(ours))


def test_a_timestep_for_each_frame_works_as_on_native_wan(ours, native):
    timestep = torch.tensor([[999.0, 45.0], [500.0, 500.0]])
    torch.testing.assert_close(
        answer(ours, timestep=timestep), answer(native, timestep=timestep), atol=1e-4, rtol=0
    )


def test_branches_that_magref_lacks_are_accepted_and_ignored(ours):
    foreign = {"control": None, "reference_latent": torch.ones(1), "context_latents": [torch.ones(1)]}
    assert torch.equal(answer(ours, **foreign), answer(ours))


def test_the_model_is_a_host_model_with_our_defaults(ours):
    assert isinstance(ours, comfy.model_patcher.ModelPatcher)
    assert isinstance(ours.model, MagrefBaseModel) and isinstance(ours.model, comfy.model_base.WAN21)
    assert ours.model.image_to_video
    assert ours.get_model_object("model_sampling").shift == 3.0
    config = ours.model.model_config
    assert config.supported_inference_dtypes[0] == torch.bfloat16
    assert config.unet_config["image_model"] == "wan2.1"
    assert config.memory_usage_factor == pytest.approx(256 / 2222)
    # Packs that have two ways for Wan models choose by this name.
    assert "WAN21_I2V" in type(config).__name__


def test_the_weights_have_the_names_that_native_wan_gives_them(ours, native):
    assert set(ours.model.state_dict()) == set(native.model.state_dict())


def test_identity_patches_are_bit_equal_and_called_as_on_native_wan(ours, native):
    def run(patcher):
        counts = dict.fromkeys(("attn1", "attn2", "double", "replace", "override", "wrapper"), 0)

        def count(name, value):
            counts[name] += 1
            return value

        def wrapper(executor, x, timestep, context, clip_fea, time_dim_concat, transformer_options, **kwargs):
            assert isinstance(transformer_options, dict)
            return count(
                "wrapper",
                executor(x, timestep, context, clip_fea, time_dim_concat, transformer_options, **kwargs),
            )

        kind = comfy.patcher_extension.WrappersMP.DIFFUSION_MODEL
        options = {
            "wrappers": {kind: {"test": [wrapper]}},
            "patches": {
                "attn1_patch": [lambda args: count("attn1", args["x"])],
                "attn2_patch": [lambda args: count("attn2", args["x"])],
                "double_block": [lambda args: count("double", args)],
            },
            "patches_replace": {
                "dit": {
                    ("double_block", i): lambda args, extra: count("replace", extra["original_block"](args))
                    for i in range(NUM_BLOCKS)
                }
            },
            "optimized_attention_override": lambda f, *args, **kwargs: count("override", f(*args, **kwargs)),
        }
        assert torch.equal(answer(patcher, options=options), answer(patcher))
        return counts

    expected = dict.fromkeys(("attn1", "attn2", "double", "replace"), NUM_BLOCKS)
    assert run(ours) == run(native) == expected | {"override": 3 * NUM_BLOCKS, "wrapper": 1}


def test_a_replaced_forward_orig_built_from_our_parts_gives_our_numbers(ours):
    """Caching nodes of other packs bring their own copy of the forward, written against native Wan."""

    def forward_orig(self, x, t, context, clip_fea=None, freqs=None, transformer_options=None, **kwargs):
        tokens = self.patch_embedding(x.float()).to(x.dtype)
        grid_sizes = tokens.shape[2:]
        tokens = tokens.flatten(2).transpose(1, 2)
        features = comfy.ldm.wan.model.sinusoidal_embedding_1d(self.freq_dim, t)
        e = self.time_embedding(features.to(dtype=x[0].dtype))
        e0 = self.time_projection(e).unflatten(1, (6, self.dim))
        context = torch.concat([self.img_emb(clip_fea), self.text_embedding(context)], dim=1)
        assert self.ref_conv is None
        for block in self.blocks:
            call = {"e": e0, "freqs": freqs, "context": context, "context_img_len": clip_fea.shape[-2]}
            tokens = block(tokens, **call, transformer_options=transformer_options)
        return self.unpatchify(self.head(tokens, e), grid_sizes)

    dit = ours.model.diffusion_model
    expected = answer(ours)
    dit.forward_orig = forward_orig.__get__(dit)
    try:
        torch.testing.assert_close(answer(ours), expected, atol=1e-4, rtol=0)
        low = {name: value if name == "timestep" else value.bfloat16() for name, value in inputs().items()}
        for module in dit.modules():
            module.comfy_cast_weights = True
        assert (answer(ours, **low) - expected).norm() < 0.05 * expected.norm()
    finally:
        del dit.forward_orig
        for module in dit.modules():
            del module.comfy_cast_weights


def test_float32_layers_take_the_compute_dtype_where_the_host_casts_nothing():
    dit = HostMagrefDiT(**TINY, dtype=torch.bfloat16, operations=comfy.ops.disable_weight_init)
    assert dit.time_embedding(torch.ones(1, 256, dtype=torch.bfloat16)).dtype == torch.bfloat16
    assert dit.time_projection(torch.ones(1, 256)).dtype == torch.float32
    assert not getattr(dit.blocks[0].ffn[0], "comfy_cast_weights", False)


def test_turns_equal_those_of_native_wan(ours, native):
    for options in ({}, {"rope_options": {"scale_x": 1.5, "shift_y": 2.0, "scale_t": 0.5, "shift_t": -1.0}}):
        call = {
            "t": 3,
            "h": 7,
            "w": 10,
            "device": "cpu",
            "dtype": torch.float32,
            "transformer_options": options,
        }
        turns = ours.model.diffusion_model.rope_encode(**call)
        torch.testing.assert_close(turns, native.model.diffusion_model.rope_encode(**call), atol=1e-6, rtol=0)
    dense = {"t_start": 4, "steps_t": 5, "steps_h": 2, "steps_w": 3}
    torch.testing.assert_close(
        ours.model.diffusion_model.rope_encode(2, 4, 6, **dense),
        native.model.diffusion_model.rope_encode(2, 4, 6, **dense, dtype=torch.float32),
        atol=1e-6,
        rtol=0,
    )


def test_a_node_may_bring_its_own_rope_embedder(ours):
    dims = ours.model.diffusion_model.rope_embedder.axes_dim
    patched = ours.clone()
    patched.add_object_patch(
        "diffusion_model.rope_embedder", comfy.ldm.flux.layers.EmbedND(dim=128, theta=100.0, axes_dim=dims)
    )
    expected = answer(ours)
    patched.patch_model(load_weights=False)
    changed = answer(patched)
    patched.unpatch_model(unpatch_weights=False)
    assert not torch.allclose(changed, expected)
    assert torch.equal(answer(ours), expected)


def test_a_node_may_replace_the_forward_of_a_cross_attention(ours):
    calls = []

    def forward(self, x, context, context_img_len, transformer_options=None, **kwargs):
        calls.append((context_img_len, self.num_heads, self.head_dim, self.dim))
        text = context[:, context_img_len:]
        q, k, v = self.norm_q(self.q(x)), self.norm_k(self.k(text)), self.v(text)
        assert self.norm_k_img(self.k_img(text)).shape == self.v_img(text).shape
        return self.o(comfy.ldm.wan.model.optimized_attention(q, k, v, heads=self.num_heads))

    attention = ours.model.diffusion_model.blocks[1].cross_attn
    expected = answer(ours)
    attention.forward = forward.__get__(attention)
    try:
        assert not torch.allclose(answer(ours), expected)
    finally:
        del attention.forward
    assert calls == [(257, 2, 128, 256)]


def test_blocks_and_head_take_modulation_in_both_shapes(ours):
    dit, generator = ours.model.diffusion_model, torch.Generator().manual_seed(0)
    x, e = torch.randn(1, 24, 256, generator=generator), torch.randn(1, 6, 256, generator=generator)
    context = torch.randn(1, 300, 256, generator=generator)
    freqs = dit.rope_encode(2, 6, 8)
    block = dit.blocks[0]
    torch.testing.assert_close(block(x, e, freqs, context), block(x, e[:, None], freqs, context))
    torch.testing.assert_close(dit.head(x, e[:, 0]), dit.head(x, e[:, :1]))


def test_weights_of_the_next_block_are_fetched_while_one_computes(ours, monkeypatch):
    popped = []
    monkeypatch.setattr(comfy.model_prefetch, "make_prefetch_queue", lambda blocks, *_: [None, *blocks, None])
    monkeypatch.setattr(
        comfy.model_prefetch,
        "prefetch_queue_pop",
        lambda queue, _, module: popped.append((queue.pop(0), module)),
    )
    answer(ours)
    blocks = list(ours.model.diffusion_model.blocks)
    assert popped == list(zip([None, *blocks], [*blocks, None], strict=True))


def test_the_model_can_be_built_before_any_weight_is_there(monkeypatch):
    monkeypatch.setattr(comfy.memory_management, "aimdo_enabled", True)
    dit = HostMagrefDiT(**TINY, dtype=torch.bfloat16, operations=comfy.ops.disable_weight_init)
    assert dit.blocks[0].ffn[0].weight is None
    assert dit.time_projection[1].weight_comfy_model_dtype == torch.float32
    assert dit.blocks[0].modulation.dtype == torch.float32


def test_a_long_prompt_is_cut_off_before_the_host_batches():
    conds = models.our_model().model.extra_conds(
        noise=torch.zeros(1, 16, 2, 4, 6), device=torch.device("cpu"), cross_attn=torch.ones(1, 600, 4096)
    )
    assert conds["c_crossattn"].cond.shape == (1, 512, 4096)


def test_the_preview_shows_the_middle_of_the_video_and_not_the_canvas(ours, monkeypatch):
    latents = torch.zeros(1, 16, 5, 4, 6)
    latents[:, :, 2] = 1.0
    assert torch.equal(middle_frame(latents), torch.ones(1, 16, 1, 4, 6))
    latent_format = ours.model.latent_format
    assert isinstance(latent_format, comfy.latent_formats.Wan21)
    for method in ("Latent2RGB", "TAESD", "Auto"):
        monkeypatch.setattr(latent_preview.args, "preview_method", latent_preview.LatentPreviewMethod[method])
        previewer = latent_preview.get_previewer(torch.device("cpu"), latent_format)
        shown = previewer.decode_latent_to_preview(latents)
        assert shown.tobytes() == previewer.decode_latent_to_preview(latents[:, :, 2:3]).tobytes()
        assert shown.tobytes() != previewer.decode_latent_to_preview(latents[:, :, :1]).tobytes()


def test_the_model_can_be_loaded_again_by_the_host(ours):
    loader, args = ours.cached_patcher_init
    again = loader(*args, disable_dynamic=True)
    assert type(again) is comfy.model_patcher.ModelPatcher
    assert torch.equal(answer(again), answer(ours))


def test_layers_of_another_pack_are_used():
    class Layers(comfy.ops.manual_cast):
        class Linear(comfy.ops.manual_cast.Linear):
            pass

    patcher = load_magref_dit(str(models.DIT_FILE), {"custom_operations": Layers})
    assert type(patcher.model.diffusion_model.blocks[0].ffn[0]) is Layers.Linear
    assert torch.equal(answer(patcher), answer(models.our_model()))
