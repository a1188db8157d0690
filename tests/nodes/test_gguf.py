"""GGUF files: the numbers that they mean, LoRAs on top, and weights that stay packed throughout."""

from __future__ import annotations

import weakref

import comfy.memory_management
import comfy.ops
import pytest
import torch
from comfy.quant_ops import QuantizedTensor
from magref_pack.magref_core.dit.gguf_blocks import BLOCK_FORMATS
from magref_pack.magref_core.errors import CheckpointError, MagrefError
from magref_pack.nodes import gguf, model_summary
from magref_pack.nodes.lora import MagrefLoraLoader
from magref_pack.nodes.model import load_magref_dit
from safetensors.torch import save_file

import nodes
from benchmarks.support.gguf_writing import pack, unpack, write_gguf

from . import lora_files, quantised_files, runs
from .test_model import answer

KINDS = [*BLOCK_FORMATS, "F16", "BF16"]
CPU = torch.device("cpu")


def is_matrix(name, weight):
    return quantised_files.is_block_matrix(name, weight)


def meaning_of(weights, kind):
    """The float32 weights that a file of a kind stands for."""
    result = {}
    for name, weight in weights.items():
        if is_matrix(name, weight):
            result[name] = unpack(pack(weight.numpy(), kind), kind)
        else:
            result[name] = weight.half().float() if weight.ndim == 2 else weight
    return result


@pytest.fixture(scope="module")
def weights():
    return quantised_files.exact_weights()


@pytest.fixture(scope="module")
def q4_file(weights, tmp_path_factory):
    return write_gguf(weights, tmp_path_factory.mktemp("gguf") / "q4.gguf", "Q4_K")


@pytest.fixture(scope="module")
def q4_meaning(weights, tmp_path_factory):
    return quantised_files.save((meaning_of(weights, "Q4_K"), None), tmp_path_factory.mktemp("meaning"))


@pytest.fixture
def loras(tmp_path, monkeypatch):
    """Two LoRAs in the host's folder."""
    lora_files.show_folder(tmp_path, monkeypatch)
    for seed, name in enumerate(("one", "two")):
        save_file(lora_files.lora("native", seed=seed), tmp_path / f"{name}.safetensors")
    return lambda model, name, strength=1.0: nodes.LoraLoaderModelOnly().load_lora_model_only(
        model, f"{name}.safetensors", strength
    )[0]


def load(file, dtype=torch.float32):
    return load_magref_dit(str(file), runs.options(dtype))


def step(model):
    return runs.sample(model, cfg=1.0, steps=1)


def packed_layers(patcher):
    return [m for m in patcher.model.modules() if isinstance(m, gguf.GgufOperations.Linear) and m.is_packed]


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_gives_the_numbers_that_it_means(tmp_path, weights, kind):
    file = write_gguf(weights, tmp_path / "x.gguf", kind)
    meaning = quantised_files.save((meaning_of(weights, kind), None), tmp_path)
    result, expected = answer(load(file)), answer(load(meaning))
    torch.testing.assert_close(result, expected, rtol=0, atol=1e-5)


def test_weights_stay_packed_and_take_the_memory_of_the_file(q4_file, weights):
    patcher = load(q4_file)
    matrices = sum(is_matrix(name, weight) for name, weight in weights.items())
    assert len(packed_layers(patcher)) == matrices == 36
    step(patcher)
    assert len(packed_layers(patcher)) == matrices
    assert patcher.model_size() == pytest.approx(q4_file.stat().st_size, rel=0.01)


def test_never_more_than_one_unpacked_matrix_exists(q4_file, loras, monkeypatch):
    unpacked, most = [], []
    original = gguf.dequantise

    def watched(*args, **kwargs):
        most.append(sum(reference() is not None for reference in unpacked[-3:]))
        dense = original(*args, **kwargs)
        unpacked.append(weakref.ref(dense))
        return dense

    monkeypatch.setattr(gguf, "dequantise", watched)
    step(loras(load(q4_file), "one"))
    assert len(most) > 36 and max(most) <= 1


def test_a_lora_is_added_to_the_unpacked_weights_exactly(q4_file, q4_meaning, loras):
    result, expected = (step(loras(load(file), "one", 0.7)) for file in (q4_file, q4_meaning))
    plain = step(load(q4_file))
    torch.testing.assert_close(result, expected, rtol=0, atol=2e-5)
    assert runs.relative_difference(plain, expected) > 0.05


