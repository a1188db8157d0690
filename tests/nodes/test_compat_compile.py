"""torch.compile through the host: one graph without a break, compiled once, with the plain model's numbers.

The backend is `eager`: what it captures is what any backend is given.
"""

from __future__ import annotations

import comfy.ldm.modules.attention as host_attention
import comfy.ldm.wan.model
import pytest
import torch
from comfy_api.torch_helpers import set_torch_compile_wrapper
from comfy_extras.nodes_torch_compile import TorchCompileModel, skip_torch_compile_dict
from magref_pack.nodes.lora import MagrefLoraLoader
from safetensors.torch import save_file
from torch._dynamo.utils import counters

from benchmarks.support.gguf_writing import write_gguf

from . import lora_files, runs

SIZES = (
    {"frames": 2},
    {"frames": 3},
    {"frames": 4},
    {"frames": 4, "height": 8, "width": 10},
    {"frames": 5, "height": 6, "width": 14},
)
"""Three lengths at one size of the picture, then two other sizes."""


@pytest.fixture(autouse=True)
def fresh_compiler(monkeypatch):
    """No graphs of other tests, and PyTorch's attention as on a GPU: the host's for CPUs breaks graphs."""
    monkeypatch.setattr(host_attention, "optimized_attention", host_attention.attention_pytorch)
    monkeypatch.setattr(comfy.ldm.wan.model, "optimized_attention", host_attention.attention_pytorch)
    torch._dynamo.reset()
    counters.clear()
    yield
    torch._dynamo.reset()


def compiled_blocks(model):
    """Block by block, as nodes of other packs compile."""
    result = model.clone()
    keys = [f"diffusion_model.blocks.{index}" for index in range(3)]
    options = {"guard_filter_fn": skip_torch_compile_dict}
    set_torch_compile_wrapper(model=result, backend="eager", options=options, keys=keys)
    return result


def graphs():
    return {"graphs": counters["stats"]["unique_graphs"], "breaks": sum(counters["graph_break"].values())}


@pytest.mark.parametrize("sample", [runs.sample, runs.magref_sample])
def test_a_compiled_model_is_one_graph_with_the_same_numbers(sample):
    model = runs.our_model()
    plain = sample(model, steps=3)
    compiled = TorchCompileModel.execute(model, "eager").args[0]
    torch.testing.assert_close(sample(compiled, steps=3), plain, rtol=0, atol=1e-5)
    assert graphs() == {"graphs": 1, "breaks": 0}
    sample(compiled, steps=4)
    assert graphs() == {"graphs": 1, "breaks": 0}


def test_compiled_blocks_give_the_same_numbers_in_no_more_graphs_than_native_wans():
    model = runs.our_model()
    plain = runs.sample(model)
    torch.testing.assert_close(runs.sample(compiled_blocks(model)), plain, rtol=0, atol=1e-5)
    ours = graphs()
    torch._dynamo.reset()
    counters.clear()
    runs.sample(compiled_blocks(runs.native_model()))
    assert ours["breaks"] == 0
    assert 0 < ours["graphs"] <= graphs()["graphs"]


def compiled_whole(model):
    return TorchCompileModel.execute(model, "eager").args[0]


@pytest.mark.parametrize(("compiled", "most"), [(compiled_whole, 1), (compiled_blocks, 3)])
def test_a_gguf_model_with_and_without_a_lora_compiles_to_the_same_numbers(
    tmp_path, monkeypatch, compiled, most
):
    """Matrices are unpacked and patched at use, all of it within the graph."""
    plain = runs.our_model(write_gguf(lora_files.weights(), tmp_path / "x.gguf", "Q4_K"))
    lora_files.show_folder(tmp_path, monkeypatch)
    save_file(lora_files.lora("native"), tmp_path / "x.safetensors")
    patched = MagrefLoraLoader.execute(plain, "x.safetensors", 1.0, "auto").args[0]
    expected = {model: runs.sample(model) for model in (plain, patched)}
    assert runs.relative_difference(expected[patched], expected[plain]) > 0.05
    counts = []
    for model in (plain, patched, plain):
        counters.clear()
        torch.testing.assert_close(runs.sample(compiled(model)), expected[model], rtol=0, atol=1e-5)
        assert graphs()["breaks"] == 0
        counts.append(graphs()["graphs"])
    assert counts[0] > 0 and max(counts) <= most


def at_size(model, size):
    return runs.sample(model, pair=runs.prompts(**size), latent=runs.empty(**size), steps=1)


def graphs_by_size(model):
    """The compiled model's answer at each size, and how many graphs there are after it."""
    torch._dynamo.reset()
    counters.clear()
    compiled = TorchCompileModel.execute(model, "eager").args[0]
    answers, counts = [], []
    for size in SIZES:
        answers.append(at_size(compiled, size))
        counts.append(graphs()["graphs"])
    assert graphs()["breaks"] == 0
    return answers, counts


def test_a_third_length_and_a_third_size_compile_nothing_and_native_wan_compiles_no_less():
    """What changes for the first time is compiled once more, for all its values."""
    model = runs.our_model()
    plain = [at_size(model, size) for size in SIZES]
    answers, ours = graphs_by_size(model)
    for answer, expected in zip(answers, plain, strict=True):
        torch.testing.assert_close(answer, expected, rtol=0, atol=1e-5)
    assert ours[2] == ours[1] <= 2
    assert ours[4] == ours[3] <= 3
    native = graphs_by_size(runs.native_model())[1]
    assert all(count <= other for count, other in zip(ours, native, strict=True))
