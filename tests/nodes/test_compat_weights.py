"""Merging, saving and loading again through the host's nodes: the weights are those that arithmetic gives."""

from __future__ import annotations

from pathlib import Path

import comfy.sd
import pytest
import torch
from comfy_extras.nodes_model_merging import ModelAdd, ModelMergeSimple, ModelSave, ModelSubtract
from comfy_extras.nodes_model_merging_model_specific import ModelMergeWAN2_1
from safetensors.torch import load_file

from . import lora_files, quantised_files, runs

pytestmark = pytest.mark.usefixtures("one_attention")


@pytest.fixture
def second(tmp_path):
    """A second set of weights in a file."""
    return quantised_files.save((lora_files.merged("native", 1.0), None), tmp_path, "second")


def sample(model):
    return runs.sample(model, cfg=1.0)


def saved(model, folder) -> Path:
    """The file that ModelSave makes."""
    node = ModelSave()
    node.output_dir = str(folder)
    node.save(model, "merged")
    (file,) = folder.glob("merged*.safetensors")
    return file


def assert_weights(model, expected, tmp_path):
    """The model samples as one loaded from `expected`, which differs from the golden weights."""
    result = sample(model)
    file = quantised_files.save((expected, None), tmp_path, "expected")
    torch.testing.assert_close(result, sample(runs.our_model(file)), rtol=0, atol=1e-4)
    assert runs.largest_difference(result, sample(runs.our_model())) > 0.05


@pytest.mark.parametrize("ratio", [0.5, 0.2])
def test_modelmergesimple_is_the_weighted_mean(tmp_path, second, ratio):
    (merged,) = ModelMergeSimple().merge(runs.our_model(), runs.our_model(second), ratio)
    one, two = lora_files.weights(), load_file(second)
    assert_weights(merged, {name: ratio * one[name] + (1 - ratio) * two[name] for name in one}, tmp_path)


def test_adding_a_difference_of_two_models_is_arithmetic(tmp_path, second):
    (difference,) = ModelSubtract().merge(runs.our_model(second), runs.our_model(), 1.0)
    (result,) = ModelAdd().merge(runs.our_model(), difference)
    assert_weights(result, load_file(second), tmp_path)


def test_modelmergewan2_1_merges_block_by_block(tmp_path, second):
    # 1 keeps the first model.
    ratios = {name: 1.0 for name in ModelMergeWAN2_1.INPUT_TYPES()["required"] if name.endswith(".")}
    (merged,) = ModelMergeWAN2_1().merge(
        model1=runs.our_model(), model2=runs.our_model(second), **ratios | {"blocks.1.": 0.0}
    )
    one, two = lora_files.weights(), load_file(second)
    assert_weights(
        merged, {name: (two if name.startswith("blocks.1.") else one)[name] for name in one}, tmp_path
    )


def test_a_merge_with_native_wan_works_both_ways(tmp_path, second):
    one, two = lora_files.weights(), load_file(second)
    mean = {name: (one[name] + two[name]) / 2 for name in one}
    (merged,) = ModelMergeSimple().merge(runs.our_model(), runs.native_model(second), 0.5)
    assert_weights(merged, mean, tmp_path)
    (merged,) = ModelMergeSimple().merge(runs.native_model(), runs.our_model(second), 0.5)
    expected = sample(runs.our_model(tmp_path / "expected.safetensors"))
    assert runs.largest_difference(sample(merged), expected) <= 2e-4


def test_a_saved_model_is_bit_equal_when_loaded_again(tmp_path):
    model = runs.our_model()
    expected = sample(model)
    file = saved(model, tmp_path)
    assert torch.equal(sample(runs.our_model(file)), expected)
    assert runs.largest_difference(sample(runs.native_model(file)), expected) <= 1e-4


@pytest.mark.parametrize("merge", ["lora", "mean"])
def test_a_saved_model_holds_its_patches(tmp_path, second, merge):
    model = runs.our_model()
    if merge == "lora":
        patched, _ = comfy.sd.load_lora_for_models(model, None, lora_files.lora("native"), 1.0, 0)
    else:
        (patched,) = ModelMergeSimple().merge(model, runs.our_model(second), 0.5)
    expected = sample(patched)
    assert torch.equal(sample(runs.our_model(saved(patched, tmp_path))), expected)
    assert not torch.equal(expected, sample(model))


@pytest.mark.parametrize("name", ["plain_fp8", "scaled_fp8", "comfy_quant"])
def test_a_saved_quantised_model_is_bit_equal_when_loaded_again(tmp_path, name):
    content = getattr(quantised_files, name)(quantised_files.exact_weights())
    model = runs.our_model(quantised_files.save(content, tmp_path, "quantised"), None)
    expected = sample(model)
    assert torch.equal(sample(runs.our_model(saved(model, tmp_path), None)), expected)
