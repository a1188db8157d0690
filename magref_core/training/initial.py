"""First weights of a DiT that is trained from nothing."""

from __future__ import annotations

import torch
from torch import nn

from ..dit.blocks import Block
from ..dit.model import MagrefDiT

EMBEDDING_STD = 0.02


@torch.no_grad()
def initialise(dit: MagrefDiT, generator: torch.Generator) -> None:
    """Draw all weights so that signals keep their size and the answer starts at 0.

    Gates start at 1 rather than 0: every layer takes part from the first step. What a block adds to the
    residual stream is small, by 1 / sqrt(twice the number of blocks). What CLIP sees of the canvas is silent
    at first.

    Args:
        dit: changed in place.
        generator: on the CPU, advanced.

    Source: Wan 2.1, wan/modules/model.py, `init_weights`, for Xavier matrices, the embeddings and the empty
    head; the gates and the depth factor are ours.
    """
    depth = (2 * len(dit.blocks)) ** -0.5
    names = [name for name, _ in dit.named_parameters() if name.endswith(".weight")]
    for name in (name.removesuffix(".weight") for name in names):
        module = dit.get_submodule(name)
        if isinstance(module, (nn.Linear, nn.Conv3d)):
            rows, columns = module.weight.flatten(1).shape
            std = (2 / (rows + columns)) ** 0.5
            if name.startswith(("text_embedding", "time_embedding", "time_projection")):
                std = EMBEDDING_STD if name.startswith("time") else columns**-0.5
            if name.endswith((".o", "ffn.2")):
                std *= depth
            if name.endswith(".v_img"):
                std = 0.0
            module.weight.normal_(0, std, generator=generator)
            if module.bias is not None:
                module.bias.zero_()
    for block in dit.blocks:
        assert isinstance(block, Block)
        block.modulation.zero_()
        block.modulation[:, [2, 5]] = 1
    dit.head.modulation.zero_()
    dit.head.head.weight.zero_()