@pytest.mark.parametrize("kind", ["Q4_K", "F16"])
def test_magref_lora_loader_changes_packed_weights_and_modulation(tmp_path, monkeypatch, weights, kind):
    lora_files.show_folder(tmp_path, monkeypatch)
    generator = torch.Generator().manual_seed(3)
    tables = {"blocks.1.modulation": (1, 6, 256), "head.modulation": (1, 2, 256)}
    added = {name: torch.randn(size, generator=generator) * 0.2 for name, size in tables.items()}
    keys = {name.replace("modulation", "diff_m"): table for name, table in added.items()}
    save_file(lora_files.lora("native") | keys, tmp_path / "both.safetensors")
    base = load(write_gguf(weights, tmp_path / "x.gguf", kind))
    before = step(base)
    model, *_, report = MagrefLoraLoader.execute(base, "both.safetensors", 0.7, "auto").args
    merged = meaning_of(weights, kind)
    for layer, (a, b) in lora_files.factors(0).items():
        merged[f"{layer}.weight"] = merged[f"{layer}.weight"] + 0.7 * (b @ a)
    for name, table in added.items():
        merged[name] = merged[name] + 0.7 * table
    expected = step(load(quantised_files.save((merged, None), tmp_path, "merged")))
    assert "74 of 74 keys fit, on 38 layers, rank 4, 2 of them modulation tables." in report
    if kind == "F16":  # plain weights, into which the host merges; it rounds the sum to their dtype
        assert runs.relative_difference(step(model), expected) < 2e-3
    else:
        assert len(packed_layers(model)) == 36
        torch.testing.assert_close(step(model), expected, rtol=0, atol=2e-5)
    assert runs.relative_difference(before, expected) > 0.05
    assert torch.equal(step(base), before)


def test_two_models_of_one_file_with_different_loras_do_not_mix(q4_file, q4_meaning, loras):
    base, exact = load(q4_file), load(q4_meaning)
    both = {name: loras(base, name) for name in ("one", "two")}
    for name in ("one", "two", "one"):
        torch.testing.assert_close(step(both[name]), step(loras(exact, name)), rtol=0, atol=2e-5)
    torch.testing.assert_close(step(base), step(exact), rtol=0, atol=2e-5)
    stacked = loras(both["one"], "two", 0.5)
    torch.testing.assert_close(step(stacked), step(loras(loras(exact, "one"), "two", 0.5)), rtol=0, atol=2e-5)


