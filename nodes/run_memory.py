"""What is computed once per run: how long it is kept, and when it may be used.

The memory is made when a sampler starts, travels in the options of its run and is emptied when the sampler
ends, however it ends. It works with every sampler and guider of the host. Where weights may change within the
run, something else may stand between prompt and blocks, or what is kept might change how the host splits the
prompts, it is left alone, see `_may_use` and `_spare`.
"""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import comfy.model_base
import comfy.model_management
import comfy.patcher_extension
import torch

from ..magref_core.dit.attention import CrossAttention, replaced_blocks
from ..magref_core.dit.blocks import Block
from ..magref_core.dit.model import MagrefDiT
from ..magref_core.dit.prepared import Prepared, RunMemory, plain
from ..magref_core.sampling.memory import HEADROOM

MEMORY = "magref_run_memory"
"""Under this name the options of a run carry its `Memory`."""

SHARE = 16
"""Keys and values take at most this part of the free memory: 1.2 GiB for both prompts of the 14B model in
bfloat16, which would otherwise be 0.2 % of a step at 832 x 480 with 81 frames."""

_KINDS = comfy.patcher_extension.WrappersMP


class Memory(NamedTuple):
    """Of one run. No model is in it: a pack that copies options deeply would copy that."""

    model_id: int
    """`id` of the model that it is for."""
    prompts: int
    """Of the guider, which the host may answer in one pass."""
    known: RunMemory


def keep_for_a_run(patcher: Any) -> None:
    """Let each run of a sampler with this MODEL, and with clones of it, have a memory."""
    patcher.add_wrapper_with_key(_KINDS.OUTER_SAMPLE, MEMORY, _with_memory)


def _with_memory(executor: Any, *args: Any, **kwargs: Any) -> Any:
    guider = executor.class_obj
    options = guider.model_options.setdefault("transformer_options", {})  # the host's copy for this run
    prompts = [prompt for conds in guider.conds.values() for prompt in conds or ()]
    if MEMORY in options or any("area" in prompt for prompt in prompts):  # passes of several sizes
        return executor(*args, **kwargs)
    memory = Memory(id(guider.model_patcher.model), len(prompts), RunMemory())
    options[MEMORY] = memory
    try:
        return executor(*args, **kwargs)
    finally:
        options.pop(MEMORY, None)
        memory.known.clear()  # copies of the options still hold it


class PromptRemembering(comfy.model_base.WAN21):
    """Hands the DiT what is known already of prompt and canvas; outside of what torch.compile sees."""

    def _apply_model(
        self, x, t, c_concat=None, c_crossattn=None, control=None, transformer_options=None, **kwargs
    ):
        options = {} if transformer_options is None else transformer_options.copy()
        memory: Memory | None = options.pop(MEMORY, None)
        is_own = memory is not None and memory.model_id == id(self)
        if memory is not None and is_own and c_crossattn is not None and _may_use(self, options):
            to_device, dtype = comfy.model_management.cast_to_device, self.get_dtype_inference()
            image = kwargs.get("clip_fea")
            videos = len(x) // max(1, len(options.get("cond_or_uncond", ())))
            prepared: Prepared = memory.known.recall(
                plain(self.diffusion_model),
                to_device(c_crossattn, x.device, dtype),
                None if image is None else to_device(image, x.device, dtype),
                room=_room(options, x.device),
                spare=_spare(self, [videos * memory.prompts, *x.shape[1:]], x.device),
            )
            c_crossattn = prepared.text
            kwargs |= {"prepared": prepared} | ({} if image is None else {"clip_fea": prepared.image})
        return super()._apply_model(x, t, c_concat, c_crossattn, control, options, **kwargs)


def _may_use(model: Any, options: dict[str, Any]) -> bool:
    """Whether weights hold still, no gradient is wanted, and only our own layers get to prompt and tokens.

    Whoever gets to them may write to them. The host's EasyCache does not.
    """
    patcher = model.current_patcher
    if torch.is_grad_enabled() or comfy.model_management.in_training or patcher is None:
        return False
    if patcher.hook_patches or patcher.current_hooks is not None:  # LoRAs of one prompt, or with a schedule
        return False
    wrappers = options.get("wrappers", {}).get(_KINDS.DIFFUSION_MODEL, {})
    foreign = [key for key in wrappers if not f"{key}".startswith(("easycache", "magref"))]
    if foreign or replaced_blocks(options):
        return False
    dit: Any = plain(model.diffusion_model)
    if not isinstance(dit, MagrefDiT) or "forward_orig" in vars(dit):
        return False
    blocks = list(dit.blocks)
    return all(_is_own(block, Block) for block in blocks) and all(
        _is_own(plain(block).cross_attn, CrossAttention) for block in blocks
    )


def _is_own(module: Any, kind: type) -> bool:
    return isinstance(plain(module), kind) and "forward" not in vars(plain(module))


def _room(options: dict[str, Any], device: torch.device) -> float:
    """Bytes for the keys and values of one batch of prompts."""
    if "optimized_attention_override" in options:  # it might write to them
        return 0
    return _free(device) / SHARE


def _spare(model: Any, shape: list[int], device: torch.device) -> float:
    """Bytes that may be kept: what weights and passes leave, however the host splits the prompts.

    At every step the host asks what is free before it decides how many prompts are answered in one pass, and
    answers of other batches round differently. Weights that are still to come under dynamic video memory need
    room as well; where weights are streamed because they do not fit, there is none.

    Args:
        model: the host's.
        shape: of all prompts of the guider in one pass.
        device: where it is computed.
    """
    patcher = model.current_patcher
    if model.model_lowvram:
        return 0
    to_come = max(0, patcher.model_size() - patcher.loaded_size()) if patcher.is_dynamic() else 0
    return _free(device) - to_come - HEADROOM * float(model.memory_required(shape))


def _free(device: torch.device) -> float:
    return cast(float, comfy.model_management.get_free_memory(device))  # a pair only if asked for
