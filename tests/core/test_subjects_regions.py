from __future__ import annotations

import math

import pytest
import torch

from magref_core.canvas.compose import compose_canvas
from magref_core.canvas.layout import Box, Placement, arrange
from magref_core.canvas.references import Reference
from magref_core.dit.subjects import SubjectPlan
from magref_core.errors import MagrefError, ShapeError
from magref_core.subjects.controls import (
    Disentanglement,
    IdentityStrength,
    Scope,
    SubjectControls,
    join_plans,
    per_subject,
)
from magref_core.subjects.mentions import subjects_of
from magref_core.subjects.regions import in_region, regions_of, token_shares, tokens_showing
from magref_core.subjects.spans import BoundSubject

SIZE = {"height": 64, "width": 96}
"""4 x 6 tokens."""


def reference(name, **fields):
    return Reference(name=name, image=torch.full((8, 8, 3), 90, dtype=torch.uint8), **fields)


def composed(boxes, **size):
    """A canvas with a subject in each box (x, y, width, height), and its subjects."""
    given = [reference(f"s{index}") for index in range(len(boxes))]
    placed = [
        Placement(reference=index, box=Box(x=x, y=y, width=w, height=h))
        for index, (x, y, w, h) in enumerate(boxes)
    ]
    return compose_canvas(given, placed, **(SIZE | size)), subjects_of(given)


def tokens_of(boxes, coverage="half", **size):
    """Numbers of the tokens in each region."""
    shares = token_shares(regions_of(*composed(boxes, **size)).boxes, (2, 2))
    return [set(row.flatten().nonzero()[:, 0].tolist()) for row in in_region(shares, coverage)]


def test_a_box_on_the_grid_of_tokens_has_exactly_its_tokens():
    assert tokens_of([(16, 0, 32, 48), (64, 48, 32, 16)]) == [{1, 2, 7, 8, 13, 14}, {22, 23}]
    for coverage in ("half", "any"):
        assert tokens_of([(0, 0, 96, 64)], coverage) == [set(range(24))]


def test_the_edge_of_a_column_of_277_pixels_goes_to_who_covers_half():
    boxes = [(0, 0, 277, 16), (277, 0, 277, 16), (554, 0, 278, 16)]
    half = tokens_of(boxes, width=832, height=16)
    assert half == [
        set(range(17)),
        set(range(17, 35)),
        set(range(35, 52)),
    ]  # token 17 has 5 of 16 pixels of s0
    touched = tokens_of(boxes, "any", width=832, height=16)
    assert touched == [set(range(18)), set(range(17, 35)), set(range(34, 52))]


def test_a_box_may_touch_tokens_without_having_any():
    assert tokens_of([(10, 10, 8, 8)]) == [set()]
    assert tokens_of([(10, 10, 8, 8)], "any") == [{0, 1, 6, 7}]


def test_the_regions_move_with_the_pictures():
    given = [reference("a"), reference("b")]
    found = []
    for seed in range(6):
        placed = arrange([(8, 8)] * 2, seed=seed, **SIZE)
        regions = regions_of(compose_canvas(given, placed, **SIZE), subjects_of(given))
        left = {one.reference for one in placed if one.box.x < 48}
        assert [bool(row[:, :6].any()) for row in regions.boxes] == [index in left for index in range(2)]
        found.append(left)
    assert {0} in found and {1} in found


def test_photos_of_one_subject_make_one_region():
    given = [reference("a", subject="a"), reference("b"), reference("a 2", subject="a")]
    placed = [Placement(reference=i, box=Box(x=32 * i, y=0, width=32, height=32)) for i in range(3)]
    regions = regions_of(compose_canvas(given, placed, **SIZE), subjects_of(given))
    shares = token_shares(regions.boxes, (2, 2))
    assert in_region(shares, "half").flatten(1).sum(1).tolist() == [8, 4]


def test_a_place_belongs_to_the_box_on_top_and_only_to_it():
    assert tokens_of([(0, 0, 96, 64), (16, 16, 32, 32)]) == [set(range(24)) - {7, 8, 13, 14}, {7, 8, 13, 14}]
    regions = regions_of(*composed([(0, 0, 96, 64), (10, 10, 50, 40), (30, 20, 60, 40)]))
    assert torch.equal(regions.boxes.sum(0), torch.ones(8, 12))


def test_without_overlaps_a_region_is_all_of_its_boxes():
    boxes = [(3, 5, 41, 52), (44, 5, 47, 31), (50, 36, 13, 28)]
    regions = regions_of(*composed(boxes))
    for (x, y, width, height), given in zip(boxes, regions.boxes, strict=True):
        whole = torch.zeros(1, 1, 64, 96)
        whole[..., y : y + height, x : x + width] = 1
        assert torch.equal(given, torch.nn.functional.avg_pool2d(whole, 8)[0, 0])


