"""LoKr, LoHa and DoRA through MAGREF LoRA Loader: each number of a weight changes by what the form means."""

from __future__ import annotations

import pytest
import torch
from magref_pack.nodes.lora import MagrefLoraLoader
from safetensors.torch import save_file

from . import lora_files, runs

LAYER = "blocks.1.ffn.0"
NAME = f"{LAYER}.weight"
STRENGTH, ALPHA, RANK = 0.8, 3.0, 4
LIMIT = 1e-6
CPU = torch.device("cpu")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    lora_files.show_folder(tmp_path, monkeypatch)
    return tmp_path


@pytest.fixture(scope="module")
def weight():
    return lora_files.weights()[NAME]


def drawn(*sizes):
    generator = torch.Generator().manual_seed(5)
    return [torch.randn(size, generator=generator) * 0.1 for size in sizes]


def weight_with(folder, parts, strength=STRENGTH):
    """The weight of the layer once the host has put the LoRA on it, and what the node reports."""
    tensors = {f"diffusion_model.{LAYER}.{name}": part.contiguous() for name, part in parts.items()}
    save_file(tensors, folder / "x.safetensors")
    patcher, *_, report = MagrefLoraLoader.execute(runs.our_model(), "x.safetensors", strength, "auto").args
    patcher.patch_model(device_to=CPU)
    changed = patcher.model.diffusion_model.get_parameter(NAME).clone()
    patcher.unpatch_model(CPU)
    return changed, report


def assert_changed(folder, parts, weight, difference):
    changed, report = weight_with(folder, parts)
    torch.testing.assert_close(changed - weight, difference, rtol=0, atol=LIMIT)
    assert difference.abs().mean() > 100 * LIMIT
    assert f"{len(parts)} of {len(parts)} keys fit, on 1 layers" in report


def blocks_of(one, other):
    """Kronecker's product by its definition: a copy of the second in each place of the first, times it."""
    return torch.cat([torch.cat([number * other for number in row], dim=1) for row in one.tolist()])


def test_a_lokr_of_whole_matrices_adds_their_kronecker_product(folder, weight):
    out, width = weight.shape
    one, other = drawn((4, 8), (out // 4, width // 8))
    parts = {"lokr_w1": one, "lokr_w2": other, "alpha": torch.tensor(ALPHA)}
    # Alpha counts for pairs of factors alone, which have a rank.
    assert_changed(folder, parts, weight, STRENGTH * blocks_of(one, other))


def test_a_lokr_of_pairs_adds_the_kronecker_product_of_what_they_make(folder, weight):
    out, width = weight.shape
    one, a, b = drawn((8, 4), (out // 8, RANK), (RANK, width // 4))
    parts = {"lokr_w1": one, "lokr_w2_a": a, "lokr_w2_b": b, "alpha": torch.tensor(ALPHA)}
    assert_changed(folder, parts, weight, STRENGTH * ALPHA / RANK * blocks_of(one, a @ b))


def test_a_loha_adds_two_products_multiplied_number_by_number(folder, weight):
    out, width = weight.shape
    sizes = {"w1_a": (out, RANK), "w1_b": (RANK, width), "w2_a": (out, RANK), "w2_b": (RANK, width)}
    a, b, c, d = drawn(*sizes.values())
    parts = {f"hada_{name}": part for name, part in zip(sizes, (a, b, c, d), strict=True)}
    difference = STRENGTH * ALPHA / RANK * (a @ b) * (c @ d)
    assert_changed(folder, parts | {"alpha": torch.tensor(ALPHA)}, weight, difference)


@pytest.mark.parametrize("axis", [0, 1], ids=["columns", "rows"])
@pytest.mark.parametrize("strength", [STRENGTH, 1.0])
def test_a_dora_sets_the_lengths_of_columns_or_rows(folder, weight, axis, strength):
    out, width = weight.shape
    down, up = drawn((RANK, width), (out, RANK))
    lengths = weight.norm(dim=axis, keepdim=True)
    lengths = lengths * (1 + drawn(lengths.shape)[0])
    parts = {"lora_down.weight": down, "lora_up.weight": up, "dora_scale": lengths}
    changed, report = weight_with(folder, parts | {"alpha": torch.tensor(ALPHA)}, strength)
    turned = weight + ALPHA / RANK * (up @ down)
    # Of rows the host takes the lengths before the change, where peft takes those after it.
    before = turned if axis == 0 else weight
    target = turned * lengths / before.norm(dim=axis, keepdim=True)
    torch.testing.assert_close(changed, weight + strength * (target - weight), rtol=0, atol=LIMIT)
    assert runs.relative_difference(changed, weight) > 0.01
    assert "4 of 4 keys fit" in report


def test_peft_keeps_the_same_lengths_of_rows_as_a_vector(folder, weight):
    down, up = drawn((RANK, weight.shape[1]), (weight.shape[0], RANK))
    lengths = weight.norm(dim=1) * 1.1
    factors = {"lora_A.weight": down, "lora_B.weight": up}
    vector, _ = weight_with(folder, factors | {"lora_magnitude_vector.weight": lengths})
    column, _ = weight_with(folder, factors | {"dora_scale": lengths[:, None]})
    assert torch.equal(vector, column) and not torch.equal(vector, weight)
