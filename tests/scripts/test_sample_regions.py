"""Samples tell where the boxes of each subject lie, as MAGREF Subject Disentangle finds them."""

import numpy as np
import torch

from magref_core.training.masking import PAPER
from magref_core.world.scene import SceneOptions, draw_scene
from scripts.training.samples import subject_regions
from scripts.training.staging import StagingOptions, stage

SCENES = SceneOptions(height=64, width=96, background_reference=0.5)
STAGING = StagingOptions(layout=PAPER, second_photo=0.5)


def test_regions_are_those_that_the_node_finds():
    rng = np.random.default_rng(8)
    seen = set()
    for _ in range(20):
        staged = stage(draw_scene(rng, SCENES), STAGING, rng)
        regions = subject_regions(staged)
        on_top = torch.full((64, 96), -1)
        for placement in staged.canvas.placements:
            box, actor = placement.box, staged.subjects[placement.reference]
            on_top[box.y : box.bottom, box.x : box.right] = 9 if actor is None else actor
        shares = [
            (on_top == n).float().unflatten(0, (4, 16)).unflatten(2, (6, 16)).mean((1, 3)) for n in range(3)
        ]
        assert torch.equal(regions, (torch.stack(shares) >= 0.5).to(torch.uint8))
        seen.add(len(staged.scene.actors))
    assert len(seen) > 1
