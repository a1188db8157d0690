"""Step 5: a LoRA on top of the model, whatever its tool calls the layers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import comfy.lora
import comfy.utils
import folder_paths
import torch
from comfy_api.latest import io
from torch import Tensor, nn

from ..magref_core.dit.checkpoint import read_checkpoint
from ..magref_core.dit.lora import HOST_PREFIX, Lora, normalise_lora
from ..magref_core.errors import CheckpointError, MagrefError
from ..magref_core.sampling.distilled import OFFICIAL, PRESETS, SamplingPreset, preset_for
from .notices import show_notices

FOLDER = "loras"
AUTO, NONE = "auto", "none"
FEW = 3
"""Keys that a sentence names."""


class MagrefLoraLoader(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="MagrefLoraLoader",
            display_name="MAGREF LoRA Loader",
            category="MAGREF/loaders",
            description="Puts a LoRA on the model, by whatever names its tool wrote it, and says how much "
            "of it "
            "fits. For LoRAs that need few steps it tells how to sample.",
            search_aliases=["magref", "lora", "lightx2v", "distill", "peft", "diffusers", "kohya"],
            inputs=[
                io.Model.Input("model", tooltip="A MAGREF model, ours or from Load Diffusion Model."),
                io.Combo.Input(
                    "lora",
                    options=lora_names(),
                    tooltip="A .safetensors file in models/loras, in the names of ComfyUI, diffusers, "
                    "peft, kohya, "
                    "Wan-Fun, OneTrainer, LyCORIS or lightx2v.",
                ),
                io.Float.Input(
                    "strength",
                    default=1.0,
                    min=-10.0,
                    max=10.0,
                    step=0.05,
                    tooltip="How much of the LoRA is added; 0 leaves the model as it is.",
                ),
                io.Combo.Input(
                    "preset",
                    options=[AUTO, NONE, *PRESETS],
                    default=AUTO,
                    tooltip="What the outputs steps, shift and guidance_scale say. auto tells a distilled "
                    "LoRA by "
                    "the name of its file; for all others, and with none, they are MAGREF's own.",
                ),
            ],
            outputs=[
                io.Model.Output(id="model", display_name="model", tooltip="The model with the LoRA."),
                io.Int.Output(id="steps", display_name="steps", tooltip="For MAGREF Sampler."),
                io.Float.Output(id="shift", display_name="shift", tooltip="For MAGREF Sampler."),
                io.Float.Output(
                    id="guidance_scale", display_name="guidance_scale", tooltip="For MAGREF Sampler."
                ),
                io.String.Output(
                    id="report", display_name="report", tooltip="How much of the file fits, in words."
                ),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(cls, model, lora, strength, preset) -> io.NodeOutput:
        settings, advice = settings_of(preset, lora)
        tensors, metadata = read_lora(lora)
        fitted = normalise_lora(tensors, model_shapes(model), label=Path(lora).name, metadata=metadata)
        facts, warnings = sentences(fitted, Path(lora).name)
        show_notices(warnings, cls.hidden, facts=[*facts, *advice])
        report = "\n".join([*facts, *warnings, *advice])
        result = with_lora(model, fitted, strength)
        return io.NodeOutput(result, settings.steps, settings.shift, settings.guidance_scale, report)


def lora_names() -> list[str]:
    """Files to choose from."""
    return [
        name for name in folder_paths.get_filename_list(FOLDER) if name.endswith((".safetensors", ".sft"))
    ]


def settings_of(preset: str, lora: str) -> tuple[SamplingPreset, list[str]]:
    """What the outputs say, and a sentence on it where it is not MAGREF's own.

    Raises:
        MagrefError: there is no such preset.
    """
    if preset not in (AUTO, NONE, *PRESETS):  # over a link, where the host does not look
        raise MagrefError(
            f"the preset is {preset!r}, which is unknown: choose one of {', '.join((AUTO, NONE, *PRESETS))}"
        )
    name = preset_for(Path(lora).name) if preset == AUTO else preset
    if name is None or name == NONE:
        return OFFICIAL, []
    found = PRESETS[name]
    return found, [
        f"Sample with {found.steps} steps, shift {found.shift:g}, guidance_scale {found.guidance_scale:g} "
        "and the "
        f"solver {found.solver} ({name}): link steps, shift and guidance_scale to MAGREF Sampler."
    ]


def read_lora(name: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a file in models/loras.

    Raises:
        CheckpointError: it is missing, broken or no safetensors file.
    """
    path = folder_paths.get_full_path(FOLDER, name) if isinstance(name, str) else None
    if path is None or not path.endswith((".safetensors", ".sft")):
        raise CheckpointError(
            f"there is no LoRA {name!r} in ComfyUI's models/{FOLDER}: put a .safetensors file there and "
            "press R"
        )
    read_checkpoint(Path(path))  # says what is wrong with a broken file
    tensors, metadata = comfy.utils.load_torch_file(path, safe_load=True, return_metadata=True)
    return tensors, metadata or {}


