"""The controls of subjects as the benchmark sets them, through the pack's own nodes, for a batch of clips."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from torch import Tensor

from magref_core.canvas.decorrelate import Decorrelation, decorrelate
from magref_core.canvas.references import Reference
from scripts.training.staging import Staged

from . import quality_host as host
from .dit_models import PACK
from .quality_sets import Case

SIDES: dict[int, tuple[str, ...]] = {
    1: ("",),
    2: ("on the left", "on the right"),
    3: ("on the left", "in the middle", "on the right"),
}
"""How a caption tells its subjects apart, by their number."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Control:
    """What is asked for; the defaults ask for nothing."""

    label: str
    """In tables."""
    kind: str
    """Settings of one kind are variants of one another."""
    bound: bool = True
    """Whether the prompt goes through MAGREF Bind Subjects."""
    alpha: float = 0.0
    projection: str = "value_out"
    """Of MAGREF Subject Disentangle."""
    strength: float = 0.0
    """Of MAGREF Identity Strength, for all subjects."""
    reference_scale: float = 1.0
    form: str = "joint"
    """Of MAGREF Reference Guider."""
    flip: str = "none"
    crop: float = 0.0
    blur: float = 0.0
    """Of MAGREF Decorrelate References."""

    def joined(self, other: Control) -> Control:
        """Both at once; they are of different kinds."""
        plain = asdict(PLAIN)
        changed = {key: value for key, value in asdict(other).items() if value != plain[key]}
        changed |= {"label": f"{self.label} + {other.label}", "kind": "both", "bound": True}
        return replace(self, **changed)

    @property
    def num_answers(self) -> int:
        """Of the model, for each step of a clip."""
        return 1 if self.reference_scale == 1 else 2 if self.form == "joint" else 3


PLAIN = Control(label="plain", kind="plain", bound=False)
CONTROLS: tuple[Control, ...] = (
    PLAIN,
    Control(label="names bound", kind="names"),
    *(
        Control(
            label=f"disentangle, {name}, {alpha:g}", kind="disentangle", alpha=alpha, projection=projection
        )
        for projection, name in (("value_out", "value_out"), ("value", "literal"))
        for alpha in (0.2, 0.5, 1.0)
    ),
    *(
        Control(label=f"identity strength, {strength:g}", kind="strength", strength=strength)
        for strength in (0.5, 2.0, 4.0)
    ),
    *(
        Control(label=f"reference guider, {form}, 2.5", kind="guider", reference_scale=2.5, form=form)
        for form in ("joint", "chained")
    ),
    Control(label="decorrelate", kind="decorrelate", flip="random", crop=5.0, blur=0.5),
)
"""Single controls. Labels name the nodes' inputs."""


class BatchControls:
    """The controls of several prompts that stand in one CONDITIONING, one row of the batch each.

    ComfyUI repeats a conditioning for a whole batch; a benchmark has another prompt in each row.
    """

    def __init__(self, rows: Sequence[Any]) -> None:
        self.rows = tuple(rows)

    def plan(self, *, rows: tuple[int, int], **options: Any) -> Any:
        """As `SubjectControls.plan` has it."""
        module = importlib.import_module(f"{PACK}.magref_core.dit.subjects")
        begin, end = rows
        assert end - begin == len(self.rows)
        plans = [
            one.plan(rows=(begin + number, begin + number + 1), **options)
            for number, one in enumerate(self.rows)
            if one is not None
        ]
        return module.SubjectPlan(
            injections=tuple(each for plan in plans for each in plan.injections),
            boosts=tuple(each for plan in plans for each in plan.boosts),
        )


def with_words(case: Case) -> Case:
    """The case whose references are called as its caption calls them: "girl on the left".

    Two subjects of one category differ by these words alone; the place is called by its own word.
    """
    sides = SIDES[len(case.scene.actors)]

    def word_of(subject: int | None) -> str:
        if subject is None:
            return case.scene.place.word
        return f"{case.scene.actors[subject].identity.category} {sides[subject]}".strip()

    references = tuple(
        replace(reference, word=word_of(subject))
        for reference, subject in zip(case.references, case.subjects, strict=True)
    )
    return replace(case, references=references)


def changed_references(references: Sequence[Reference], control: Control, seed: int) -> tuple[Reference, ...]:
    """The pictures as MAGREF Decorrelate References hands them on."""
    change = Decorrelation(flip=control.flip, crop=control.crop, blur=control.blur, seed=seed)  # pyright: ignore[reportArgumentType]
    return tuple(decorrelate(reference, change, number=number) for number, reference in enumerate(references))


def condition(models: host.Models, staged: Staged, guidance: host.Guidance, control: Control) -> Any:
    """The positive CONDITIONING of one clip, by the nodes of a workflow.

    Args:
        models: of the bundle.
        staged: prompt and canvas.
        guidance: what Apply Masked Guidance makes of the canvas.
        control: what is asked for.
    """
    if not control.bound:
        return [[host.encode_prompt(models, staged.prompt)[0][0], dict(guidance)]]
    bind = _node("subjects", "BindSubjects")
    ((text, extras),) = bind.execute(models.clip, staged.prompt, staged.canvas.references).args[0]
    positive: Any = [[text, extras | guidance]]
    scope = (1.0, 0.0, 0, -1)
    if control.alpha:
        settings = (control.alpha, "", control.projection, "half", True, *scope)
        node = _node("subject_controls", "SubjectDisentangle")
        positive = node.execute(models.model, positive, *settings).args[0]
    if control.strength:
        settings = (control.strength, "", "everywhere", *scope)
        node = _node("subject_controls", "IdentityStrengthNode")
        positive = node.execute(models.model, positive, *settings).args[0]
    return positive


def sample(
    models: host.Models,
    positives: Sequence[Any],
    seeds: Sequence[int],
    control: Control,
    options: host.SamplingOptions,
) -> Tensor:
    """Latents (B, 16, T, h, w) of clips of one size under one control, with one noise per clip."""
    guidances = [positive[0][1] for positive in positives]
    positive = host.stack(positives, guidances)
    controls = [guidance.get(_controls_key()) for guidance in guidances]
    if any(each is not None for each in controls):
        positive[0][1][_controls_key()] = BatchControls(controls)
    negative = host.stack([host.encode_prompt(models, "")] * len(positives), guidances)
    node = _node("guider", "ReferenceGuider")
    model = host.with_shift(models, options)
    scales = (options.guidance_scale, control.reference_scale, control.form)
    guider = node.execute(model, positive, negative, *scales, 1.0, 0.0, 0.0, "zeros").args[0]
    shape = positive[0][1]["concat_latent_image"].shape
    return host.sample_guided(guider, shape, seeds, options)


def _controls_key() -> str:
    return importlib.import_module(f"{PACK}.nodes.subject_model").CONTROLS


def _node(module: str, name: str) -> Any:
    return getattr(importlib.import_module(f"{PACK}.nodes.{module}"), name)
