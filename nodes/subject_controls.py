"""What is asked of each subject, added to the prompt that names them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, get_args

import torch
from comfy_api.latest import io
from torch import Tensor

from ..magref_core.dit.subjects import Projection
from ..magref_core.errors import MagrefError
from ..magref_core.subjects.controls import (
    MAX_ALPHA,
    MAX_STRENGTH,
    MIN_STRENGTH,
    Disentanglement,
    IdentityStrength,
    Reach,
    Scope,
    SubjectControls,
    check_number,
    per_subject,
)
from ..magref_core.subjects.regions import Coverage, Regions
from ..magref_core.subjects.spans import Binding, BoundSubject
from .subject_model import CONTROLS, NeedsMagref, check_model
from .subject_places import BINDING, CANVAS

NO_BINDING = (
    "the conditioning does not say who is who: encode the prompt with MAGREF Bind Subjects, and put MAGREF "
    "Apply Masked Guidance behind it"
)
NO_CANVAS = (
    "the conditioning does not say where the subjects are: put MAGREF Apply Masked Guidance between MAGREF "
    "Bind Subjects and this node"
)


class SubjectDisentangle(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="MagrefSubjectDisentangle",
            display_name="MAGREF Subject Disentangle",
            category="MAGREF/subjects",
            description="Gives each subject's place on the canvas the words of that subject, in every block, "
            "so "
            "that similar subjects blend less. After the paper; the released model was probably not trained "
            "with it, so try small values.",
            search_aliases=["magref", "subject disentanglement", "who is who", "regional prompt", "swap"],
            inputs=[
                *_model_and_positive(),
                io.Float.Input(
                    "alpha",
                    default=0.2,
                    min=0.0,
                    max=MAX_ALPHA,
                    step=0.05,
                    tooltip="How much of its words each region is given; 0 leaves the model as it is.",
                ),
                _subjects("An alpha"),
                io.Combo.Input(
                    "projection",
                    options=list(get_args(Projection)),
                    default="value_out",
                    advanced=True,
                    tooltip="value_out sends the words through the output layer, as attention does; value "
                    "adds "
                    "them as they stand, the letter of the paper, which suits only a model trained so.",
                ),
                io.Combo.Input(
                    "coverage",
                    options=list(get_args(Coverage)),
                    default="half",
                    advanced=True,
                    tooltip="Which tokens of 16 x 16 pixels are in a region, the boxes of a subject without "
                    "what other boxes cover of them: half, those that it covers at least half; any, those "
                    "that it touches.",
                ),
                io.Boolean.Input(
                    "normalise",
                    default=True,
                    advanced=True,
                    tooltip="Where a token is in several regions, share it among them, so that it gets "
                    "no more than one.",
                ),
                *_scope(),
            ],
            outputs=[io.Conditioning.Output(id="positive", display_name="positive")],
        )

    @classmethod
    def execute(
        cls,
        model,
        positive,
        alpha,
        subjects,
        projection,
        coverage,
        normalise,
        start_sigma,
        end_sigma,
        first_block,
        last_block,
    ) -> io.NodeOutput:
        check_number("alpha", alpha, 0.0, MAX_ALPHA)
        scope = _checked_scope(model, first_block, last_block, start_sigma, end_sigma)

        def change(controls: SubjectControls) -> SubjectControls:
            names = [subject.name for subject in controls.subjects]
            chosen = per_subject(names, alpha, subjects, "alpha")
            own = per_subject(names, 0.0, subjects, "alpha")
            asked = Disentanglement(
                alphas=_of_named(controls.subjects, chosen, own),
                projection=projection,
                coverage=coverage,
                normalise=normalise,
                scope=scope,
            )
            return replace(controls, disentanglement=asked)

        return io.NodeOutput(with_controls(positive, change))


class IdentityStrengthNode(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="MagrefIdentityStrength",
            display_name="MAGREF Identity Strength",
            category="MAGREF/subjects",
            description="Makes the video look more, or less, at the pictures of each subject, exactly and at "
            "little cost.",
            search_aliases=["magref", "identity", "face similarity", "reference strength", "attention"],
            inputs=[
                *_model_and_positive(),
                io.Float.Input(
                    "strength",
                    default=0.5,
                    min=MIN_STRENGTH,
                    max=MAX_STRENGTH,
                    step=0.05,
                    tooltip="Attention to a subject counts e to the strength times as much: 0.7 doubles it, "
                    "-0.7 "
                    "halves it, 0 leaves the model as it is.",
                ),
                _subjects("A strength"),
                io.Combo.Input(
                    "reach",
                    options=list(get_args(Reach)),
                    default="everywhere",
                    advanced=True,
                    tooltip="everywhere: all of the video looks at it more; near: only what looks at this "
                    "subject "
                    "already, and at no other one more.",
                ),
                *_scope(),
            ],
            outputs=[io.Conditioning.Output(id="positive", display_name="positive")],
        )

    @classmethod
    def execute(
        cls,
        model,
        positive,
        strength,
        subjects,
        reach,
        start_sigma,
        end_sigma,
        first_block,
        last_block,
    ) -> io.NodeOutput:
        check_number("strength", strength, MIN_STRENGTH, MAX_STRENGTH)
        scope = _checked_scope(model, first_block, last_block, start_sigma, end_sigma)

        def change(controls: SubjectControls) -> SubjectControls:
            names = [subject.name for subject in controls.subjects]
            strengths = per_subject(names, strength, subjects, "strength")
            return replace(controls, identity=IdentityStrength(strengths=strengths, reach=reach, scope=scope))

        return io.NodeOutput(with_controls(positive, change))


def with_controls(conditioning: Any, change: Any) -> Any:
    """A copy of the CONDITIONING with changed controls; without any where they ask for nothing.

    Args:
        conditioning: the host's list of pairs; left as it is.
        change: gives the new `SubjectControls` for the old.

    Raises:
        MagrefError: the conditioning lacks the subjects' words or places.
    """
    if not conditioning:
        raise MagrefError(NO_BINDING)
    return [[text, _changed(extras, change)] for text, extras in conditioning]


def _changed(extras: dict[str, Any], change: Any) -> dict[str, Any]:
    controls = change(extras.get(CONTROLS) or _plain_controls(extras))
    kept = _uncontrolled(extras)
    if controls.is_neutral:
        return kept
    return kept | {CONTROLS: controls, "concat_mask_index": NeedsMagref(0)}


def without_controls(conditioning: Any) -> Any:
    """A copy of the CONDITIONING in which nothing is asked of its subjects."""
    return [[text, _uncontrolled(extras)] for text, extras in conditioning]


def _uncontrolled(extras: dict[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in extras.items() if key != CONTROLS}
    if isinstance(kept.get("concat_mask_index"), NeedsMagref):
        kept.pop("concat_mask_index")
    return kept


def _plain_controls(extras: dict[str, Any]) -> SubjectControls:
    binding, placed = extras.get(BINDING), extras.get(CANVAS)
    if not isinstance(binding, Binding):
        raise MagrefError(NO_BINDING)
    if placed is None:
        raise MagrefError(NO_CANVAS)
    for subject in binding.subjects:
        if subject.name not in placed["names"]:
            raise MagrefError(
                f"MAGREF Bind Subjects was given the subject '{subject.name}', but the canvas holds only "
                f"{', '.join(placed['names'])}: connect the references of the canvas to it"
            )
    order = [placed["names"].index(subject.name) for subject in binding.subjects]
    return SubjectControls(
        subjects=binding.subjects,
        regions=Regions(boxes=_rows(placed["boxes"], order), shown=_rows(placed["shown"], order)),
    )


def _rows(shares: Tensor, order: list[int]) -> Tensor:
    return shares[torch.tensor(order, dtype=torch.long)]


def _of_named(
    subjects: tuple[BoundSubject, ...], chosen: tuple[float, ...], own: tuple[float, ...]
) -> tuple[float, ...]:
    """The alphas; 0 for whom the prompt does not name, unless an alpha of its own was asked for."""
    for subject, alpha in zip(subjects, own, strict=True):
        if alpha and not subject.positions:
            raise MagrefError(
                f"an alpha is set for '{subject.name}', but the prompt does not name it: write "
                f"@{subject.name} "
                "in the prompt of MAGREF Bind Subjects, or take it out here"
            )
    alphas = tuple(
        alpha if subject.positions else 0.0 for subject, alpha in zip(subjects, chosen, strict=True)
    )
    if any(chosen) and not any(alphas):
        raise MagrefError(
            "the prompt names no subject, so none can be told apart by its words: write @name for each in "
            "the "
            "prompt of MAGREF Bind Subjects"
        )
    return alphas


def _checked_scope(
    model: Any, first_block: int, last_block: int, start_sigma: float, end_sigma: float
) -> Scope:
    check_model(model)
    scope = Scope(
        first_block=first_block, last_block=last_block, start_sigma=start_sigma, end_sigma=end_sigma
    )
    scope.blocks(len(model.model.diffusion_model.blocks))
    return scope


def _model_and_positive() -> list[io.Input]:
    return [
        io.Model.Input(
            "model",
            tooltip="The model that will sample, from MAGREF DiT Loader; it is only looked at.",
        ),
        io.Conditioning.Input(
            "positive",
            tooltip="The prompt of MAGREF Bind Subjects, with its canvas from MAGREF Apply Masked Guidance.",
        ),
    ]


def _subjects(a_number: str) -> io.Input:
    return io.String.Input(
        "subjects",
        default="",
        multiline=True,
        placeholder="girl: 0.5, mug: 0",
        tooltip=f"{a_number} of its own for some subjects, such as girl: 0.5, mug: 0; the others keep the "
        "one above.",
    )


def _scope() -> list[io.Input]:
    """When and where it acts."""
    return [
        io.Float.Input(
            "start_sigma",
            default=1.0,
            min=0.0,
            max=1.0,
            step=0.01,
            advanced=True,
            tooltip="Noise level at which it starts; a run goes from 1 down to 0.",
        ),
        io.Float.Input(
            "end_sigma",
            default=0.0,
            min=0.0,
            max=1.0,
            step=0.01,
            advanced=True,
            tooltip="Noise level below which it rests; 0 for the whole run.",
        ),
        io.Int.Input(
            "first_block",
            default=0,
            min=0,
            max=99,
            advanced=True,
            tooltip="First block in which it acts; the released model has 40, from 0 to 39.",
        ),
        io.Int.Input(
            "last_block",
            default=-1,
            min=-1,
            max=99,
            advanced=True,
            tooltip="Last block in which it acts; -1 for the last one.",
        ),
    ]