def model_shapes(model: Any) -> dict[str, tuple[int, ...]]:
    """Upstream names and shapes of the weights, whatever form they are held in.

    Raises:
        MagrefError: the model is no video model of the Wan family.
    """
    dit = model.model.diffusion_model
    if not (hasattr(dit, "blocks") and hasattr(dit, "patch_embedding") and hasattr(dit, "head")):
        raise MagrefError(
            f"the model is a {type(model.model).__name__}, but this node knows the layers of Wan models: "
            "use Load "
            "LoRA for it, or load a MAGREF checkpoint with MAGREF DiT Loader"
        )
    shapes = {name: tuple(value.shape) for name, value in dit.named_parameters()}
    for path, layer in dit.named_modules():
        if hasattr(layer, "in_features"):  # packed matrices, and those not loaded yet, have another shape
            shapes[f"{path}.weight"] = (layer.out_features, layer.in_features)
    return shapes


def sentences(lora: Lora, label: str) -> tuple[list[str], list[str]]:
    """What is said of a LoRA: facts and warnings."""
    if not lora.layers:
        return [], [
            f"none of the {lora.num_keys} keys of {label} belongs to this model (such as "
            f"{_few(lora.unknown)}), so it does nothing: choose a LoRA for Wan 2.1 image-to-video"
        ]
    ranks = f", rank {' and '.join(str(rank) for rank in lora.ranks)}" if lora.ranks else ""
    facts = [
        f"{label}: {lora.num_matched} of {lora.num_keys} keys fit, on {len(lora.layers)} layers{ranks}"
        + (f", {len(lora.modulation)} of them modulation tables." if lora.modulation else ".")
    ]
    warnings: list[str] = []
    if lora.misfits:
        warnings.append(
            f"{label} was made for another kind of Wan model: {_few(lora.misfits)} has another shape here "
            "and is "
            "left out"
        )
    if foreign := [key for key in lora.unknown if not _belongs(key, lora.misfits)]:
        warnings.append(
            f"{len(foreign)} keys of {label} have no place in this model, such as {_few(foreign)}"
        )
    return facts, warnings


def with_lora(model: Any, lora: Lora, strength: float) -> Any:
    """A clone of the model with the LoRA on it; the model itself where there is nothing to add."""
    if not lora.layers or strength == 0:
        return model
    keys = comfy.lora.model_lora_keys_unet(model.model, {})
    patches = comfy.lora.load_lora(lora.weights, keys)
    patched = model.clone()
    applied = patched.add_patches(patches, strength)
    if lost := set(patches) - set(applied):
        raise MagrefError(
            f"{len(lost)} patches of the LoRA did not reach the model, such as {sorted(lost)[0]}"
        )
    for path, difference in lora.modulation.items():
        name = HOST_PREFIX + path
        # Of the clone: an earlier LoRA may have put its own table there.
        table = patched.get_model_object(name)
        changed = table.detach().float() + strength * difference.to(table.device, torch.float32)
        patched.add_object_patch(name, nn.Parameter(changed.to(table.dtype), requires_grad=False))
    return patched


def _belongs(key: str, layers: tuple[str, ...]) -> bool:
    return any(layer in key or layer.replace(".", "_") in key for layer in layers)


def _few(names: tuple[str, ...] | list[str]) -> str:
    return ", ".join(names[:FEW]) + (", ..." if len(names) > FEW else "")
