"""Tiny random models for ComfyUI's own nodes that cut out: they run in seconds and find nothing.

python scripts/tiny_segmenters.py DIR    write them to DIR, laid out like ComfyUI's `models` folder

SAM 3.1 has its released layers and is narrow. BiRefNet cannot be made small, since its widths stand in
the host's code, so one convolution takes its place. Both need scripts/tiny_loaders among the server's
custom nodes.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if __package__ in (None, ""):
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from scripts.host import use_host_python
from scripts.host_install import HostError
from scripts.tiny_models import random_weights
from scripts.tiny_shapes import Entry, linear, normalisation

if TYPE_CHECKING:
    import torch

WIDTH = 64
"""Of image encoder, detector and text encoder; the 16 heads are 4 wide, the least that rotary takes."""
SCORING = "detector.dot_prod_scoring."
TEXT = "detector.backbone.language_backbone."
VOCABULARY, TEXT_LENGTH = 49408, 32
"""Of CLIP's tokenizer, which comes with the host."""
FILTER_SIDE = 31
BIREFNET_MARK = "bb.layers.1.blocks.0.attn.relative_position_index"
"""By this key the host knows a BiRefNet."""


def sam3_shapes() -> Iterator[Entry]:
    """Detector and tracker as ComfyUI builds them, and the text encoder under the released names."""
    import comfy.ops
    from comfy.ldm.sam3.detector import SAM3Model

    model = SAM3Model(
        image_model="SAM31",
        embed_dim=WIDTH,
        d_model=WIDTH,
        depth=1,
        device="meta",
        operations=comfy.ops.disable_weight_init,
    )
    for key, value in model.state_dict().items():
        yield key, tuple(value.shape)
    yield from text_shapes()


def text_shapes() -> Iterator[Entry]:
    """A CLIP text encoder of one layer."""
    yield f"{TEXT}encoder.positional_embedding", (TEXT_LENGTH, WIDTH)
    yield f"{TEXT}encoder.token_embedding.weight", (VOCABULARY, WIDTH)
    yield from normalisation(f"{TEXT}encoder.ln_final", WIDTH)
    layer = f"{TEXT}encoder.transformer.resblocks.0"
    yield f"{layer}.attn.in_proj_weight", (3 * WIDTH, WIDTH)
    yield f"{layer}.attn.in_proj_bias", (3 * WIDTH,)
    yield from linear(f"{layer}.attn.out_proj", WIDTH, WIDTH)
    yield from linear(f"{layer}.mlp.c_fc", 4 * WIDTH, WIDTH)
    yield from linear(f"{layer}.mlp.c_proj", WIDTH, 4 * WIDTH)
    for name in ("ln_1", "ln_2"):
        yield from normalisation(f"{layer}.{name}", WIDTH)


def tiny_sam3(*, seed: int = 6) -> dict[str, torch.Tensor]:
    """SAM 3.1, 64 wide, which is sure of whatever it finds; float16 as released, 30 MB."""
    weights = {key: value.half() for key, value in random_weights(sam3_shapes(), seed=seed).items()}
    for layer in ("hs_proj", "prompt_proj"):  # the score of a find is the product of these two
        weights[f"{SCORING}{layer}.weight"].zero_()
        weights[f"{SCORING}{layer}.bias"].fill_(2.0)
    return weights


def tiny_birefnet(*, seed: int = 7) -> dict[str, torch.Tensor]:
    """One filter over the picture that is given, and the mark of a BiRefNet."""
    import torch

    weights = random_weights([("filter.weight", (1, 3, FILTER_SIDE, FILTER_SIDE))], seed=seed)
    return {**weights, BIREFNET_MARK: torch.zeros(1)}


def write_tiny_segmenters(folder: Path, source: Path) -> None:
    """Write the two files, laid out like `models`; `source` is the ComfyUI that will read them."""
    from safetensors.torch import save_file

    sys.path.append(str(source))
    import comfy.cli_args

    comfy.cli_args.args.cpu = True
    for place, weights in (
        ("checkpoints/tiny_sam3_random.safetensors", tiny_sam3()),
        ("background_removal/tiny_birefnet_random.safetensors", tiny_birefnet()),
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
    folder = parser.parse_args().folder.resolve()
    write_tiny_segmenters(folder, use_host_python().source)
    print(f"wrote tiny random models to {folder}")


if __name__ == "__main__":
    try:
        main()
    except HostError as error:
        raise SystemExit(f"error: {error}") from error
