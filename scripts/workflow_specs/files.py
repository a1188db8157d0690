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
SAM3 = ModelFile(
    folder="checkpoints",
    repository="Comfy-Org/sam3.1",
    path="checkpoints/sam3.1_multiplex_fp16.safetensors",
)
BIREFNET = ModelFile(
    folder="background_removal",
    repository="Comfy-Org/BiRefNet",
    path="background_removal/birefnet.safetensors",
)

DEMO_DIT = "magref_demo_dit.safetensors"
DEMO_TEXT_ENCODER = "magref_demo_umt5.safetensors"
DEMO_VAE = "magref_demo_vae.safetensors"
DEMO_CLIP_VISION = "magref_demo_clip_vision.safetensors"
"""These come with the pack, in models/demo."""

Reference = dict[str, str]
"""An entry of MAGREF Load References."""

WOMAN: Reference = {"name": "woman", "kind": "person", "file": "astronaut.png"}
CAT: Reference = {"name": "cat", "kind": "object", "file": "cat.png"}
CUP: Reference = {"name": "cup", "kind": "object", "file": "coffee.png"}
TABLE: Reference = {"name": "table", "kind": "background", "file": "coffee.png"}

ROBOT: Reference = {"name": "robot", "kind": "person", "file": "puppet_robot.png"}
FOX: Reference = {"name": "fox", "kind": "object", "file": "puppet_fox.png"}
BEACH: Reference = {"name": "beach", "kind": "background", "file": "place_beach.png"}

GIRL: Reference = {"name": "girl", "kind": "person", "file": "puppet_girl.png"}
BALL: Reference = {"name": "ball", "kind": "object", "file": "puppet_ball.png"}
