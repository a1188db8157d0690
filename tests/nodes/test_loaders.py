from __future__ import annotations

import json
import logging
import math
from types import SimpleNamespace

import comfy.model_management
import folder_paths
import pytest
import torch
from comfy_execution.utils import CurrentNodeContext
from magref_pack.magref_core.errors import CheckpointError
from magref_pack.nodes.loaders import MagrefDiTLoader, model_names
from safetensors.torch import load_file, save_file
from server import PromptServer

from benchmarks.support.gguf_writing import write_gguf

from . import models
from .test_model import answer

BLOCK_MATRICES = ("self_attn", "cross_attn", "ffn")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder of diffusion models."""
    monkeypatch.setitem(
        folder_paths.folder_names_and_paths,
        "diffusion_models",
        ([str(tmp_path)], {".safetensors", ".sft", ".ckpt"}),
    )
    monkeypatch.delitem(folder_paths.filename_list_cache, "diffusion_models", raising=False)
    return tmp_path


@pytest.fixture(scope="module")
def weights():
    return {name: value.float() for name, value in load_file(models.DIT_FILE).items()}


def load(name, precision="default"):
    return MagrefDiTLoader.execute(name, precision).args[0]


def is_block_matrix(name, value):
    return value.ndim == 2 and any(part in name for part in BLOCK_MATRICES)


def scaled(weights, scale_name):
    """Block matrices as 8-bit floats with one scale each."""
    out = {}
    for name, value in weights.items():
        out[name] = value
        if is_block_matrix(name, value):
            scale = value.abs().max() / 448
            out[name] = (value / scale).to(torch.float8_e4m3fn)
            out[name.removesuffix("weight") + scale_name] = scale
    return out


def error(patcher, weights, tmp_path):
    """Distance to the answer of the float32 weights, relative to it."""
    save_file(weights, tmp_path / "exact.safetensors")
    exact = answer(load("exact.safetensors"))
    return ((answer(patcher) - exact).norm() / exact.norm()).item()


def test_files_are_listed_and_shards_appear_as_their_index(folder):
    for name in (
        "one.safetensors",
        "two.sft",
        "three.ckpt",
        "sub/dit-00001-of-00002.safetensors",
        "sub/dit-00002-of-00002.safetensors",
        "lone-00001-of-00002.safetensors",
        "notes.txt",
    ):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()
    (folder / "sub" / "dit.safetensors.index.json").touch()
    assert [name.replace("\\", "/") for name in model_names()] == [
        "lone-00001-of-00002.safetensors",
        "one.safetensors",
        "sub/dit.safetensors.index.json",
        "two.sft",
    ]


def test_gguf_files_are_listed_though_the_host_does_not_know_them(folder):
    for name in ("a.gguf", "sub/b.gguf", "c.safetensors", "d.ggml"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()
    assert [name.replace("\\", "/") for name in model_names()] == ["a.gguf", "c.safetensors", "sub/b.gguf"]
    (folder / "a.gguf").unlink()
    folder_paths.filename_list_cache.clear()
    assert "a.gguf" not in model_names()


def test_a_gguf_file_is_loaded_and_the_node_shows_what_it_holds(folder, weights, monkeypatch):
    write_gguf(weights, folder / "tiny.gguf", "Q8_0")
    shown = []
    page = SimpleNamespace(send_progress_text=lambda text, node: shown.append((node, text)))
    monkeypatch.setattr(PromptServer, "instance", page, raising=False)
    with CurrentNodeContext(prompt_id="p", node_id="7"):
        output = MagrefDiTLoader.execute("tiny.gguf", "default")
    [(node, sentence)] = shown
    assert node == "7" and "3 blocks of width 256" in sentence and "Q8_0 2." in sentence
    [numbers] = output.ui["magref_model"]
    assert json.loads(json.dumps(numbers))["stored"]["Q8_0"] > 2 * 10**6
    assert 0 < error(output.args[0], weights, folder) < 0.02


def test_a_file_put_there_later_is_listed(folder):
    assert model_names() == []
    (folder / "new.safetensors").touch()
    folder_paths.filename_list_cache.clear()
    options = MagrefDiTLoader.INPUT_TYPES()["required"]["model"][1]["options"]
    assert options == ["new.safetensors"]


def test_a_file_becomes_a_model_and_the_log_says_what_it_is(folder, weights, caplog):
    save_file(weights, folder / "tiny.safetensors")
    with caplog.at_level(logging.INFO):
        model = load("tiny.safetensors")
    assert torch.equal(answer(model), answer(models.our_model()))
    line = (
        "MAGREF DiT from tiny.safetensors: Wan 2.1 image-to-video DiT, 3 blocks of width 256, 6.4 million "
        "weights; in the file F32 25.8 MB; computes in float32; its weights take 25.8 MB of memory"
    )
    assert sum(line in record.getMessage() for record in caplog.records) == 1


def test_a_sharded_model_is_loaded_through_its_index(folder, weights):
    names = sorted(weights)
    weight_map = {name: f"dit-0000{1 + i % 2}-of-00002.safetensors" for i, name in enumerate(names)}
    for shard in set(weight_map.values()):
        save_file({name: weights[name] for name in names if weight_map[name] == shard}, folder / shard)
    (folder / "dit.safetensors.index.json").write_text(
        json.dumps({"weight_map": weight_map}), encoding="utf-8"
    )
    assert model_names() == ["dit.safetensors.index.json"]
    assert torch.equal(answer(load("dit.safetensors.index.json")), answer(models.our_model()))


@pytest.mark.parametrize("prefix", ["model.diffusion_model.", "diffusion_model."])
def test_files_of_the_host_and_of_other_tools_are_read(folder, weights, prefix):
    save_file({prefix + name: value for name, value in weights.items()}, folder / "named.safetensors")
    assert torch.equal(answer(load("named.safetensors")), answer(models.our_model()))


@pytest.mark.parametrize(
    ("precision", "dtype", "limit"),
    [
        ("bf16", torch.bfloat16, 0.01),
        ("fp16", torch.float16, 0.002),
        ("fp32", torch.float32, 1e-6),
        ("fp8_e4m3fn", torch.float8_e4m3fn, 0.05),
        ("fp8_e5m2", torch.float8_e5m2, 0.3),
    ],
)
def test_a_precision_stores_the_matrices_and_costs_what_it_must(folder, weights, precision, dtype, limit):
    save_file(weights, folder / "tiny.safetensors")
    model = load("tiny.safetensors", precision)
    dit = model.model.diffusion_model
    assert dit.blocks[0].ffn[0].weight.dtype == dit.dtype == dtype
    assert dit.blocks[0].modulation.dtype == dit.time_projection[1].weight.dtype == torch.float32
    assert dit.blocks[0].self_attn.norm_q.weight.dtype.itemsize >= 2
    assert error(model, weights, folder) <= limit


@pytest.mark.parametrize(
    ("stored", "card", "kept"),
    [
        *(
            (torch.bfloat16, card, kept)
            for card, kept in (("new", "bfloat16"), ("old", "float16"), ("none", "float32"))
        ),
        *(
            (torch.float32, card, kept)
            for card, kept in (("new", "bfloat16"), ("old", "float16"), ("none", "float32"))
        ),
        *(
            (torch.float16, card, kept)
            for card, kept in (("new", "float16"), ("old", "float16"), ("none", "float32"))
        ),
        (torch.float8_e4m3fn, "new, fp8", "float8_e4m3fn"),
        (torch.float8_e4m3fn, "new", "bfloat16"),
        (torch.float8_e4m3fn, "new, small", "float8_e4m3fn"),
        (torch.float8_e5m2, "none", "float32"),
        (torch.float8_e5m2, "none, small", "float8_e5m2"),
    ],
)
def test_by_default_the_host_chooses_as_the_pages_say(folder, weights, monkeypatch, stored, card, kept):
    """docs/formats.md and the help page name these, which the host may change."""
    management = comfy.model_management
    monkeypatch.setattr(management, "should_use_bf16", lambda *_, **__: card.startswith("new"))
    monkeypatch.setattr(management, "should_use_fp16", lambda *_, **__: not card.startswith("none"))
    monkeypatch.setattr(management, "supports_fp8_compute", lambda *_: "fp8" in card)
    monkeypatch.setattr(
        management, "maximum_vram_for_weights", lambda *_: 10**6 if "small" in card else 10**12
    )
    content = {name: value.to(stored) if value.ndim == 2 else value for name, value in weights.items()}
    save_file(content, folder / "tiny.safetensors")
    dit = load("tiny.safetensors").model.diffusion_model
    assert dit.blocks[0].ffn[0].weight.dtype == getattr(torch, kept)
    assert dit.blocks[0].modulation.dtype == torch.float32


@pytest.mark.parametrize("prefix", ["", "model.diffusion_model."])
def test_a_scaled_fp8_file_is_read(folder, weights, prefix):
    content = scaled(weights, "scale_weight") | {"scaled_fp8": torch.zeros(2, dtype=torch.float8_e4m3fn)}
    save_file({prefix + name: value for name, value in content.items()}, folder / "scaled.safetensors")
    model = load("scaled.safetensors")
    assert model.model.model_config.quant_config
    assert 0 < error(model, weights, folder) < 0.1


def test_a_comfy_quant_file_is_read(folder, weights):
    content = scaled(weights, "weight_scale")
    for name in [name for name in content if name.endswith("weight_scale")]:
        told = torch.tensor(list(b'{"format": "float8_e4m3fn"}'), dtype=torch.uint8)
        content[name.replace("weight_scale", "comfy_quant")] = told
    save_file(content, folder / "quant.safetensors")
    model = load("quant.safetensors")
    assert model.model.model_config.quant_config
    assert 0 < error(model, weights, folder) < 0.1


def test_quantisation_told_by_the_metadata_is_read(folder, weights):
    content = scaled(weights, "weight_scale")
    layers = [name.removesuffix(".weight_scale") for name in content if name.endswith(".weight_scale")]
    told = json.dumps({"layers": {layer: {"format": "float8_e4m3fn"} for layer in layers}})
    save_file(content, folder / "told.safetensors", metadata={"_quantization_metadata": told})
    model = load("told.safetensors")
    assert model.model.model_config.quant_config
    assert 0 < error(model, weights, folder) < 0.1


def test_unknown_weights_are_left_out_with_a_warning(folder, weights, caplog):
    save_file(weights | {"blocks.0.extra": torch.ones(2)}, folder / "more.safetensors")
    model = load("more.safetensors")
    assert "more.safetensors has 1 weights that the DiT does not know: blocks.0.extra" in caplog.text
    assert torch.equal(answer(model), answer(models.our_model()))


def test_a_file_that_went_away_is_named(folder):
    with pytest.raises(FileNotFoundError, match=r"gone.safetensors"):
        load("gone.safetensors")


def test_broken_and_foreign_files_get_the_sentence_of_the_core(folder, weights):
    save_file(weights | {"head.head.bias": torch.full((64,), math.nan)}, folder / "nan.safetensors")
    whole = write_gguf(weights, folder / "whole.gguf", "Q4_0").read_bytes()
    (folder / "cut.gguf").write_bytes(whole[:-100])
    (folder / "flux.gguf").write_bytes(
        whole.replace(b"\x03\x00\x00\x00\x00\x00\x00\x00wan", b"\x03" + bytes(7) + b"pug")
    )
    (folder / "empty.safetensors").touch()
    no_image = {name: value for name, value in weights.items() if "img" not in name}
    save_file(no_image, folder / "wan22.safetensors")
    for name, message in (
        ("nan.safetensors", "not finite numbers"),
        ("cut.gguf", r"cut.gguf is cut off \([\d,]+ of [\d,]+ bytes\): download it again"),
        ("flux.gguf", "flux.gguf is a GGUF file of the architecture 'pug', but MAGREF"),
        ("empty.safetensors", r"is empty \(0 bytes\): download it again"),
        ("wan22.safetensors", "is a Wan 2.2 image-to-video model .* choose a MAGREF checkpoint"),
    ):
        with pytest.raises(CheckpointError, match=message):
            load(name)