def test_what_shows_is_opaque_and_on_top():
    alpha = torch.zeros(8, 8, dtype=torch.uint8)
    alpha[:, :4] = 255  # the left half
    given = [reference("below"), reference("above", alpha=alpha)]
    placed = [Placement(reference=i, box=Box(x=0, y=0, width=64, height=64)) for i in range(2)]
    regions = regions_of(compose_canvas(given, placed, **SIZE), subjects_of(given))
    below, above = (set(keys.tolist()) for keys in tokens_showing(token_shares(regions.shown, (2, 2))))
    columns = {number % 6 for number in above}, {number % 6 for number in below}
    assert columns == ({0, 1}, {2, 3})
    assert float(regions.shown.sum(0).max()) <= 1


def test_a_subject_smaller_than_half_a_token_shows_where_it_shows_most():
    regions = regions_of(*composed([(0, 0, 32, 32), (40, 40, 6, 6)]))
    keys = tokens_showing(token_shares(regions.shown, (2, 2)))
    assert keys[0].tolist() == [0, 1, 6, 7]
    assert keys[1].tolist() == [14]


def controls(boxes=((0, 0, 48, 64), (48, 0, 48, 64)), positions=((1, 2), (5,)), **fields):
    canvas, subjects = composed(list(boxes))
    bound = tuple(
        BoundSubject(
            name=one.name, word=one.word, how="mention" if own else "missing", positions=own, pieces=()
        )
        for one, own in zip(subjects, positions, strict=True)
    )
    return SubjectControls(subjects=bound, regions=regions_of(canvas, subjects), **fields)


def planned(given, *, sigma=0.5, cells=(8, 12)) -> SubjectPlan:
    return given.plan(rows=(1, 2), cells=cells, sigma=sigma, num_blocks=40, text_len=8)


def test_the_plan_gives_each_region_its_alpha_and_its_words():
    (one,) = planned(controls(disentanglement=Disentanglement(alphas=(0.5, 0.25)))).injections
    grid = one.amounts.T.unflatten(1, (4, 6))
    assert torch.equal(grid[0], torch.tensor([[0.5] * 3 + [0.0] * 3] * 4))
    assert torch.equal(grid[1], torch.tensor([[0.0] * 3 + [0.25] * 3] * 4))
    assert one.averages[0, [1, 2]].tolist() == [0.5, 0.5] and one.averages[1, 5] == 1
    assert (one.rows, one.blocks) == ((1, 2), (0, 40))


def test_a_token_of_two_regions_is_shared_or_adds_up():
    boxes = ((0, 0, 40, 64), (40, 0, 56, 64))  # a column of tokens is half of each
    for normalise, expected in ((True, (0.5, 0.25, 0.25)), (False, (0.5, 0.5, 0.5))):
        asked = Disentanglement(alphas=(0.5, 0.5), normalise=normalise)
        (one,) = planned(controls(boxes, disentanglement=asked)).injections
        grid = one.amounts.T.unflatten(1, (4, 6))
        assert (grid[0, 0, 0], grid[0, 0, 2], grid[1, 0, 2]) == expected


def test_a_background_behind_all_adds_nothing_where_others_lie():
    boxes = ((0, 0, 96, 64), (48, 0, 48, 64))
    asked = Disentanglement(alphas=(0.5, 0.5))
    (one,) = planned(controls(boxes, disentanglement=asked)).injections
    grid = one.amounts.T.unflatten(1, (4, 6))
    assert torch.equal(grid[0], torch.tensor([[0.5] * 3 + [0.0] * 3] * 4))
    assert torch.equal(grid[1], torch.tensor([[0.0] * 3 + [0.5] * 3] * 4))


def test_the_boost_is_on_the_tokens_that_show_a_subject():
    boxes = ((0, 0, 96, 64), (48, 0, 48, 64))
    (one,) = planned(controls(boxes, identity=IdentityStrength(strengths=(1.0, 0.0)))).boosts
    assert {number % 6 for number in one.keys[0].tolist()} == {0, 1, 2}, "the other half is covered"
    assert one.factors == pytest.approx((1.718281828,))


def test_nothing_asked_is_nothing_done():
    for given in (
        controls(),
        controls(disentanglement=Disentanglement(alphas=(0.0, 0.0))),
        controls(identity=IdentityStrength(strengths=(0.0, 0.0))),
    ):
        assert given.is_neutral
        assert planned(given) == SubjectPlan() or join_plans([planned(given)]) is None
    assert not controls(identity=IdentityStrength(strengths=(0.0, 0.1))).is_neutral


