from __future__ import annotations

import logging
import math

import pytest
import torch

from magref_core.dit import model as dit_model
from magref_core.dit.attention import Backend
from magref_core.dit.config import DiTConfig
from magref_core.dit.model import MagrefDiT, fit_prompt, timestep_features
from magref_core.errors import ShapeError

CONFIG = DiTConfig(
    dim=24, ffn_dim=48, num_heads=2, num_layers=3, text_dim=16, text_len=8, clip_dim=12, freq_dim=16
)
UPSTREAM_BLOCK = (
    "modulation self_attn.q self_attn.k self_attn.v self_attn.o self_attn.norm_q self_attn.norm_k norm3 "
    "cross_attn.q cross_attn.k cross_attn.v cross_attn.o cross_attn.norm_q cross_attn.norm_k "
    "cross_attn.k_img cross_attn.v_img cross_attn.norm_k_img ffn.0 ffn.2"
)
UPSTREAM_TOP = (
    "patch_embedding text_embedding.0 text_embedding.2 time_embedding.0 time_embedding.2 time_projection.1 "
    "img_emb.proj.0 img_emb.proj.1 img_emb.proj.3 img_emb.proj.4 head.head head.modulation"
)


@pytest.fixture
def model():
    torch.manual_seed(0)
    built = MagrefDiT(CONFIG)
    with torch.no_grad():
        for parameter in built.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.2 + 0.5 * (parameter.ndim == 1))
    return built


@pytest.fixture
def inputs():
    torch.manual_seed(1)
    return {
        "x": torch.randn(2, 36, 2, 4, 6),
        "timestep": torch.tensor([999.0, 437.25]),
        "context": torch.randn(2, 5, 16),
        "clip_fea": torch.randn(2, 4, 12),
    }


def gradients(model, inputs):
    model.zero_grad()
    model(**inputs).square().mean().backward()
    return [parameter.grad.clone() for parameter in model.parameters()]


def test_the_names_of_the_weights_are_those_of_upstream():
    names = {name.removesuffix(".weight").removesuffix(".bias") for name in MagrefDiT(CONFIG).state_dict()}
    blocks = {f"blocks.{i}.{name}" for i in range(3) for name in UPSTREAM_BLOCK.split()}
    assert names == blocks | set(UPSTREAM_TOP.split())


def test_the_released_shape_has_the_weights_of_the_released_file():
    with torch.device("meta"):
        model = MagrefDiT(backend=Backend(device="meta"))
    assert len(model.state_dict()) == 1303
    assert sum(value.numel() for value in model.state_dict().values()) == 16_394_878_784


@torch.no_grad()
def test_the_velocity_has_the_shape_of_the_noise_and_is_float32(model, inputs):
    out = model(**inputs)
    assert out.shape == (2, 16, 2, 4, 6)
    assert out.dtype == torch.float32


@torch.no_grad()
def test_samples_of_a_batch_do_not_see_each_other(model, inputs):
    together = model(**inputs)
    alone = torch.cat([model(**{name: value[i : i + 1] for name, value in inputs.items()}) for i in range(2)])
    torch.testing.assert_close(together, alone, atol=2e-5, rtol=1e-5)


@torch.no_grad()
def test_a_timestep_per_frame_equals_one_per_sample_when_all_are_the_same(model, inputs):
    per_frame = inputs | {"timestep": inputs["timestep"][:, None].expand(-1, 2)}
    torch.testing.assert_close(model(**per_frame), model(**inputs), atol=2e-5, rtol=1e-5)


@torch.no_grad()
def test_bf16_runs_and_keeps_time_modulation_and_head_in_float32(model, inputs):
    low = MagrefDiT(CONFIG, Backend(dtype=torch.bfloat16))
    low.load_state_dict(model.state_dict())
    wide = {name for name, value in low.state_dict().items() if value.dtype == torch.float32}
    tops = ("time_embedding.", "time_projection.", "head.", "patch_embedding.")
    expected = {name for name in wide if name.startswith(tops) or ".norm3." in name or "modulation" in name}
    assert wide == expected
    assert {
        "time_projection.1.weight",
        "blocks.2.modulation",
        "blocks.0.norm3.bias",
        "head.head.weight",
    } <= wide
    given = {name: value if name == "timestep" else value.bfloat16() for name, value in inputs.items()}
    exact = model(**{name: value.float() for name, value in given.items()})
    error = (low(**given) - exact).norm() / exact.norm()
    assert error < 0.02, "bf16 has 8 bits; three blocks of this size lose about one percent"


def test_timestep_features_are_cosines_then_sines_in_double_precision():
    features = timestep_features(torch.tensor([0.0, 437.25, 999.0]), 16)
    for row, t in enumerate((0.0, 437.25, 999.0)):
        angles = [t * 10000 ** (-i / 8) for i in range(8)]
        expected = [math.cos(angle) for angle in angles] + [math.sin(angle) for angle in angles]
        torch.testing.assert_close(features[row].double(), torch.tensor(expected).double(), atol=6e-8, rtol=0)


@torch.no_grad()
def test_rows_and_columns_outside_whole_patches_are_dropped_as_officially(model, inputs):
    whole = model(**inputs)
    odd = torch.nn.functional.pad(inputs["x"], (0, 1, 0, 1), value=7.0)
    assert torch.equal(model(**inputs | {"x": odd}), whole)


@torch.no_grad()
def test_a_short_prompt_equals_the_same_prompt_with_zero_rows(model, inputs):
    padded = torch.nn.functional.pad(inputs["context"], (0, 0, 0, 3))
    assert torch.equal(model(**inputs), model(**inputs | {"context": padded}))


