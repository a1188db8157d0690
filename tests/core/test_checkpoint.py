from __future__ import annotations

import json
import math
import struct
import tracemalloc
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from magref_core.dit.attention import Backend
from magref_core.dit.checkpoint import (
    check_finite,
    compare_weights,
    examine,
    infer_config,
    load_dit,
    read_checkpoint,
)
from magref_core.dit.config import DiTConfig
from magref_core.dit.model import MagrefDiT
from magref_core.dit.naming import upstream_names
from magref_core.errors import CheckpointError

CONFIG = DiTConfig(dim=128, ffn_dim=64, num_heads=1, num_layers=2, text_dim=8, clip_dim=12, freq_dim=16)

DIFFUSERS = {
    "time_embedding.0": "condition_embedder.time_embedder.linear_1",
    "time_embedding.2": "condition_embedder.time_embedder.linear_2",
    "time_projection.1": "condition_embedder.time_proj",
    "text_embedding.0": "condition_embedder.text_embedder.linear_1",
    "text_embedding.2": "condition_embedder.text_embedder.linear_2",
    "img_emb.proj.0": "condition_embedder.image_embedder.norm1",
    "img_emb.proj.1": "condition_embedder.image_embedder.ff.net.0.proj",
    "img_emb.proj.3": "condition_embedder.image_embedder.ff.net.2",
    "img_emb.proj.4": "condition_embedder.image_embedder.norm2",
    "head.head": "proj_out",
    "head.modulation": "scale_shift_table",
    "self_attn.q": "attn1.to_q",
    "self_attn.k": "attn1.to_k",
    "self_attn.v": "attn1.to_v",
    "self_attn.o": "attn1.to_out.0",
    "self_attn.norm_q": "attn1.norm_q",
    "self_attn.norm_k": "attn1.norm_k",
    "cross_attn.q": "attn2.to_q",
    "cross_attn.k": "attn2.to_k",
    "cross_attn.v": "attn2.to_v",
    "cross_attn.o": "attn2.to_out.0",
    "cross_attn.norm_q": "attn2.norm_q",
    "cross_attn.norm_k": "attn2.norm_k",
    "cross_attn.k_img": "attn2.add_k_proj",
    "cross_attn.v_img": "attn2.add_v_proj",
    "cross_attn.norm_k_img": "attn2.norm_added_k",
    "norm3": "norm2",
    "ffn.0": "ffn.net.0.proj",
    "ffn.2": "ffn.net.2",
    "modulation": "scale_shift_table",
}


@pytest.fixture(scope="module")
def weights():
    torch.manual_seed(0)
    shapes = MagrefDiT(CONFIG, Backend(device="meta")).state_dict()
    return {name: torch.randn(value.shape) * 0.1 for name, value in shapes.items()}


@pytest.fixture
def file(tmp_path, weights):
    save_file(weights, tmp_path / "magref.safetensors")
    return tmp_path / "magref.safetensors"


def shapes_of(weights):
    return {name: tuple(value.shape) for name, value in weights.items()}


def as_diffusers(name):
    """The oracle: the longest upstream name that the weight's name contains, put into diffusers' words."""
    ours = max((part for part in DIFFUSERS if part in name), key=len, default=None)
    return name.replace(ours, DIFFUSERS[ours]) if ours else name


def save_shards(folder: Path, weights, *, count=3):
    names = sorted(weights)
    weight_map = {}
    for number in range(count):
        shard = f"dit-{number + 1:05}-of-{count:05}.safetensors"
        part = names[number::count]
        save_file({name: weights[name] for name in part}, folder / shard)
        weight_map |= dict.fromkeys(part, shard)
    index = folder / "dit.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": weight_map}), encoding="utf-8")
    return index


def loaded_equal(path, weights):
    return all(torch.equal(value, weights[name]) for name, value in load_dit(path).state_dict().items())


def test_the_config_is_read_off_the_weights(weights):
    assert infer_config(shapes_of(weights), label="x") == CONFIG


