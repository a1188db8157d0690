"""Around runs that may not fit: a plan before, one smaller try after, and a sentence where that fails too."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import Any

import comfy.context_windows
import comfy.model_management
import comfy.model_patcher
import comfy.patcher_extension
import comfy.samplers
import torch
from torch import Tensor

from ..magref_core.errors import MagrefError
from ..magref_core.sampling.memory import (
    MemoryNeed,
    decoding_remedy,
    plan_memory,
    sampling_remedy,
    second_try,
)
from ..magref_core.sizes import FRAME_STRIDE, PIXEL_STRIDE
from .guider import MagrefGuider
from .notices import log_warnings, show_on_running_node

KEY = "magref_smaller"
_KINDS = comfy.patcher_extension.WrappersMP
_IS_FULL = ("DefaultCPUAllocator", "_STATUS_ALLOC_FAILED", "error: out of memory")
"""Of the machine, and of the card as cuBLAS, cuDNN and the runtime say it."""
_CARD_IS_LOST = ("CUDA error", "HIP error", "device-side assert", "GPU is lost")
_CARD_REFUSES = (
    "not supported",
    "STATUS_NOT_SUPPORTED",
    "STATUS_INVALID_VALUE",
    "no kernel image",
    "invalid argument",
    "invalid configuration",
    "invalid device function",
)
"""What was asked for is wrong for this card or this PyTorch; the card itself is well."""

logger = logging.getLogger(__name__)


class GpuLostError(RuntimeError):
    """The graphics card answers no longer."""

    __module__ = "magref"


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory is full, of the card or of the machine."""
    return comfy.model_management.is_oom(error) or (
        isinstance(error, RuntimeError) and any(words in str(error) for words in _IS_FULL)
    )


def is_card_lost(error: BaseException) -> bool:
    """Whether an error says that the card cannot be used any more in this process."""
    said = f"{error}".partition("\n")[0]  # advice follows
    if not isinstance(error, RuntimeError) or any(words in said for words in _CARD_REFUSES):
        return False
    accelerator = getattr(torch, "AcceleratorError", ())
    return isinstance(error, accelerator) or any(words in said for words in _CARD_IS_LOST)


def need_of(guider: Any, latent: Tensor) -> MemoryNeed | None:
    """What a run asks for at most, as the host reckons before it splits the prompts.

    None on a CPU, for which its formula is not made, and for guiders and windows that it does not know.
    """
    patcher, prompts = guider.model_patcher, prompts_of(guider)
    if comfy.model_management.is_device_cpu(patcher.load_device) or prompts is None:
        return None
    shape = list(latent.shape)
    windows = guider.model_options.get("context_handler")
    if windows is not None:
        if not isinstance(windows, comfy.context_windows.IndexListContextHandler):
            return None
        shape[windows.dim] = min(shape[windows.dim], windows.context_length)
    return MemoryNeed(
        weights=int(patcher.model_size()),
        one_pass=int(patcher.model.memory_required(shape)),
        prompts=prompts,
    )


def prompts_of(guider: Any) -> int | None:
    """How many prompts a guider asks for at once; where it may do without some of them, how many at most.

    None for a guider that keeps its prompts in a way of its own.
    """
    conds = getattr(guider, "original_conds", None)
    if not isinstance(conds, dict) or not conds:
        return None
    if isinstance(guider, MagrefGuider):
        return guider.most_prompts
    if getattr(type(guider), "predict_noise", None) is not comfy.samplers.CFGGuider.predict_noise:
        return len(conds)
    keeps_both = guider.model_options.get("disable_cfg1_optimization", False)
    return len(conds) if keeps_both or not math.isclose(guider.cfg, 1) else 1


def free_for(patcher: Any) -> int:
    """Bytes that a model may have on its device: free ones, and those of models that make room for it."""
    device = patcher.load_device
    loaded = [
        model.model_loaded_memory()
        for model in comfy.model_management.current_loaded_models
        if model.device == device and model.model is not None
    ]
    free: Any = comfy.model_management.get_free_memory(device)  # a pair only where that is asked for
    return int(free + sum(loaded))


def sample_within_memory(guider: Any, latent: Tensor, run: Callable[[], Tensor]) -> Tensor:
    """Sample, and once more with a smaller plan where memory runs out and there is one.

    Args:
        guider: of the run, on whose options alone the smaller plan is put.
        latent: (B, 16, T, h, w), whose size decides what is needed.
        run: samples from the start, and gives the same each time.

    Raises:
        MagrefError: no plan fits; all models have been removed from the card.
        GpuLostError: the card answers no longer.
    """
    patcher = guider.model_patcher
    need = need_of(guider, latent)
    if need is not None:
        sentence = plan_memory(need, free_for(patcher), weights_give_way=patcher.is_dynamic())
        logger.info("sampling %s", sentence)
        show_on_running_node(sentence)
    result, second = _tried(run, "sampling"), None
    if result is None:
        second = _second_try(guider)
        _make_room()
    if second is not None:
        show_and_log(f"out of memory while sampling: once more from the start, {second}")
        options = guider.model_options
        guider.model_options = with_smaller_plan(options)
        try:
            result = _tried(run, "sampling")
        finally:
            guider.model_options = options
        if result is None:
            _make_room()
    if result is None:
        frames, height, width = latent.shape[2:]
        raise MagrefError(
            sampling_remedy(
                need,
                free_for(patcher),
                frames=(frames - 1) * FRAME_STRIDE + 1,
                width=width * PIXEL_STRIDE,
                height=height * PIXEL_STRIDE,
                second=second,
                on_card=not comfy.model_management.is_device_cpu(patcher.load_device),
            )
        )
    return result


