from __future__ import annotations

import pytest

from magref_core.dit.config import DiTConfig
from magref_core.errors import CheckpointError


def test_the_default_is_the_released_model():
    config = DiTConfig()
    assert (config.dim, config.ffn_dim, config.num_heads, config.num_layers) == (5120, 13824, 40, 40)
    assert (config.in_dim, config.out_dim, config.head_dim) == (36, 16, 128)


def test_a_width_that_the_heads_cannot_share_is_refused_with_the_remedy():
    with pytest.raises(CheckpointError, match=r"dim 100 .* 3 heads .* multiple of 6"):
        DiTConfig(dim=100, num_heads=3)


@pytest.mark.parametrize("field", ["dim", "num_heads", "num_layers", "text_len"])
def test_a_count_below_one_is_refused(field):
    with pytest.raises(CheckpointError, match=f"{field} of the DiT is 0, but must be at least 1"):
        DiTConfig(**{field: 0})


def test_a_patch_without_extent_is_refused():
    with pytest.raises(CheckpointError, match="patch_size of the DiT is 0"):
        DiTConfig(patch_size=(1, 0, 2))
