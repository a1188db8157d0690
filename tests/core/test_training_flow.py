import math

import pytest
import torch

from magref_core.errors import MagrefError
from magref_core.sampling.solvers import sample_euler
from magref_core.training.flow import (
    GRID,
    FlowConfig,
    cell_weights,
    draw_sigmas,
    flow_loss,
    grid_weights,
    noised,
    shifted,
)
from tests.draws import is_drawn_from

LOGIT_NORMAL = FlowConfig(law="logit_normal", shift=1.0)
WEIGHTED = FlowConfig(law="uniform_weighted", shift=5.0)
VIDEO = (2, 16, 3, 4, 6)


def normal_below(x):
    return (1 + math.erf(x / math.sqrt(2))) / 2


def shifted_grid():
    """The grid of the weighted law with shift 5, from its text: 1000 levels, evenly spaced, then shifted."""
    even = [1 - index / 1000 for index in range(1000)]
    return [5 * level / (1 + 4 * level) for level in even]


def video_and_noise():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(VIDEO, generator=generator), torch.randn(VIDEO, generator=generator)


def test_the_logit_normal_law_is_centred_on_one_half_before_its_shift():
    sigmas, weights = draw_sigmas(20_000, LOGIT_NORMAL, torch.Generator().manual_seed(0))
    assert sigmas.mean().item() == pytest.approx(0.5, abs=0.005)
    assert is_drawn_from(sigmas.tolist(), lambda sigma: normal_below(math.log(sigma / (1 - sigma))))
    assert torch.equal(weights, torch.ones(20_000))


def test_mean_and_deviation_are_those_of_the_normal():
    config = FlowConfig(mean=0.7, deviation=0.5, shift=1.0)
    sigmas, _ = draw_sigmas(20_000, config, torch.Generator().manual_seed(0))
    assert is_drawn_from(
        sigmas.tolist(), lambda sigma: normal_below((math.log(sigma / (1 - sigma)) - 0.7) / 0.5)
    )


def test_a_shift_of_3_moves_the_levels_towards_noise():
    levels = shifted(torch.tensor([0.0, 0.2, 0.5, 1.0]), 3.0)
    torch.testing.assert_close(levels, torch.tensor([0.0, 0.428571, 0.75, 1.0]))


def test_the_drawn_levels_are_shifted():
    plain, _ = draw_sigmas(100, LOGIT_NORMAL, torch.Generator().manual_seed(4))
    moved, _ = draw_sigmas(100, FlowConfig(shift=3.0), torch.Generator().manual_seed(4))
    torch.testing.assert_close(moved, 3 * plain / (1 + 2 * plain))


def test_the_weights_of_the_grid_are_the_bell_of_diffsynth():
    grid = shifted_grid()
    bell = [math.exp(-2 * ((1000 * sigma - 500) / 1000) ** 2) for sigma in grid]
    lifted = [value - min(bell) for value in bell]
    expected = [value * 1000 / sum(lifted) for value in lifted]
    weights = grid_weights(torch.tensor(grid))
    torch.testing.assert_close(weights, torch.tensor(expected), atol=1e-4, rtol=1e-4)
    assert weights.mean().item() == pytest.approx(1)
    assert weights.max().item() == pytest.approx(2.08, abs=0.01)
    assert weights[0] == 0
    assert sum(sigma > 0.5 for sigma in grid) / 1000 == pytest.approx(0.83, abs=0.005)


def test_the_weighted_law_draws_the_grid_evenly_and_each_level_with_its_weight():
    sigmas, weights = draw_sigmas(20_000, WEIGHTED, torch.Generator().manual_seed(0))
    grid = torch.tensor(shifted_grid())
    index = (sigmas[:, None] - grid).abs().argmin(1)
    torch.testing.assert_close(sigmas, grid[index])
    torch.testing.assert_close(weights, grid_weights(grid)[index])
    counts = torch.bincount(index, minlength=GRID).float()
    assert ((counts - 20) ** 2 / 20).sum() < 1107  # chi squared of 999 degrees at p = 0.01
    assert weights.mean().item() == pytest.approx(1, abs=0.02)


def test_the_draws_follow_from_the_seed():
    draws = [draw_sigmas(9, WEIGHTED, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)]
    assert torch.equal(draws[0][0], draws[1][0])
    assert not torch.equal(draws[0][0], draws[2][0])


