"""Step 5: a weight file becomes the MODEL."""

from __future__ import annotations

import re
from pathlib import Path, PurePath
from typing import Any

import folder_paths
import torch
from comfy_api.latest import io

from ..magref_core.errors import MagrefError
from . import model_summary
from .demo import check_shipped
from .model import load_magref_dit
from .notices import show_on_running_node

FOLDER = "diffusion_models"
GGUF_FOLDER = "magref_gguf"

PRECISIONS: dict[str, dict[str, Any]] = {
    "default": {},
    "bf16": {"dtype": torch.bfloat16},
    "fp16": {"dtype": torch.float16},
    "fp32": {"dtype": torch.float32},
    "fp8_e4m3fn": {"dtype": torch.float8_e4m3fn},
    "fp8_e4m3fn_fast": {"dtype": torch.float8_e4m3fn, "fp8_optimizations": True},
    "fp8_e5m2": {"dtype": torch.float8_e5m2},
}
"""Choice -> options of the host's loaders."""

_SHARD = re.compile(r"(.+)-\d{5}-of-\d{5}\.safetensors")


class MagrefDiTLoader(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="MagrefDiTLoader",
            display_name="MAGREF DiT Loader",
            category="MAGREF/loaders",
            description="Loads the MAGREF video model. Time embedding, modulation and residuals stay in "
            "32 bit as in the official program, and weights outside video memory are fetched ahead.",
            search_aliases=["magref", "load diffusion model", "unet loader", "wan"],
            inputs=[
                io.Combo.Input(
                    "model",
                    options=model_names(),
                    tooltip="A .safetensors or .gguf file in models/diffusion_models (bf16, fp16, fp8, "
                    "scaled fp8, nvfp4, mxfp8, int8; Q2_K to Q8_0), or the .safetensors.index.json of a "
                    "model in several files. Any Wan 2.1 I2V model fits.",
                ),
                io.Combo.Input(
                    "precision",
                    options=list(PRECISIONS),
                    default="default",
                    advanced=True,
                    tooltip="How the weights are kept in memory. default follows file and device and prefers "
                    "bf16, in which MAGREF was trained; fp8 halves the memory and costs some quality; "
                    "fp8_e4m3fn_fast also multiplies in fp8 on GPUs that can. "
                    "GGUF files and files quantised with scales stay as they are.",
                ),
            ],
            outputs=[io.Model.Output(id="model", display_name="model")],
        )

    @classmethod
    def execute(cls, model, precision) -> io.NodeOutput:
        if precision not in PRECISIONS:  # over a link, where the host does not look
            raise MagrefError(
                f"the precision is {precision!r}, which is unknown: choose one of {', '.join(PRECISIONS)}"
            )
        path = folder_paths.get_full_path_or_raise(FOLDER, model)
        check_shipped(Path(path))
        patcher = load_magref_dit(path, dict(PRECISIONS[precision]))
        found = model_summary.numbers(patcher)
        show_on_running_node(model_summary.sentence(found))
        return io.NodeOutput(patcher, ui={"magref_model": [found]})


def model_names() -> list[str]:
    """Files to choose from: a model in several files appears once, as its index."""
    return sorted([*_safetensors_names(), *_gguf_names()])


def _gguf_names() -> list[str]:
    """GGUF files of the same folders: not knowing the suffix, the host lists them for a name of ours."""
    folders = folder_paths.get_folder_paths(FOLDER)
    if folder_paths.folder_names_and_paths.get(GGUF_FOLDER, ([],))[0] != folders:
        folder_paths.folder_names_and_paths[GGUF_FOLDER] = (list(folders), {".gguf"})
        folder_paths.filename_list_cache.pop(GGUF_FOLDER, None)
    return folder_paths.get_filename_list(GGUF_FOLDER)


def _safetensors_names() -> set[str]:
    listed = folder_paths.get_filename_list(FOLDER)  # only suffixes that the host knows
    names = [name for name in listed if name.endswith((".safetensors", ".sft"))]
    index_of = {name: _index_of(name) for name in names}
    singles = {name for name, index in index_of.items() if index is None}
    return singles | {index for index in index_of.values() if index}


def _index_of(name: str) -> str | None:
    """The index to which a shard belongs, if the file is one and its index lies beside it."""
    shard = _SHARD.fullmatch(PurePath(name).name)
    if shard is None:
        return None
    index = str(PurePath(name).with_name(f"{shard[1]}.safetensors.index.json"))
    return index if folder_paths.get_full_path(FOLDER, index) else None
