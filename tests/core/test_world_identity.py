"""Identities are many, drawn by a seed, and seen."""

import numpy as np
import pytest

from magref_core.errors import MagrefError
from magref_core.world.identity import (
    CATEGORIES,
    KIND_OF,
    colour_sets,
    count_identities,
    draw_identity,
)
from magref_core.world.palette import PALETTE, distance
from magref_core.world.pose import Pose
from magref_core.world.puppets import FILL, GROUND, draw_puppet


def test_there_are_four_categories_of_each_kind():
    assert len(CATEGORIES) == 12
    for kind in ("person", "animal", "object"):
        assert list(KIND_OF.values()).count(kind) == 4


@pytest.mark.parametrize("category", CATEGORIES)
def test_a_category_has_many_identities(category):
    assert count_identities(category) >= 100_000


@pytest.mark.parametrize("category", CATEGORIES)
def test_the_same_seed_draws_the_same_identity_and_another_seed_another(category):
    first, again, other = (draw_identity(category, np.random.default_rng(seed)) for seed in (3, 3, 4))
    assert first == again
    assert hash(first) == hash(again)
    assert first != other
    assert first.category == category


def test_five_hundred_draws_are_five_hundred_identities():
    rng = np.random.default_rng(0)
    assert len({draw_identity("fox", rng) for _ in range(500)}) == 500


def test_the_colours_of_a_set_differ_and_the_body_stands_apart():
    for names in colour_sets():
        assert len(set(names)) == 4
        assert set(names) <= set(PALETTE)
        assert all(distance(names[0], other) >= 190 for other in names[1:])


def test_an_unknown_category_is_refused_with_the_list():
    with pytest.raises(MagrefError, match=r"no puppet 'dragon': choose one of girl, boy, .*car"):
        draw_identity("dragon", np.random.default_rng(0))
    with pytest.raises(MagrefError, match="no puppet 'dragon'"):
        count_identities("dragon")


@pytest.mark.parametrize("category", CATEGORIES)
def test_a_puppet_stands_on_the_ground_of_its_square_and_is_premultiplied(category):
    rng = np.random.default_rng(1)
    for _ in range(8):
        sprite = draw_puppet(draw_identity(category, rng), Pose(), 64)
        assert sprite.shape == (64, 64, 4)
        assert (sprite[..., :3] <= sprite[..., 3:]).all()
        rows = np.flatnonzero((sprite[..., 3] >= 128).any(1))
        assert abs(int(rows[-1]) + 1 - GROUND * 64) < 3
        assert rows[-1] - rows[0] >= 0.6 * FILL * 64


@pytest.mark.parametrize("category", CATEGORIES)
def test_the_first_colour_covers_a_good_part_of_a_plain_puppet(category):
    rng = np.random.default_rng(2)
    shares = []
    while len(shares) < 6:
        identity = draw_identity(category, rng)
        if identity.pattern != "plain":
            continue
        sprite = draw_puppet(identity, Pose(), 96).astype(int)
        solid = sprite[..., 3] == 255
        near = np.abs(sprite[..., :3] - PALETTE[identity.colours[0]]).max(-1) < 16
        shares.append((near & solid).sum() / solid.sum())
    assert np.mean(shares) > 0.15


def test_two_identities_of_a_category_look_different():
    rng = np.random.default_rng(5)
    for category in CATEGORIES:
        first, second = (draw_puppet(draw_identity(category, rng), Pose(), 64).astype(int) for _ in range(2))
        assert np.abs(first - second).mean() > 8


def test_a_sprite_is_shared_and_cannot_be_written_to():
    identity = draw_identity("cat", np.random.default_rng(0))
    sprite = draw_puppet(identity, Pose(), 64)
    assert draw_puppet(identity, Pose(), 64) is sprite
    with pytest.raises(ValueError, match="read-only"):
        sprite[0, 0, 0] = 1
