"""What is no source of a conversion, told in one sentence, in the loader's words where it has some."""

from __future__ import annotations

import json
import struct

import gguf
import pytest
import torch
from safetensors.torch import load_file, save_file

from magref_core.conversion.convert import convert
from magref_core.conversion.formats import FORMATS
from magref_core.conversion.probe import StoredWeights
from magref_core.dit.checkpoint import load_dit, read_checkpoint
from magref_core.errors import CheckpointError
from tests.disks import closed

from .conversions import random_weights

FFN = "blocks.0.ffn.0.weight"
FP8 = torch.float8_e4m3fn


@pytest.fixture(scope="module")
def weights():
    return random_weights()


@pytest.fixture
def target(tmp_path):
    return tmp_path / "out" / "new.safetensors"


def save_gguf(file, weights):
    writer = gguf.GGUFWriter(file, "wan")
    for name, weight in weights.items():
        writer.add_tensor(name, weight.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


def refused(source, target):
    with pytest.raises(CheckpointError) as error:
        convert(source, target, "fp8")
    assert not target.parent.exists()
    return str(error.value)


def test_a_gguf_file_is_refused_by_its_name(tmp_path, target):
    (tmp_path / "a.gguf").write_bytes(b"GGUF")
    assert refused(tmp_path / "a.gguf", target).startswith(
        "a.gguf is a GGUF file, whose values are rounded already"
    )


@pytest.mark.parametrize("name", ["a.safetensors", "a.sft", "a.GGUF"])
def test_a_gguf_file_under_another_name_is_refused_as_one(tmp_path, target, weights, name):
    file = save_gguf(tmp_path / name, weights)
    assert read_checkpoint(file).shapes["head.modulation"] == (1, 2, 128)  # the loader takes it
    expected = (
        f"{name} is a GGUF file, whose values are rounded already: convert from the official weights or "
        "another .safetensors file of 16 or 32 bits"
    )
    assert refused(file, target) == expected
    with pytest.raises(CheckpointError, match=r"is a GGUF file, whose values are rounded already"):
        StoredWeights(file)


def test_a_gguf_file_among_the_shards_is_refused_as_one(tmp_path, target, weights):
    names = sorted(weights)
    parts = {"dit-1.safetensors": names[::2], "dit-2.safetensors": names[1::2]}
    save_file({name: weights[name] for name in names[::2]}, tmp_path / "dit-1.safetensors")
    save_gguf(tmp_path / "dit-2.safetensors", {name: weights[name] for name in names[1::2]})
    index = tmp_path / "dit.safetensors.index.json"
    index.write_text(
        json.dumps({"weight_map": {name: shard for shard, part in parts.items() for name in part}})
    )
    assert refused(index, target).startswith("dit-2.safetensors is a GGUF file, whose values are rounded")


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2], ids=str)
def test_a_source_in_a_short_format_is_refused(tmp_path, target, weights, dtype):
    save_file(weights | {FFN: weights[FFN].to(dtype)}, tmp_path / "x.safetensors")
    words = str(dtype).removeprefix("torch.")
    assert refused(tmp_path / "x.safetensors", target) == (
        f"x.safetensors is in a short format already ({FFN} is {words}), but weights of 16 or 32 bits are "
        "needed: convert from the official weights, or from a bf16 or fp16 file"
    )


def test_a_short_format_whose_scales_are_of_a_kind_of_their_own_is_refused_as_one(tmp_path, target, weights):
    scale = torch.ones(64, 4, dtype=torch.uint8).view(torch.float8_e8m0fnu)
    quantised = {FFN: weights[FFN].to(FP8), FFN + "_scale": scale}
    save_file(weights | quantised, tmp_path / "x.safetensors")
    assert "x.safetensors is in a short format already" in refused(tmp_path / "x.safetensors", target)


@pytest.mark.parametrize("dtype", [torch.int64, torch.float64, torch.bool], ids=str)
def test_weights_that_are_no_floats_of_16_or_32_bits_are_named_by_their_kind(
    tmp_path, target, weights, dtype
):
    save_file(weights | {FFN: weights[FFN].to(dtype)}, tmp_path / "x.safetensors")
    kind = {torch.int64: "I64", torch.float64: "F64", torch.bool: "BOOL"}[dtype]
    assert refused(tmp_path / "x.safetensors", target) == (
        f"x.safetensors holds numbers of the kind {kind}, which no MAGREF checkpoint has: choose another file"
    )


