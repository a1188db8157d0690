"""The files that the workflows name: weights, and the example pictures."""

from __future__ import annotations

from scripts.workflow_specs.spec import ModelFile

WAN = "Comfy-Org/Wan_2.1_ComfyUI_repackaged"

DIT = ModelFile(
    folder="diffusion_models",
    repository="Kijai/WanVideo_comfy",
    path="Wan2_1-Wan-I2V-MAGREF-14B_fp8_e4m3fn.safetensors",
)
TEXT_ENCODER = ModelFile(
    folder="text_encoders",
    repository=WAN,
    path="split_files/text_encoders/umt5_xxl_fp8_e4m3fn_scaled.safetensors",
)
VAE = ModelFile(folder="vae", repository=WAN, path="split_files/vae/wan_2.1_vae.safetensors")
CLIP_VISION = ModelFile(
    folder="clip_vision", repository=WAN, path="split_files/clip_vision/clip_vision_h.safetensors"
)
LORA = ModelFile(
    folder="loras",
    repository="alibaba-pai/Wan2.1-Fun-Reward-LoRAs",
    path="Wan2.1-Fun-14B-InP-MPS.safetensors",
)

Reference = dict[str, str]
"""An entry of MAGREF Load References."""

WOMAN: Reference = {"name": "woman", "kind": "person", "file": "astronaut.png"}
CAT: Reference = {"name": "cat", "kind": "object", "file": "cat.png"}
CUP: Reference = {"name": "cup", "kind": "object", "file": "coffee.png"}
TABLE: Reference = {"name": "table", "kind": "background", "file": "coffee.png"}
