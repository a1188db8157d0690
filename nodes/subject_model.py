"""How the subjects' controls travel from the conditioning into the DiT, row by row of the host's batches."""

from __future__ import annotations

import logging
from functools import cache
from typing import Any

import comfy.conds
import comfy.model_base
import torch
from torch import Tensor

from ..magref_core.dit.subjects import SubjectPlan
from ..magref_core.errors import MagrefError
from ..magref_core.subjects.controls import SubjectControls, join_plans
from .attention import chosen_attention

logger = logging.getLogger(__name__)

CONTROLS = "magref_subjects"
"""Under this name a conditioning carries its `SubjectControls`."""

NATIVE = (
    "the model given is not from MAGREF DiT Loader, but the controls of subjects act inside the blocks of "
    "MAGREF's own model: load the same file with MAGREF DiT Loader, or take the controls out"
)


LSE_DEVICES = ("cpu", "cuda")
"""Where PyTorch's fused attention tells its log-sum-exp."""

OWN_ATTENTIONS = ("attention_pytorch", "attention_sub_quad", "attention_split", "attention_basic")
"""Names of the host's attentions in place of which PyTorch's fused one is no loss."""


class NeedsMagref(int):
    """Where the mask channels lie, for our model; refuses to be asked by another.

    The host's own image-to-video models compare `concat_mask_index` with 0. Left to them, a conditioning with
    controls would give a video without them and without a word.
    """

    def __ne__(self, _other: object) -> bool:
        raise MagrefError(NATIVE)

    __hash__ = int.__hash__


class SubjectsCond(comfy.conds.CONDConstant):
    """The controls of some rows of a batch; batches with those of any other prompt, and with none."""

    def __init__(self, cond: tuple[tuple[int, SubjectControls | None], ...]):
        super().__init__(cond)  # (rows, controls) in order

    def process_cond(self, batch_size, area=None, **_):
        ((_, controls),) = self.cond
        if controls is not None and area is not None:
            controls = _in_area(controls, area)
        return self._copy_with(((batch_size, controls),))

    def can_concat(self, other):
        return isinstance(other, SubjectsCond)

    def concat(self, others):
        return sum((other.cond for other in others), start=self.cond)


class SubjectControlled(comfy.model_base.WAN21):
    """Adds the controls to the host's Wan model; its DiT is ours."""

    def extra_conds(self, **kwargs):
        controls = kwargs.pop(CONTROLS, None)
        if isinstance(kwargs.get("concat_mask_index"), NeedsMagref):
            kwargs.pop("concat_mask_index")
        # Also without controls: prompts share a forward only if they have the same entries.
        return super().extra_conds(**kwargs) | {CONTROLS: SubjectsCond(((1, controls),))}

    def resize_cond_for_context_window(
        self, cond_key, cond_value, window, x_in, device, retain_index_list=None
    ):
        retained = retain_index_list or []
        if cond_key != CONTROLS:
            return super().resize_cond_for_context_window(
                cond_key, cond_value, window, x_in, device, retain_index_list=retained
            )
        anchor = getattr(window, "causal_anchor_index", None)
        first = anchor if anchor is not None and anchor >= 0 else window.index_list[0]
        # A window without the canvas has no regions.
        return cond_value if first == 0 or 0 in retained else SubjectsCond(((1, None),))

    def _apply_model(
        self, x, t, c_concat=None, c_crossattn=None, control=None, transformer_options=None, **kwargs
    ):
        plan = self._plan(kwargs.pop(CONTROLS, ()), x, t)
        if plan is not None:
            kwargs["subjects"] = plan
            if plan.boosts:
                _tell_of_attention(transformer_options or {}, x.device.type)
        return super()._apply_model(
            x,
            t,
            c_concat,
            c_crossattn,
            control,
            {} if transformer_options is None else transformer_options,
            **kwargs,
        )

    def _plan(
        self, parts: tuple[tuple[int, SubjectControls | None], ...], x: Tensor, t: Tensor
    ) -> SubjectPlan | None:
        """What is to be done at this noise level, outside of what torch.compile sees."""
        if all(controls is None for _, controls in parts):
            return None
        dit = _plain(self.diffusion_model)
        sigma, place, plans = float(t.max()), 0, []
        for num_rows, controls in parts:
            rows = (place, place + num_rows)
            place += num_rows
            if controls is not None:
                plans.append(
                    controls.plan(
                        rows=rows,
                        cells=(x.shape[-2], x.shape[-1]),
                        sigma=sigma,
                        num_blocks=len(dit.blocks),
                        text_len=dit.text_len,
                        patch=dit.patch_size[1:],
                        device=x.device,
                    )
                )
        plan = join_plans(plans)
        if plan is not None:
            _check_forwards(dit, plan)
        return plan


def check_model(model: Any) -> None:
    """Refuse a model whose blocks know nothing of subjects.

    Raises:
        MagrefError: it is not from MAGREF DiT Loader.
    """
    if not isinstance(getattr(model, "model", None), SubjectControlled):
        raise MagrefError(NATIVE)


def _in_area(controls: SubjectControls, area: tuple[int, ...]) -> SubjectControls | None:
    """The controls in a part of the video: sizes, then starts, of frames, rows and columns or of two."""
    dims = len(area) // 2
    if dims == 3 and area[dims] > 0:
        return None  # it begins behind the canvas
    height, width = area[dims - 2 : dims]
    top, left = area[2 * dims - 2 :]
    return controls.cropped(top, left, height, width)


def _check_forwards(dit: Any, plan: SubjectPlan) -> None:
    """Refuse parts that other nodes have replaced, and that would leave the controls out in silence."""
    for block in map(_plain, dit.blocks):
        used = {"block": block}
        if plan.injections:
            used["cross-attention"] = block.cross_attn
        if plan.boosts:
            used["self-attention"] = block.self_attn
        for name, module in used.items():
            if "forward" in vars(_plain(module)):
                raise MagrefError(
                    f"another node has put a {name} of its own into the model, which knows nothing of the "
                    f"controls "
                    "of subjects: take that node out (normalised attention guidance is one), or the controls"
                )
    if "forward_orig" in vars(dit):
        _warn_of_replacement()


def _tell_of_attention(transformer_options: dict[str, Any], device: str) -> None:
    """Say once if a boost goes another way than the rest of the model."""
    chosen = chosen_attention(torch.device(device))
    name = getattr(chosen, "__name__", str(chosen))
    if "optimized_attention_override" in transformer_options:
        name = "the attention that another node has chosen"
    if device not in LSE_DEVICES:
        _log_attention(name, "attention in parts, which is slow")
    elif not name.startswith(OWN_ATTENTIONS):
        _log_attention(name, "PyTorch's own fused attention")


@cache
def _log_attention(name: str, used: str) -> None:
    logger.info(
        "the identity strength needs the log-sum-exp of the attention, which %s does not tell: where it "
        "acts, %s is used",
        name,
        used,
    )


@cache
def _warn_of_replacement() -> None:
    logger.warning(
        "another node has replaced the loop over MAGREF's blocks: the controls of subjects act only if it "
        "hands "
        "them on"
    )


def _plain(module: Any) -> Any:
    """The module that torch.compile has wrapped."""
    return getattr(module, "_orig_mod", module)
