from __future__ import annotations

import pytest
import torch
from magref_pack.magref_core.canvas.references import Reference
from magref_pack.magref_core.errors import MagrefError
from magref_pack.nodes.decorrelation import DecorrelateReferences


def references():
    generator = torch.Generator().manual_seed(1)
    return tuple(
        Reference(name=name, image=torch.randint(0, 256, (40, 30, 3), generator=generator, dtype=torch.uint8))
        for name in ("alice", "bob")
    )


def test_names_stay_pictures_change_and_a_seed_repeats_them():
    given = references()
    first = DecorrelateReferences.execute(given, "random", 5.0, 0.5, 3).args[0]
    again = DecorrelateReferences.execute(given, "random", 5.0, 0.5, 3).args[0]
    assert [each.name for each in first] == ["alice", "bob"]
    for before, one, other in zip(given, first, again, strict=True):
        assert torch.equal(one.image, other.image)
        assert one.image.shape != before.image.shape or not torch.equal(one.image, before.image)


def test_with_all_off_the_references_pass():
    given = references()
    passed = DecorrelateReferences.execute(given, "none", 0.0, 0.0, 3).args[0]
    assert all(one is other for one, other in zip(given, passed, strict=True))


def test_a_blur_over_a_link_is_looked_at():
    with pytest.raises(MagrefError, match="from 0 to 5"):
        DecorrelateReferences.execute(references(), "none", 0.0, float("nan"), 0)