def test_the_config_of_the_released_file_is_the_default():
    shapes = shapes_of(MagrefDiT(backend=Backend(device="meta")).state_dict())
    assert examine(shapes, label="x")[0] == DiTConfig()


def test_a_single_file_loads(file, weights):
    assert loaded_equal(file, weights)


def test_a_model_loads_in_the_dtype_asked_for(file):
    model = load_dit(file, Backend(dtype=torch.bfloat16))
    assert model.blocks[0].ffn[0].weight.dtype == torch.bfloat16
    assert model.time_embedding[0].weight.dtype == model.head.modulation.dtype == torch.float32
    assert not model.training


def test_reading_the_header_materialises_no_weight(file, monkeypatch):
    monkeypatch.setattr(torch, "empty", pytest.fail)
    monkeypatch.setattr("magref_core.dit.checkpoint._weights", pytest.fail)
    checkpoint = read_checkpoint(file)
    assert checkpoint.shapes["head.modulation"] == (1, 2, 128)
    assert checkpoint.files == (file,)


def test_shards_load_through_their_index(tmp_path, weights):
    index = save_shards(tmp_path, weights)
    assert len(read_checkpoint(index).files) == 3
    assert loaded_equal(index, weights)


@pytest.mark.parametrize(
    "prefix", ["model.diffusion_model.", "diffusion_model.", "model.", "module.", "module.model."]
)
def test_prefixes_are_taken_off_and_other_parts_of_the_file_left_out(tmp_path, weights, prefix):
    named = {prefix + name: value for name, value in weights.items()} | {
        "vae.decoder.conv1.weight": torch.ones(3)
    }
    save_file(named, tmp_path / "all.safetensors")
    assert loaded_equal(tmp_path / "all.safetensors", weights)


def test_names_of_diffusers_become_those_of_upstream(tmp_path, weights):
    named = {as_diffusers(name): value for name, value in weights.items()}
    assert len(named) == len(weights)
    assert sum(name not in weights for name in named) > len(weights) * 0.9
    save_file(named, tmp_path / "diffusers.safetensors")
    assert loaded_equal(tmp_path / "diffusers.safetensors", weights)


def test_what_belongs_to_a_weight_follows_its_name():
    marks = ["condition_embedder.time_embedder.linear_1.bias", "proj_out.weight"]
    names = upstream_names([*marks, "blocks.7.attn2.add_k_proj.weight_scale"])
    assert names["blocks.7.attn2.add_k_proj.weight_scale"] == "blocks.7.cross_attn.k_img.weight_scale"


def test_the_fit_names_missing_unexpected_and_wrong_shaped_weights(weights):
    shapes = shapes_of(weights) | {"extra.weight": (3,), "head.head.bias": (63,)}
    del shapes["norm3.bias" if "norm3.bias" in shapes else "blocks.1.norm3.bias"]
    fit = compare_weights(shapes, CONFIG)
    assert fit.missing == ("blocks.1.norm3.bias",)
    assert fit.unexpected == ("extra.weight",)
    assert fit.wrong_shape == (("head.head.bias", (63,), (64,)),)


def test_packed_matrices_and_scales_of_a_quantised_file_are_not_held_against_it(weights):
    name = "blocks.0.ffn.0"
    shapes = shapes_of(weights) | {
        f"{name}.weight": (64, 64),
        f"{name}.weight_scale": (),
        f"{name}.comfy_quant": (9,),
    }
    shapes["scaled_fp8"] = (2,)
    config, fit = examine(shapes, label="x")
    assert config == CONFIG
    assert not (fit.missing or fit.unexpected or fit.wrong_shape)


def test_missing_weights_are_refused_with_their_names(weights):
    shapes = {name: shape for name, shape in shapes_of(weights).items() if ".norm3." not in name}
    with pytest.raises(
        CheckpointError, match=r"x lacks 4 weights .*blocks.0.norm3.weight.*: download it again"
    ):
        examine(shapes, label="x")


