"""Prompts with who is who and where, and models under the controls of subjects."""

from __future__ import annotations

import pytest
from magref_pack.magref_core.canvas.compose import compose_canvas
from magref_pack.magref_core.canvas.layout import arrange
from magref_pack.magref_core.subjects.spans import Binding, BoundSubject
from magref_pack.nodes.subject_controls import IdentityStrengthNode, SubjectDisentangle
from magref_pack.nodes.subject_places import BINDING, canvas_values

from . import runs, subject_runs

FRAMES = 7
ALPHA = {
    "alpha": 0.5,
    "subjects": "",
    "projection": "value_out",
    "coverage": "half",
    "normalise": True,
}
STRENGTH = {"strength": 1.0, "subjects": "", "reach": "everywhere"}
SCOPE = {"start_sigma": 1.0, "end_sigma": 0.0, "first_block": 0, "last_block": -1}
KINDS = [(SubjectDisentangle, ALPHA), (IdentityStrengthNode, STRENGTH)]
each_control = pytest.mark.parametrize(("node", "values"), KINDS)
ONLY_DISENTANGLE, ONLY_STRENGTH = KINDS


def canvas():
    """Two subjects beside each other on 48 x 32 pixels."""
    given = tuple(subject_runs.reference(name, seed=seed) for seed, name in enumerate(("girl", "mug")))
    return compose_canvas(given, arrange([(32, 32)] * 2, height=32, width=48, seed=0), height=32, width=48)


def bound_pair(**size):
    """Positive and negative; the positive says who is who and where."""
    positive, negative = runs.prompts(**size)
    subjects = tuple(
        BoundSubject(name=name, word=name, how="mention", positions=own, pieces=())
        for name, own in (("girl", (1, 2)), ("mug", (4,)))
    )
    words = {BINDING: Binding(prompt="", num_tokens=6, subjects=subjects)} | canvas_values(canvas())
    return [[positive[0][0], positive[0][1] | words]], negative


def controlled(model, node, values, pair=None, **changes):
    """The pair with a control on its positive."""
    positive, negative = bound_pair() if pair is None else pair
    return node.execute(model, positive, **(values | SCOPE | changes)).args[0], negative


def zero(node):
    return {"alpha": 0.0} if node is SubjectDisentangle else {"strength": 0.0}


def spied(model):
    """A clone of the model, and for each forward its plan and its options."""
    plans, watched = [], model.clone()
    forward = model.get_model_object("diffusion_model.forward_orig")

    def note(x, t, context, *args, **kwargs):
        plans.append(
            (kwargs.get("subjects"), context.clone(), kwargs["transformer_options"]["cond_or_uncond"])
        )
        return forward(x, t, context, *args, **kwargs)

    watched.add_object_patch("diffusion_model.forward_orig", note)
    return watched, plans
