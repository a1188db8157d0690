"""MAGREF Convert Model: its files are read by our loader and by the host's own, and nothing is left half."""

from __future__ import annotations

import json
import os
import threading
import time

import comfy.model_management
import folder_paths
import gguf
import pytest
import torch
from magref_pack.magref_core.bundle import HASHES, hashes_of
from magref_pack.magref_core.conversion.formats import FORMATS, format_named
from magref_pack.magref_core.conversion.probe import StoredWeights
from magref_pack.magref_core.errors import MagrefError
from magref_pack.nodes import demo
from magref_pack.nodes.convert import MagrefConvertModel, stem_of, target_in
from safetensors.torch import load_file, save_file

import nodes
from tests.disks import closed

from . import lora_files, quantised_files, runs

pytestmark = pytest.mark.usefixtures("one_attention")

LIMITS = {"bf16": 0.01, "fp8": 0.06, "fp8_scaled": 0.06, "int8": 0.03, "nvfp4": 0.2}
"""What the rounding may cost: the relative error of one step."""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The host's folder of diffusion models, with a float32 model that no shorter format holds."""
    monkeypatch.setitem(
        folder_paths.folder_names_and_paths, "diffusion_models", ([str(tmp_path)], {".safetensors"})
    )
    save_file(quantised_files.exact_weights(), tmp_path / "magref.safetensors")
    return tmp_path


def converted(name, *, file="", overwrite=False):
    return MagrefConvertModel.execute("magref.safetensors", name, file, overwrite).args


def step(model):
    return runs.sample(model, cfg=1.0, steps=1)


def meaning(folder, file):
    """A float32 file of the numbers that a converted file stands for."""
    stored = StoredWeights(folder / file)
    names = quantised_files.exact_weights()
    return quantised_files.save(({name: stored[name] for name in names}, None), folder, "meaning")


@pytest.mark.parametrize("name", FORMATS)
def test_our_loader_and_the_hosts_read_the_numbers_that_were_written(folder, name):
    file, _ = converted(name)
    assert file == f"magref_{name}.safetensors"
    expected = step(runs.our_model(meaning(folder, file)))
    exact = step(runs.our_model(folder / "magref.safetensors"))
    ours, native = (step(load(folder / file, None)) for load in (runs.our_model, runs.native_model))
    # int8 and nvfp4 are multiplied with rounded inputs where the host does so on this device.
    assert runs.relative_difference(ours, expected) <= (1e-4 if name.startswith(("bf", "fp8")) else 0.02)
    assert runs.relative_difference(native, expected) <= (5e-4 if name.startswith(("bf", "fp8")) else 0.02)
    assert 0 < runs.relative_difference(ours, exact) <= LIMITS[name]


@pytest.mark.parametrize("name", FORMATS)
def test_the_hosts_loader_finds_every_matrix_in_the_layout_it_names(folder, name):
    file, _ = converted(name)
    model = runs.native_model(folder / file, None).model.diffusion_model
    layer = model.blocks[0].ffn[0]
    kinds = {
        "fp8": "float8_e4m3fn",
        "fp8_scaled": "float8_e4m3fn",
        "int8": "int8_tensorwise",
        "nvfp4": "nvfp4",
    }
    stored = StoredWeights(folder / file)["blocks.0.ffn.0.weight"]
    if name == "bf16":
        assert torch.equal(layer.weight.float(), stored)
        return
    assert layer.quant_format == kinds[name]
    torch.testing.assert_close(layer.weight.dequantize().float(), stored, rtol=0.01, atol=1e-4)


@pytest.mark.parametrize("name", ["int8", "nvfp4"])
def test_a_lora_on_top_of_a_converted_file_gives_what_it_gives_on_native_wan(
    folder, tmp_path, monkeypatch, name
):
    file, _ = converted(name)
    lora_files.show_folder(tmp_path, monkeypatch)
    save_file(lora_files.lora("native"), tmp_path / "lora.safetensors")
    plain = step(runs.our_model(folder / file, None))
    # The host rounds the sum of weights and LoRA to the file's format again.
    ours, native = (
        step(
            nodes.LoraLoaderModelOnly().load_lora_model_only(
                load(folder / file, None), "lora.safetensors", 1.0
            )[0]
        )
        for load in (runs.our_model, runs.native_model)
    )
    assert runs.relative_difference(ours, plain) > 0.1
    assert runs.relative_difference(ours, native) <= 0.02


