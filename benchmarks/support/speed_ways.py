"""The ways in which a run of the DiT is timed: ours, the host's own, and ours without each of its savings."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from unittest import mock

import torch
from torch import Tensor

from .dit_models import CANVAS_CHANNELS, IMAGE_TOKENS, PACK, PROMPT_TOKENS, Shape

CFG = 5.0
FIRST_SIGMA = 1.0
SHIFT = 3.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Way:
    """One row of the table."""

    label: str
    model: str
    """ours or native."""
    arrange: Callable[[Any], contextlib.AbstractContextManager[None]]
    """MODEL -> what holds while it runs."""


@contextlib.contextmanager
def _as_it_is(_patcher: Any) -> Iterator[None]:
    yield


@contextlib.contextmanager
def _without_memory(patcher: Any) -> Iterator[None]:
    """Nothing is kept from step to step."""
    memory = importlib.import_module(f"{PACK}.nodes.run_memory").MEMORY
    kind = importlib.import_module("comfy.patcher_extension").WrappersMP.OUTER_SAMPLE
    kept = list(patcher.get_wrappers(kind, memory))
    patcher.remove_wrappers_with_key(kind, memory)
    try:
        yield
    finally:
        for wrapper in kept:
            patcher.add_wrapper_with_key(kind, memory, wrapper)


@contextlib.contextmanager
def _embeddings_alone(_patcher: Any) -> Iterator[None]:
    """As where memory is short: keys and values are computed at each step."""
    with mock.patch.object(importlib.import_module(f"{PACK}.nodes.run_memory"), "SHARE", 1e18):
        yield


@contextlib.contextmanager
def _fallback_attention(_patcher: Any) -> Iterator[None]:
    """As with --use-quad-cross-attention."""
    arguments = importlib.import_module("comfy.cli_args").args
    with mock.patch.object(arguments, "use_quad_cross_attention", new=True):
        yield


@contextlib.contextmanager
def _pytorch_attention(_patcher: Any) -> Iterator[None]:
    """As with --use-pytorch-cross-attention."""
    attention = importlib.import_module("comfy.ldm.modules.attention").attention_pytorch
    module = importlib.import_module("comfy.ldm.wan.model")
    with mock.patch.object(module, "optimized_attention", attention):
        yield


@contextlib.contextmanager
def _two_passes(patcher: Any) -> Iterator[None]:
    """Prompt and negative prompt one after the other, with as many weights on the card as before."""
    one_by_one = importlib.import_module(f"{PACK}.nodes.memory_plan")._one_by_one
    kind, key = importlib.import_module("comfy.patcher_extension").WrappersMP.CALC_COND_BATCH, "one_by_one"
    patcher.add_wrapper_with_key(kind, key, one_by_one)
    try:
        yield
    finally:
        patcher.remove_wrappers_with_key(kind, key)


OURS = Way(label="ours", model="ours", arrange=_as_it_is)
NATIVE = Way(label="native", model="native", arrange=_as_it_is)
OTHERS = (
    Way(label="ours, nothing kept for the run", model="ours", arrange=_without_memory),
    Way(label="ours, embeddings kept, keys and values not", model="ours", arrange=_embeddings_alone),
    Way(label="ours, the host's attention for CPUs", model="ours", arrange=_fallback_attention),
    Way(label="ours, prompts in two passes", model="ours", arrange=_two_passes),
    Way(label="native, PyTorch's attention", model="native", arrange=_pytorch_attention),
)


def others_on(device: str) -> tuple[Way, ...]:
    """The other ways on a device: on a card ours takes the host's attention anyway."""
    return tuple(way for way in OTHERS if device == "cpu" or way.arrange is not _fallback_attention)


def sigmas_of(steps: int) -> Tensor:
    """(steps + 1,) evenly spaced, shifted as MAGREF does."""
    even = torch.linspace(FIRST_SIGMA, 0, steps + 1)
    return SHIFT * even / (1 + (SHIFT - 1) * even)


def inputs_of(shape: Shape) -> dict[str, Any]:
    """Noise, and a prompt and a negative prompt with the same canvas, as the nodes hand them over."""
    generator = torch.Generator().manual_seed(1)
    config = shape.config
    clip = importlib.import_module("comfy.clip_vision").Output()
    clip["penultimate_hidden_states"] = torch.randn(1, IMAGE_TOKENS, config.clip_dim, generator=generator)
    canvas = torch.randn(1, CANVAS_CHANNELS, *shape.latent, generator=generator)
    extras = {"concat_latent_image": canvas[:, 4:], "concat_mask": canvas[:, :4].sign().clamp(0, 1)}
    conds = []
    for _ in range(2):
        text = torch.zeros(1, config.text_len, config.text_dim)
        text[:, :PROMPT_TOKENS] = torch.randn(1, PROMPT_TOKENS, config.text_dim, generator=generator)
        conds.append([[text, {**extras, "clip_vision_output": clip}]])
    noise = torch.randn(1, config.out_dim, *shape.latent, generator=generator)
    return {"positive": conds[0], "negative": conds[1], "noise": noise}


@torch.inference_mode()
def run(patcher: Any, way: Way, inputs: dict[str, Any], steps: int) -> Tensor:
    """A whole run through the host's guider, with everything that is done once."""
    samplers = importlib.import_module("comfy.samplers")
    with way.arrange(patcher):
        guider = samplers.CFGGuider(patcher)
        guider.set_conds(inputs["positive"], inputs["negative"])
        guider.set_cfg(CFG)
        empty = torch.zeros_like(inputs["noise"])
        sampler, sigmas = samplers.sampler_object("euler"), sigmas_of(steps)
        return guider.sample(inputs["noise"], empty, sampler, sigmas, disable_pbar=True, seed=0)
