"""The words of subjects are found in the host's own tokens, whatever the prompt does to them."""

from __future__ import annotations

import random

import comfy.sd1_clip
import pytest
import torch
from magref_pack.magref_core.errors import MagrefError
from magref_pack.magref_core.subjects.mentions import bind_mentions, subjects_of
from magref_pack.magref_core.subjects.weights import chunks_of
from magref_pack.nodes import tokens
from magref_pack.nodes.tokens import bind_prompt
from safetensors.torch import save_file

from . import subject_runs


def bound(prompt, *names, clip=None, **words):
    """The binding of a prompt, and the host's ids in one row."""
    subjects = subjects_of([subject_runs.reference(name, word=words.get(name)) for name in names])
    clip = clip or subject_runs.clip()
    binding, given = bind_prompt(clip, bind_mentions(prompt, subjects), subjects)
    (row,) = given["umt5xxl"]
    return binding, [token for token, _ in row]


def spelled(pieces) -> str:
    """What pieces say without spaces; bytes become characters."""
    raw = b""
    for piece in pieces:
        raw += bytes([int(piece[3:5], 16)]) if piece.startswith("<0x") else piece.encode()
    return raw.decode().replace("\u2581", "")


def said(prompt, *names, **options):
    """Name -> what the tokens that it is bound to say."""
    binding, _ = bound(prompt, *names, **options)
    return {subject.name: spelled(subject.pieces) for subject in binding.subjects}


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("@girl hands the @mug over", {"girl": "girl", "mug": "mug"}),
        ("the girl hands the mugs over", {"girl": "girl", "mug": "mugs"}),
        ("a (@girl:1.3) with (the ((@mug)):0.7) here", {"girl": "girl", "mug": "mug"}),
        ("a gi(rl:1.3) with the mug", {"girl": "girl", "mug": "mug"}),
        (r"a \(@girl\) :) with (@mug", {"girl": "girl", "mug": "mug"}),
        ("@girl  and\n@mug", {"girl": "girl", "mug": "mug"}),
        ("@girl sees @girl, @mug", {"girl": "girlgirl", "mug": "mug"}),
        ('"@girl" and "@mug"', {"girl": "girl", "mug": "mug"}),
        ("embedding:nothing @girl embedding:none, @mug", {"girl": "girl", "mug": "mug"}),
        ("a girlish girl and mugger, mug", {"girl": "girl", "mug": "mug"}),
    ],
)
def test_subjects_are_bound_to_the_tokens_that_say_their_words(prompt, expected):
    assert said(prompt, "girl", "mug") == expected


def test_other_scripts_and_composed_letters():
    assert said("让@女孩拿着@杯子", "女孩", "杯子") == {"女孩": "女孩", "杯子": "杯子"}
    assert said("\ufb01ne @Ольга cafe\u0301 @café", "Ольга", "café") == {"Ольга": "Ольга", "café": "café"}


def test_two_subjects_may_have_one_word_where_they_are_mentioned():
    binding, ids = bound("@ann greets @eve", "ann", "eve", ann="woman", eve="woman")
    ann, eve = binding.subjects
    assert binding.prompt == "woman greets woman"
    assert [spelled(one.pieces) for one in (ann, eve)] == ["woman", "woman"]
    assert not set(ann.positions) & set(eve.positions)
    assert [ids[at] for at in ann.positions][-3:] == [ids[at] for at in eve.positions][-3:]


def test_positions_are_rows_of_the_prompt():
    binding, ids = bound("so @girl hands (the:1.2) @mug", "girl", "mug")
    processor = tokens._processor(subject_runs.clip())
    for subject in binding.subjects:
        assert [processor.id_to_piece(ids[at]) for at in subject.positions] == list(subject.pieces)
    assert ids[binding.num_tokens - 1] == 1, "the end mark comes last"