def test_it_acts_within_its_noise_and_blocks():
    scope = Scope(start_sigma=0.9, end_sigma=0.3, first_block=4, last_block=7)
    given = controls(
        disentanglement=Disentanglement(alphas=(0.5, 0.5), scope=scope),
        identity=IdentityStrength(strengths=(1.0, 1.0), scope=scope),
    )
    for sigma, acts in ((1.0, 0), (0.9, 1), (0.3, 1), (0.29, 0)):
        plan = planned(given, sigma=sigma)
        assert (len(plan.injections), len(plan.boosts)) == (acts, acts)
    assert [planned(given).at(block) is not None for block in (3, 4, 7, 8)] == [False, True, True, False]


def test_near_a_subject_is_known_by_looking_at_all_of_them():
    (far,) = planned(controls(identity=IdentityStrength(strengths=(1.0, 0.0)))).boosts
    (near,) = planned(controls(identity=IdentityStrength(strengths=(1.0, 0.0), reach="near"))).boosts
    assert not far.near and len(far.keys) == len(far.factors) == 1
    assert near.near and near.factors == (math.expm1(1.0), 0.0)
    assert near.keys[0].tolist() == far.keys[0].tolist() != near.keys[1].tolist()
    resting = controls(identity=IdentityStrength(strengths=(0.0, 0.0), reach="near"))
    assert not planned(resting).boosts


def test_a_part_of_the_canvas_has_its_part_of_the_regions():
    given = controls(disentanglement=Disentanglement(alphas=(0.5, 0.25)))
    part = given.cropped(2, 4, 4, 8)
    (one,) = planned(part, cells=(4, 8)).injections
    assert one.amounts.T.unflatten(1, (2, 4))[0].tolist() == [[0.5, 0.0, 0.0, 0.0]] * 2
    with pytest.raises(ShapeError, match="on a canvas of 12 x 8 latent cells, but the latents have 8 x 4"):
        planned(given, cells=(4, 8))


def test_words_that_the_model_does_not_read_are_an_error():
    asked = Disentanglement(alphas=(0.5, 0.5))
    with pytest.raises(
        MagrefError, match="'s1' is to be told apart by its words, but in what the model reads"
    ):
        planned(controls(positions=((1,), (9,)), disentanglement=asked))


@pytest.mark.parametrize("value", [-0.1, 2.5, 1000.0, float("nan"), float("inf")])
def test_an_alpha_out_of_range_is_refused(value):
    with pytest.raises(MagrefError, match=r"alpha is .+, but must be from 0 to 2: 0 turns it off"):
        Disentanglement(alphas=(0.5, value))


@pytest.mark.parametrize("value", [-2.5, 4.5, 1000.0, float("nan"), float("-inf")])
def test_a_strength_out_of_range_is_refused(value):
    with pytest.raises(MagrefError, match=r"strength is .+, but must be from -2 to 4: 0 turns it off"):
        IdentityStrength(strengths=(value, 0.5))


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"first_block": 5, "last_block": 4}, "the blocks go from 5 to 4, which is none"),
        ({"first_block": -1}, "the blocks go from -1 to -1, which is none"),
        ({"start_sigma": 0.2, "end_sigma": 0.3}, "the noise goes from 0.2 to 0.3, but it falls"),
        ({"start_sigma": float("nan")}, "the noise goes from nan to 0.0"),
    ],
)
def test_an_empty_range_is_refused(fields, expected):
    with pytest.raises(MagrefError, match=expected):
        Scope(**fields)


def test_a_block_that_the_model_lacks_is_refused():
    with pytest.raises(
        MagrefError, match="first_block is 40, but the model's 40 blocks are numbered from 0 to 39"
    ):
        Scope(first_block=40).blocks(40)
    assert Scope(last_block=99).blocks(40) == (0, 40)


def test_some_subjects_have_a_number_of_their_own():
    names = ["girl", "Mug: blue"]
    assert per_subject(names, 0.5, "", "alpha") == (0.5, 0.5)
    assert per_subject(names, 0.5, "@Girl: 1\n mug: blue: -1e-1,", "alpha") == (1.0, -0.1)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("girl", "'girl' sets no alpha: write a name, a colon and a number"),
        (": 1", "sets no alpha"),
        ("robot: 1", "an alpha is set for 'robot', but no subject is called so: use girl, mug"),
        ("girl: 1, GIRL: 2", "alpha is set twice for 'girl'"),
        ("girl: much", "the alpha of 'girl' is 'much', which is no number"),
    ],
)
def test_a_list_of_numbers_that_cannot_be_read_is_refused(text, expected):
    with pytest.raises(MagrefError, match=expected):
        per_subject(["girl", "mug"], 0.5, text, "alpha")
