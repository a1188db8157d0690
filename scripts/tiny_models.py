"""Tiny random models that every loader of the workflows accepts: they run in seconds and show nothing.

python scripts/tiny_models.py DIR    write them to DIR, laid out like ComfyUI's `models` folder

The text and the image encoder need scripts/tiny_loaders among the server's custom nodes.
"""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if __package__ in (None, ""):
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from scripts import tiny_shapes
from scripts.host import use_host_python
from scripts.host_install import HostError
from scripts.tiny_shapes import Shape

if TYPE_CHECKING:
    import torch

SENTENCES = (
    "an astronaut drinks a cup of coffee in front of a rocket",
    "a woman in an orange suit smiles at the camera while the sun goes down",
    "the cat walks over the table, the camera follows it slowly",
    "blurry, low quality, worst quality, static, extra fingers, deformed hands",
)
"""What the tiny tokenizer learns its pieces from; other letters are spelled in bytes."""


def random_weights(entries: Iterable[tuple[str, Shape]], *, seed: int) -> dict[str, torch.Tensor]:
    """Normal weights that keep the size of a signal, norms of 1, small biases; float32."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    weights: dict[str, torch.Tensor] = {}
    for key, shape in entries:
        values = torch.randn(shape, generator=generator)
        if key.endswith(".gamma") or (key.endswith(".weight") and len(shape) == 1):
            weights[key] = 1 + 0.1 * values
        elif key.endswith(".bias") and len(shape) == 1:
            weights[key] = 0.05 * values
        elif key.endswith("modulation"):
            weights[key] = values / shape[-1] ** 0.5
        else:
            weights[key] = values / values[0].numel() ** 0.5
    return weights


def tiny_dit(*, seed: int = 1) -> dict[str, torch.Tensor]:
    """256 wide, 2 heads, 2 layers; bfloat16 as released."""
    import torch

    weights = random_weights(tiny_shapes.dit_shapes(dim=256, ffn_dim=512, num_layers=2), seed=seed)
    return {key: value.to(torch.bfloat16) for key, value in weights.items()}


def tiny_vae(*, seed: int = 2) -> dict[str, torch.Tensor]:
    """Width 4; float32."""
    return random_weights(tiny_shapes.vae_shapes(dim=4), seed=seed)


def tiny_text_encoder(*, width: int = 4096, seed: int = 3) -> dict[str, torch.Tensor]:
    """2 layers of inner width 16 under an output width, the released one if not given; 400 pieces."""
    import torch

    tokenizer = tiny_tokenizer()
    vocabulary = 512
    shapes = tiny_shapes.umt5_shapes(
        width=width, num_heads=2, head_width=8, ff=16, num_layers=2, vocabulary=vocabulary
    )
    weights = {key: value.half() for key, value in random_weights(shapes, seed=seed).items()}
    weights["shared.weight"] *= width**0.5
    weights["spiece_model"] = torch.frombuffer(bytearray(tokenizer), dtype=torch.uint8)
    # ComfyUI knows a UMT5-XXL by the height of this one.
    weights["encoder.block.23.layer.1.DenseReluDense.wi_1.weight"] = torch.zeros(
        10240, 1, dtype=torch.float16
    )
    return weights


def tiny_tokenizer() -> bytes:
    """A sentencepiece model that can spell any text."""
    import sentencepiece

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(SENTENCES),
        model_writer=model,
        vocab_size=400,
        hard_vocab_limit=False,
        byte_fallback=True,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        minloglevel=2,
    )
    return model.getvalue()


def tiny_clip_vision(*, width: int = 1280, seed: int = 4) -> dict[str, torch.Tensor]:
    """2 layers of a width, the released one if not given, for 224 pixels."""
    shapes = tiny_shapes.clip_vision_shapes(width=width, ff=64, num_layers=2, image_size=224)
    return {key: value.half() for key, value in random_weights(shapes, seed=seed).items()}


def tiny_lora(*, seed: int = 5) -> dict[str, torch.Tensor]:
    """Rank 2 on one layer of the tiny DiT."""
    key = "diffusion_model.blocks.0.self_attn.q"
    shapes = [(f"{key}.lora_A.weight", (2, 256)), (f"{key}.lora_B.weight", (256, 2))]
    return random_weights(shapes, seed=seed)


def write_tiny_models(folder: Path) -> None:
    """Write the five files, laid out like ComfyUI's `models` folder; about 45 MB."""
    from safetensors.torch import save_file

    for place, weights in (
        ("diffusion_models/tiny_magref_random.safetensors", tiny_dit()),
        ("vae/tiny_wan_vae_random.safetensors", tiny_vae()),
        ("text_encoders/tiny_umt5_random.safetensors", tiny_text_encoder()),
        ("clip_vision/tiny_clip_vision_random.safetensors", tiny_clip_vision()),
        ("loras/tiny_lora_random.safetensors", tiny_lora()),
    ):
        file = folder / place
        file.parent.mkdir(parents=True, exist_ok=True)
        save_file(weights, file, metadata={"format": "pt"})


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    use_host_python()
    write_tiny_models(folder)
    print(f"wrote tiny random models to {folder}")


if __name__ == "__main__":
    try:
        main()
    except HostError as error:
        raise SystemExit(f"error: {error}") from error
