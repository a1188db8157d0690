import math

import pytest

from magref_core.errors import MagrefError
from magref_core.training.rates import RateConfig, rate_at

RESTARTS = RateConfig(peak=0.5, warmup=4, decay="cosine_restarts", cycle=10, final=0.1)
LATE = RateConfig(peak=0.5, warmup=4, constant=0.5, final=0.1)


@pytest.mark.parametrize("config", [RESTARTS, LATE])
def test_the_rate_rises_evenly_to_its_peak(config):
    rates = [rate_at(step, 100, config) for step in range(5)]
    assert rates == pytest.approx([0.125, 0.25, 0.375, 0.5, 0.5])


def test_the_rate_is_at_its_peak_at_the_start_of_every_cycle_and_only_there():
    rates = [rate_at(step, 1000, RESTARTS) for step in range(4, 44)]
    assert [index for index, rate in enumerate(rates) if rate == 0.5] == [0, 10, 20, 30]
    assert rates[:10] == pytest.approx(rates[10:20])
    assert rates[:10] == sorted(rates[:10], reverse=True)


def test_a_cycle_is_a_cosine():
    expected = [0.5 * (0.1 + 0.9 * (1 + math.cos(math.pi * step / 10)) / 2) for step in range(10)]
    assert [rate_at(step, 1000, RESTARTS) for step in range(14, 24)] == pytest.approx(expected)


def test_the_late_cosine_is_constant_first_and_ends_at_its_foot():
    rates = [rate_at(step, 100, LATE) for step in range(4, 101)]
    assert rates[: 51 - 4] == [0.5] * 47
    falling = rates[50 - 4 :]
    assert falling == sorted(falling, reverse=True)
    assert rate_at(75, 100, LATE) == pytest.approx(0.5 * 0.55)
    assert rates[-1] == pytest.approx(0.05)
    assert rate_at(500, 100, LATE) == pytest.approx(0.05)


def test_a_run_that_is_constant_throughout_never_falls():
    config = RateConfig(peak=0.5, warmup=0, constant=1.0)
    assert {rate_at(step, 20, config) for step in range(20)} == {0.5}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"decay": "linear"}, "the decay is 'linear', which is unknown"),
        ({"peak": 0.0}, "the learning rate is 0.0, but must be a finite number above 0"),
        ({"peak": float("nan")}, "the learning rate is nan"),
        ({"warmup": -1}, "warmup is -1 and cycle 10000 steps: use at least 0 and 1"),
        ({"cycle": 0}, "warmup is 200 and cycle 0 steps"),
        ({"constant": 1.2}, "constant is 1.2 and final 0.02: both must be from 0 to 1"),
        ({"final": -0.1}, "final -0.1"),
    ],
)
def test_bad_values_are_refused(change, sentence):
    with pytest.raises(MagrefError, match=sentence):
        RateConfig(**change)
