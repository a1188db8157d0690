"""Classifier-free guidance by the text, by the references, or by both."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

from torch import Tensor

from ..errors import MagrefError

Form = Literal["joint", "chained"]
"""What the references' part is measured on; see `add_reference_guidance`."""

MAX_SCALE = 30.0


@dataclass(frozen=True, kw_only=True, slots=True)
class ReferenceGuidance:
    """How far text and references drive a run, each by itself, and while which noise levels.

    All scales follow one convention: 1 adds nothing, 0 takes the condition's own part away. The published
    equation of the joint form counts from 0: its s_T is `text_scale` - 1, its s_I `reference_scale` - 1.

    Raises:
        MagrefError: a scale is not in [0, 30], a sigma not in [0, 1], the form unknown, or the range empty.
    """

    text_scale: float = 5.0
    reference_scale: float = 1.0
    form: Form = "joint"
    start_sigma: float = 1.0
    """References are scaled at noise levels from this one down ..."""
    end_sigma: float = 0.0
    """... to this one; outside, the run is plain guidance by the text and costs no third answer."""
    release_sigma: float = 0.0
    """Below it the references are left out altogether, so that details are not copied from them; 0: never."""

    def __post_init__(self) -> None:
        for name in ("text_scale", "reference_scale"):
            value = getattr(self, name)
            if not 0 <= value <= MAX_SCALE:  # also false for what is no number
                raise MagrefError(
                    f"the {name} is {value:g}, but must be from 0 to {MAX_SCALE:g}: 1 adds nothing"
                )
        for name in ("start_sigma", "end_sigma", "release_sigma"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise MagrefError(f"the {name} is {value:g}, but noise levels go from 1 down to 0: use those")
        if self.end_sigma > self.start_sigma:
            raise MagrefError(
                f"the references would be scaled from sigma {self.start_sigma:g} down to "
                f"{self.end_sigma:g}, which lies above: set end_sigma to at most {self.start_sigma:g}"
            )
        if self.form not in get_args(Form):
            raise MagrefError(
                f"the form is '{self.form}', which is unknown: choose one of {', '.join(get_args(Form))}"
            )

    def scale_at(self, sigma: float) -> float:
        """The references' scale at a noise level; exactly 1 where no further answer is needed."""
        is_within = self.end_sigma <= sigma <= self.start_sigma
        return 1.0 if math.isclose(self.reference_scale, 1) or not is_within else self.reference_scale

    def is_released_at(self, sigma: float) -> bool:
        """Whether the references are left out at a noise level."""
        return sigma < self.release_sigma

    @property
    def leaves_out(self) -> bool:
        """Whether a run ever asks for an answer without references."""
        return self.release_sigma > 0 or not math.isclose(self.reference_scale, 1)


def guide(cond: Tensor, uncond: Tensor, guidance_scale: float) -> Tensor:
    """Move from the answer without the prompt to, and past, the answer with it.

    Args:
        cond: answer for the prompt, any shape; velocities or denoised states, but the same kind in both.
        uncond: answer for the negative prompt, of the same shape. Canvas and image features are in both.
        guidance_scale: 0 gives `uncond`, 1 gives `cond`; MAGREF takes 5.

    Returns:
        uncond + guidance_scale (cond - uncond).

    Source: MAGREF, magref/subject2video.py, `generate`.
    """
    return uncond + guidance_scale * (cond - uncond)


def add_reference_guidance(guided: Tensor, given: Tensor, left_out: Tensor, reference_scale: float) -> Tensor:
    """Drive an answer that the text has guided further by the references.

    With e(I, T) the answer for references and prompt, 0 for what is left out, and `guided` =
    e(I, 0) + w_T (e(I, T) - e(I, 0)), the two forms are
    joint: given = e(I, T), left_out = e(0, T), which together is
    e(I, T) + s_T (e(I, T) - e(I, 0)) + s_I (e(I, T) - e(0, T)) with s = w - 1;
    chained: given = e(I, 0), left_out = e(0, 0), which together is
    e(0, 0) + w_I (e(I, 0) - e(0, 0)) + w_T (e(I, T) - e(I, 0)).

    Args:
        guided: any shape; see above.
        given: of the same shape and kind, with the references.
        left_out: without them.
        reference_scale: w_I; 1 gives `guided`.

    Returns:
        guided + (reference_scale - 1) (given - left_out).

    Source: Video Alchemist (arXiv 2501.06187), equation 2, for the joint form; the chained one is that of
    InstructPix2Pix (arXiv 2211.09800) as Phantom (arXiv 2502.11079) uses it for references.
    """
    return guided + (reference_scale - 1) * (given - left_out)
