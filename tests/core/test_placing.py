from __future__ import annotations

import pytest

from magref_core.canvas.fitted import arrange_fitted
from magref_core.canvas.layout import arrange, placements_to_json
from magref_core.canvas.placing import place_references
from magref_core.errors import MagrefError

from .canvases import HEIGHT, WIDTH, reference

GIVEN = [reference("one", height=200, width=100), reference("two", height=50, width=400), reference("three")]
SIZES = [(200, 100), (50, 400), (100, 100)]
SIZE = {"height": HEIGHT, "width": WIDTH}


@pytest.mark.parametrize("order", ["official", "reading"])
@pytest.mark.parametrize("seed", range(4))
def test_the_cells_of_a_grid_are_those_of_arrange(order, seed):
    expected = arrange(SIZES, **SIZE, seed=seed, order=order)
    assert place_references(GIVEN, **SIZE, order=order, seed=seed) == expected


def test_the_order_is_official_unless_changed():
    assert place_references(GIVEN, **SIZE, seed=5) == arrange(SIZES, **SIZE, seed=5, order="official")


def test_the_fitted_order_knows_no_seed():
    assert place_references(GIVEN, **SIZE, order="fitted", seed=5) == arrange_fitted(GIVEN, **SIZE)


def test_boxes_of_ones_own_win_over_the_order():
    placed = place_references(GIVEN, **SIZE, order="fitted")
    text = placements_to_json(placed, [given.name for given in GIVEN])
    again = place_references(GIVEN, **SIZE, order="official", seed=7, placements=text)
    assert [placement.box for placement in again] == [placement.box for placement in placed]
    assert all(placement.cell is None for placement in again)


@pytest.mark.parametrize("placements", ["", " \n\t"])
def test_blank_placements_are_none(placements):
    assert place_references(GIVEN, **SIZE, placements=placements) == arrange(SIZES, **SIZE)


def test_an_unknown_order_is_refused_with_all_there_are():
    known = "official, reading, fitted, grouped, behind"
    with pytest.raises(MagrefError, match=rf"the order is 'rows', .* choose one of {known}"):
        place_references(GIVEN, **SIZE, order="rows")