def test_a_weight_of_the_wrong_shape_is_refused_with_both_shapes(weights):
    shapes = shapes_of(weights) | {"blocks.1.ffn.2.weight": (128, 65)}
    with pytest.raises(
        CheckpointError, match=r"ffn.2.weight with \(128, 65\) instead of \(128, 64\): choose"
    ):
        examine(shapes, label="x")


def test_one_shard_alone_is_refused_with_the_remedy(tmp_path, weights):
    save_shards(tmp_path, {name: value for name, value in weights.items() if name.startswith("blocks.")})
    with pytest.raises(
        CheckpointError, match=r"lacks the weight head.modulation.* choose the .safetensors.index.json file"
    ):
        load_dit(tmp_path / "dit-00001-of-00003.safetensors")


def test_a_width_of_no_wan_model_is_refused(weights):
    shapes = shapes_of(weights) | {"head.modulation": (1, 2, 100)}
    with pytest.raises(CheckpointError, match="100 channels, but Wan models have a multiple of 128"):
        infer_config(shapes, label="x")


def test_unexpected_weights_are_left_out(tmp_path, weights):
    save_file(weights | {"blocks.0.extra": torch.ones(2)}, tmp_path / "more.safetensors")
    assert loaded_equal(tmp_path / "more.safetensors", weights)


def test_a_file_quantised_with_scales_is_refused_without_the_host(tmp_path, weights):
    scaled = weights | {"blocks.0.ffn.0.scale_weight": torch.ones(1)}
    save_file(scaled, tmp_path / "scaled.safetensors")
    with pytest.raises(
        CheckpointError, match=r"scaled.safetensors is quantised with scales: load it in ComfyUI"
    ):
        load_dit(tmp_path / "scaled.safetensors")


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_weights_that_are_no_numbers_are_refused(tmp_path, weights, value):
    spoiled = weights | {"blocks.1.modulation": torch.full((1, 6, 128), value)}
    save_file(spoiled, tmp_path / "nan.safetensors")
    with pytest.raises(
        CheckpointError, match=r"nan.safetensors has weights .* not finite .*blocks.1.modulation"
    ):
        load_dit(tmp_path / "nan.safetensors")


def test_of_large_weights_only_the_start_is_checked():
    large = torch.zeros(2**19 + 1)
    large[2**12 :] = math.nan
    check_finite({"large": large}, label="x")
    large[2**12 - 1] = math.nan
    with pytest.raises(CheckpointError, match=r"x has weights .* not finite .*\(large\)"):
        check_finite({"large": large}, label="x")
    with pytest.raises(CheckpointError):
        check_finite(
            {"small": torch.zeros(2**19).index_fill(0, torch.tensor(2**19 - 1), math.nan)}, label="x"
        )


def test_eight_bit_weights_are_checked_too():
    with pytest.raises(CheckpointError, match="not finite"):
        check_finite({"bias": torch.tensor([1.0, math.nan]).to(torch.float8_e4m3fn)}, label="x")


def test_a_truncated_file_is_told_from_a_whole_one(file):
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    sizes = rf"{len(whole) // 2:,} of {len(whole):,} bytes"
    with pytest.raises(
        CheckpointError, match=rf"magref.safetensors is cut off \({sizes}\): download it again"
    ):
        read_checkpoint(file)


def test_a_file_cut_off_within_its_header_is_recognised(file):
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(CheckpointError, match="is cut off"):
        read_checkpoint(file)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"is empty \(0 bytes\): download it again"),
        (b"<!DOCTYPE html><html>sign in</html>", "is a web page or a Git LFS pointer"),
        (b"version https://git-lfs.github.com/spec/v1\n", "is a web page or a Git LFS pointer"),
        (b"PK\x03\x04" + bytes(40), r"is a PyTorch pickle, which may run code: choose a .safetensors file"),
        (b"GGUF" + bytes(40), "is of GGUF version 0, but versions 2 and 3 "),
        (b"\x01\x02\x03", "is not a readable safetensors file"),
        (struct.pack("<Q", 4) + b"{no}", "is not a readable safetensors file"),
        (struct.pack("<Q", 2) + b"{}", "holds no weights: download it again"),
    ],
)
def test_what_is_no_safetensors_file_is_named(tmp_path, content, message):
    file = tmp_path / "magref.safetensors"
    file.write_bytes(content)
    with pytest.raises(CheckpointError, match=f"^magref.safetensors {message}"):
        read_checkpoint(file)


