from __future__ import annotations

import cmath

import pytest
import torch

from magref_core.dit.rope import RopeEmbedder, axis_dims, grid_positions, rotate, rotations


def slow_rotate(x, positions, dims, theta=10000.0):
    """The oracle: one complex multiplication per pair of channels, token by token."""
    out = x.double().clone()
    for b, token in ((b, i) for b in range(x.shape[0]) for i in range(x.shape[1])):
        channel = 0
        for axis, dim in enumerate(dims):
            for pair in range(dim // 2):
                angle = positions[token][axis] / theta ** (2 * pair / dim)
                for head in range(x.shape[2]):
                    re, im = x[b, token, head, channel : channel + 2].tolist()
                    turned = complex(re, im) * cmath.exp(1j * angle)
                    out[b, token, head, channel : channel + 2] = torch.tensor([turned.real, turned.imag])
                channel += 2
    return out


@pytest.mark.parametrize(("head_dim", "dims"), [(128, (44, 42, 42)), (64, (24, 20, 20)), (12, (4, 4, 4))])
def test_the_channels_of_a_head_are_shared_out_in_pairs(head_dim, dims):
    assert axis_dims(head_dim) == dims
    assert sum(dims) == head_dim


def test_rotation_equals_complex_multiplication():
    torch.manual_seed(0)
    dims = axis_dims(16)
    x = torch.randn(2, 12, 3, 16)
    positions = [(t, h, w) for t in range(2) for h in range(2) for w in range(3)]
    freqs = RopeEmbedder(16, 10000.0, dims)(grid_positions((2, 2, 3))).movedim(1, 2)
    # 1e-6: float32 products of values up to 4
    torch.testing.assert_close(rotate(x, freqs).double(), slow_rotate(x, positions, dims), atol=1e-6, rtol=0)


def test_far_positions_keep_the_precision_of_float64():
    positions = torch.tensor([0.0, 999.0, 4095.5])
    angles = positions.double()[:, None] / 10000.0 ** (torch.arange(0, 42, 2).double() / 42)
    table = rotations(positions, 42)
    torch.testing.assert_close(table[..., 0, 0], angles.cos().float(), atol=6e-8, rtol=0)
    torch.testing.assert_close(table[..., 0, 1], -angles.sin().float(), atol=6e-8, rtol=0)


def test_positions_run_frame_by_frame_and_row_by_row():
    expected = [[t, h, w] for t in range(2) for h in range(3) for w in range(2)]
    assert grid_positions((2, 3, 2))[0].tolist() == expected


@pytest.mark.parametrize("grid", [(1, 1, 1), (2, 3, 2), (21, 30, 52), (41, 45, 80)])
def test_counted_positions_are_those_of_a_line_to_the_bit(grid):
    axes = [torch.linspace(0.0, size - 1.0, size) for size in grid]
    assert torch.equal(grid_positions(grid)[0], torch.cartesian_prod(*axes))


def test_scale_stretches_about_the_first_position_and_shift_moves():
    options = {"scale_t": 2.0, "shift_x": 0.5}
    positions = grid_positions((3, 1, 2), options=options)[0]
    assert positions[:, 0].unique().tolist() == [0, 2, 4]
    assert positions[:, 2].unique().tolist() == [0.5, 1.5]


def test_more_steps_sample_the_same_extent_more_densely():
    positions = grid_positions((3, 1, 1), steps=(5, None, None), start=10)[0, :, 0]
    assert positions.tolist() == [10, 10.5, 11, 11.5, 12]


def test_rotation_keeps_the_dtype_and_computes_in_float32():
    torch.manual_seed(0)
    x = torch.randn(1, 6, 2, 12)
    freqs = RopeEmbedder(12, 10000.0, axis_dims(12))(grid_positions((1, 2, 3))).movedim(1, 2)
    low = rotate(x.bfloat16(), freqs)
    assert low.dtype == torch.bfloat16
    assert torch.equal(low, rotate(x.bfloat16().float(), freqs).bfloat16())


def test_rotation_leaves_its_input_alone_and_has_a_gradient():
    x = torch.randn(1, 6, 2, 12, requires_grad=True)
    before = x.detach().clone()
    freqs = RopeEmbedder(12, 10000.0, axis_dims(12))(grid_positions((1, 2, 3))).movedim(1, 2)
    rotate(x, freqs).square().sum().backward()
    assert torch.equal(x.detach(), before)
    # A rotation keeps lengths, so the gradient of the squared length is 2 x.
    torch.testing.assert_close(x.grad, 2 * before, atol=1e-5, rtol=1e-5)
