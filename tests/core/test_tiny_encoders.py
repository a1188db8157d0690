"""The tokenizer, the text encoder and the image encoder of the demo model, without a host."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from magref_core.errors import CheckpointError, MagrefError, ShapeError
from magref_core.training.clip_vision import ClipVision, ClipVisionConfig
from magref_core.training.text_encoder import (
    TextEncoder,
    TextEncoderConfig,
    position_buckets,
    prompt_mask,
    silence_pieces,
)
from magref_core.training.tokenizer import Tokenizer, train_tokenizer

CAPTIONS = (
    "a fox walks to the left in the hills",
    "a girl on the left jumps and a teapot on the right spins on the beach",
    "a penguin on the left, a robot in the middle and a kite on the right in the sky, the camera pans left",
)
TINY_TEXT = TextEncoderConfig(vocab_size=24, d_model=16, d_kv=4, d_ff=24, num_heads=2)
TINY_VISION = ClipVisionConfig(hidden_size=16, intermediate_size=24, num_attention_heads=2, image_size=64)


def seeded(number):
    return torch.Generator().manual_seed(number)


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer(train_tokenizer(CAPTIONS))


def test_every_word_of_the_captions_is_one_piece(tokenizer):
    for caption in CAPTIONS:
        assert len(tokenizer.pieces(caption)) == len(caption.split())
    assert 300 < tokenizer.num_pieces <= 1024


def test_equal_captions_give_an_equal_tokenizer(tokenizer):
    assert train_tokenizer(CAPTIONS) == tokenizer.model
    assert b"rules" not in tokenizer.model and len(tokenizer.model) < 12_000


def test_any_text_can_be_written_and_read_back(tokenizer):
    assert tokenizer.pieces("A Fox, WALKS\n(to the left).") == tokenizer.pieces("a fox walks to the left")
    ids = tokenizer.encode("Zwölf 狐 🦊 über-all")
    assert 2 not in ids and max(ids) < tokenizer.num_pieces
    assert tokenizer._processor.decode(ids[: ids.index(1)]) == "zwölf 狐 🦊 über-all"


def test_a_prompt_ends_and_is_filled_up(tokenizer):
    assert tokenizer.encode("") == [1] + [0] * 31
    ids = tokenizer.encode("a fox walks")
    assert ids[3:] == [1] + [0] * 28 and 0 not in ids[:4]
    assert len(tokenizer.encode("fox " * 40)) == 41


def test_a_batch_holds_the_prompts_row_by_row(tokenizer):
    batch = tokenizer.batch(CAPTIONS)
    assert batch.shape == (3, 32) and batch.dtype == torch.int64
    assert batch.tolist() == [tokenizer.encode(caption) for caption in CAPTIONS]


def test_a_caption_that_is_too_long_is_refused(tokenizer):
    with pytest.raises(ShapeError, match=r"has 33 tokens, but at most 32 are read: shorten it"):
        tokenizer.batch(["a fox", "fox " * 32])


def test_known_pieces_are_those_of_the_texts_and_the_marks(tokenizer):
    assert tokenizer.known_pieces(["fox a", "a"]).tolist() == sorted({0, 1, *tokenizer.pieces("a fox")})


def test_a_tokenizer_of_nothing_or_of_too_many_words_is_refused():
    with pytest.raises(MagrefError, match="no caption with a word in it: give it the training captions"):
        train_tokenizer(["", " "])
    words = [f"{a}{b}{a}{c}{b}" for a in "qwertz" for b in "uiopas" for c in "dfghjk"]
    with pytest.raises(MagrefError, match=r"need several pieces each, .* allow more than 400 pieces"):
        train_tokenizer([" ".join(words)], max_pieces=400)


def slow_bucket(offset):
    """From the text of the T5 paper: 16 classes to a side, 8 exact and 8 logarithmic up to 128."""
    side = 16 if offset > 0 else 0
    distance = abs(offset)
    if distance < 8:
        return side + distance
    return side + min(15, 8 + math.floor(8 * math.log(distance / 8) / math.log(16) + 1e-9))


def test_distances_fall_into_the_classes_of_t5():
    buckets = position_buckets(150)
    for query in (0, 70, 149):
        assert buckets[query].tolist() == [slow_bucket(key - query) for key in range(150)]


def test_the_mask_reaches_to_the_first_end():
    ids = torch.tensor([[5, 6, 1, 0, 0], [1, 0, 0, 0, 0], [5, 1, 7, 1, 0], [5, 6, 7, 8, 9]])
    expected = [[1, 1, 1, 0, 0], [1, 0, 0, 0, 0], [1, 1, 0, 0, 0], [1, 1, 1, 1, 1]]
    assert prompt_mask(ids).tolist() == expected


def test_padding_changes_nothing_and_gives_zeros():
    encoder = TextEncoder(TINY_TEXT, seeded(0))
    ids = torch.tensor([[5, 9, 11, 1]])
    text = encoder(F.pad(ids, (0, 6)))
    torch.testing.assert_close(text[:, :4], encoder(ids), rtol=0, atol=1e-6)
    assert not text[:, 4:].any() and text[:, :4].abs().min() > 0


def test_the_order_of_words_matters():
    encoder = TextEncoder(TINY_TEXT, seeded(0))
    there, back = encoder(torch.tensor([[5, 9, 1], [9, 5, 1]]))
    assert (there[2] - back[2]).abs().max() > 1e-3


def test_first_weights_follow_the_generator_and_keep_the_size_of_a_signal():
    config = TextEncoderConfig(vocab_size=600)
    first, again = TextEncoder(config, seeded(1)), TextEncoder(config, seeded(1))
    for one, other in zip(first.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other)
    ids = torch.randint(2, 600, (4, 32), generator=seeded(2))
    assert 0.8 < first(ids).square().mean().sqrt() < 1.2


def test_every_weight_of_the_text_encoder_learns():
    encoder = TextEncoder(TINY_TEXT, seeded(0))
    encoder(torch.arange(2, 24)[None]).square().sum().mul(0.5).sub(
        encoder(torch.tensor([[7, 1]])).sum()
    ).backward()
    assert all(weight.grad is not None and weight.grad.any() for weight in encoder.parameters())


def test_silenced_pieces_are_zero_and_the_others_as_before():
    encoder = TextEncoder(TINY_TEXT, seeded(0))
    before = encoder.shared.weight.detach().clone()
    silence_pieces(encoder, torch.tensor([0, 1, 7]))
    assert torch.equal(encoder.shared.weight[[0, 1, 7]], before[[0, 1, 7]])
    assert encoder.shared.weight.abs().sum(1).nonzero().flatten().tolist() == [0, 1, 7]


def test_sizes_that_do_not_fit_are_refused():
    with pytest.raises(CheckpointError, match="num_layers of the text encoder is 0, but must be at least 1"):
        TextEncoderConfig(vocab_size=4, num_layers=0)
    with pytest.raises(CheckpointError, match="patch_size of the CLIP vision model is 0"):
        ClipVisionConfig(patch_size=0)
    with pytest.raises(CheckpointError, match=r"hidden_size 130 .* not divisible by .* 4: use 128"):
        ClipVisionConfig(hidden_size=130)
    with pytest.raises(CheckpointError, match=r"image_size 225 .* not divisible by .* 32: use 224"):
        ClipVisionConfig(image_size=225)


def test_the_default_tower_gives_50_tokens():
    config = ClipVisionConfig()
    assert (config.grid, config.num_tokens) == (7, 50)
    tokens, summary = ClipVision(config, seeded(0))(torch.randn(2, 3, 224, 224, generator=seeded(1)))
    assert tokens.shape == (2, 50, 128) and summary.shape == (2, 128)


def test_tokens_are_those_before_the_last_layer():
    tower = ClipVision(TINY_VISION, seeded(0))
    pixels = torch.randn(2, 3, 64, 64, generator=seeded(1))
    tokens, summary = tower(pixels)
    assert torch.equal(tower.tokens(pixels), tokens)
    with torch.no_grad():
        tower.vision_model.encoder.layers[-1].mlp.fc2.weight.mul_(3)
    changed, other_summary = tower(pixels)
    assert torch.equal(changed, tokens) and not torch.equal(other_summary, summary)


def test_pictures_of_another_size_are_refused():
    with pytest.raises(
        ShapeError, match=r"but \(batch, 3, 64, 64\) is needed: prepare them with clip_pixels"
    ):
        ClipVision(TINY_VISION, seeded(0))(torch.zeros(1, 3, 64, 96))
