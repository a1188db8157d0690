"""MAGREF LoRA Loader: every tool's names give what our own give, and what does not fit is said."""

from __future__ import annotations

import re

import pytest
import torch
from magref_pack.magref_core.dit.naming import to_diffusers
from magref_pack.magref_core.errors import CheckpointError, MagrefError
from magref_pack.nodes.lora import MagrefLoraLoader
from safetensors.torch import save_file

from . import lora_files, quantised_files, runs

pytestmark = pytest.mark.usefixtures("one_attention")

STRENGTH = 0.8
LIMIT = 1e-4


def joined(name):
    return name.replace(".", "_")


STYLES = {
    "peft": (lambda name: f"base_model.model.{name}", "lora_A.default.weight", "lora_B.default.weight"),
    "diffusers": (lambda name: f"transformer.{to_diffusers(name)}", "lora_A.weight", "lora_B.weight"),
    "kohya": (lambda name: "lora_unet_" + joined(name), "lora_down.weight", "lora_up.weight"),
    "wan-fun": (lambda name: "lora_unet__" + joined(name), "lora_down.weight", "lora_up.weight"),
    "lightx2v": (lambda name: f"diffusion_model.{name}", "lora_down.weight", "lora_up.weight"),
    "bare": (str, "lora_A.weight", "lora_B.weight"),
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    lora_files.show_folder(tmp_path, monkeypatch)
    return tmp_path


def file_of(folder, style, *, extra=None, layers=None):
    rename, down, up = STYLES[style]
    tensors = {}
    for layer, (a, b) in lora_files.factors(0).items():
        if layers is None or layer in layers:
            tensors |= {f"{rename(layer)}.{down}": a, f"{rename(layer)}.{up}": b}
    save_file(tensors | (extra or {}), folder / f"{style}.safetensors")
    return f"{style}.safetensors"


def loaded(model, name, strength=STRENGTH, preset="auto"):
    return MagrefLoraLoader.execute(model, name, strength, preset).args


def step(model):
    return runs.sample(model, cfg=1.0, steps=1)


def merged(folder, changes=None):
    """The sum as a model of its own."""
    expected = lora_files.merged("native", STRENGTH)
    for name, difference in (changes or {}).items():
        expected[name] += STRENGTH * difference
    save_file(expected, folder / "merged.safetensors")
    return runs.our_model(folder / "merged.safetensors")


@pytest.mark.parametrize("style", STYLES)
def test_the_names_of_a_tool_give_what_weights_merged_by_hand_give(folder, style):
    model = runs.our_model()
    with_lora, *_, report = loaded(model, file_of(folder, style))
    assert runs.largest_difference(step(with_lora), step(merged(folder))) <= LIMIT
    count = 2 * len(lora_files.factors(0))
    assert f"{style}.safetensors: {count} of {count} keys fit, on {count // 2} layers, rank 4." in report


@pytest.mark.parametrize("load", [runs.our_model, runs.native_model])
def test_it_works_on_our_model_and_on_the_hosts_own(folder, load):
    model = load()
    plain = step(model)
    result = step(loaded(model, file_of(folder, "diffusers"))[0])
    assert runs.largest_difference(result, plain) > 0.1
    assert torch.equal(step(model), plain)
    expected = step(load(lora_path(folder)))
    assert runs.largest_difference(result, expected) <= LIMIT


def lora_path(folder):
    save_file(lora_files.merged("native", STRENGTH), folder / "merged.safetensors")
    return folder / "merged.safetensors"


@pytest.mark.parametrize("load", [runs.our_model, runs.native_model])
@pytest.mark.parametrize("key", ["blocks.{}.diff_m", "diffusion_model.blocks.{}.modulation.diff"])
def test_modulation_is_changed_stacks_and_is_taken_off_again(folder, load, key):
    model = load()
    before = model.model.diffusion_model.blocks[1].modulation.clone()
    difference = torch.randn(before.shape, generator=torch.Generator().manual_seed(3)) * 0.2
    save_file({key.format(1): difference}, folder / "modulation.safetensors")
    plain = step(model)
    once, *_, report = loaded(model, "modulation.safetensors", 0.5)
    twice = loaded(once, "modulation.safetensors", 0.5)[0]
    assert "1 of 1 keys fit, on 1 layers, 1 of them modulation tables" in report
    weights = lora_files.weights()
    weights["blocks.1.modulation"] = weights["blocks.1.modulation"] + difference
    save_file(weights, folder / "merged.safetensors")
    expected = step(load(folder / "merged.safetensors"))
    assert runs.largest_difference(step(twice), expected) <= LIMIT
    assert runs.largest_difference(expected, plain) > 0.01
    assert torch.equal(step(model), plain)
    assert torch.equal(model.model.diffusion_model.blocks[1].modulation, before)


def test_differences_of_weights_and_biases_are_added_beside_factors(folder):
    generator = torch.Generator().manual_seed(1)
    weights = lora_files.weights()
    names = {
        "blocks.1.norm3.weight": "blocks.1.norm3.diff",
        "blocks.0.ffn.0.bias": "blocks.0.ffn.0.diff_b",
        "patch_embedding.weight": "patch_embedding.diff",
        "head.modulation": "head.diff_m",
    }
    changes = {name: torch.randn(weights[name].shape, generator=generator) * 0.05 for name in names}
    extra = {f"diffusion_model.{names[name]}": change for name, change in changes.items()}
    with_lora = loaded(runs.our_model(), file_of(folder, "lightx2v", extra=extra))[0]
    assert runs.largest_difference(step(with_lora), step(merged(folder, changes))) <= LIMIT


def test_it_applies_on_top_of_a_quantised_file(folder, tmp_path):
    content = quantised_files.comfy_quant(quantised_files.exact_weights())
    file = quantised_files.save(content, tmp_path, "fp8")
    plain = step(runs.our_model(file, None))
    result = step(loaded(runs.our_model(file, None), file_of(folder, "diffusers"))[0])
    native = step(loaded(runs.native_model(file, None), file_of(folder, "diffusers"))[0])
    assert runs.largest_difference(result, plain) > 0.05
    assert runs.largest_difference(result, native) <= 2e-4


def test_strength_0_leaves_the_model_alone(folder):
    model = runs.our_model()
    assert loaded(model, file_of(folder, "bare"), 0.0)[0] is model


def test_a_lora_of_another_family_warns_and_does_nothing(folder, caplog):
    save_file(
        {"lora_unet_double_blocks_0_img.lora_down.weight": torch.ones(2, 2)}, folder / "flux.safetensors"
    )
    model = runs.our_model()
    result, *_, report = loaded(model, "flux.safetensors")
    assert result is model
    sentence = (
        "none of the 1 keys of flux.safetensors belongs to this model (such as "
        "lora_unet_double_blocks_0_img.lora_down.weight), so it does nothing: choose a LoRA for Wan 2.1"
    )
    assert sentence in report
    assert any(record.levelname == "WARNING" and sentence in record.message for record in caplog.records)


def test_keys_without_a_place_are_counted_in_words(folder):
    layers = ["blocks.0.ffn.0"]
    extra = {
        "vace_blocks.0.x.lora_A.weight": torch.ones(2, 2),
        "patch_embedding.diff": torch.ones(1, 16, 1, 2, 2),
    }
    report = loaded(runs.our_model(), file_of(folder, "bare", extra=extra, layers=layers))[-1]
    assert "2 of 4 keys fit" in report
    assert "1 keys of bare.safetensors have no place in this model, such as vace_blocks.0.x" in report
    assert "patch_embedding has another shape here and is left out" in report


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda a, b: (a.repeat(1, 3), b.repeat(3, 1)), "is a LoRA of another model: its blocks.0.ffn.0 is"),
        (lambda a, b: (a, b[:, :2].contiguous()), "that do not fit each other, 4 x"),
        (lambda a, b: (a * torch.nan, b), "has values that are not finite numbers"),
    ],
)
def test_a_lora_that_cannot_fit_is_one_sentence(folder, change, words):
    a, b = change(*lora_files.factors(0)["blocks.0.ffn.0"])
    save_file(
        {"blocks.0.ffn.0.lora_A.weight": a, "blocks.0.ffn.0.lora_B.weight": b}, folder / "bad.safetensors"
    )
    with pytest.raises(CheckpointError, match=re.escape(words)):
        loaded(runs.our_model(), "bad.safetensors")


