"""What goes wrong at the gallery is said in one sentence, and nothing of the list is lost."""

import json
import shutil

import pytest

from scripts import demo, graph_page
from tests.browser import gallery_page as seen

CAT = demo.PICTURES / "cat.png"
ONE = json.dumps([{"file": "cat.png", "name": "cat", "kind": "object"}])
SCRIPT = '<img src=x onerror="window.wasRun=1">'


@pytest.fixture(autouse=True)
def blank(page):
    graph_page.show_workflow(page, graph_page.BLANK)


def wait_for_notice(page, sentence):
    page.wait_for_function(
        """sentence => [...document.querySelectorAll('.magref-notices')]
            .some(shown => shown.innerText.includes(sentence))""",
        arg=sentence,
    )


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        (
            "photo.heic",
            b"\0\0\0\x24ftypheic",
            "photo.heic is a HEIC photo, as telephones make them, which cannot",
        ),
        ("photo.jpg", b"\0\0\0\x24ftypheic", "photo.jpg is a HEIC photo"),
        (
            "logo.svg",
            b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>",
            "logo.svg is a drawing (SVG)",
        ),
        ("empty.png", b"", "empty.png is empty (0 bytes): choose or export it again."),
        ("notes.png", b"no picture at all", "notes.png is no picture that can be read: choose a PNG, JPEG"),
    ],
)
def test_a_file_that_cannot_serve_is_refused_before_it_is_sent(
    page, server, tmp_path, name, content, sentence
):
    node_id = seen.add_node(page, ONE)
    (tmp_path / name).write_bytes(content)
    seen.add_files(page, [tmp_path / name, demo.PICTURES / "coffee.png"])
    wait_for_notice(page, sentence)
    seen.wait_for_cards(page, 2)
    assert seen.names(page) == ["cat", "coffee"]
    assert not (server.base / "input" / name).exists()
    assert len(seen.value(page, node_id)) == 2


def test_a_file_of_two_hundred_megabytes_is_refused_before_it_is_sent(page, server, tmp_path):
    seen.add_node(page, ONE)
    big = tmp_path / "big.png"
    shutil.copy(CAT, big)
    with big.open("r+b") as opened:
        opened.truncate(200 * 1024 * 1024)
    seen.add_files(page, [big])
    wait_for_notice(page, "big.png has 200 MB, but ComfyUI takes 100 MB at most")
    assert seen.names(page) == ["cat"]
    assert not (server.base / "input" / "big.png").exists()


def test_of_a_hundred_files_the_first_are_taken_and_the_rest_is_told(page, tmp_path):
    node_id = seen.add_node(page, ONE)
    files = [tmp_path / f"picture{number:03}.png" for number in range(100)]
    for file in files:
        shutil.copy(demo.PICTURES / "puppet_fox.png", file)
    seen.add_files(page, files)
    wait_for_notice(page, "100 pictures were given, but the gallery holds 16: 15 are taken, 85 are not.")
    seen.wait_for_cards(page, 16)
    assert [entry["file"] for entry in seen.value(page, node_id)][1:] == [file.name for file in files[:15]]


def test_a_list_of_a_hundred_entries_is_shown_whole(page):
    entries = [{"file": "cat.png", "name": f"n{number}", "kind": "object"} for number in range(100)]
    node_id = seen.add_node(page, json.dumps(entries))
    seen.wait_for_cards(page, 100)
    assert seen.value(page, node_id) == entries


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        (
            "x" * 300,
            "has 300 characters, but at most 64 are allowed: shorten it. The value is as it was before.",
        ),
        ("", "The name is empty: give every picture a name, such as alice."),
        ("a/b", "holds a slash, a backslash or a control character"),
        ("cup, red", "holds a comma"),
        ("FOX", "have the same name but for upper and lower case: rename one of them."),
    ],
)
def test_a_name_that_cannot_be_keeps_the_old_one_and_says_why(page, name, sentence):
    entries = [{"file": "cat.png", "name": "cat"}, {"file": "puppet_fox.png", "name": "fox"}]
    node_id = seen.add_node(page, json.dumps(entries))
    field = seen.cards(page).first.locator(".magref-name")
    field.fill(name)
    field.press("Enter")
    assert sentence in seen.cards(page).first.locator(".magref-problem").inner_text()
    assert field.get_attribute("aria-invalid") == "true"
    assert seen.value(page, node_id) == entries


