"""Keys and shapes of the four model files, for any size of the model.

Each function yields (key, shape) under the names of the released files.
"""

from __future__ import annotations

from collections.abc import Iterator

Shape = tuple[int, ...]
Entry = tuple[str, Shape]


def dit_shapes(*, dim: int, ffn_dim: int, num_layers: int) -> Iterator[Entry]:
    """A Wan 2.1 image-to-video transformer, 36 channels in, text 4096 and image 1280 wide."""
    yield from convolution("patch_embedding", dim, 36, 1, 2, 2)
    for name, out_width, in_width in (
        ("text_embedding.0", dim, 4096),
        ("text_embedding.2", dim, dim),
        ("time_embedding.0", dim, 256),
        ("time_embedding.2", dim, dim),
        ("time_projection.1", 6 * dim, dim),
    ):
        yield from linear(name, out_width, in_width)
    yield from normalisation("img_emb.proj.0", 1280)
    yield from linear("img_emb.proj.1", 1280, 1280)
    yield from linear("img_emb.proj.3", dim, 1280)
    yield from normalisation("img_emb.proj.4", dim)
    for index in range(num_layers):
        yield from dit_block(f"blocks.{index}", dim, ffn_dim)
    yield "head.modulation", (1, 2, dim)
    yield from linear("head.head", 64, dim)


def dit_block(prefix: str, dim: int, ffn_dim: int) -> Iterator[Entry]:
    """One block with self-attention, cross-attention to text and image, and feed-forward."""
    yield f"{prefix}.modulation", (1, 6, dim)
    yield from normalisation(f"{prefix}.norm3", dim)
    for name in ("self_attn.q", "self_attn.k", "self_attn.v", "self_attn.o"):
        yield from linear(f"{prefix}.{name}", dim, dim)
    for name in ("q", "k", "v", "o", "k_img", "v_img"):
        yield from linear(f"{prefix}.cross_attn.{name}", dim, dim)
    for name in ("self_attn.norm_q", "self_attn.norm_k"):
        yield f"{prefix}.{name}.weight", (dim,)
    for name in ("norm_q", "norm_k", "norm_k_img"):
        yield f"{prefix}.cross_attn.{name}.weight", (dim,)
    yield from linear(f"{prefix}.ffn.0", ffn_dim, dim)
    yield from linear(f"{prefix}.ffn.2", dim, ffn_dim)


def umt5_shapes(
    *, width: int, num_heads: int, head_width: int, ff: int, num_layers: int, vocabulary: int
) -> Iterator[Entry]:
    """A UMT5 encoder, without its tokenizer."""
    yield "shared.weight", (vocabulary, width)
    yield "encoder.final_layer_norm.weight", (width,)
    inner = num_heads * head_width
    for index in range(num_layers):
        attention, feed_forward = f"encoder.block.{index}.layer.0", f"encoder.block.{index}.layer.1"
        for name in ("q", "k", "v"):
            yield f"{attention}.SelfAttention.{name}.weight", (inner, width)
        yield f"{attention}.SelfAttention.o.weight", (width, inner)
        yield f"{attention}.SelfAttention.relative_attention_bias.weight", (32, num_heads)
        yield f"{attention}.layer_norm.weight", (width,)
        for name in ("wi_0", "wi_1"):
            yield f"{feed_forward}.DenseReluDense.{name}.weight", (ff, width)
        yield f"{feed_forward}.DenseReluDense.wo.weight", (width, ff)
        yield f"{feed_forward}.layer_norm.weight", (width,)