def test_the_report_says_sizes_and_losses(folder):
    _, report = converted("nvfp4")
    assert report.startswith("magref.safetensors (")
    assert "| ffn.0 (" in report
    assert report.count("| worst: ") == 5


def test_every_matrix_is_in_the_json_beside_the_new_file(folder):
    file, report = converted("int8", file="MAGREF/mine")
    assert file == "MAGREF/mine.safetensors"
    content = json.loads((folder / "MAGREF" / "mine.report.json").read_text(encoding="utf-8"))
    weights = quantised_files.exact_weights()
    assert {layer["name"] for layer in content["layers"]} == weights.keys()
    stored = StoredWeights(folder / file)
    for layer in content["layers"]:
        weight = weights[layer["name"]]
        error = float((stored[layer["name"]] - weight).norm() / weight.norm())
        assert error == (0 if layer.get("kept") else pytest.approx(layer["relative_error"], rel=1e-3))
    assert content["target"] == "mine.safetensors" and content["format"] == "int8"
    assert "Every matrix by itself: mine.report.json, beside the new file." in report


def test_a_report_that_cannot_be_written_costs_no_converted_file(folder, caplog):
    (folder / "magref_fp8.report.json").mkdir()
    file, _ = converted("fp8")
    assert load_file(folder / file)
    (told,) = [record.getMessage() for record in caplog.records if "report.json" in record.getMessage()]
    assert told.startswith(
        "magref_fp8.safetensors is written and whole, but magref_fp8.report.json could not be ("
    )


def test_the_file_goes_where_its_name_says_and_stays_in_the_folder(folder):
    assert converted("fp8", file="MAGREF/mine")[0] == "MAGREF/mine.safetensors"
    assert (folder / "MAGREF" / "mine.safetensors").is_file()
    assert sorted(path.name for path in folder.rglob("*")) == [
        "MAGREF",
        "magref.safetensors",
        "mine.report.json",
        "mine.safetensors",
    ]


@pytest.mark.parametrize(
    "name", ["../mine", "/tmp/mine", "a/../../mine", "c:\\mine", "", "..", "x\\..\\..\\y"]
)
def test_a_name_that_leads_out_of_the_folder_is_refused(tmp_path, name):
    with pytest.raises(
        MagrefError, match="it must lie in ComfyUI's models/diffusion_models: give a bare name"
    ):
        target_in(tmp_path, name)


def test_a_link_that_leads_out_of_the_folder_is_refused(tmp_path):
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "away").symlink_to(tmp_path)
    with pytest.raises(
        MagrefError, match="which leads out of ComfyUI's models/diffusion_models through a link"
    ):
        target_in(tmp_path / "models", "away/mine")


@pytest.mark.skipif(os.name == "nt", reason="the system has another word for it there")
@pytest.mark.parametrize("before", ["", "MAGREF/"])
def test_a_name_that_is_too_long_is_one_sentence_and_leaves_nothing(folder, before):
    with pytest.raises(
        MagrefError,
        match=r"^x+.safetensors could not be written \(File name too long\)(; nothing is left of it)?: "
        "choose a shorter name$",
    ):
        converted("fp8", file=before + 300 * "x")
    assert [path.name for path in folder.iterdir()] == ["magref.safetensors"]


def test_a_folder_that_may_not_be_searched_is_one_sentence(folder):
    with (
        closed(folder / "closed"),
        pytest.raises(MagrefError, match=r"^mine.safetensors could not be written \(Permission denied\)"),
    ):
        converted("fp8", file="closed/mine")
    assert list((folder / "closed").iterdir()) == []


