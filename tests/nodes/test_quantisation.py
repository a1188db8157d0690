"""What files say of their quantisation: each format of the host is read, and what does not fit is refused."""

from __future__ import annotations

import json
import math

import pytest
import torch
from comfy.quant_ops import QUANT_ALGOS
from magref_pack.magref_core.errors import CheckpointError
from magref_pack.nodes import model_summary
from magref_pack.nodes.model import load_magref_dit
from safetensors.torch import load_file, save_file

import nodes
from benchmarks.support.format_files import COMFY_QUANT, FORMATS

from . import lora_files, quantised_files, runs
from .test_model import answer

pytestmark = pytest.mark.usefixtures("one_attention")

LAYER = "blocks.0.ffn.0"
LORA_STRENGTH = 6.0
"""At which the LoRA of these tests changes the velocity by more than any rounding."""


@pytest.fixture(scope="module")
def weights():
    return quantised_files.exact_weights()


@pytest.fixture(scope="module")
def exact(weights, tmp_path_factory):
    return quantised_files.save((weights, None), tmp_path_factory.mktemp("exact"))


def load(file):
    return load_magref_dit(str(file), runs.options(None))


def refused(content, folder, match, metadata=None):
    file = folder / "x.safetensors"
    save_file(content, file, metadata=metadata)
    with pytest.raises(CheckpointError, match=f"^x.safetensors {match}"):
        load(file)


def scaled(weights):
    return quantised_files.scaled_fp8(weights)[0]


def comfy(weights):
    return quantised_files.comfy_quant(weights)[0]


def test_every_format_that_the_host_registers_is_in_the_matrix():
    assert set(COMFY_QUANT) == set(QUANT_ALGOS)


@pytest.mark.parametrize("told", COMFY_QUANT)
def test_a_format_of_the_host_is_read_and_takes_a_lora(tmp_path, monkeypatch, weights, exact, told):
    file = FORMATS[f"comfy_quant {told}"].write(weights, tmp_path)
    lora_files.show_folder(tmp_path, monkeypatch)
    save_file(lora_files.lora("native"), tmp_path / "lora.safetensors")
    add_lora = nodes.LoraLoaderModelOnly().load_lora_model_only
    ours, native, reference = load(file), runs.native_model(file, None), load(exact)
    assert model_summary.numbers(ours)["quantisation"] == [told]
    plain, changed = (
        [
            runs.sample(add_lora(model, "lora.safetensors", strength)[0], cfg=1.0, steps=1)
            for model in (ours, native, reference)
        ]
        for strength in (0.0, LORA_STRENGTH)
    )
    for one, other, wanted in (plain, changed):
        assert 0 < runs.relative_difference(one, wanted) < 1.1 * runs.relative_difference(other, wanted)
    # A LoRA that went missing would leave its whole effect as error.
    effect = runs.relative_difference(plain[2], changed[2])
    assert runs.relative_difference(changed[0], changed[2]) < 0.8 * effect


def test_e5m2_of_the_older_form_is_not_taken_for_e4m3fn(tmp_path, weights, exact):
    patcher = load(FORMATS["scaled_fp8 e5m2"].write(weights, tmp_path))
    assert model_summary.numbers(patcher)["quantisation"] == ["float8_e5m2"]
    assert 0 < runs.relative_difference(answer(patcher), answer(load(exact))) < 0.2


def test_an_unknown_format_is_named_with_those_that_are_known(tmp_path, weights):
    content = comfy(weights)
    content[f"{LAYER}.comfy_quant"] = torch.tensor(list(b'{"format": "int3_magic"}'), dtype=torch.uint8)
    refused(
        content, tmp_path, rf"has layers in the quantisation 'int3_magic' \({LAYER}\), but .*nvfp4.*: update"
    )


@pytest.mark.parametrize("words", [b"{no json", b'"text"', b"[]", b'{"form": 1}', b"\xff\xfe", b"[" * 9999])
def test_words_that_cannot_be_read_are_refused(tmp_path, weights, words):
    content = comfy(weights)
    content[f"{LAYER}.comfy_quant"] = torch.tensor(list(words), dtype=torch.uint8)
    refused(content, tmp_path, "does not say in a readable way how it is quantised: download it again")


@pytest.mark.parametrize("told", ["{", "[]", '{"layers": 3}', '{"layers": {"a": 1}}'])
def test_metadata_that_cannot_be_read_are_refused(tmp_path, weights, told):
    metadata = {"_quantization_metadata": told}
    refused(
        quantised_files.told_by_metadata(weights)[0], tmp_path, "does not say in a readable way", metadata
    )


def test_scales_that_are_named_and_absent_are_refused(tmp_path, weights):
    sentence = (
        r"is quantised with scales, but 1 tensors of its layers are not in it \(blocks.0.ffn.0.{}\): download"
    )
    content = comfy(weights)
    del content[f"{LAYER}.weight_scale"]
    refused(content, tmp_path, sentence.format("weight_scale"))
    content = scaled(weights)
    del content[f"{LAYER}.scale_weight"]
    refused(content, tmp_path, sentence.format("scale_weight"))
    content, metadata = quantised_files.told_by_metadata(weights)
    del content[f"{LAYER}.weight_scale"]
    refused(content, tmp_path, sentence.format("weight_scale"), metadata)


def test_the_second_scale_of_nvfp4_is_needed_too(tmp_path, weights):
    content = load_file(FORMATS["comfy_quant nvfp4"].write(weights, tmp_path))
    del content[f"{LAYER}.weight_scale_2"]
    refused(content, tmp_path, r"is quantised with scales, but 1 tensors .*ffn.0.weight_scale_2")


def test_a_prefix_before_the_names_changes_nothing(tmp_path, weights):
    content = {f"model.diffusion_model.{name}": value for name, value in scaled(weights).items()}
    save_file(content, tmp_path / "whole.safetensors")
    load(tmp_path / "whole.safetensors")
    del content[f"model.diffusion_model.{LAYER}.scale_weight"]
    refused(content, tmp_path, "is quantised with scales, but 1 tensors")


def test_scales_of_which_nothing_says_how_they_are_meant_are_refused(tmp_path, weights):
    content = scaled(weights)
    del content["scaled_fp8"]
    refused(content, tmp_path, r"has 36 scales \(blocks.0.+\), but nothing in it says how they are meant")
    content = comfy(weights)
    del content[f"{LAYER}.comfy_quant"]
    refused(content, tmp_path, r"has 1 scales \(blocks.0.ffn.0.weight_scale\), but nothing")


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_scales_that_are_no_numbers_are_refused(tmp_path, weights, value):
    content = comfy(weights) | {f"{LAYER}.weight_scale": torch.tensor(value)}
    refused(content, tmp_path, "has weights that are not finite numbers, 1 at least .*weight_scale")


def test_matrices_that_are_no_numbers_are_refused(tmp_path, weights):
    spoiled = dict(weights) | {"img_emb.proj.1.weight": torch.full((1280, 1280), math.nan)}
    refused(spoiled, tmp_path, "has weights that are not finite numbers, 1 at least .*img_emb.proj.1.weight")


def test_metadata_of_other_tools_are_no_matter(tmp_path, weights, exact):
    save_file(weights, tmp_path / "x.safetensors", metadata={"format": "pt", "note": json.dumps({"a": 1})})
    assert torch.equal(answer(load(tmp_path / "x.safetensors")), answer(load(exact)))
