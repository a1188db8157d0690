"""Models of another make for the speed of a run: compiled by PyTorch, or with weights in 8 bits."""

from __future__ import annotations

import gc
import importlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor

from . import speed_ways
from .dit_models import PACK, load_in_pack

BACKEND = "inductor"
FP8 = "fp8_e4m3fn"
"""So the precisions begin whose weights lose least in 8 bits."""

Patchers = dict[str, Any]
"""Label -> MODEL."""


def compiled(patchers: Patchers, _file: Path) -> Patchers:
    """Both through ComfyUI's TorchCompileModel, which loads anew what is under dynamic video memory."""
    node = importlib.import_module("comfy_extras.nodes_torch_compile").TorchCompileModel
    return {
        f"{name}, torch.compile": node.execute(patcher, BACKEND).args[0] for name, patcher in patchers.items()
    }


def in_fp8(_patchers: Patchers, file: Path) -> Patchers:
    """Ours in each such precision of MAGREF DiT Loader."""
    precisions = importlib.import_module(f"{PACK}.nodes.loaders").PRECISIONS
    return {
        f"ours, {name}": load_in_pack(file, dict(options))
        for name, options in precisions.items()
        if name.startswith(FP8)
    }


MAKERS: dict[str, Callable[[Patchers, Path], Patchers]] = {"compile": compiled, "fp8": in_fp8}
"""Option of the command -> what makes the models of its rows out of ours and native, and their file."""


def measure_made(
    name: str,
    patchers: Patchers,
    file: Path,
    inputs: dict[str, Any],
    ours: Tensor,
    turns: Callable[[dict[str, Callable[[], Any]]], dict[str, Any]],
    steps: int,
) -> dict[str, dict[str, Any]]:
    """Rows of the models that one option adds. They take turns among themselves: not all fit at once.

    Args:
        name: of the option.
        patchers: ours and native.
        file: from which they were loaded.
        inputs: of a run.
        ours: (B, 16, T, h, w); our answer after one step.
        turns: times calls by their labels.
        steps: of a timed run.

    Returns:
        `rows`, `differences` to our answer and `first_seconds` of the step before all timed ones, by label;
        or `faults` by option, where a compiler is missing or memory does not suffice.
    """
    management = importlib.import_module("comfy.model_management")
    management.unload_all_models()
    made: Patchers = {}
    differences: dict[str, float] = {}
    first: dict[str, float] = {}
    try:
        made = MAKERS[name](patchers, file)
        for label, patcher in made.items():
            started = time.perf_counter()
            answer = speed_ways.run(patcher, speed_ways.OURS, inputs, 1).cpu()
            first[label] = time.perf_counter() - started
            differences[label] = (answer - ours).abs().max().item()
        rows = turns(
            {
                label: lambda patcher=patcher: speed_ways.run(patcher, speed_ways.OURS, inputs, steps)
                for label, patcher in made.items()
            }
        )
    except RuntimeError as error:  # also torch's of full memory and of compilers
        return {"faults": {name: f"{error}".strip().partition("\n")[0]}}
    finally:
        made.clear()
        management.unload_all_models()
        gc.collect()
        management.soft_empty_cache()
    return {"rows": rows, "differences": differences, "first_seconds": first}
