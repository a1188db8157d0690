"""What is computed once per run: how long it is kept, and when it may be used.

The memory is made when a sampler starts, travels in the options of its run and is emptied when the sampler
ends, however it ends. It works with every sampler and guider of the host. Where weights may change within the
run or something else may stand between prompt and blocks, it is left alone, see `_may_use` and `_room`.
"""

from __future__ import annotations

from typing import Any, cast

import comfy.model_base
import comfy.model_management
import comfy.patcher_extension
import torch

from ..magref_core.dit.attention import CrossAttention
from ..magref_core.dit.blocks import Block
from ..magref_core.dit.model import MagrefDiT
from ..magref_core.dit.prepared import Prepared, RunMemory, plain

MEMORY = "magref_run_memory"
"""Under this name the options of a run carry `(the model that it is for, its RunMemory)`."""

SHARE = 16
"""Keys and values take at most this part of the free memory: 1.2 GiB for both prompts of the 14B model in
bfloat16, which would otherwise be 0.2 % of a step at 832 x 480 with 81 frames."""


def keep_for_a_run(patcher: Any) -> None:
    """Let each run of a sampler with this MODEL, and with clones of it, have a memory."""
    kind = comfy.patcher_extension.WrappersMP.OUTER_SAMPLE
    patcher.add_wrapper_with_key(kind, MEMORY, _with_memory)


def _with_memory(executor: Any, *args: Any, **kwargs: Any) -> Any:
    guider = executor.class_obj
    options = guider.model_options.setdefault("transformer_options", {})  # the host's copy for this run
    if MEMORY in options:
        return executor(*args, **kwargs)
    memory = RunMemory()
    options[MEMORY] = (guider.model_patcher.model, memory)
    try:
        return executor(*args, **kwargs)
    finally:
        options.pop(MEMORY, None)
        memory.clear()  # copies of the options still hold it


class PromptRemembering(comfy.model_base.WAN21):
    """Hands the DiT what is known already of prompt and canvas; outside of what torch.compile sees."""

    def _apply_model(
        self, x, t, c_concat=None, c_crossattn=None, control=None, transformer_options=None, **kwargs
    ):
        options = {} if transformer_options is None else transformer_options.copy()
        owner, memory = options.pop(MEMORY, (None, None))
        if owner is self and c_crossattn is not None and _may_use(self):
            cast, dtype = comfy.model_management.cast_to_device, self.get_dtype_inference()
            image = kwargs.get("clip_fea")
            prepared: Prepared = memory.recall(
                plain(self.diffusion_model),
                cast(c_crossattn, x.device, dtype),
                None if image is None else cast(image, x.device, dtype),
                room=_room(self, options, x.device),
            )
            c_crossattn = prepared.text
            kwargs |= {"prepared": prepared} | ({} if image is None else {"clip_fea": prepared.image})
        return super()._apply_model(x, t, c_concat, c_crossattn, control, options, **kwargs)


def _may_use(model: Any) -> bool:
    """Whether weights hold still, no gradient is wanted, and no node has put another loop or block in."""
    patcher = model.current_patcher
    if torch.is_grad_enabled() or comfy.model_management.in_training or patcher is None:
        return False
    if patcher.hook_patches or patcher.current_hooks is not None:  # LoRAs of one prompt, or with a schedule
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


def _room(model: Any, options: dict[str, Any], device: torch.device) -> float:
    """Bytes for the keys and values of one batch of prompts."""
    # Another's attention might write to them; where weights are streamed, memory is worth more than they.
    if "optimized_attention_override" in options or model.model_lowvram:
        return 0
    return cast(float, comfy.model_management.get_free_memory(device)) / SHARE  # a pair only if asked for
