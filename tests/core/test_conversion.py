"""Converting whole files: what is written, how it is stopped and gone on with, and what is refused."""

from __future__ import annotations

import itertools
import json
import math
import os
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from magref_core.conversion.convert import Watch, convert, draft_of
from magref_core.conversion.formats import FORMATS, format_named
from magref_core.conversion.plan import SHORTENED
from magref_core.conversion.probe import StoredWeights, compare_models
from magref_core.dit.attention import Backend
from magref_core.dit.config import DiTConfig
from magref_core.dit.model import MagrefDiT
from magref_core.errors import CheckpointError, MagrefError

from .conversions import Stopped, names_in, random_weights, stopping_after


@pytest.fixture(scope="module")
def weights():
    return random_weights()


@pytest.fixture
def source(tmp_path, weights):
    save_file(weights, tmp_path / "magref.safetensors", metadata={"text_len": "20", "format": "pt"})
    return tmp_path / "magref.safetensors"


@pytest.fixture
def target(tmp_path):
    return tmp_path / "out" / "new.safetensors"


def save_shards(folder: Path, weights, count=3):
    names, weight_map = sorted(weights), {}
    for number in range(count):
        shard = f"dit-{number + 1:05}-of-{count:05}.safetensors"
        part = names[number::count]
        save_file({name: weights[name] for name in part}, folder / shard)
        weight_map |= dict.fromkeys(part, shard)
    index = folder / "dit.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": weight_map}), encoding="utf-8")
    return index


@pytest.mark.parametrize("name", FORMATS)
def test_matrices_of_the_blocks_are_shortened_and_all_else_stays(source, target, weights, name):
    report = convert(source, target, name)
    stored, content = StoredWeights(target), load_file(target)
    for weight_name, weight in weights.items():
        if SHORTENED.fullmatch(weight_name):
            error = (stored[weight_name] - weight).norm() / weight.norm()
            assert report.shortened[weight_name].relative_error == pytest.approx(error.item(), rel=1e-3)
            assert content[weight_name].dtype != torch.float32
        else:
            assert torch.equal(content[weight_name], weight)
    assert len(report.shortened) == 2 * 12
    assert report.target_bytes == target.stat().st_size
    assert names_in(target.parent) == ["new.safetensors"]


def test_what_the_metadata_say_is_kept_and_the_origin_added(source, target):
    convert(source, target, "fp8")
    with safe_open(target, framework="pt") as opened:
        metadata = opened.metadata()
    assert metadata["text_len"] == "20"
    assert json.loads(metadata["magref_conversion"]) == {"format": "fp8", "source": "magref.safetensors"}


def test_every_tensor_lies_on_a_multiple_of_its_size(source, target):
    convert(source, target, "nvfp4")
    data = target.read_bytes()
    length = int.from_bytes(data[:8], "little")
    assert length % 8 == 0
    sizes = {"F32": 4, "BF16": 2, "F8_E4M3": 1, "U8": 1}
    entries = {name: entry for name, entry in json.loads(data[8 : 8 + length]).items() if name[0] != "_"}
    assert all(entry["data_offsets"][0] % sizes[entry["dtype"]] == 0 for entry in entries.values())


@pytest.mark.parametrize("name", ["bf16", "nvfp4"])
def test_shards_give_the_file_that_one_file_gives(tmp_path, source, target, weights, name):
    convert(source, target, name)
    other = target.with_name("sharded.safetensors")
    convert(save_shards(tmp_path, weights), other, name)
    one, two = load_file(target), load_file(other)
    assert one.keys() == two.keys()
    for key, value in one.items():
        assert torch.equal(value.reshape(-1).view(torch.uint8), two[key].reshape(-1).view(torch.uint8))


def test_prefixes_go_and_foreign_tensors_are_left_out_and_told(tmp_path, target, weights):
    prefixed = {f"model.diffusion_model.{name}": value for name, value in weights.items()}
    save_file(prefixed | {"vae.x": torch.ones(2)}, tmp_path / "all.safetensors")
    report = convert(tmp_path / "all.safetensors", target, "bf16")
    assert load_file(target).keys() == weights.keys()
    assert report.left_out == ("vae.x",)
    assert "1 tensors that the DiT does not know were left out, such as vae.x" in report.to_text()


@pytest.mark.parametrize("name", ["fp8", "nvfp4"])
@pytest.mark.parametrize("calls", [0, 40, 90])
def test_a_stopped_run_leaves_no_file_and_goes_on_to_the_same_bytes(source, target, name, calls):
    whole = target.with_name("whole.safetensors")
    expected = convert(source, whole, name)
    with pytest.raises(Stopped):
        convert(source, target, name, watch=Watch(check=stopping_after(calls)))
    assert not target.exists()
    assert draft_of(target).exists()
    report = convert(source, target, name)
    assert target.read_bytes() == whole.read_bytes()
    assert report.shortened == expected.shortened
    assert (report.num_resumed > 0) == (calls > 0)
    assert names_in(target.parent) == ["new.safetensors", "whole.safetensors"]