def clip_vision_shapes(*, width: int, ff: int, num_layers: int, image_size: int) -> Iterator[Entry]:
    """A CLIP vision encoder with patches of 14 pixels."""
    embeddings, layers = "vision_model.embeddings", "vision_model.encoder.layers"
    yield f"{embeddings}.class_embedding", (width,)
    yield f"{embeddings}.patch_embedding.weight", (width, 3, 14, 14)
    yield f"{embeddings}.position_embedding.weight", ((image_size // 14) ** 2 + 1, width)
    for name in ("pre_layrnorm", "post_layernorm"):
        yield from normalisation(f"vision_model.{name}", width)
    for index in range(num_layers):
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            yield from linear(f"{layers}.{index}.self_attn.{name}", width, width)
        for name in ("layer_norm1", "layer_norm2"):
            yield from normalisation(f"{layers}.{index}.{name}", width)
        yield from linear(f"{layers}.{index}.mlp.fc1", ff, width)
        yield from linear(f"{layers}.{index}.mlp.fc2", width, ff)
    yield "visual_projection.weight", (1024, width)


def vae_shapes(*, dim: int) -> Iterator[Entry]:
    """The Wan 2.1 VAE: 16 latent channels, 8 x 8 pixels and 4 frames to a latent cell."""
    yield from vae_encoder(dim)
    yield from convolution("conv1", 32, 32, 1, 1, 1)
    yield from convolution("conv2", 16, 16, 1, 1, 1)
    yield from vae_decoder(dim)


def vae_encoder(dim: int) -> Iterator[Entry]:
    """Four levels of two residual blocks; all but the last halve the picture, two of them time as well."""
    widths = [dim, dim, 2 * dim, 4 * dim, 4 * dim]
    yield from convolution("encoder.conv1", dim, 3, 3, 3, 3)
    index = 0
    for level in range(4):
        in_width, width = widths[level], widths[level + 1]
        for _ in range(2):
            yield from vae_residual(f"encoder.downsamples.{index}", width, in_width)
            in_width, index = width, index + 1
        if level < 3:
            yield from convolution(f"encoder.downsamples.{index}.resample.1", width, width, 3, 3)
            if level:
                yield from convolution(f"encoder.downsamples.{index}.time_conv", width, width, 3, 1, 1)
            index += 1
    yield from vae_middle("encoder.middle", widths[-1])
    yield "encoder.head.0.gamma", (widths[-1], 1, 1, 1)
    yield from convolution("encoder.head.2", 32, widths[-1], 3, 3, 3)


def vae_decoder(dim: int) -> Iterator[Entry]:
    """The encoder turned round, with three residual blocks to a level; each doubling halves the width."""
    widths = [4 * dim, 4 * dim, 4 * dim, 2 * dim, dim]
    yield from convolution("decoder.conv1", widths[0], 16, 3, 3, 3)
    yield from vae_middle("decoder.middle", widths[0])
    index = 0
    for level in range(4):
        width = widths[level + 1]
        in_width = widths[level] // 2 if level else widths[0]
        for _ in range(3):
            yield from vae_residual(f"decoder.upsamples.{index}", width, in_width)
            in_width, index = width, index + 1
        if level < 3:
            yield from convolution(f"decoder.upsamples.{index}.resample.1", width // 2, width, 3, 3)
            if level < 2:
                yield from convolution(f"decoder.upsamples.{index}.time_conv", 2 * width, width, 3, 1, 1)
            index += 1
    yield "decoder.head.0.gamma", (dim, 1, 1, 1)
    yield from convolution("decoder.head.2", 3, dim, 3, 3, 3)


def vae_middle(prefix: str, width: int) -> Iterator[Entry]:
    """Residual block, attention, residual block."""
    yield from vae_residual(f"{prefix}.0", width, width)
    yield f"{prefix}.1.norm.gamma", (width, 1, 1)
    yield from convolution(f"{prefix}.1.to_qkv", 3 * width, width, 1, 1)
    yield from convolution(f"{prefix}.1.proj", width, width, 1, 1)
    yield from vae_residual(f"{prefix}.2", width, width)


def vae_residual(prefix: str, width: int, in_width: int) -> Iterator[Entry]:
    """Two convolutions, and a third beside them where the width changes."""
    yield f"{prefix}.residual.0.gamma", (in_width, 1, 1, 1)
    yield from convolution(f"{prefix}.residual.2", width, in_width, 3, 3, 3)
    yield f"{prefix}.residual.3.gamma", (width, 1, 1, 1)
    yield from convolution(f"{prefix}.residual.6", width, width, 3, 3, 3)
    if width != in_width:
        yield from convolution(f"{prefix}.shortcut", width, in_width, 1, 1, 1)


def linear(name: str, out_width: int, in_width: int) -> Iterator[Entry]:
    """A linear layer with bias."""
    yield f"{name}.weight", (out_width, in_width)
    yield f"{name}.bias", (out_width,)


def normalisation(name: str, width: int) -> Iterator[Entry]:
    """A norm with weight and bias."""
    yield f"{name}.weight", (width,)
    yield f"{name}.bias", (width,)


def convolution(name: str, out_width: int, in_width: int, *kernel: int) -> Iterator[Entry]:
    """A convolution with bias."""
    yield f"{name}.weight", (out_width, in_width, *kernel)
    yield f"{name}.bias", (out_width,)
