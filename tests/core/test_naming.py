import pytest

from magref_core.canvas.naming import is_named


@pytest.mark.parametrize(
    ("name", "prompt"),
    [
        ("alice", "Alice's cup"),
        ("ALICE", "then alice."),
        ("cat", "two cats play"),
        ("fox", "the foxes run"),
        ("red_fox", "a fox, red as fire"),
        ("puppet-fox", "Fox puppet"),
        ("zoë", "Zoe\u0308 smiles"),
        ("咖啡", "爱丽丝在喝咖啡和茶"),
        ("alice", "让alice喝咖啡"),
        ("r2d2", "R2D2 rolls"),
        ("dr. who", "who calls the dr?"),
    ],
)
def test_a_prompt_names_a_subject(name, prompt):
    assert is_named(name, prompt)


@pytest.mark.parametrize(
    ("name", "prompt"),
    [
        ("alice", "malice"),
        ("alice", "alicestown"),
        ("ali", "alias"),
        ("cat", "concatenate, category"),
        ("red_fox", "a fox"),
        ("r2", "r2d2"),
        ("咖啡", "爱丽丝在喝茶"),
        ("---", "anything ---"),
        ("image_1", "a picture"),
        ("alice", ""),
    ],
)
def test_a_prompt_does_not_name_a_subject(name, prompt):
    assert not is_named(name, prompt)


def test_a_later_occurrence_counts_where_the_first_is_part_of_another_word():
    assert is_named("cat", "category: cat")