def _second_try(guider: Any) -> str | None:
    """What would be different in it, in words; None if it would be the same run again."""
    patcher = guider.model_patcher
    is_split, moves_weights = prompts_of(guider) != 1, _weights_move(patcher)
    is_worth_it = is_split or moves_weights or _has_others(patcher)
    return second_try(is_split=is_split, moves_weights=moves_weights) if is_worth_it else None


def _weights_move(patcher: Any) -> bool:
    """Whether the host keeps more of the weights in main memory where more room is asked for.

    Dynamic video memory moves them by itself, as far as can be; on a CPU they are in main memory.
    """
    return not (patcher.is_dynamic() or comfy.model_management.is_device_cpu(patcher.load_device))


def _has_others(patcher: Any) -> bool:
    """Whether other models are on the card, from which they can be removed."""
    device = patcher.load_device
    return not comfy.model_management.is_device_cpu(device) and any(
        loaded.device == device and loaded.model is not None and not loaded.model.is_clone(patcher)
        for loaded in comfy.model_management.current_loaded_models
    )


def decode_within_memory(
    vae: Any, latent: Tensor, tile_size: int | None, run: Callable[[], Tensor]
) -> Tensor:
    """Decode; the host tries tiles by itself where whole frames do not fit.

    Args:
        vae: the host's.
        latent: (B, 16, T, h, w).
        tile_size: in pixels; 0 for whole frames, None where there is nothing to choose.
        run: decodes.

    Raises:
        MagrefError: its tiles did not fit either; all models have been removed from the card.
        GpuLostError: the card answers no longer.
    """
    result = _tried(run, "decoding")
    if result is None:
        _make_room()
        raise MagrefError(
            decoding_remedy(
                int(vae.memory_used_decode(latent.shape, vae.vae_dtype)),
                free_for(vae.patcher),
                width=latent.shape[4] * PIXEL_STRIDE,
                height=latent.shape[3] * PIXEL_STRIDE,
                tile_size=tile_size,
                on_card=not comfy.model_management.is_device_cpu(vae.patcher.load_device),
            )
        )
    return result


def with_smaller_plan(model_options: dict[str, Any]) -> dict[str, Any]:
    """A copy of a run's options under which prompts are answered one by one and more room is kept.

    The room is that of twice the batch, by which the host leaves more of the weights in main memory; but not
    under dynamic video memory, where weights move by themselves, and not on a CPU.
    """
    options = comfy.model_patcher.create_model_options_clone(model_options)
    _add_wrapper(_KINDS.PREPARE_SAMPLING, _prepare_smaller, options)
    return options


def _add_wrapper(kind: str, wrapper: Callable[..., Any], options: dict[str, Any]) -> None:
    comfy.patcher_extension.add_wrapper_with_key(kind, KEY, wrapper, options, is_model_options=True)


def _prepare_smaller(
    executor: Any, model: Any, noise_shape: Any, *args: Any, model_options: dict[str, Any], **kwargs: Any
) -> Any:
    # Only here, when the wrappers of the model are all in: inside a cache, whose steps are those of a batch.
    _add_wrapper(_KINDS.CALC_COND_BATCH, _one_by_one, model_options)
    shape = [2 * noise_shape[0], *noise_shape[1:]]
    return executor(model, shape, *args, model_options=model_options, **kwargs)


def _one_by_one(executor: Any, model: Any, conds: list[Any], *args: Any) -> list[Tensor]:
    """Each prompt in a pass of its own, the last first as the host does it, in its own place of the list."""
    answers: dict[int, Tensor] = {}
    for place in reversed(range(len(conds))):
        alone = [cond if index == place else None for index, cond in enumerate(conds)]
        answers[place] = executor(model, alone, *args)[place]
    return [answers[place] for place in range(len(conds))]


def _tried(run: Callable[[], Tensor], doing: str) -> Tensor | None:
    """The result; None where memory ran out.

    The error is let go before anything else is tried: it holds on to all that the run had in memory.

    Raises:
        GpuLostError: the card answers no longer; trying again would fail in the same way.
    """
    try:
        return run()
    except Exception as error:
        if is_out_of_memory(error):
            logger.info("%s ran out of memory: %s", doing, error)
            return None
        if is_card_lost(error):
            raise GpuLostError(
                f"the graphics card stopped answering while {doing} ({str(error).splitlines()[0]}): restart "
                "ComfyUI; if it happens again, lower the card's clocks or update its driver"
            ) from error
        raise


def _make_room() -> None:
    comfy.model_management.unload_all_models()
    comfy.model_management.soft_empty_cache()


def show_and_log(sentence: str) -> None:
    """A warning in the log, and on the node that runs."""
    log_warnings([sentence])
    show_on_running_node(sentence)
