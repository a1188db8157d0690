"""Files in short formats: our loader reads the numbers that they mean, as the host's own loader does."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file

import nodes

from . import lora_files, quantised_files, runs

pytestmark = pytest.mark.usefixtures("one_attention")

FORMATS = {
    "bf16": (quantised_files.cast(torch.bfloat16), 0.01),
    "fp16": (quantised_files.cast(torch.float16), 0.001),
    "plain fp8": (quantised_files.plain_fp8, 0.06),
    "scaled_fp8": (quantised_files.scaled_fp8, 0.06),
    "comfy_quant": (quantised_files.comfy_quant, 0.06),
    "told by metadata": (quantised_files.told_by_metadata, 0.06),
}
"""How to write a file, and what its rounding may cost: the relative error of one step."""

QUANTISED = ["plain fp8", "scaled_fp8", "comfy_quant", "told by metadata"]


def step(model):
    return runs.sample(model, cfg=1.0, steps=1)


def written(name, folder, weights):
    """The file of a format, and a float32 file of what it means."""
    content = FORMATS[name][0](weights)
    meaning = quantised_files.meaning(content[0])
    return quantised_files.save(content, folder), quantised_files.save((meaning, None), folder, "meaning")


@pytest.mark.parametrize("name", FORMATS)
def test_a_file_gives_the_numbers_that_it_means(tmp_path, name):
    file, meaning = written(name, tmp_path, quantised_files.exact_weights())
    result = step(runs.our_model(file, None))
    torch.testing.assert_close(result, step(runs.our_model(meaning)), rtol=0, atol=1e-5)
    assert runs.largest_difference(result, step(runs.native_model(file, None))) <= 2e-4


@pytest.mark.parametrize("name", FORMATS)
def test_the_rounding_of_a_file_costs_no_more_than_on_native_wan(tmp_path, name):
    weights = quantised_files.exact_weights()
    file, _ = written(name, tmp_path, weights)
    exact = step(runs.our_model(quantised_files.save((weights, None), tmp_path, "exact")))
    ours, native = (
        runs.relative_difference(step(model), exact)
        for model in (runs.our_model(file, None), runs.native_model(file, None))
    )
    assert 0 < ours <= FORMATS[name][1]
    assert ours <= 1.01 * native


@pytest.mark.parametrize("name", QUANTISED)
def test_a_lora_applies_on_top_of_a_quantised_file_as_on_native_wan(tmp_path, monkeypatch, name):
    file, meaning = written(name, tmp_path, quantised_files.exact_weights())
    lora_files.show_folder(tmp_path, monkeypatch)
    save_file(lora_files.lora("native"), tmp_path / "lora.safetensors")
    loader = nodes.LoraLoaderModelOnly()
    ours, native, expected = (
        step(loader.load_lora_model_only(model, "lora.safetensors", 1.0)[0])
        for model in (runs.our_model(file, None), runs.native_model(file, None), runs.our_model(meaning))
    )
    assert runs.largest_difference(ours, native) <= 2e-4
    # The host rounds the sum of scaled weights and LoRA to fp8 again.
    effect = runs.relative_difference(step(runs.our_model(meaning)), expected)
    assert runs.relative_difference(ours, expected) <= effect / 2


@pytest.mark.parametrize(
    "dtype", [torch.bfloat16, torch.float16, torch.float8_e4m3fn, torch.float8_e5m2], ids=str
)
def test_a_chosen_dtype_costs_no_more_than_on_native_wan(tmp_path, dtype):
    weights = quantised_files.exact_weights()
    file = quantised_files.save((weights, None), tmp_path)
    exact = step(runs.our_model(file))
    ours, native = (
        runs.relative_difference(step(load(file, dtype)), exact)
        for load in (runs.our_model, runs.native_model)
    )
    assert 0 < ours <= 1.05 * native
