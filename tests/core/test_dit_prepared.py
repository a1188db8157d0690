from __future__ import annotations

import copy

import pytest
import torch

from magref_core.dit.config import DiTConfig
from magref_core.dit.model import MagrefDiT
from magref_core.dit.prepared import MAX_ENTRIES, RunMemory, prepare

CONFIG = DiTConfig(
    dim=24, ffn_dim=48, num_heads=2, num_layers=3, text_dim=16, text_len=8, clip_dim=12, freq_dim=16
)
ROOM = 1e9


@pytest.fixture
def model():
    torch.manual_seed(0)
    return MagrefDiT(CONFIG).requires_grad_(requires_grad=False)


@pytest.fixture
def inputs():
    torch.manual_seed(1)
    return {
        "x": torch.randn(2, 36, 2, 4, 6),
        "timestep": torch.tensor([999.0, 437.25]),
        "context": torch.randn(2, 5, 16),
        "clip_fea": torch.randn(2, 4, 12),
    }


def is_same(one, other):
    """Whether both hold the very tensors that were computed once."""
    return one.context is other.context and one.keys_values is other.keys_values


@pytest.mark.parametrize("room", [0, ROOM])
@pytest.mark.parametrize("with_image", [True, False])
def test_what_was_prepared_changes_no_bit(model, inputs, room, with_image):
    inputs |= {} if with_image else {"clip_fea": None}
    prepared = prepare(model, inputs["context"], inputs["clip_fea"], room=room)
    assert len(prepared.keys_values) == (3 if room else 0)
    assert torch.equal(model(**inputs, prepared=prepared), model(**inputs))


def test_nothing_is_computed_again_of_what_was_prepared(model, inputs):
    prepared = prepare(model, inputs["context"], inputs["clip_fea"])
    expected = model(**inputs)
    with torch.no_grad():
        for module in (model.text_embedding, model.img_emb, *(b.cross_attn.k_img for b in model.blocks)):
            for weight in module.parameters():
                weight.fill_(torch.nan)
    assert torch.equal(model(**inputs, prepared=prepared), expected)


@pytest.mark.parametrize("name", ["context", "clip_fea"])
def test_what_was_prepared_for_another_prompt_or_canvas_is_ignored(model, inputs, name):
    prepared = prepare(model, inputs["context"], inputs["clip_fea"])
    others = inputs | {name: 2 * inputs[name]}
    assert torch.equal(model(**others, prepared=prepared), model(**others))


def another_text(args, extra):
    return extra["original_block"](args | {"txt": 2 * args["txt"]})


def text_written_to(args, extra):
    args["txt"].mul_(0.5)
    return extra["original_block"](args)


@pytest.mark.parametrize("replacement", [another_text, text_written_to])
def test_a_replaced_block_may_change_the_text(model, inputs, replacement):
    options = {"patches_replace": {"dit": {("double_block", 1): replacement}}}
    expected = model(**inputs, transformer_options=dict(options))
    prepared = prepare(model, inputs["context"], inputs["clip_fea"])
    for _ in range(2):
        assert torch.equal(model(**inputs, prepared=prepared, transformer_options=dict(options)), expected)
    assert not torch.equal(model(**inputs), expected)
    assert torch.equal(prepared.context, model.embed_context(inputs["context"], inputs["clip_fea"])[0])


def test_a_prompt_is_known_again_by_its_numbers(model, inputs):
    memory, text, image = RunMemory(), inputs["context"], inputs["clip_fea"]
    first = memory.recall(model, text, image, room=ROOM)
    given = (text.clone(), image.clone())
    again = memory.recall(model, *given, room=ROOM)
    assert is_same(again, first)
    assert again.text is given[0] and again.image is given[1], "by which the model knows them"
    assert not is_same(memory.recall(model, 2 * text, image, room=ROOM), first)
    assert not is_same(memory.recall(model, text, 2 * image, room=ROOM), first)
    assert not is_same(memory.recall(model, text, None, room=ROOM), first)
    assert not is_same(memory.recall(model, text[:1], image[:1], room=ROOM), first)


def test_a_text_that_was_written_to_is_not_known(model, inputs):
    memory, image = RunMemory(), inputs["clip_fea"]
    first = memory.recall(model, inputs["context"].clone(), image, room=ROOM)
    changed = inputs["context"].clone()
    changed[1, 3, 2] += 1e-6
    assert not is_same(memory.recall(model, changed, image, room=ROOM), first)


