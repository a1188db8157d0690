"""What nodes put into, around and in place of parts of the DiT takes effect, as it does on native Wan."""

from __future__ import annotations

import types

import pytest
import torch
from comfy.ldm.modules.attention import optimized_attention
from comfy.ldm.wan.model import sinusoidal_embedding_1d
from comfy_extras.nodes_slg import SkipLayerGuidanceDiT, SkipLayerGuidanceDiTSimple

from . import runs

pytestmark = pytest.mark.usefixtures("one_attention")

NUM_BLOCKS = 3


def with_options(model, **options):
    """A clone with entries in `transformer_options`."""
    result = model.clone()
    result.model_options["transformer_options"] |= options
    return result


def with_method(model, path, function):
    """A clone whose method at `path` is replaced by a bound function, as packs do."""
    result = model.clone()
    owner = model.get_model_object(path.rpartition(".")[0])
    result.add_object_patch(path, types.MethodType(function, owner))
    return result


def step(model, **changes):
    """The answer to one step from pure noise."""
    return runs.sample(model, **{"cfg": 1.0, "steps": 1, **changes})


def without_block(model):
    return with_method(model, "diffusion_model.blocks.1.forward", lambda self, x, *args, **kwargs: x)


def test_an_attention_override_is_asked_three_times_a_block():
    calls = []

    def override(attention, q, k, v, *args, **kwargs):
        calls.append((q.shape[1], k.shape[1]))
        return attention(q, k, v, *args, **kwargs)

    model = runs.our_model()
    result = step(with_options(model, optimized_attention_override=override))
    tokens = 2 * 2 * 3
    assert calls == [(tokens, tokens), (tokens, runs.IMAGE_TOKENS), (tokens, 512)] * NUM_BLOCKS
    assert torch.equal(result, step(model))


def override_with_doubled_values(model):
    def override(attention, q, k, v, *args, **kwargs):
        return attention(q, k, 2 * v, *args, **kwargs)

    return with_options(model, optimized_attention_override=override)


def attn1_patch(model):
    result = model.clone()
    result.set_model_attn1_patch(lambda args: args["x"] + 0.1 * args["q"].flatten(2))
    return result


def attn2_patch(model):
    result = model.clone()
    result.set_model_attn2_patch(lambda args: 0.9 * args["x"])
    return result


def double_block_patch(model):
    """As Uni3C: adds to the tokens after some blocks."""

    def add(args):
        if args["block_index"] == 1:
            args["img"] = args["img"] + 0.5 * args["vec"].flatten(1)[:, None, : args["img"].shape[-1]]
        return args

    result = model.clone()
    result.set_model_double_block_patch(add)
    return result


def replaced_block(model):
    """Runs the original block and takes half of what it adds."""

    def half(args, extra):
        return {"img": args["img"] + (extra["original_block"](args)["img"] - args["img"]) / 2}

    result = model.clone()
    result.set_model_patch_replace(half, "dit", "double_block", 1)
    return result


def replaced_cross_attention(model):
    """As KJNodes' NAG: the text attention alone, built from the module's own layers."""

    def forward(self, x, context, context_img_len=None, transformer_options={}, **kwargs):  # noqa: B006
        text = context[:, context_img_len:]
        q, k, v = self.norm_q(self.q(x)), self.norm_k(self.k(text)), self.v(text)
        return 1.5 * self.o(
            optimized_attention(q, k, v, heads=self.num_heads, transformer_options=transformer_options)
        )

    return with_method(model, "diffusion_model.blocks.0.cross_attn.forward", forward)


def replaced_self_attention(model):
    def forward(self, x, freqs, transformer_options={}):  # noqa: B006
        return self.o(self.v(x)) + freqs.mean().to(x.dtype)

    return with_method(model, "diffusion_model.blocks.1.self_attn.forward", forward)


def replaced_feed_forward(model):
    """As KJNodes' chunked feed-forward: the tokens in two parts."""

    def forward(self, x):
        parts = x.chunk(2, dim=1)
        for layer in self:
            parts = [layer(part) for part in parts]
        return 0.5 * torch.cat(parts, dim=1)

    return with_method(model, "diffusion_model.blocks.2.ffn.forward", forward)


def replaced_forward_orig(model):
    """As TeaCache and MagCache: the forward rebuilt from the model's parts, here without the last block."""

    def forward(self, x, t, context, clip_fea=None, freqs=None, transformer_options={}, **kwargs):  # noqa: B006
        x = self.patch_embedding(x.float()).to(x.dtype)
        grid = x.shape[2:]
        x = x.flatten(2).transpose(1, 2)
        e = self.time_embedding(sinusoidal_embedding_1d(self.freq_dim, t.flatten()).to(x.dtype))
        e0 = self.time_projection(e).unflatten(1, (6, self.dim))
        context = torch.cat([self.img_emb(clip_fea), self.text_embedding(context)], dim=1)
        for block in self.blocks[:-1]:
            x = block(
                x, e0[:, None], freqs, context, clip_fea.shape[-2], transformer_options=transformer_options
            )
        return self.unpatchify(self.head(x, e[:, None]), grid)

    return with_method(model, "diffusion_model.forward_orig", forward)


PATCHES = [
    override_with_doubled_values,
    attn1_patch,
    attn2_patch,
    double_block_patch,
    replaced_block,
    replaced_cross_attention,
    replaced_self_attention,
    replaced_feed_forward,
    replaced_forward_orig,
    without_block,
]


@pytest.mark.parametrize("patch", PATCHES)
def test_a_patch_has_the_effect_that_it_has_on_native_wan(patch):
    model = runs.our_model()
    ours = runs.sample(patch(model), cfg=1.0)
    assert runs.largest_difference(ours, runs.sample(patch(runs.native_model()), cfg=1.0)) <= 1e-4
    plain = runs.sample(model, cfg=1.0)
    assert runs.largest_difference(ours, plain) > 1e-2
    assert torch.equal(plain, runs.sample(runs.our_model(), cfg=1.0))


def test_skiplayerguidancedit_pushes_away_from_the_answer_without_the_block():
    model = runs.our_model()
    guided = SkipLayerGuidanceDiT.execute(model, 3.0, 0.0, 1.0, double_layers="1").args[0]
    away = step(model) - step(without_block(model))
    expected = step(model, cfg=5.0) + 3 * away
    torch.testing.assert_close(step(guided, cfg=5.0), expected, rtol=0, atol=1e-4)
    assert away.abs().max() > 0.01


def test_skiplayerguidanceditsimple_leaves_the_block_out_of_the_negative():
    model = runs.our_model()
    _, negative = runs.prompts()
    guided = SkipLayerGuidanceDiTSimple.execute(model, 0.0, 1.0, double_layers="1").args[0]
    cond, uncond = step(model), step(without_block(model), pair=(negative, negative))
    torch.testing.assert_close(step(guided, cfg=5.0), uncond + 5 * (cond - uncond), rtol=0, atol=1e-4)
    assert runs.largest_difference(step(guided, cfg=5.0), step(model, cfg=5.0)) > 0.01


def test_skip_layer_guidance_gives_the_numbers_of_native_wan():
    settings = {"scale": 3.0, "start_percent": 0.0, "end_percent": 1.0, "rescaling_scale": 0.5}
    ours, native = (
        runs.sample(SkipLayerGuidanceDiT.execute(model, double_layers="0, 2", **settings).args[0])
        for model in (runs.our_model(), runs.native_model())
    )
    assert runs.largest_difference(ours, native) <= 1e-3
