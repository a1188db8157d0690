"""The controls of subjects at zero: the plain video, to the bit, whatever is around the model."""

from __future__ import annotations

import comfy.sd
import pytest
import torch
from comfy_extras.nodes_easycache import EasyCacheNode
from comfy_extras.nodes_torch_compile import TorchCompileModel
from magref_pack.nodes.subject_model import CONTROLS

from . import lora_files, runs
from .controlled_runs import FRAMES, bound_pair, controlled, each_control, spied, zero
from .test_compat_compile import fresh_compiler, graphs
from .test_compat_windows import with_windows

__all__ = ["fresh_compiler"]


@each_control
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_at_zero_the_video_is_that_of_the_plain_model(node, values, dtype):
    model = runs.our_model(dtype=dtype)
    plain = runs.sample(model, pair=runs.prompts())
    pair = controlled(model, node, values, **zero(node))
    assert CONTROLS not in pair[0][0][1]
    assert torch.equal(runs.sample(model, pair=pair), plain)
    # Asked for, carried along and batched, but at a noise that never comes.
    resting = controlled(model, node, values, start_sigma=0.0)
    assert CONTROLS in resting[0][0][1]
    assert torch.equal(runs.sample(model, pair=resting), plain)


def with_lora(model):
    return comfy.sd.load_lora_for_models(model, None, lora_files.lora("native"), 1.0, 0)[0]


AROUND = ("windows", "windows that lose the canvas", "easycache", "lora", "compile")


@each_control
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("around", AROUND)
@pytest.mark.usefixtures("fresh_compiler")
def test_at_zero_the_video_is_plain_whatever_is_around_the_model(node, values, around, dtype):
    model = runs.our_model(dtype=dtype)
    frames = FRAMES if around.startswith("windows") else 2
    run = {"latent": runs.empty(frames=frames)}
    if around.startswith("windows"):
        model = with_windows(model, retain=around == "windows")
    elif around == "easycache":
        model, run["steps"] = EasyCacheNode.execute(model, 0.9, 0.0, 1.0, False).args[0], 6
    elif around == "lora":
        model = with_lora(model)
    else:
        model = TorchCompileModel.execute(model, "eager").args[0]
    plain = runs.sample(model, pair=runs.prompts(frames=frames), **run)
    if around == "easycache":
        watched, plans = spied(model)
        assert torch.equal(runs.sample(watched, pair=runs.prompts(), **run), plain)
        assert 0 < len(plans) < run["steps"], "some steps are skipped"
    for changes in (zero(node), {"start_sigma": 0.0}):
        pair = controlled(model, node, values, bound_pair(frames=frames), **changes)
        assert torch.equal(runs.sample(model, pair=pair, **run), plain)
    active = controlled(model, node, values, bound_pair(frames=frames))
    assert runs.largest_difference(runs.sample(model, pair=active, **run), plain) > 1e-3


@each_control
@pytest.mark.usefixtures("fresh_compiler")
def test_a_compiled_model_keeps_to_the_controls(node, values):
    model = runs.our_model()
    compiled = TorchCompileModel.execute(model, "eager").args[0]
    plain = runs.sample(model, pair=runs.prompts(), steps=4)
    assert torch.equal(
        runs.sample(compiled, pair=controlled(model, node, values, **zero(node)), steps=4),
        runs.sample(compiled, pair=runs.prompts(), steps=4),
    )
    resting = controlled(model, node, values, start_sigma=0.0)
    torch.testing.assert_close(runs.sample(compiled, pair=resting, steps=4), plain, rtol=0, atol=1e-4)
    pair = controlled(model, node, values, end_sigma=0.5)
    expected = runs.sample(model, pair=pair, steps=4)
    torch.testing.assert_close(runs.sample(compiled, pair=pair, steps=4), expected, rtol=0, atol=1e-4)
    assert runs.largest_difference(expected, plain) > 1e-3
    assert graphs() == {"graphs": 2, "breaks": 0}, "with and without controls"