def test_whole_numbers_that_the_dit_does_not_know_are_left_out(tmp_path, target, weights):
    save_file(weights | {"position_ids": torch.arange(3)}, tmp_path / "x.safetensors")
    report = convert(tmp_path / "x.safetensors", target, "bf16")
    assert report.left_out == ("position_ids",)
    assert load_file(target).keys() == weights.keys()


@pytest.mark.parametrize("name", FORMATS[1:])
def test_what_was_converted_once_is_not_converted_again(tmp_path, target, weights, name):
    save_file(weights, tmp_path / "magref.safetensors")
    convert(tmp_path / "magref.safetensors", target, name)
    with pytest.raises(CheckpointError, match=r"in a short format already"):
        convert(target, target.with_name("again.safetensors"), "bf16")


def overlapping():
    entries = {
        name: {"dtype": "F32", "shape": [2], "data_offsets": place}
        for name, place in {"a": [0, 8], "b": [4, 12]}.items()
    }
    header = json.dumps(entries).encode()
    return struct.pack("<Q", len(header)) + header + bytes(12)


BROKEN = {
    "empty": b"",
    "web page": b"<!DOCTYPE html>" + bytes(50),
    "pointer": b"version https://git-lfs.github.com/spec/v1\n",
    "pickle": b"PK\x03\x04" + bytes(50),
    "long header": struct.pack("<Q", 2**40) + b"{" + bytes(50),
    "cut off": struct.pack("<Q", 1000) + b'{"a":',
    "overlapping": overlapping(),
}

FOREIGN = {
    "lora": {"blocks.0.ffn.0.lora_A.weight": torch.ones(2, 2), "blocks.0.ffn.0.lora_B.weight": torch.ones(2)},
    "t5 in fp8": {"shared.weight": torch.ones(4, 4).to(FP8), "encoder.block.0.x": torch.ones(4).to(FP8)},
    "clip vision": {"vision_model.x": torch.ones(3), "vision_model.y": torch.ones(3, dtype=torch.bool)},
    "unknown": {"some.weight": torch.ones(3, dtype=torch.float64)},
}


def words_of_loading(file):
    with pytest.raises(CheckpointError) as error:
        load_dit(file)
    return str(error.value)


@pytest.mark.parametrize("case", BROKEN)
def test_what_cannot_be_read_is_told_in_the_loaders_words(tmp_path, target, case):
    (tmp_path / "x.safetensors").write_bytes(BROKEN[case])
    assert refused(tmp_path / "x.safetensors", target) == words_of_loading(tmp_path / "x.safetensors")


@pytest.mark.parametrize("case", FOREIGN)
def test_what_is_of_another_model_is_told_in_the_loaders_words(tmp_path, target, case):
    save_file(FOREIGN[case], tmp_path / "x.safetensors")
    assert refused(tmp_path / "x.safetensors", target) == words_of_loading(tmp_path / "x.safetensors")


def with_16_channels(weights):
    return weights | {"patch_embedding.weight": weights["patch_embedding.weight"][:, :16].contiguous()}


@pytest.mark.parametrize(
    "spoil",
    [
        lambda weights: {name: value for name, value in weights.items() if name != FFN},
        lambda weights: weights | {FFN: weights[FFN][:32].contiguous()},
        lambda weights: {name: value.to(FP8) for name, value in weights.items() if name != FFN},
        with_16_channels,
    ],
    ids=["incomplete", "wrong shape", "incomplete in fp8", "of another family"],
)
def test_a_dit_that_does_not_fit_is_told_in_the_loaders_words(tmp_path, target, weights, spoil):
    save_file(spoil(weights), tmp_path / "x.safetensors")
    assert refused(tmp_path / "x.safetensors", target) == words_of_loading(tmp_path / "x.safetensors")


def test_a_source_that_may_not_be_read_is_one_sentence(tmp_path, target):
    with closed(tmp_path / "closed") as folder:
        told = refused(folder / "x.safetensors", target)
    assert told.startswith("x.safetensors cannot be read (") and "Permission denied" in told
    assert told.endswith("): look at its disk, and at who may read it")
