"""Names of the weights: from what files call them to what the model calls them."""

from __future__ import annotations

import re
from collections.abc import Iterable

PREFIXES = ("model.diffusion_model.", "diffusion_model.", "model.", "module.")
"""What tools put before every name; the longest come first."""

_MARKS = ("patch_embedding.weight", "head.modulation", "proj_out.weight")
"""Names that show where a DiT of the Wan family stands in a file."""

_DIFFUSERS_MARK = "condition_embedder.time_embedder.linear_1.bias"

_DIFFUSERS_TOP = {
    "condition_embedder.time_embedder.linear_1": "time_embedding.0",
    "condition_embedder.time_embedder.linear_2": "time_embedding.2",
    "condition_embedder.time_proj": "time_projection.1",
    "condition_embedder.text_embedder.linear_1": "text_embedding.0",
    "condition_embedder.text_embedder.linear_2": "text_embedding.2",
    "condition_embedder.image_embedder.norm1": "img_emb.proj.0",
    "condition_embedder.image_embedder.ff.net.0.proj": "img_emb.proj.1",
    "condition_embedder.image_embedder.ff.net.2": "img_emb.proj.3",
    "condition_embedder.image_embedder.norm2": "img_emb.proj.4",
    "condition_embedder.image_embedder.pos_embed": "img_emb.emb_pos",
    "proj_out": "head.head",
    "scale_shift_table": "head.modulation",
}

_DIFFUSERS_BLOCK = {
    "attn1.to_q": "self_attn.q",
    "attn1.to_k": "self_attn.k",
    "attn1.to_v": "self_attn.v",
    "attn1.to_out.0": "self_attn.o",
    "attn1.norm_q": "self_attn.norm_q",
    "attn1.norm_k": "self_attn.norm_k",
    "attn2.to_q": "cross_attn.q",
    "attn2.to_k": "cross_attn.k",
    "attn2.to_v": "cross_attn.v",
    "attn2.to_out.0": "cross_attn.o",
    "attn2.norm_q": "cross_attn.norm_q",
    "attn2.norm_k": "cross_attn.norm_k",
    "attn2.add_k_proj": "cross_attn.k_img",
    "attn2.add_v_proj": "cross_attn.v_img",
    "attn2.norm_added_k": "cross_attn.norm_k_img",
    "norm2": "norm3",
    "ffn.net.0.proj": "ffn.0",
    "ffn.net.2": "ffn.2",
    "scale_shift_table": "modulation",
}

_BLOCK = re.compile(r"(blocks\.\d+\.)(.+)")


def upstream_names(names: Iterable[str]) -> dict[str, str]:
    """What the model calls the weights of a file.

    A prefix common to the DiT's weights is taken off, and the other parts of an all-in-one file are left out.
    Names of the diffusers library become those of the upstream Wan code. What belongs to a weight (bias,
    scales of a quantised matrix) follows it.

    Args:
        names: as in the file.

    Returns:
        Name in the file -> upstream name, in the file's order. Names nobody knows stay as they are.
    """
    names = list(names)
    prefix = _prefix(names)
    stripped = {name: name[len(prefix) :] for name in names if name.startswith(prefix)}
    if _DIFFUSERS_MARK not in stripped.values():
        return stripped
    return {name: _from_diffusers(bare) for name, bare in stripped.items()}


def _prefix(names: list[str]) -> str:
    """The prefix that stands before the marks of a DiT; several tools may have added theirs."""
    ends = {name[: -len(mark)] for name in names for mark in _MARKS if name.endswith(mark)}
    for start in sorted(ends, key=len):
        bare = start
        while tool := next((prefix for prefix in PREFIXES if bare.startswith(prefix)), None):
            bare = bare[len(tool) :]
        if not bare:
            return start
    return ""


def _from_diffusers(name: str) -> str:
    block = _BLOCK.fullmatch(name)
    if block:
        return block[1] + _replaced(block[2], _DIFFUSERS_BLOCK)
    return _replaced(name, _DIFFUSERS_TOP)


def _replaced(name: str, table: dict[str, str]) -> str:
    """The name with its module replaced; `norm2.weight` is `norm2` and what belongs to it."""
    for theirs, ours in table.items():
        if name == theirs or name.startswith(theirs + "."):
            return ours + name[len(theirs) :]
    return name


def from_diffusers(name: str) -> str:
    """The upstream name of a module or weight that has a name of the diffusers library; others stay."""
    return _from_diffusers(name)


def to_diffusers(name: str) -> str:
    """The way back of `from_diffusers`."""
    block = _BLOCK.fullmatch(name)
    table = _DIFFUSERS_BLOCK if block else _DIFFUSERS_TOP
    back = {ours: theirs for theirs, ours in table.items()}
    return block[1] + _replaced(block[2], back) if block else _replaced(name, back)
