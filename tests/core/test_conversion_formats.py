from __future__ import annotations

import json

import pytest
import torch

from magref_core.conversion.formats import (
    FORMATS,
    FP4_VALUES,
    format_named,
    from_fp4,
    from_tiles,
    to_fp4,
    to_tiles,
    told_format,
)
from magref_core.conversion.quantise import quantise, restore
from magref_core.errors import CheckpointError, MagrefError

LIMITS = {"bf16": 0.002, "fp8": 0.03, "fp8_scaled": 0.03, "int8": 0.01, "nvfp4": 0.12}
"""Relative error of a normal matrix: what the number of bits lets one expect."""


def matrix(rows=160, columns=192, *, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, columns, generator=generator) * 0.02


def stored(weight, name):
    return quantise(weight, format_named(name), check=lambda: None, label="a matrix")


@pytest.mark.parametrize("name", FORMATS)
def test_a_matrix_comes_back_up_to_its_rounding(name):
    weight = matrix()
    parts, loss = stored(weight, name)
    back = restore(parts, format_named(name))
    error = ((back - weight).norm() / weight.norm()).item()
    assert 0 < error <= LIMITS[name]
    assert loss.relative_error == pytest.approx(error, rel=1e-4)
    assert loss.largest_error == pytest.approx((back - weight).abs().max().item(), rel=1e-5)
    # Independent inputs see the same share of the error, up to chance.
    assert loss.relative_output_error == pytest.approx(error, rel=0.3)


@pytest.mark.parametrize("name", FORMATS)
def test_the_parts_are_of_the_sizes_told_beforehand(name):
    parts, _ = stored(matrix(), name)
    sizes = format_named(name).sizes(160, 192)
    assert {part: (value.dtype, tuple(value.shape)) for part, value in parts.items()} == sizes


@pytest.mark.parametrize("name", FORMATS)
def test_work_in_pieces_gives_what_work_in_one_gives(name, monkeypatch):
    whole, whole_loss = stored(matrix(), name)
    monkeypatch.setattr("magref_core.conversion.quantise.ROW_VALUES", 16 * 192)
    pieces, loss = stored(matrix(), name)
    assert whole.keys() == pieces.keys()
    for part, value in whole.items():
        assert bytes(value.flatten().view(torch.uint8)) == bytes(pieces[part].flatten().view(torch.uint8))
    assert loss.relative_error == pytest.approx(whole_loss.relative_error, rel=1e-6)


@pytest.mark.parametrize("name", FORMATS)
def test_a_matrix_of_zeros_stays_one(name):
    parts, loss = stored(torch.zeros(32, 32), name)
    assert torch.equal(restore(parts, format_named(name)), torch.zeros(32, 32))
    assert loss.relative_error == loss.relative_output_error == 0


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("name", FORMATS)
def test_values_that_are_not_finite_are_refused(name, value):
    weight = matrix()
    weight[100, 7] = value
    with pytest.raises(CheckpointError, match="a matrix has values that are not finite numbers: download"):
        stored(weight, name)


def test_fp4_takes_the_nearest_value_and_on_a_border_the_even_code():
    fine = torch.linspace(-6, 6, 4801)  # every border is among them
    values = torch.tensor(FP4_VALUES)
    for given, got in zip(fine[:4800].tolist(), from_fp4(to_fp4(fine[:4800])).tolist(), strict=True):
        distances = (values - abs(given)).abs()
        nearest = [code for code in range(8) if distances[code] <= distances.min() + 1e-7]
        best = nearest[0] if len(nearest) == 1 else next(code for code in nearest if code % 2 == 0)
        assert abs(got) == FP4_VALUES[best], given
        assert got == 0 or (got > 0) == (given > 0)


def test_tiles_hold_each_scale_where_the_manual_says():
    scales = torch.arange(200 * 6).remainder(251).to(torch.uint8).view(200, 6)
    tiles = to_tiles(scales).flatten()
    for row, column in ((0, 0), (1, 0), (33, 2), (127, 5), (128, 3), (199, 5)):
        tile = (row // 128) * 2 + column // 4
        place = 16 * (row % 32) + 4 * (row % 128 // 32) + column % 4
        assert tiles[512 * tile + place] == scales[row, column]
    assert torch.equal(from_tiles(to_tiles(scales), 200, 6), scales)


def test_a_layer_tells_its_format_and_an_unknown_one_is_refused():
    assert told_format(stored(matrix(), "nvfp4")[0]["comfy_quant"], layer="x") == "nvfp4"
    mark = torch.tensor(list(json.dumps({"format": "mxfp8"}).encode()), dtype=torch.uint8)
    with pytest.raises(CheckpointError, match="x is quantised in a way that this program does not write"):
        told_format(mark, layer="x")


def test_an_unknown_format_is_refused_with_the_known_ones():
    with pytest.raises(MagrefError, match="'q4_k', which is unknown: choose one of bf16, fp8"):
        format_named("q4_k")


@pytest.mark.parametrize("seed", range(3))
def test_rounding_equals_that_of_comfy_kitchen(seed):
    kitchen = pytest.importorskip("comfy_kitchen")
    tensors = pytest.importorskip("comfy_kitchen.tensor")
    weight = matrix(seed=seed)
    weight[3] *= 50  # an outlier, so that scales of blocks differ
    weight[:16, :32] = 0
    fp8, _ = stored(weight, "fp8")
    theirs = kitchen.quantize_per_tensor_fp8(weight, weight.abs().max() / 448, torch.float8_e4m3fn)
    assert torch.equal(fp8["weight"].view(torch.uint8), theirs.view(torch.uint8))
    int8, _ = stored(weight, "int8")
    q, params = tensors.TensorWiseINT8Layout.quantize(weight, per_channel=True)
    assert torch.equal(int8["weight"], q)
    assert torch.equal(int8["weight_scale"], params.scale)
    fp4, _ = stored(weight, "nvfp4")
    q, params = tensors.TensorCoreNVFP4Layout.quantize(weight)
    assert torch.equal(fp4["weight"], q)
    assert torch.equal(fp4["weight_scale"].view(torch.uint8), params.block_scale.view(torch.uint8))
    assert torch.equal(fp4["weight_scale_2"], params.scale)
