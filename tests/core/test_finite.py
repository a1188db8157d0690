"""Every number is looked at, whatever the type, the size and the place."""

from __future__ import annotations

import math

import pytest
import torch

from magref_core.dit import finite
from magref_core.dit.finite import all_finite, spoiled_names

FLOATS = [torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2]


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("place", [0, 1, 6, 7, 13, 19])
def test_a_bad_number_is_found_wherever_it_stands(monkeypatch, dtype, place):
    monkeypatch.setattr(finite, "PIECE", 7)
    values = torch.ones(4, 5)
    assert all_finite(values.to(dtype))
    values.view(-1)[place] = math.nan
    assert not all_finite(values.to(dtype))


@pytest.mark.parametrize("value", [math.inf, -math.inf])
def test_infinite_values_are_found_in_the_middle_of_a_large_matrix(value):
    values = torch.zeros(finite.PIECE // 1024 + 3, 1024, dtype=torch.bfloat16)
    values[-2, 511] = value
    assert not all_finite(values)
    assert all_finite(values[:-2])
    assert not all_finite(values.T)


def test_whole_numbers_and_nothing_are_finite():
    assert all_finite(torch.arange(3)) and all_finite(torch.zeros(0)) and all_finite(torch.tensor(True))


def test_names_come_in_order_and_stop_when_there_are_enough():
    asked = []

    def weights():
        for name in "abcde":
            asked.append(name)
            yield name, torch.tensor(math.nan if name in "bde" else 1.0)

    assert spoiled_names(weights(), most=2) == ["b", "d"]
    assert asked == ["a", "b", "c", "d"]
    assert spoiled_names(weights(), most=9) == ["b", "d", "e"]


def test_the_search_can_be_stopped():
    class Stopped(BaseException):
        pass

    def stop():
        raise Stopped

    with pytest.raises(Stopped):
        spoiled_names([("a", torch.zeros(1))], most=1, check=stop)
