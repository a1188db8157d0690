from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from magref_core.canvas.references import Reference
from magref_core.errors import MagrefError
from magref_core.subjects.mentions import bind_mentions, find_words, subjects_of

TABLE = json.loads((Path(__file__).parents[1] / "mentions.json").read_text(encoding="utf-8"))
"""Prompts and what is read in them; the page is held to the same."""
REFUSALS = {
    "unknown": "but no reference is called so",
    "nameless": "without a name",
    "ambiguous": "fits the references",
}


def reference(name, **fields):
    return Reference(name=name, image=torch.zeros(4, 4, 3, dtype=torch.uint8), **fields)


def subjects(*names, **words):
    return subjects_of([reference(name, word=words.get(name)) for name in names])


def bound(prompt, *names, **words):
    """The text, and the words that replaced mentions as (name, word)."""
    who = subjects(*names, **words)
    result = bind_mentions(prompt, who)
    return result.text, [(who[index].name, result.text[begin:end]) for index, begin, end in result.mentions]


def sentence(prompt, *names, **words):
    with pytest.raises(MagrefError) as caught:
        bind_mentions(prompt, subjects(*names, **words))
    return str(caught.value)


@pytest.mark.parametrize("row", [row for row in TABLE if "text" in row], ids=lambda row: row["prompt"])
def test_the_table_of_mentions_that_the_page_shares(row):
    text, mentions = bound(row["prompt"], *row["names"], **row.get("words", {}))
    assert text == row["text"]
    assert [name for name, _ in mentions] == [name for name, _ in row["mentions"]]


@pytest.mark.parametrize("row", [row for row in TABLE if "refused" in row], ids=lambda row: row["prompt"])
def test_the_table_of_refused_mentions_that_the_page_shares(row):
    refusal = sentence(row["prompt"], *row["names"])
    assert REFUSALS[row["refused"]] in refusal
    near = row.get("nearest")
    assert ("did you mean" in refusal) == (near is not None)
    assert near is None or f"did you mean @{near}," in refusal


def test_a_mention_becomes_the_word_of_its_subject():
    text, mentions = bound("@girl hands the @mug to @robot", "girl", "mug", "robot", girl="woman")
    assert text == "woman hands the mug to robot"
    assert mentions == [("girl", "woman"), ("mug", "mug"), ("robot", "robot")]


def test_a_subject_may_be_mentioned_twice():
    text, mentions = bound("@girl waves, then @Girl sits", "girl")
    assert text == "girl waves, then girl sits"
    assert [name for name, _ in mentions] == ["girl", "girl"]


@pytest.mark.parametrize(
    ("prompt", "text"),
    [
        ('"@girl"', '"girl"'),
        ("she is @girl", "she is girl"),
        ("@girl.", "girl."),
        ("@girl's mug", "girl's mug"),
        ("(@girl:1.2)", "(girl:1.2)"),
        ('@"girl" walks', "girl walks"),
        ("\u201c@girl\u201d", "\u201cgirl\u201d"),
        ("mail@girl.com stays", "mail@girl.com stays"),
        (r"\@girl stays", "@girl stays"),
        (r"@girl and \@girl", "girl and @girl"),
    ],
)
def test_where_a_mention_begins_and_ends(prompt, text):
    assert bound(prompt, "girl")[0] == text


def test_of_names_that_fit_the_longest_is_taken():
    text, mentions = bound("@red fox meets @red", "red", "red_fox")
    assert text == "red fox meets red"
    assert [name for name, _ in mentions] == ["red_fox", "red"]


def test_names_in_other_scripts_need_no_space_around_them():
    text, mentions = bound("让@女孩拿着@杯子", "女孩", "杯子", 女孩="一个女孩")
    assert text == "让一个女孩拿着杯子"
    assert [name for name, _ in mentions] == ["女孩", "杯子"]
    assert bound("@Ольга и @ольга", "Ольга")[1] == [("Ольга", "Ольга")] * 2
    assert bound("@cafe\u0301 opens", "café")[0] == "café opens"


def test_photos_of_one_subject_share_its_name_and_word():
    given = [
        reference("ann", subject="ann", word="woman"),
        reference("ann 2", subject="ann"),
        reference("mug"),
    ]
    who = subjects_of(given)
    assert [(one.name, one.word, one.references) for one in who] == [
        ("ann", "woman", (0, 1)),
        ("mug", "mug", (2,)),
    ]


def test_parentheses_in_a_word_are_no_weight():
    assert bound("@mug", "mug", mug="cup (blue)")[0] == r"cup \(blue\)"


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        (
            "@robto waves",
            "the prompt says @robto, but no reference is called so: did you mean @robot, or else",
        ),
        ("@girlfriend", "the prompt says @girlfriend, but no reference is called so"),
        ("gi(rl) and @gi(rl:1.2)", "the prompt says @gi, but no reference is called so"),
        ("a sign @", "an @ stands without a name in 'a sign @': use @girl, @robot, or write \\@"),
        ("meet @ noon", "an @ stands without a name in 'meet @ noon'"),
        ('@"" waves', 'the prompt says @"" without a name'),
        ('@"red fox" waves', 'the prompt says @"red fox", but no reference is called so'),
    ],
)
def test_a_mention_of_nobody_is_refused(prompt, expected):
    assert expected in sentence(prompt, "girl", "robot")


def test_names_that_differ_in_separators_alone_are_ambiguous():
    assert "fits the references 'red_fox' and 'red-fox'" in sentence("@red fox", "red_fox", "red-fox")


def test_two_references_of_one_name_are_refused():
    with pytest.raises(MagrefError, match="two references are named 'Ann' and 'ann'"):
        subjects("Ann", "ann")


def test_a_word_must_be_a_word():
    for word in (" ", "a@b", "x" * 65, "a\nb"):
        with pytest.raises(MagrefError, match="the word of 'girl' is"):
            reference("girl", word=word)


def found(text, *names, taken=(), **words):
    who = subjects(*names, **words)
    flags = [index in taken for index in range(len(text))]
    return sorted(
        (where.start, who[index].name, text[where.start : where.stop])
        for index, where in find_words(text, who, flags)
    )


def test_plain_words_are_found_whole_and_in_plain_plurals():
    assert found("an Ann planned two mugs", "ann", "mug") == [(3, "ann", "Ann"), (19, "mug", "mugs")]
    assert found("the fox and the red fox", "fox", "red_fox") == [
        (4, "fox", "fox"),
        (16, "red_fox", "red fox"),
    ]
    assert found("女孩拿杯子", "女孩", "杯子") == [(0, "女孩", "女孩"), (3, "杯子", "杯子")]
    assert found("ann", "ann", taken={1}) == []


def test_a_plain_word_of_two_subjects_is_ambiguous():
    with pytest.raises(
        MagrefError, match="the word 'woman' in the prompt may be 'ann' or 'eve': say which by"
    ):
        found("a woman sits", "ann", "eve", ann="woman", eve="woman")