def test_a_long_prompt_is_cut_off_with_one_warning(caplog):
    dit_model._warn_of_long_prompt.cache_clear()
    long = torch.randn(1, 11, 4)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert torch.equal(fit_prompt(long, 8), long[:, :8])
    assert [record.getMessage() for record in caplog.records] == [
        "the prompt has 11 tokens, but the model reads 8: the rest is cut off, shorten it"
    ]


@torch.no_grad()
def test_without_image_tokens_the_image_weights_play_no_part(model, inputs):
    blind = inputs | {"clip_fea": None}
    before = model(**blind)
    assert not torch.equal(before, model(**inputs))
    assert torch.equal(before, model(**inputs | {"clip_fea": inputs["clip_fea"][:, :0]}))
    for name, parameter in model.named_parameters():
        if "img" in name:
            parameter.fill_(math.nan)
    assert torch.equal(before, model(**blind))


@torch.no_grad()
def test_unpatchify_puts_row_column_and_channel_of_a_patch_where_they_belong(model):
    grid, (_, ph, pw) = (2, 2, 3), (1, 2, 2)
    tokens = torch.randn(1, 12, 64)
    out = model.unpatchify(tokens, grid)
    for t, h, w, channel in ((0, 0, 0, 0), (1, 3, 5, 15), (0, 2, 3, 7)):
        token = (t * 2 + h // ph) * 3 + w // pw
        assert out[0, channel, t, h, w] == tokens[0, token, ((h % ph) * pw + w % pw) * 16 + channel]


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("x", (1, 16, 1, 2, 2), r"16 channels, but takes 36: 16 of noise and 20 of masked guidance"),
        (
            "context",
            (1, 5, 10),
            r"10 channels wide, but the model takes 16: use the encoders that belong to it",
        ),
        (
            "clip_fea",
            (1, 4, 7),
            r"7 channels wide, but the model takes 12: use the encoders that belong to it",
        ),
    ],
)
def test_inputs_of_other_models_are_refused_with_the_remedy(model, inputs, name, shape, message):
    with pytest.raises(ShapeError, match=message):
        model(**inputs | {name: torch.zeros(shape)})


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("context", "takes 4096: use the text encoder umt5-xxl"),
        ("clip_fea", "takes 1280: use the CLIP vision model ViT-H"),
    ],
)
def test_the_released_model_asks_for_the_released_encoders(name, message):
    config = DiTConfig(dim=128, num_heads=1, ffn_dim=8, num_layers=1)
    inputs = {
        "x": torch.zeros(1, 36, 1, 2, 2),
        "timestep": torch.zeros(1),
        "context": torch.zeros(1, 5, 4096),
    }
    with pytest.raises(ShapeError, match=message):
        MagrefDiT(config)(**inputs | {name: torch.zeros(1, 5, 128)})


@torch.no_grad()
def test_identity_patches_change_nothing_and_are_told_what_the_host_promises(model, inputs):
    blocks, seen = [], []

    def replace(args, extra):
        assert set(args) == {"img", "txt", "vec", "pe", "transformer_options"}
        return extra["original_block"](args)

    def after(args):
        blocks.append(args["block_index"])
        seen.append(set(args))
        return args

    options = {
        "patches_replace": {"dit": {("double_block", 1): replace}},
        "patches": {"double_block": [after]},
    }
    assert torch.equal(model(**inputs, transformer_options=options), model(**inputs))
    assert blocks == [0, 1, 2]
    assert seen[0] == {"img", "x", "vec", "block_index", "img_offset", "transformer_options"}
    assert (options["total_blocks"], options["block_type"], options["block_index"]) == (3, "double", 2)
    assert tuple(options["grid_sizes"]) == (2, 2, 3)


@torch.no_grad()
def test_a_replaced_block_is_left_out(model, inputs):
    skip = {"patches_replace": {"dit": {("double_block", 1): lambda args, _: {"img": args["img"]}}}}
    skipped = model(**inputs, transformer_options=skip)
    del model.blocks[1]
    assert torch.equal(skipped, model(**inputs))


@torch.no_grad()
def test_stretched_positions_change_the_video_and_no_stretch_does_not(model, inputs):
    plain = model(**inputs)
    still = {"rope_options": {"scale_x": 1.0, "shift_t": 0.0}}
    stretched = {"rope_options": {"scale_x": 1.5}}
    assert torch.equal(plain, model(**inputs, transformer_options=still))
    assert not torch.allclose(plain, model(**inputs, transformer_options=stretched))


def test_gradient_checkpointing_gives_the_same_gradients(model, inputs):
    kept = gradients(model, inputs)
    model.gradient_checkpointing = True
    assert all(map(torch.equal, gradients(model, inputs), kept))


def test_gradient_checkpointing_keeps_fewer_activations(model, inputs):
    def saved_bytes():
        kept = []
        with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x.nbytes) or x, lambda x: x):
            model(**inputs)
        return sum(kept)

    plain = saved_bytes()
    model.gradient_checkpointing = True
    assert saved_bytes() < plain / 2


def test_every_weight_and_the_input_get_a_gradient(model, inputs):
    inputs["x"].requires_grad_()
    assert all(gradient.isfinite().all() and gradient.any() for gradient in gradients(model, inputs))
    assert inputs["x"].grad.any()


def test_gradients_equal_finite_differences(model, inputs):
    parameter = model.blocks[1].modulation
    gradients(model, inputs)
    analytic = parameter.grad.clone()
    for index in ((0, 2, 5), (0, 4, 11)):
        losses = []
        for step in (1e-2, -1e-2):
            with torch.no_grad():
                parameter[index] += step
                losses.append(model(**inputs).square().mean().double())
                parameter[index] -= step
        difference = (losses[0] - losses[1]) / 2e-2
        torch.testing.assert_close(analytic[index].double(), difference, rtol=2e-2, atol=1e-4)
