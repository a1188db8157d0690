"""The encoders of the small demo model, which comes with the pack: CLIP and CLIP_VISION as the host's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import comfy.clip_vision
import comfy.sd
import comfy.supported_models_base
import comfy.text_encoders.wan
import comfy.utils
import folder_paths
import torch
from comfy_api.latest import io
from torch import Tensor

from ..magref_core.bundle import FOLDERS, RESTORE, Kind, kind_of, read_config, verify
from ..magref_core.errors import CheckpointError, MagrefError
from .host import DEMO_MARK

BUNDLE = Path(__file__).parents[1] / "models" / "demo"
"""Laid out like the host's `models`."""

FOLDER_OF: dict[Kind, str] = {"text_encoder": "text_encoders", "clip_vision": "clip_vision"}
SHIPPED: dict[Kind, str] = {
    "text_encoder": "magref_demo_umt5.safetensors",
    "clip_vision": "magref_demo_clip_vision.safetensors",
}
"""Shown where no file is found, so that the error has something to name."""

TOKENIZER = "spiece_model"
"""Tensor of a text encoder's file that holds the tokenizer, as in the files that the host reads."""

VISION_FORM = {"model_type": "clip_vision_model", "hidden_act": "gelu", "num_channels": 3, DEMO_MARK: True}
"""What all demo image encoders have in common; the host ignores the mark, our guidance knows them by it."""


class DemoEncoders(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="MagrefDemoEncoders",
            display_name="MAGREF Demo Encoders",
            category="MAGREF/loaders",
            description="Loads the text encoder and the image encoder of the small demo model that comes "
            "with this pack. They fit the demo model only.",
            search_aliases=["magref", "demo", "load clip", "load clip vision", "umt5"],
            inputs=[
                io.Combo.Input(
                    "text_encoder",
                    options=demo_names("text_encoder"),
                    tooltip="The demo's text encoder. Of models/text_encoders and of the pack's own "
                    "models/demo/text_encoders, only files that are marked as demo encoders are listed.",
                ),
                io.Combo.Input(
                    "clip_vision",
                    options=demo_names("clip_vision"),
                    tooltip="The demo's image encoder. Of models/clip_vision and of the pack's own "
                    "models/demo/clip_vision, only files that are marked as demo encoders are listed.",
                ),
            ],
            outputs=[
                io.Clip.Output(id="clip", display_name="clip", tooltip="For CLIP Text Encode."),
                io.ClipVision.Output(
                    id="clip_vision",
                    display_name="clip_vision",
                    tooltip="For MAGREF Apply Masked Guidance.",
                ),
            ],
        )

    @classmethod
    def validate_inputs(cls, text_encoder: str | None, clip_vision: str | None) -> bool | str:
        try:
            if text_encoder is not None:  # None: the value comes over a link
                find(text_encoder, "text_encoder")
            if clip_vision is not None:
                find(clip_vision, "clip_vision")
        except MagrefError as error:
            return str(error)
        return True

    @classmethod
    def execute(cls, text_encoder, clip_vision) -> io.NodeOutput:
        files = find(text_encoder, "text_encoder"), find(clip_vision, "clip_vision")
        return io.NodeOutput(load_text_encoder(str(files[0])), load_clip_vision(str(files[1])))


def register_bundle() -> None:
    """Let every loader's list show the pack's own files, after those of the user."""
    for folder in FOLDERS:
        folder_paths.add_model_folder_path(folder, str(BUNDLE / folder), is_default=False)


def demo_names(kind: Kind) -> list[str]:
    """Files to choose from, told by their metadata."""
    folder = FOLDER_OF[kind]
    names = [name for name in folder_paths.get_filename_list(folder) if name.endswith(".safetensors")]
    files = {name: folder_paths.get_full_path(folder, name) for name in names}
    found = [name for name, file in files.items() if file and kind_of(Path(file)) == kind]
    return sorted(found, key=lambda name: (name != SHIPPED[kind], name)) or [SHIPPED[kind]]


def find(name: str, kind: Kind) -> Path:
    """The path of a demo encoder that is whole and of the right kind.

    Raises:
        CheckpointError: the file is missing, damaged, or of another kind.
    """
    path = folder_paths.get_full_path(FOLDER_OF[kind], name) if isinstance(name, str) else None
    if path is None:
        raise CheckpointError(
            f"the demo encoder {name!r} is neither in models/{FOLDER_OF[kind]} nor in the pack: {RESTORE}"
        )
    check_shipped(Path(path))
    read_config(Path(path), kind)
    return Path(path)


def check_shipped(file: Path) -> None:
    """Refuse a file of the pack's own bundle that is not as it was shipped; others pass unseen.

    Raises:
        CheckpointError: see above.
    """
    if file.is_relative_to(BUNDLE):
        verify(file)


def load_text_encoder(file: str, disable_dynamic: bool = False) -> comfy.sd.CLIP:
    """The host's UMT5 in the sizes that the file tells.

    Args:
        file: path of a demo text encoder.
        disable_dynamic: set by the host where it needs a model outside dynamic VRAM.

    Raises:
        CheckpointError: the file is no whole demo text encoder.
    """
    sizes = read_config(Path(file), "text_encoder")
    weights = _weights(file)
    if TOKENIZER not in weights:
        raise CheckpointError(f"{Path(file).name} holds no tokenizer ({TOKENIZER}): {RESTORE}")
    clip = comfy.sd.CLIP(
        comfy.supported_models_base.ClipTarget(
            comfy.text_encoders.wan.WanT5Tokenizer,
            comfy.text_encoders.wan.te(),  # codespell:ignore te
        ),
        embedding_directory=folder_paths.get_folder_paths("embeddings"),
        # Prompts are filled up to the rows that the demo model reads, not to the 512 of the released one.
        tokenizer_data={TOKENIZER: weights.pop(TOKENIZER), "umt5xxl_min_length": sizes["text_len"]},
        parameters=comfy.utils.calculate_parameters(weights),
        # Few weights: float32 costs nothing, and gives the numbers of the training.
        model_options={"dtype": torch.float32, "umt5xxl_model_config": sizes},
        disable_dynamic=disable_dynamic,
    )
    _load(clip.load_sd, weights, file)
    # The host loads the model again through this when it needs another copy of it.
    clip.patcher.cached_patcher_init = (_load_text_patcher, (file,))
    return clip


def _load_text_patcher(file: str, disable_dynamic: bool = False):
    return load_text_encoder(file, disable_dynamic).patcher


def load_clip_vision(file: str) -> comfy.clip_vision.ClipVisionModel:
    """The host's CLIP vision tower in the sizes that the file tells.

    Raises:
        CheckpointError: the file is no whole demo image encoder.
    """
    config = VISION_FORM | read_config(Path(file), "clip_vision")
    tower = comfy.clip_vision.ClipVisionModel(config)
    _load(tower.load_sd, _weights(file), file)
    return tower


def _weights(file: str) -> dict[str, Tensor]:
    weights: Any = comfy.utils.load_torch_file(file, safe_load=True)
    return weights


def _load(load_sd: Any, weights: dict[str, Tensor], file: str) -> None:
    try:
        missing, _ = load_sd(weights)
    except RuntimeError as error:  # torch's word for weights of another shape
        raise CheckpointError(
            f"the weights of {Path(file).name} have other shapes than its metadata says: {RESTORE}"
        ) from error
    if missing:
        raise CheckpointError(
            f"{Path(file).name} lacks {len(missing)} weights, such as {sorted(missing)[0]}: {RESTORE}"
        )
