"""The field for a subject's word on the cards of MAGREF Load References."""

import json

import pytest

from scripts import graph_page
from tests.browser import gallery_page as seen

THREE = json.dumps([{"file": name} for name in ("astronaut.png", "cat.png", "coffee.png")])


@pytest.fixture(autouse=True)
def blank(page):
    graph_page.show_workflow(page, graph_page.BLANK)


def test_a_word_for_the_prompt_is_kept_saved_and_sent(page):
    node_id = seen.add_node(page, THREE)
    first, second, _ = seen.cards(page).all()
    word = first.get_by_placeholder("prompt word")
    word.fill(" woman ")
    word.press("Enter")
    assert seen.value(page, node_id)[0] == {
        "file": "astronaut.png",
        "name": "astronaut",
        "kind": "object",
        "word": "woman",
    }
    refused = second.get_by_placeholder("prompt word")
    refused.fill("a@b")
    refused.press("Enter")
    assert "The word a@b holds an @" in second.get_by_role("alert").inner_text()
    refused.press("Escape")
    assert refused.input_value() == ""
    saved = page.evaluate("async () => (await app.graphToPrompt()).workflow")
    graph_page.show_workflow(page, graph_page.BLANK)
    graph_page.show_workflow(page, saved)
    seen.look_at_node(page, graph_page.node_ids_of(page, seen.NODE)[0])
    assert [field.input_value() for field in seen.cards(page).locator(".magref-word").all()] == [
        "woman",
        "",
        "",
    ]
    assert seen.prompt_value(page)[0]["word"] == "woman"
    word = seen.cards(page).first.locator(".magref-word")
    word.fill("")
    word.press("Enter")
    assert "word" not in seen.prompt_value(page)[0]


def test_a_refusal_goes_when_the_old_text_is_typed_again(page):
    seen.add_node(page, json.dumps([{"file": "cat.png", "name": "tom", "word": "cat"}]))
    card = seen.cards(page).first
    for kind, kept, bad in (("word", "cat", "a@b"), ("name", "tom", "a,b")):
        field = card.locator(f".magref-{kind}")
        for text, is_refused in ((bad, True), (kept, False)):
            field.fill(text)
            field.press("Enter")
            assert bool(card.locator(".magref-problem").text_content()) is is_refused
