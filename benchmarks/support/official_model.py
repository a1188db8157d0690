"""The official program's DiT out of a checkout that the user points at; nothing of it is kept here.

Only `magref/modules/model.py` and `attention.py` are run. Where flash-attention is not installed, the
official `attention` takes its place, which then uses PyTorch's own; where diffusers is not installed, bare
classes stand in for the two that only load and save. Neither changes what is computed.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import types
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from magref_core.errors import MagrefError

from .dit_models import Shape
from .machine import commit

PACKAGE = "magref"
URL = "https://github.com/MAGREF-Video/MAGREF"
_FLASH = ("flash_attn", "flash_attn_interface")
_SETTINGS = (
    *("patch_size", "text_len", "in_dim", "dim", "ffn_dim", "freq_dim", "text_dim", "out_dim"),
    *("num_heads", "num_layers", "eps"),
)
"""Of our config, those that the official model takes under the same names."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Official:
    """The official model, ready to be called as the host's `apply_model` is."""

    apply_model: Callable[..., Tensor]
    commit: str
    attention: str
    """Which attention it runs with."""
    notes: tuple[str, ...]
    """What was put in the place of packages that are not installed."""


def load_official(checkout: Path, weights: dict[str, Tensor], shape: Shape, device: str) -> Official:
    """Build the official DiT with given weights, in float32 as the official program does.

    Args:
        checkout: folder of the official repository.
        weights: under upstream names.
        shape: what the weights are of.
        device: cpu or cuda; on cuda passes run under autocast to bfloat16, as officially.

    Raises:
        MagrefError: the checkout lacks a file or a class, is of another model, or imports what is not
            installed.
    """
    model_module, attention_module, notes = _import(checkout)
    has_flash = device == "cuda" and any(importlib.util.find_spec(name) for name in _FLASH)
    if not has_flash:
        dtype = torch.float32 if device == "cpu" else torch.bfloat16
        fallback = partial(_part(attention_module, "attention", checkout), dtype=dtype)
        vars(model_module)["flash_attention"] = fallback
        notes.append("flash-attention: its own fallback, PyTorch's scaled_dot_product_attention")
    kind, values = _part(model_module, "WanModel", checkout), asdict(shape.config)
    try:
        model = kind(model_type="i2v", **{name: values[name] for name in _SETTINGS})
        model.load_state_dict({name: weight.float() for name, weight in weights.items()})
    except (TypeError, RuntimeError) as error:
        raise MagrefError(
            f"the WanModel of {checkout} is not the one that MAGREF was released with "
            f"({str(error).splitlines()[0]}): point --official at a checkout of {URL}"
        ) from error
    model.eval().requires_grad_(False).to(device)
    return Official(
        apply_model=partial(_apply, model, device),
        commit=commit(checkout),
        attention="flash-attention" if has_flash else "scaled_dot_product_attention",
        notes=tuple(notes),
    )


def _apply(
    model: Any,
    device: str,
    x: Tensor,
    sigma: Tensor,
    *,
    c_concat: Tensor,
    c_crossattn: Tensor,
    clip_fea: Tensor,
    transformer_options: object,
) -> Tensor:
    """The host's question in the official form: velocity at a timestep, then what is left without noise."""
    patch = model.patch_size
    length = x[0, 0].numel() // (patch[0] * patch[1] * patch[2])
    with warnings.catch_warnings(), torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
        # It warns at every call that padding is not masked away; there is none.
        warnings.simplefilter("ignore")
        (velocity,) = model(
            [x[0]],
            t=1000 * sigma,
            context=[c_crossattn[0]],
            seq_len=length,
            clip_fea=clip_fea,
            y=[c_concat[0]],
        )
    return x - velocity[None] * sigma[0]


def _import(checkout: Path) -> tuple[types.ModuleType, types.ModuleType, list[str]]:
    """The two modules, without running the packages around them, which ask for the whole program."""
    folders = {PACKAGE: checkout / PACKAGE, f"{PACKAGE}.modules": checkout / PACKAGE / "modules"}
    for name in ("model.py", "attention.py"):
        if not (folders[f"{PACKAGE}.modules"] / name).is_file():
            raise MagrefError(
                f"{checkout} lacks {PACKAGE}/modules/{name}: point --official at a checkout of {URL}"
            )
    for name, folder in folders.items():
        package = types.ModuleType(name)
        package.__path__ = [str(folder)]
        sys.modules[name] = package
    notes: list[str] = []
    try:
        with _diffusers_or_bare(notes), warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            attention = importlib.import_module(f"{PACKAGE}.modules.attention")
            model = importlib.import_module(f"{PACKAGE}.modules.model")
    except ImportError as error:
        raise MagrefError(
            f"{checkout} cannot be imported here ({error}): install what is missing, or leave out --official"
        ) from error
    return model, attention, notes


@contextmanager
def _diffusers_or_bare(notes: list[str]) -> Iterator[None]:
    """Diffusers, or for the length of the import classes of its names that do nothing."""
    if importlib.util.find_spec("diffusers") is not None:
        yield
        return
    notes.append("diffusers: bare classes for ModelMixin and ConfigMixin, which only load and save")
    names = (
        "diffusers",
        "diffusers.configuration_utils",
        "diffusers.models",
        "diffusers.models.modeling_utils",
    )
    modules = {name: types.ModuleType(name) for name in names}
    contents: dict[str, Any] = {
        "ConfigMixin": type("ConfigMixin", (), {}),
        "register_to_config": lambda function: function,
    }
    vars(modules["diffusers.configuration_utils"]).update(contents)
    vars(modules["diffusers.models.modeling_utils"])["ModelMixin"] = torch.nn.Module
    sys.modules.update(modules)
    try:
        yield
    finally:
        for name in names:
            del sys.modules[name]


def _part(module: types.ModuleType, name: str, checkout: Path) -> Any:
    if not hasattr(module, name):
        file = module.__name__.replace(".", "/")
        raise MagrefError(f"{checkout} has no {name} in {file}.py: point --official at a checkout of {URL}")
    return getattr(module, name)