def test_a_run_that_was_killed_goes_on_from_its_last_notes(source, target):
    whole = target.with_name("whole.safetensors")
    convert(source, whole, "fp8")
    with pytest.raises(Stopped):
        convert(source, target, "fp8", watch=Watch(check=stopping_after(60)))
    notes = target.with_name(".new.safetensors.part.jsonl")
    lines = notes.read_text().splitlines()
    notes.write_text("\n".join(lines[:9]) + "\n" + lines[9][: len(lines[9]) // 2])
    assert convert(source, target, "fp8").num_resumed == 8
    assert target.read_bytes() == whole.read_bytes()


@pytest.mark.parametrize("change", ["source", "format"])
def test_what_was_begun_with_another_source_or_format_is_begun_anew(source, target, weights, change):
    with pytest.raises(Stopped):
        convert(source, target, "fp8", watch=Watch(check=stopping_after(60)))
    if change == "source":
        save_file({name: value + 1 for name, value in weights.items()}, source)
        os.utime(source, (1, 1))
    report = convert(source, target, "fp8" if change == "source" else "int8")
    assert report.num_resumed == 0


def test_progress_counts_bytes_of_the_source_to_the_end(source, target):
    seen = []
    convert(source, target, "int8", watch=Watch(on_progress=lambda done, total: seen.append((done, total))))
    assert seen[0][0] == 0
    assert seen[-1][0] == seen[-1][1]
    assert all(before <= after for (before, _), (after, _) in itertools.pairwise(seen))


def test_an_existing_file_is_replaced_only_on_request(source, target):
    convert(source, target, "bf16")
    before = target.read_bytes()
    with pytest.raises(MagrefError, match=r"new.safetensors exists already: choose another name, or allow"):
        convert(source, target, "fp8")
    assert target.read_bytes() == before
    convert(source, target, "fp8", overwrite=True)
    assert target.stat().st_size < len(before)


def test_the_source_is_never_written_over(source):
    before = source.read_bytes()
    with pytest.raises(MagrefError, match=r"is the file that is to be converted: choose another name"):
        convert(source, source, "fp8", overwrite=True)
    assert source.read_bytes() == before


def test_another_suffix_is_refused(source, target):
    with pytest.raises(MagrefError, match=r"its name must end with .safetensors"):
        convert(source, target.with_suffix(".gguf"), "fp8")


@pytest.mark.parametrize("name", ["blocks.1.ffn.0.weight", "blocks.0.modulation", "time_projection.1.weight"])
def test_weights_that_are_not_finite_are_refused_by_name_and_leave_nothing(tmp_path, target, weights, name):
    spoiled = weights | {name: weights[name].clone()}
    spoiled[name].view(-1)[5] = torch.nan
    save_file(spoiled, tmp_path / "spoiled.safetensors")
    with pytest.raises(CheckpointError, match=f"spoiled.safetensors: {name} has values that are not finite"):
        convert(tmp_path / "spoiled.safetensors", target, "fp8")
    assert names_in(target.parent) == []


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("form", FORMATS)
def test_one_bad_number_in_the_middle_of_a_large_matrix_is_found_in_every_format(
    tmp_path, target, weights, monkeypatch, value, form
):
    monkeypatch.setattr("magref_core.conversion.quantise.ROW_VALUES", 16 * 128)  # many pieces
    name = "blocks.1.self_attn.q.weight"
    spoiled = weights | {name: weights[name].clone()}
    spoiled[name][77, 65] = value
    save_file(spoiled, tmp_path / "spoiled.safetensors")
    with pytest.raises(CheckpointError, match=f"spoiled.safetensors: {name} has values that are not finite"):
        convert(tmp_path / "spoiled.safetensors", target, form)
    assert names_in(target.parent) == []


def test_shards_that_do_not_belong_together_are_not_converted(tmp_path, target, weights):
    index = save_shards(tmp_path, weights)
    shards = sorted(tmp_path.glob("dit-*.safetensors"))
    save_file({name: value.half() for name, value in load_file(shards[1]).items()}, shards[1])
    with pytest.raises(CheckpointError, match="has shards of different dtypes"):
        convert(index, target, "fp8")
    shards[1].unlink()
    with pytest.raises(CheckpointError, match=r"needs 3 shards, but 1 of them are not in its folder"):
        convert(index, target, "fp8")
    assert names_in(target.parent) == []


def test_a_matrix_that_the_format_cannot_hold_stays_as_it_is(tmp_path, target):
    config = DiTConfig(dim=128, ffn_dim=56, num_heads=1, num_layers=1, text_dim=8, clip_dim=12, freq_dim=16)
    torch.manual_seed(0)
    shapes = MagrefDiT(config, Backend(device="meta")).state_dict()
    odd = {name: torch.randn(value.shape) for name, value in shapes.items()}
    save_file(odd, tmp_path / "odd.safetensors")
    report = convert(tmp_path / "odd.safetensors", target, "nvfp4")
    assert "blocks.0.ffn.0.weight" not in report.shortened
    assert torch.equal(load_file(target)["blocks.0.ffn.0.weight"], odd["blocks.0.ffn.0.weight"])
    assert not format_named("nvfp4").fits(56, 128)


def test_the_report_holds_every_tensor_as_json_and_the_worst_in_words(source, target, weights):
    report = convert(source, target, "nvfp4")
    content = json.loads(report.to_json())
    assert {layer["name"] for layer in content["layers"]} == weights.keys()
    assert 0.05 < content["total"]["relative_error"] < 0.15
    text = report.to_text()
    assert "24 matrices shortened" in text
    assert "| ffn.0 (2) |" in text
    assert text.count("| worst: ") == 5


def test_whole_models_are_compared_on_random_inputs(source, target):
    convert(source, target, "fp8")
    sentence = compare_models(source, target)
    percent = float(sentence.split("otherwise by ")[1].split("%")[0])
    assert 0 < percent < 10
    assert "0.00% at timestep 900, 0.00% at timestep 500" in compare_models(source, source)