def test_names_with_quotes_and_tags_are_text(page, tmp_path):
    node_id = seen.add_node(page)
    entries = [{"file": "cat.png", "name": SCRIPT}, {"file": "gone" + SCRIPT, "name": "the \"old\" 'cup'"}]
    page.evaluate(seen.SET_VALUE, [node_id, json.dumps(entries)])
    seen.wait_for_cards(page, 2)
    assert seen.names(page) == [SCRIPT, "the \"old\" 'cup'"]
    assert SCRIPT in seen.cards(page).first.get_attribute("aria-label")
    missing = seen.cards(page).nth(1).locator(".magref-problem")
    page.wait_for_function("p => p.innerText.includes('is not in ComfyUI')", arg=missing.element_handle())
    assert SCRIPT in missing.inner_text()
    odd = tmp_path / "a'b&c\u732b<i>.png"
    shutil.copy(CAT, odd)
    seen.add_files(page, [odd])
    seen.wait_for_cards(page, 3)
    assert seen.names(page)[2] == "a'b&c\u732b<i>"
    seen.gallery(page).locator(".magref-card").nth(2).locator("img").wait_for()
    assert page.evaluate("() => window.wasRun") is None
    assert seen.gallery(page).locator("img[src='x'], i, b").count() == 0


def test_a_file_whose_name_is_too_long_for_a_disk_is_added_under_a_shorter_one(page, server):
    node_id = seen.add_node(page)
    carried = page.evaluate_handle(seen.TRANSFER, [["x" * 300 + ".png", "image/png", seen.packed(CAT)]])
    seen.gallery(page).dispatch_event("drop", {"dataTransfer": carried})
    seen.wait_for_cards(page, 1)
    (entry,) = seen.value(page, node_id)
    assert entry["file"] == "x" * 100 + ".png" and len(entry["name"]) <= 64
    assert (server.base / "input" / entry["file"]).is_file()


def test_two_pictures_of_the_same_name_are_two_subjects(page, tmp_path):
    node_id = seen.add_node(page)
    for folder, source in (("one", "astronaut.png"), ("two", "coffee.png")):
        (tmp_path / folder).mkdir()
        shutil.copy(demo.PICTURES / source, tmp_path / folder / "twin.png")
        seen.add_files(page, [tmp_path / folder / "twin.png"])
        page.wait_for_function("() => !document.querySelector('.magref-transfer')")
    seen.wait_for_cards(page, 2)
    first, second = seen.value(page, node_id)
    assert first["file"] != second["file"]
    assert [first["name"], second["name"]] == ["twin", "twin-2"]
    assert seen.cards(page).locator(".magref-problem:not(:empty)").count() == 0


def test_a_deleted_file_is_told_on_its_card_and_can_be_replaced(page, server):
    shutil.copy(CAT, server.base / "input" / "fleeting.png")
    entries = [{"file": "fleeting.png", "name": "hero", "kind": "person"}]
    node_id = seen.add_node(page, json.dumps(entries))
    seen.wait_for_thumbnails(page)
    (server.base / "input" / "fleeting.png").unlink()
    saved = page.evaluate("() => JSON.parse(JSON.stringify(app.graph.serialize()))")
    graph_page.show_workflow(page, graph_page.BLANK)
    graph_page.show_workflow(page, saved)
    seen.look_at_node(page, node_id)
    seen.gallery(page).get_by_text("fleeting.png is not in ComfyUI's input folder: put it back").wait_for()
    assert seen.value(page, node_id) == entries
    replace = seen.cards(page).get_by_role("button", name="Choose another picture")
    seen.choose_files(page, replace, [CAT])
    seen.wait_for_thumbnails(page)
    assert seen.value(page, node_id)[0]["name"] == "hero"


def test_a_file_that_is_there_but_no_picture_is_told_on_its_card(page, server):
    (server.base / "input" / "broken.png").write_bytes(b"no picture at all")
    seen.add_node(page, json.dumps([{"file": "broken.png"}]))
    seen.gallery(page).get_by_text("broken.png cannot be shown: open it in an image viewer").wait_for()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[{", "The text is not JSON"),
        ('{"file": "a.png"}', "The text is no list: write it in square brackets"),
        ('["a.png"]', 'Reference 1 is "a.png", but an entry in braces is needed'),
        ('[{"file": "a.png", "colour": "red"}]', "Reference 1 has the field colour: use only"),
        ('[{"file": "a.png", "kind": "hero"}]', "Reference 1 is of the kind hero: use person, object"),
        ('[{"file": "a.png", "off": "no"}]', 'off of reference 1 is "no", but must be true or false.'),
    ],
)
def test_nonsense_written_by_hand_leaves_the_old_value(page, text, sentence):
    node_id = seen.add_node(page, ONE)
    seen.gallery(page).get_by_role("button", name="As text").click()
    box = seen.gallery(page).locator("textarea")
    assert json.loads(box.input_value()) == json.loads(ONE)
    box.fill(text)
    box.blur()
    wait_for_notice(page, sentence)
    wait_for_notice(page, "The value is as it was before.")
    assert box.input_value() == text
    assert seen.value(page, node_id) == json.loads(ONE) == seen.prompt_value(page)
    box.fill('[{"file": "coffee.png", "name": "cup", "kind": "object"}]')
    box.blur()
    seen.gallery(page).get_by_role("button", name="As cards").click()
    assert seen.names(page) == ["cup"] and seen.notices(page) == ""