def test_a_gguf_file_under_another_name_is_one_sentence(folder):
    writer = gguf.GGUFWriter(folder / "magref.safetensors", "wan")
    for name, weight in quantised_files.exact_weights().items():
        writer.add_tensor(name, weight.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(MagrefError, match=r"^magref.safetensors is a GGUF file, whose values are rounded"):
        converted("fp8")
    assert [path.name for path in folder.iterdir()] == ["magref.safetensors"]


def test_a_file_of_the_pack_that_is_not_as_it_was_shipped_is_refused_as_by_the_loader(folder, monkeypatch):
    bundle, name = folder / "demo", "demo/diffusion_models/magref.safetensors"
    (folder / name).parent.mkdir(parents=True)
    (folder / "magref.safetensors").rename(folder / name)
    (bundle / HASHES).write_text(json.dumps(hashes_of(bundle)))
    monkeypatch.setattr(demo, "BUNDLE", bundle)
    MagrefConvertModel.execute(name, "fp8", "whole", False)
    save_file(load_file(folder / name), folder / name, metadata={"changed": "yes"})
    with pytest.raises(MagrefError, match=r"^the demo file .* is not the one that was shipped"):
        MagrefConvertModel.execute(name, "fp8", "changed", False)


def test_names_are_checked_before_anything_runs():
    assert MagrefConvertModel.validate_inputs(name="") is True
    assert MagrefConvertModel.validate_inputs(name=None) is True
    assert "give a bare name" in str(MagrefConvertModel.validate_inputs(name="../x"))


def test_the_name_of_an_index_gives_the_name_of_the_new_file():
    assert stem_of("MAGREF/diffusion_pytorch_model.safetensors.index.json") == "diffusion_pytorch_model"


def test_an_existing_file_is_kept_unless_it_may_be_replaced(folder):
    file, _ = converted("fp8")
    before = (folder / file).read_bytes()
    with pytest.raises(
        MagrefError, match="exists already: choose another name, or allow it to be overwritten"
    ):
        converted("nvfp4", file="magref_fp8")
    assert (folder / file).read_bytes() == before
    converted("nvfp4", file="magref_fp8", overwrite=True)
    assert (folder / file).read_bytes() != before


def test_an_interrupt_stops_it_within_a_second_and_the_next_run_goes_on(folder, monkeypatch):
    wide = {
        name: weight.repeat_interleave(24, dim=0)[: 24 * len(weight)].contiguous()
        if ".ffn.0." in name
        else weight
        for name, weight in quantised_files.exact_weights().items()
    }
    wide = {
        name: weight.repeat_interleave(24, dim=1).contiguous() if ".ffn.2.weight" in name else weight
        for name, weight in wide.items()
    }
    save_file(wide, folder / "magref.safetensors")
    whole, _ = converted("nvfp4", file="whole")
    stopped: list[float] = []

    def run():
        try:
            converted("nvfp4", file="stopped")
        except comfy.model_management.InterruptProcessingException:
            stopped.append(time.monotonic())

    thread = threading.Thread(target=run)
    thread.start()
    draft = folder / ".stopped.safetensors.part"
    while not draft.exists() and thread.is_alive():
        time.sleep(0.001)
    asked = time.monotonic()
    comfy.model_management.interrupt_current_processing()
    thread.join(30)
    comfy.model_management.interrupt_current_processing(False)
    assert stopped and stopped[0] - asked < 1
    assert not (folder / "stopped.safetensors").exists()
    file, _ = converted("nvfp4", file="stopped")
    assert (folder / file).read_bytes() == (folder / whole).read_bytes()
    assert not draft.exists()


def test_the_layouts_parts_are_those_of_the_host(folder):
    file, _ = converted("nvfp4")
    content = load_file(folder / file)
    told = json.loads(bytes(content["blocks.0.ffn.0.comfy_quant"].tolist()))
    assert told == {"format": "nvfp4"}
    assert set(format_named("nvfp4").sizes(32, 32)) == {
        "weight",
        "weight_scale",
        "weight_scale_2",
        "comfy_quant",
    }