def test_files_that_are_missing_or_broken_are_one_sentence(folder):
    with pytest.raises(CheckpointError, match=r"there is no LoRA 'x.safetensors' in ComfyUI's models/loras"):
        loaded(None, "x.safetensors")
    (folder / "torn.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0{torn")
    with pytest.raises(CheckpointError, match=r"torn.safetensors is .*: download it again"):
        loaded(None, "torn.safetensors")


def test_another_kind_of_model_is_one_sentence(folder):
    class Other:
        model = type("SDXL", (), {"diffusion_model": torch.nn.Linear(2, 2)})()

    with pytest.raises(
        MagrefError, match=r"the model is a SDXL, but this node knows the layers of Wan models"
    ):
        loaded(Other(), file_of(folder, "bare"))


@pytest.mark.parametrize(
    ("name", "preset", "expected"),
    [
        ("my_face", "auto", (40, 3.0, 5.0)),
        ("lightx2v_I2V_14B_480p_cfg_step_distill_rank64", "auto", (4, 5.0, 1.0)),
        ("lightx2v_I2V_14B_480p_cfg_step_distill_rank64", "none", (40, 3.0, 5.0)),
        ("my_face", "lightx2v_8_steps", (8, 5.0, 1.0)),
    ],
)
def test_the_outputs_say_how_to_sample(folder, name, preset, expected):
    save_file(
        {"blocks.0.ffn.0.diff_b": lora_files.weights()["blocks.0.ffn.0.bias"]}, folder / f"{name}.safetensors"
    )
    _, *settings, report = loaded(runs.our_model(), f"{name}.safetensors", 1.0, preset)
    assert tuple(settings) == expected
    assert ("Sample with" in report) == (expected[0] != 40)


def test_an_unknown_preset_is_one_sentence(folder):
    with pytest.raises(
        MagrefError, match=r"the preset is 'fast', which is unknown: choose one of auto, none"
    ):
        loaded(runs.our_model(), file_of(folder, "bare"), preset="fast")