def test_a_workflow_with_nonsense_keeps_it_and_says_so(page):
    node_id = seen.add_node(page, "[{ nonsense")
    wait_for_notice(page, "The text is not JSON")
    wait_for_notice(page, "The value is kept as it is: correct it below.")
    assert page.evaluate(seen.VALUE, node_id) == "[{ nonsense"
    assert seen.gallery(page).locator("textarea").input_value() == "[{ nonsense"
    assert seen.gallery(page).get_by_role("button", name="Add pictures").is_disabled()


@pytest.mark.parametrize("way", ["drop", "paste"])
def test_a_picture_given_to_a_list_that_cannot_be_read_does_not_replace_it(page, way):
    node_id = seen.add_node(page, "[{ nonsense")
    carried = seen.transfer(page, [CAT])
    if way == "drop":
        seen.gallery(page).dispatch_event("drop", {"dataTransfer": carried})
    else:
        seen.gallery(page).locator("textarea").focus()
        carried.evaluate(seen.PASTE)
    wait_for_notice(page, "No picture was added, since the list cannot be read. The text is not JSON")
    graph_page.settle(page)
    assert page.evaluate(seen.VALUE, node_id) == "[{ nonsense"


def test_a_list_that_becomes_unreadable_while_a_picture_is_on_its_way_stays(page):
    node_id = seen.add_node(page, ONE)
    held = []
    page.route("**/upload/image", lambda route: held.append(route))
    seen.add_files(page, [CAT])
    seen.gallery(page).locator(".magref-transfer").wait_for()
    page.wait_for_timeout(300)
    page.evaluate(seen.SET_VALUE, [node_id, "[{ nonsense"])
    (route,) = held
    route.continue_()
    wait_for_notice(page, "No picture was added, since the list cannot be read.")
    page.unroute("**/upload/image")
    assert page.evaluate(seen.VALUE, node_id) == "[{ nonsense"


def test_an_upload_that_fails_is_told_and_one_that_is_cancelled_is_not(page):
    seen.add_node(page, ONE)
    answers = iter([413, 500, None])

    def answer(route):
        status = next(answers)
        route.abort() if status is None else route.fulfill(status=status, body="")

    page.route("**/upload/image", answer)
    for sentence in ("but ComfyUI takes", "refused cat.png with code 500", "cat.png could not be sent"):
        seen.add_files(page, [CAT])
        wait_for_notice(page, sentence)
    page.unroute("**/upload/image")
    held = []
    page.route("**/upload/image", lambda route: held.append(route))
    seen.add_files(page, [CAT])
    going = seen.gallery(page).locator(".magref-transfer")
    going.locator("progress").wait_for()
    going.get_by_role("button", name="Cancel").click()
    going.wait_for(state="detached")
    page.unroute("**/upload/image")
    assert seen.names(page) == ["cat"] and seen.notices(page) == ""


def test_a_list_over_a_link_is_shown_as_such_and_not_changed(page):
    node_id = seen.add_node(page, ONE)
    page.evaluate(
        """id => {
            const text = LiteGraph.createNode('PrimitiveStringMultiline'), node = app.graph.getNodeById(id)
            app.graph.add(text)
            text.pos = [-500, 0]
            text.connect(0, node, node.inputs.findIndex(input => input.widget?.name === 'references'))
        }""",
        node_id,
    )
    wait_for_notice(page, "The list comes over a link and cannot be changed here.")
    assert seen.cards(page).locator("input:enabled, button:enabled, select:enabled").count() == 0
    assert json.loads(page.evaluate(seen.VALUE, node_id)) == json.loads(ONE)


def test_example_pictures_that_are_missing_are_put_into_place_at_a_press(page, server):
    files = ("puppet_fox.png", "place_beach.png")
    kept = {name: (server.base / "input" / name).read_bytes() for name in files}
    for name in files:
        (server.base / "input" / name).unlink()
    try:
        entries = [{"file": name} for name in (*files, "unheard_of.png")]
        node_id = seen.add_node(page, json.dumps(entries))
        wait_for_notice(page, "place_beach.png, puppet_fox.png: example pictures of this pack")
        seen.gallery(page).get_by_role("button", name="Put them there").click()
        for name in files:
            image = seen.gallery(page).locator(f"img[title='{name}']")
            image.wait_for()
            page.wait_for_function(seen.SHOWN, arg=image.element_handle())
        assert {name: (server.base / "input" / name).read_bytes() for name in files} == kept
        assert seen.value(page, node_id) == entries and seen.notices(page) == ""
        seen.gallery(page).get_by_text("unheard_of.png is not in ComfyUI's input folder").wait_for()
    finally:
        for name, content in kept.items():
            (server.base / "input" / name).write_bytes(content)