@pytest.mark.parametrize("name", ["context", "clip_fea"])
def test_whoever_writes_to_what_was_given_changes_nothing_that_is_kept(model, inputs, name):
    memory = RunMemory()
    given = {key: inputs[key].clone() for key in ("context", "clip_fea")}
    first = memory.recall(model, *given.values(), room=ROOM)
    given[name].mul_(0.5)
    assert is_same(memory.recall(model, inputs["context"], inputs["clip_fea"], room=ROOM), first)
    assert not is_same(memory.recall(model, *given.values(), room=ROOM), first)


def test_deep_copies_of_options_share_the_memory(model, inputs):
    memory = RunMemory()
    memory.recall(model, inputs["context"], inputs["clip_fea"], room=ROOM)
    shared = copy.deepcopy({"memory": memory})["memory"]
    memory.clear()
    assert shared.num_bytes == 0


@pytest.mark.parametrize("layer", ["blocks.2.cross_attn.v.weight", "text_embedding.0.bias"])
def test_other_weights_are_noticed(model, inputs, layer):
    memory, given = RunMemory(), (inputs["context"], inputs["clip_fea"])
    before = memory.recall(model, *given, room=ROOM)
    with torch.no_grad():
        model.get_parameter(layer).mul_(2)
    after = memory.recall(model, *given, room=ROOM)
    assert not is_same(after, before)
    assert torch.equal(model(**inputs, prepared=after), model(**inputs))
    assert memory.num_bytes == after.num_bytes, "what old weights have computed is gone"


def test_keys_and_values_are_left_out_where_there_is_no_room(model, inputs):
    text, image = inputs["context"], inputs["clip_fea"]
    with_keys = prepare(model, text, image)
    of_tokens = text.nbytes + image.nbytes + with_keys.context.nbytes
    of_keys = with_keys.num_bytes - of_tokens
    assert of_keys == 2 * 3 * with_keys.context.nbytes
    assert prepare(model, text, image, room=of_keys).keys_values
    without = RunMemory().recall(model, text, image, room=of_keys - 1)
    assert not without.keys_values
    assert without.num_bytes == of_tokens


def test_few_prompts_are_kept_and_the_longest_unused_goes_first(model, inputs):
    memory, image = RunMemory(), inputs["clip_fea"]
    texts = [inputs["context"] + index for index in range(MAX_ENTRIES + 1)]
    kept = [memory.recall(model, text, image, room=0) for text in texts[:-1]]
    assert is_same(memory.recall(model, texts[0], image, room=0), kept[0])
    memory.recall(model, texts[-1], image, room=0)
    assert memory.num_bytes == MAX_ENTRIES * kept[0].num_bytes
    assert is_same(memory.recall(model, texts[0], image, room=0), kept[0])
    assert not is_same(memory.recall(model, texts[1], image, room=0), kept[1])


def test_only_what_can_be_spared_is_kept(model, inputs):
    given = (inputs["context"], inputs["clip_fea"])
    whole = prepare(model, *given).num_bytes
    tokens = prepare(model, *given, room=0).num_bytes
    for spare, with_keys, kept in ((whole, 3, whole), (whole - 1, 0, tokens), (tokens - 1, 0, 0), (-1, 0, 0)):
        memory = RunMemory()
        prepared = memory.recall(model, *given, room=ROOM, spare=spare)
        assert (len(prepared.keys_values), memory.num_bytes) == (with_keys, kept)
        assert torch.equal(model(**inputs, prepared=prepared), model(**inputs))


def test_what_is_known_is_used_when_nothing_more_can_be_spared(model, inputs):
    memory, given = RunMemory(), (inputs["context"], inputs["clip_fea"])
    first = memory.recall(model, *given, room=ROOM, spare=ROOM)
    assert is_same(memory.recall(model, *given, room=1, spare=-1), first)


def test_an_emptied_memory_holds_nothing(model, inputs):
    memory = RunMemory()
    memory.recall(model, inputs["context"], inputs["clip_fea"], room=ROOM)
    assert memory.num_bytes > 0
    memory.clear()
    assert memory.num_bytes == 0