def test_the_path_is_straight_from_video_to_noise():
    video, noise = video_and_noise()
    sigmas = torch.tensor([0.25, 0.8])
    state = noised(video, noise, sigmas)
    for index, sigma in enumerate(sigmas.tolist()):
        torch.testing.assert_close(state[index], (1 - sigma) * video[index] + sigma * noise[index])
    assert torch.equal(noised(video, noise, torch.zeros(2)), video)
    assert torch.equal(noised(video, noise, torch.ones(2)), noise)


def test_the_oracle_has_no_loss():
    video, noise = video_and_noise()
    assert torch.equal(flow_loss(noise - video, video, noise, torch.ones(2, 1, 3, 4, 6)), torch.zeros(2))


def test_a_predictor_of_zeros_has_the_variance_of_noise_and_video_as_its_loss():
    generator = torch.Generator().manual_seed(0)
    video, noise = (torch.randn(1, 16, 5, 64, 64, generator=generator) for _ in range(2))
    video *= 1.5
    loss = flow_loss(torch.zeros_like(video), video, noise, torch.ones(1, 1, 5, 64, 64))
    assert loss.item() == pytest.approx(1 + video.square().mean().item(), abs=0.01)


def test_one_euler_step_with_the_oracle_returns_the_video():
    video, noise = video_and_noise()
    found = sample_euler(lambda state, _: state - 1.0 * (noise - video), noise, torch.tensor([1.0, 0.0]))
    torch.testing.assert_close(found, video)


def test_cells_on_subjects_count_more_and_the_canvas_less():
    subject = torch.zeros(1, 3, 2, 2)
    subject[0, :, 0, 0], subject[0, :, 1, 1] = 1, 0.5
    given = subject.clone()
    weights = cell_weights(subject, FlowConfig(subject_weight=4, canvas_weight=0.25))
    assert weights.shape == (1, 1, 3, 2, 2)
    assert weights[0, 0].tolist() == [[[0.25, 0.25], [0.25, 0.25]], *[[[5, 1], [1, 3]]] * 2]
    assert torch.equal(subject, given)


def test_the_loss_is_the_weighted_mean_of_each_sample():
    video, noise = video_and_noise()
    generator = torch.Generator().manual_seed(1)
    velocity = torch.randn(VIDEO, generator=generator)
    weights = torch.rand(2, 1, 3, 4, 6, generator=generator)
    losses = flow_loss(velocity, video, noise, weights)
    for index in range(2):
        total = count = 0.0
        for channel in range(16):
            error = (velocity - noise + video)[index, channel] ** 2
            total += (error * weights[index, 0]).sum().item()
            count += weights[index, 0].sum().item()
        assert losses[index].item() == pytest.approx(total / count, rel=1e-5)


def test_a_lone_large_weight_decides_the_loss():
    video, noise = video_and_noise()
    weights = torch.zeros(2, 1, 3, 4, 6)
    weights[:, :, 1, 2, 3] = 7
    losses = flow_loss(torch.zeros(VIDEO), video, noise, weights)
    torch.testing.assert_close(losses, (noise - video)[:, :, 1, 2, 3].square().mean(1))


def test_a_half_precision_answer_is_judged_in_float32():
    video, noise = video_and_noise()
    loss = flow_loss((noise - video).bfloat16(), video, noise, torch.ones(2, 1, 3, 4, 6))
    assert loss.dtype == torch.float32
    assert 0 < loss.max() < 1e-4


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            {"law": "cosine"},
            "the law is 'cosine', which is unknown: use one of logit_normal, uniform_weighted",
        ),
        ({"shift": 0.0}, "shift is 0.0, but must be a finite number above 0"),
        ({"deviation": float("nan")}, "deviation is nan, but must be a finite number above 0"),
        ({"mean": float("inf")}, "mean is inf, but must be a finite number"),
        ({"subject_weight": -1.0}, "subject_weight is -1.0, but must be a finite number at least 0"),
        ({"canvas_weight": float("inf")}, "canvas_weight is inf, but must be a finite number at least 0"),
    ],
)
def test_bad_values_are_refused(change, sentence):
    with pytest.raises(MagrefError, match=sentence):
        FlowConfig(**change)