def test_rows_of_an_embedding_move_the_words_behind_it(tmp_path):
    save_file({"emb": torch.ones(3, subject_runs.WIDTH)}, tmp_path / "style.safetensors")
    clip = subject_runs.clip(str(tmp_path))
    prompt = "so embedding:style, (embedding:style @girl:1.2) and  embedding:gone <@mug> embedding:style"
    binding, ids = bound(prompt, "girl", "mug", clip=clip)
    assert sum(torch.is_tensor(token) for token in ids) == 9
    assert {one.name: spelled(one.pieces) for one in binding.subjects} == {"girl": "girl", "mug": "mug"}
    processor = tokens._processor(clip)
    for subject in binding.subjects:
        assert [processor.id_to_piece(ids[at]) for at in subject.positions] == list(subject.pieces)


def test_the_name_of_an_embedding_names_no_subject(tmp_path):
    save_file({"emb": torch.ones(1, subject_runs.WIDTH)}, tmp_path / "girl.safetensors")
    binding, _ = bound("in embedding:girl", "girl", clip=subject_runs.clip(str(tmp_path)))
    assert binding.subjects[0].how == "missing"


def test_a_subject_that_is_not_named_is_missing():
    binding, _ = bound("@girl walks", "girl", "mug")
    assert [one.how for one in binding.subjects] == ["mention", "missing"]
    assert binding.subjects[1].positions == ()
    assert "the prompt does not name 'mug': write @mug" in binding.warnings()[0]
    assert bound("", "girl")[0].subjects[0].how == "missing"


def test_a_prompt_that_is_too_long_may_cut_a_subject_off():
    filling = "word " * 300
    with pytest.raises(MagrefError, match=r"tokens, but the model reads 512, and 'mug' is named only behind"):
        bound(f"@girl {filling} @mug", "girl", "mug")
    binding, _ = bound(f"@girl {filling} @girl", "girl")
    (girl,) = binding.subjects
    assert girl.num_cut > 0
    assert max(girl.positions) < 512
    assert "tokens of 'girl' lie behind what the model reads" in binding.warnings()[0]


def test_another_text_encoder_is_refused():
    class Clip:
        tokenizer = None

    subjects = subjects_of([subject_runs.reference("girl")])
    with pytest.raises(MagrefError, match="no SentencePiece tokenizer"):
        bind_prompt(Clip(), bind_mentions("@girl", subjects), subjects)


def test_chunks_and_weights_are_those_of_the_host():
    """Random prompts of everything that means something."""
    draw = random.Random(0)
    parts = [
        "(",
        ")",
        ":",
        "1.2",
        "\\(",
        "\\)",
        "\\",
        "a",
        "red cup",
        " ",
        ":0.5)",
        "(b:",
        "\n",
        "1e1",
        "nan",
    ]
    for _ in range(3000):
        prompt = "".join(draw.choice(parts) for _ in range(draw.randrange(12)))
        segments = comfy.sd1_clip.token_weights(comfy.sd1_clip.escape_important(prompt), 1.0)
        expected = [(comfy.sd1_clip.unescape_important(text), weight) for text, weight in segments]
        found = [(chunk.characters, weight) for chunk, weight in chunks_of(prompt)]
        assert str(found) == str([one for one in expected if one[0]]), prompt
        for chunk, _ in chunks_of(prompt):
            assert "".join(prompt[place] for place in chunk.places) == chunk.characters


def test_tokens_of_random_prompts_are_those_of_the_host(tmp_path):
    save_file({"emb": torch.ones(2, subject_runs.WIDTH)}, tmp_path / "style.safetensors")
    clip = subject_runs.clip(str(tmp_path))
    draw = random.Random(1)
    parts = [
        "(",
        ")",
        ":1.2)",
        "\\(",
        " ",
        "a",
        "girl",
        "@girl",
        " embedding:style",
        " embedding:no",
        ",",
        "<",
        "\n",
        "女",
    ]
    for _ in range(400):
        prompt = "@girl " + " ".join(draw.choice(parts) for _ in range(draw.randrange(10)))
        binding, _ = bound(prompt, "girl", clip=clip)
        assert set(spelled(binding.subjects[0].pieces).split("girl")) == {""}, prompt
