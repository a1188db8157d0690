"""Our MODEL against the host's own Wan on the same weights, through the host's sampling."""

from __future__ import annotations

import pytest
import torch
from comfy_extras.nodes_apg import APG
from comfy_extras.nodes_cfg import CFGNorm, CFGZeroStar
from comfy_extras.nodes_mahiro import Mahiro
from comfy_extras.nodes_model_advanced import ModelComputeDtype, ModelSamplingSD3, RescaleCFG
from comfy_extras.nodes_rope import ScaleROPE
from comfy_extras.nodes_tcfg import TCFG
from comfy_extras.nodes_video_model import VideoLinearCFGGuidance

from . import models, runs

LIMIT = 1e-4
def test_x():
    a, b = runs.sample(models.our_model()), runs.sample(runs.native_model())
    print(a.abs().mean(), runs.largest_difference(a, b))
    assert 0