@pytest.mark.parametrize("how", ["all streamed", "half streamed", "all loaded", "unloaded in part"])
def test_with_parts_left_in_main_memory_a_lora_counts_once(q4_file, q4_meaning, loras, how):
    expected, _ = loaded_answer(loras(load(q4_meaning), "one"), full_load=True)
    patcher = loras(load(q4_file), "one")
    room = {"all streamed": 1, "half streamed": patcher.model_size() // 2}.get(how, 10**12)
    result, streamed = loaded_answer(patcher, lowvram_model_memory=room, unload=how == "unloaded in part")
    torch.testing.assert_close(result, expected, rtol=0, atol=2e-5)
    assert (streamed > 0) == (how != "all loaded")


def loaded_answer(patcher, *, unload=False, **how):
    """The velocity with the weights loaded in a way, and how many layers are patched by the host at use."""
    patcher.patch_model(load_weights=False)
    patcher.load(CPU, **how)
    if unload:
        patcher.partially_unload(CPU, patcher.model_size() // 3)
    result = answer(patcher)
    streamed = sum(bool(layer.weight_function) for layer in packed_layers(patcher))
    patcher.unpatch_model(CPU)
    return result, streamed


def test_the_host_streams_packed_weights_as_bytes(q4_file):
    """What dynamic video memory does with a layer, on the CPU: gather the bytes, interpret them again."""
    layer = packed_layers(load(q4_file))[0]
    memory = comfy.memory_management
    size = memory.vram_aligned_size([layer.weight, layer.bias])
    assert size < layer.weight.numel()  # of 4 bits each
    buffer = torch.zeros(size, dtype=torch.uint8)
    views = memory.interpret_gathered_like([layer.weight, layer.bias], buffer)
    for view, source in zip(views, (layer.weight, layer.bias), strict=True):
        view.copy_(source)
    again = memory.interpret_gathered_like([layer.weight, layer.bias], buffer)
    assert isinstance(again[0], QuantizedTensor)
    assert torch.equal(again[0].dequantize(), layer.weight.dequantize())
    assert torch.equal(again[1], layer.bias)


def test_dynamic_video_memory_never_packs_a_patched_weight_again(q4_file, loras):
    """The host sets `weight_lowvram_function` and would write what it returns over the packed bytes."""
    patcher = loras(load(q4_file), "one")
    patcher.patch_model(load_weights=False)
    patcher.load(CPU, full_load=True)
    layer = packed_layers(patcher)[0]
    before = layer.weight._qdata.clone()
    layer.weight_lowvram_function = lambda weight: pytest.fail("applied by the host")
    layer._prefetch = {"resident": False, "xfer_dest": buffer_of(layer), "needs_cast": False}
    layer._prefetch |= {"cast_geometry": [layer.weight, layer.bias], "signature": object()}
    weight, _ = comfy.ops.resolve_cast_module_with_vbar(
        layer, torch.bfloat16, CPU, torch.float32, torch.bfloat16, False
    )
    assert isinstance(weight, QuantizedTensor)
    assert torch.equal(layer._v_weight._qdata, before)
    del layer._prefetch
    patcher.unpatch_model(CPU)


def buffer_of(layer):
    buffer = torch.zeros(
        comfy.memory_management.vram_aligned_size([layer.weight, layer.bias]), dtype=torch.uint8
    )
    views = comfy.memory_management.interpret_gathered_like([layer.weight, layer.bias], buffer)
    views[0].copy_(layer.weight)
    views[1].copy_(layer.bias)
    return buffer


def test_a_layer_that_plain_weights_reached_is_an_ordinary_one(q4_file, tmp_path, weights, loras):
    file = write_gguf(weights, tmp_path / "f16.gguf", "F16")
    patcher = loras(load(file), "one")
    meaning = quantised_files.save((meaning_of(weights, "F16"), None), tmp_path)
    assert not packed_layers(patcher)
    # The host rounds the merged weight to the dtype of the file.
    assert runs.relative_difference(step(patcher), step(loras(load(meaning), "one"))) < 2e-3


def test_what_is_packed_and_no_matrix_is_unpacked_at_load(tmp_path, weights):
    import gguf as package

    writer = package.GGUFWriter(tmp_path / "x.gguf", "wan")
    for name, weight in weights.items():
        packs = name in ("patch_embedding.weight", "blocks.1.modulation")
        kind = package.GGMLQuantizationType["Q8_0" if packs else "F32"]
        numbers = weight.numpy().reshape(-1, 32) if packs else weight.numpy()
        if packs:
            writer.add_array(f"comfy.gguf.orig_shape.{name}", list(weight.shape))
        writer.add_tensor(name, package.quants.quantize(numbers, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    exact = quantised_files.save((weights, None), tmp_path)
    patcher = load(tmp_path / "x.gguf")
    assert not packed_layers(patcher)
    assert patcher.model.diffusion_model.patch_embedding.weight.dtype == torch.float32
    assert 0 < runs.relative_difference(answer(patcher), answer(load(exact))) < 0.02


@pytest.mark.parametrize("dtype", [None, torch.bfloat16, torch.float8_e4m3fn], ids=str)
def test_a_chosen_precision_leaves_packed_weights_as_they_are(q4_file, dtype):
    patcher = load(q4_file, dtype)
    assert {layer.weight._params.kind for layer in packed_layers(patcher)} == {"Q4_K"}
    assert runs.relative_difference(answer(patcher), answer(load(q4_file))) < 0.02


def test_the_host_can_load_the_file_again_and_keeps_loras(q4_file, loras):
    patcher = loras(load(q4_file), "one")
    again = patcher.clone(force_deepcopy=True)
    assert again.model is not patcher.model
    assert torch.equal(step(again), step(patcher))


def test_loras_that_change_while_sampling_are_refused(q4_file):
    layer = packed_layers(load(q4_file))[0]
    with pytest.raises(
        MagrefError, match=r"hooks.* cannot be applied to GGUF weights: use a LoRA loader node"
    ):
        layer.set_weight(layer.weight.dequantize(), inplace_update=True)
    with pytest.raises(MagrefError, match="cannot be packed into GGUF blocks again"):
        QuantizedTensor.from_float(torch.zeros(1, 256), gguf.LAYOUT)


def test_a_packed_model_is_not_saved_as_something_else(q4_file, weights, tmp_path):
    with pytest.raises(
        MagrefError, match="a model from a GGUF file cannot be saved, its weights stay packed"
    ):
        load(q4_file).state_dict_for_saving()
    plain = load(write_gguf(weights, tmp_path / "bf16.gguf", "BF16"))
    assert len(plain.state_dict_for_saving()) == len(weights)


def test_without_quantised_tensors_of_the_host_a_sentence_says_what_to_install(q4_file, monkeypatch):
    monkeypatch.setattr(gguf, "_HostLayout", object)
    with pytest.raises(MagrefError, match=r"q4.gguf is a GGUF file, .* comfy-kitchen: install ComfyUI's"):
        load(q4_file)


def test_the_summary_tells_formats_and_needs(q4_file):
    found = model_summary.numbers(load(q4_file))
    assert found["stored"]["Q4_K"] == sum(
        layer.weight._qdata.numel() for layer in packed_layers(load(q4_file))
    )
    assert set(found["stored"]) == {"Q4_K", "F16", "F32"}
    words = model_summary.sentence(found)
    assert words.startswith(
        "Wan 2.1 image-to-video DiT, 3 blocks of width 256, 6.4 million weights; in the file "
    )
    assert "Q4_K 1.5 MB" in words and "computes in float32" in words
    on_gpu = model_summary.sentence(found | {"weight_bytes": 9 * 10**9, "forward_bytes": 6 * 10**9})
    assert "81 frames at 832 x 480 need about 6.0 GB beside them: with less than 15.0 GB of video" in on_gpu


def test_spoiled_scales_are_refused(tmp_path, weights):
    spoiled = dict(weights) | {"blocks.1.ffn.0.weight": weights["blocks.1.ffn.0.weight"] * 1e9}
    file = write_gguf(spoiled, tmp_path / "x.gguf", "Q4_0")
    with pytest.raises(
        CheckpointError, match=r"x.gguf has weights that are not finite .*blocks.1.ffn.0.weight"
    ):
        load(file)
