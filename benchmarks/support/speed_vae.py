"""What stands before and behind the DiT in a run: canvas, conditioning and VAE, ours and native."""

from __future__ import annotations

import importlib
import tempfile
import time
from typing import Any

import torch

from magref_core.sizes import FRAME_STRIDE, PIXEL_STRIDE
from scripts.tiny_models import random_weights
from scripts.tiny_shapes import vae_shapes

from .dit_models import PACK, PROMPT_TOKENS, Shape

NUM_REFERENCES = 2
REFERENCE_SIDE = 512
CLIP_CONFIG = {
    "hidden_size": 1280,
    "image_size": 224,
    "intermediate_size": 5120,
    "num_attention_heads": 16,
    "num_hidden_layers": 2,
    "patch_size": 14,
    "hidden_act": "gelu",
    "model_type": "clip_vision_model",
    "num_channels": 3,
    "projection_dim": 1024,
}
"""ViT-H with two of its 32 layers: its time is not counted."""


class Clocked:
    """Another object, and the time of one of its methods, to the end of what it does on the device."""

    def __init__(self, inner: Any, method: str, device: str) -> None:
        self._inner, self._method, self._device, self.seconds = inner, method, device, 0.0

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        return self._clocked(found) if name == self._method else found

    def _clocked(self, function: Any) -> Any:
        from . import machine  # needs what only ComfyUI's Python has

        def call(*args: Any, **kwargs: Any) -> Any:
            machine.synchronize(self._device)  # what was begun before is not its own
            start = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                machine.synchronize(self._device)
                self.seconds += time.perf_counter() - start

        return call


class AroundTheRun:
    """Steps before and behind the DiT, for a video of a shape's size."""

    def __init__(self, shape: Shape, vae_dim: int, device: str) -> None:
        self.device = device
        frames, rows, columns = shape.latent
        self.length = (frames - 1) * FRAME_STRIDE + 1
        self.height, self.width = rows * PIXEL_STRIDE, columns * PIXEL_STRIDE
        self.text_dim, self.text_len = shape.config.text_dim, shape.config.text_len
        generator = torch.Generator().manual_seed(2)
        self.latent = torch.randn(1, shape.config.out_dim, *shape.latent, generator=generator)
        self.vae = importlib.import_module("comfy.sd").VAE(sd=random_weights(vae_shapes(dim=vae_dim), seed=2))
        self.clip_vision = importlib.import_module("comfy.clip_vision").ClipVisionModel(CLIP_CONFIG)
        with torch.no_grad():
            for weight in self.clip_vision.model.parameters():
                weight.normal_(std=0.02, generator=generator)
        self.references = self._references(generator)
        self.canvas = self._build_canvas()
        self.frames = torch.full((self.length, self.height, self.width, 3), 0.5)

    def _references(self, generator: torch.Generator) -> tuple[Any, ...]:
        kind = importlib.import_module(f"{PACK}.magref_core.canvas.references").Reference
        size = (REFERENCE_SIDE, REFERENCE_SIDE, 3)
        return tuple(
            kind(
                name=f"picture {n}", image=torch.randint(0, 256, size, generator=generator, dtype=torch.uint8)
            )
            for n in range(NUM_REFERENCES)
        )

    def _build_canvas(self) -> Any:
        node = importlib.import_module(f"{PACK}.nodes.canvas").BuildMaskedCanvas
        with tempfile.TemporaryDirectory() as folder:  # for the picture that the page shows
            importlib.import_module("folder_paths").set_temp_directory(folder)
            given = (self.references, self.width, self.height, "official", 0, "rectangle", "#ffffff")
            return node.execute(*given).args[0]

    def overhead_seconds(self) -> float:
        """Canvas and conditioning, without the time within the VAE and the image encoder."""
        from . import machine

        apply = importlib.import_module(f"{PACK}.nodes.guidance").ApplyMaskedGuidance
        text = torch.zeros(1, self.text_len, self.text_dim)
        text[:, :PROMPT_TOKENS] = 1
        vae, tower = (
            Clocked(inner, method, self.device)
            for inner, method in ((self.vae, "encode"), (self.clip_vision, "model"))
        )

        def prepare() -> None:
            apply.execute([[text, {}]], [[text, {}]], vae, tower, self._build_canvas(), self.length)

        return machine.time_call(prepare, self.device).seconds - vae.seconds - tower.seconds

    def encode(self, model: str) -> torch.Tensor:
        """The frames of a canvas -> latents, by our step or by the host's VAEEncode."""
        if model == "native":
            return importlib.import_module("nodes").VAEEncode().encode(self.vae, self.frames)[0]["samples"]
        host = importlib.import_module(f"{PACK}.nodes.host")
        encode = importlib.import_module(f"{PACK}.magref_core.latents").encode_canvas
        return encode(self.canvas.pixels(), self.length, lambda video: host.encode_with(self.vae, video))

    def decode(self, model: str) -> torch.Tensor:
        """Latents -> frames, by MAGREF Decode Video or by the host's VAEDecode."""
        if model == "native":
            return importlib.import_module("nodes").VAEDecode().decode(self.vae, {"samples": self.latent})[0]
        node = importlib.import_module(f"{PACK}.nodes.decode").DecodeVideo
        return node.execute({"samples": self.latent}, self.vae, 15.0, 4, 0, 0).args[0]
