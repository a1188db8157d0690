"""The host's step caches: they see our DiT as a whole, skip it, and stay near the full answer."""

from __future__ import annotations

import pytest
from comfy_extras.nodes_easycache import EasyCacheNode, LazyCacheNode
import torch

from . import models, runs

STEPS = 10


def cached(node, model, threshold, start=0.15, end=0.95):
    return node.execute(model, threshold, start, end, False).args[0]


@pytest.mark.parametrize("node", [EasyCacheNode, LazyCacheNode])
def test_x(node):
    model=models.our_model()
    plain=runs.sample(model,steps=STEPS)
    for th in (0.,.02,.05,.1,.2,.3,.5,1.0):
        w,calls=runs.watch(cached(node,model,th)); r=runs.sample(w,steps=STEPS)
        w2,calls2=runs.watch(cached(node,runs.native_model(),th)); r2=runs.sample(w2,steps=STEPS)
        print(th,len(calls),runs.relative_difference(r,plain),[int(c['t'][0]) for c in calls],len(calls2),runs.largest_difference(r,r2))
    assert 0