@pytest.mark.parametrize(
    ("start", "message"),
    [
        (b"GGUF\x03\x00\x00\x00", "holds no weights"),
        (b"\x80\x02\x8a\x0al\xfc\x9cF", "is a PyTorch pickle"),
        (b"garbage!", "is not a readable safetensors file"),
        (
            struct.pack("<Q", 100_000_001) + b"{",
            "says that its header is 100,000,001 bytes long, but at most",
        ),
    ],
)
def test_a_large_file_of_another_kind_is_not_read_to_be_named(tmp_path, start, message):
    file = tmp_path / "magref.safetensors"
    with file.open("wb") as stream:
        stream.write(start)
        stream.truncate(2**27)
    tracemalloc.start()
    try:
        with pytest.raises(CheckpointError, match=f"^magref.safetensors {message}"):
            read_checkpoint(file)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2**20


def test_a_header_of_any_length_is_told_from_a_pickle(file):
    header = b'{"a":{"dtype":"F32","shape":[9],"data_offsets":[0,36]}}'.ljust(128)
    file.write_bytes(struct.pack("<Q", len(header)) + header)  # starts with 0x80 as pickles do
    with pytest.raises(CheckpointError, match=r"is cut off \(136 of 172 bytes\): download it again"):
        read_checkpoint(file)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(CheckpointError, match=r"^gone.safetensors does not exist: choose another file"):
        read_checkpoint(tmp_path / "gone.safetensors")
    with pytest.raises(CheckpointError, match=r"^gone.safetensors.index.json does not exist"):
        read_checkpoint(tmp_path / "gone.safetensors.index.json")


def test_a_missing_shard_is_named(tmp_path, weights):
    index = save_shards(tmp_path, weights)
    (tmp_path / "dit-00002-of-00003.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"needs 3 shards, but 1 .*\(dit-00002-of-00003.safetensors\)"):
        read_checkpoint(index)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"weight_map": 3}', "not json"])
def test_a_broken_index_is_refused(tmp_path, text):
    index = tmp_path / "dit.safetensors.index.json"
    index.write_text(text, encoding="utf-8")
    with pytest.raises(CheckpointError, match="is not the index of a sharded model"):
        read_checkpoint(index)


@pytest.mark.parametrize("shard", ["../secret.safetensors", "/etc/x.safetensors", "..\\x.safetensors"])
def test_an_index_cannot_reach_into_other_folders(tmp_path, shard):
    index = tmp_path / "dit.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": shard}}), encoding="utf-8")
    with pytest.raises(CheckpointError, match="names shards in other folders"):
        read_checkpoint(index)


def test_shards_that_are_no_safetensors_files_are_refused(tmp_path):
    (tmp_path / "model.bin").touch()
    index = tmp_path / "pytorch_model.bin.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "model.bin"}}), encoding="utf-8")
    sentence = (
        r"^pytorch_model.bin.index.json names shards that are no .safetensors files \(model.bin\), "
        "but only those are read: download the model as safetensors"
    )
    with pytest.raises(CheckpointError, match=sentence):
        read_checkpoint(index)


def test_the_rows_of_text_are_told_by_the_metadata(tmp_path, weights):
    save_file(weights, tmp_path / "short.safetensors", metadata={"text_len": "32"})
    checkpoint = read_checkpoint(tmp_path / "short.safetensors")
    assert checkpoint.metadata == {"text_len": "32"}
    assert load_dit(tmp_path / "short.safetensors").config.text_len == 32


def test_metadata_that_tell_no_number_of_rows_are_refused(tmp_path, weights):
    save_file(weights, tmp_path / "broken.safetensors", metadata={"text_len": "many"})
    with pytest.raises(CheckpointError, match="its text_len is 'many', but a whole number is needed"):
        load_dit(tmp_path / "broken.safetensors")
