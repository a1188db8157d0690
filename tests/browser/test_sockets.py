"""MAGREF Load References: its sockets grow as they are used, and keep their links."""

import pytest

from scripts import graph_page

BUILD = """async ([pictures, masks]) => {
    const drawn = () => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))
    const make = (type, x, y) => {
        const node = LiteGraph.createNode(type); app.graph.add(node); node.pos = [x, y]; return node
    }
    const references = make('MagrefLoadReferences', 500, 0), canvas = make('MagrefBuildMaskedCanvas', 1000, 0)
    references.connect(0, canvas, 'references')
    canvas.connect(1, make('PreviewImage', 1500, 0), 'images')
    for (let number = 1; number <= pictures; number++) {
        const picture = make('LoadImage', 0, 400 * number)
        picture.title = `picture ${number}`
        picture.connect(0, references, references.inputs.findIndex(s => s.name === `images.image_${number}`))
        await drawn()
        if (number > masks) continue
        picture.connect(1, references, references.inputs.findIndex(s => s.name === `masks.mask_${number}`))
        await drawn()
    }
}"""

SOCKETS = """prefix => app.graph.nodes.find(n => n.type === 'MagrefLoadReferences').inputs
    .map(input => input.name).filter(name => name.startsWith(prefix))"""

CUT = """async name => {
    const node = app.graph.nodes.find(n => n.type === 'MagrefLoadReferences')
    node.disconnectInput(node.inputs.findIndex(s => s.name === name))
    const drawn = () => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))
    await drawn()
    await drawn()
}"""

SAVE_AND_LOAD = (
    "async () => await app.loadGraphData(JSON.parse(JSON.stringify(app.graph.serialize())), true, true)"
)

TO_SUBGRAPH = """() => {
    const nodes = app.graph.nodes.filter(n => n.type.startsWith('Magref'))
    app.graph.convertToSubgraph(new Set(nodes))
}"""


@pytest.fixture(autouse=True)
def blank(page):
    graph_page.show_workflow(page, graph_page.BLANK)


def sources(page):
    """Socket of MAGREF Load References -> (title of the node, output) that feeds it."""
    prompt = graph_page.to_prompt(page)
    (inputs,) = (node["inputs"] for node in prompt.values() if node["class_type"] == "MagrefLoadReferences")
    links = {name: value for name, value in inputs.items() if isinstance(value, list)}
    return {name: (prompt[origin]["_meta"]["title"], slot) for name, (origin, slot) in links.items()}


def fed(pictures, masks):
    """What `sources` gives for so many pictures and masks."""
    found = {f"images.image_{number}": (f"picture {number}", 0) for number in range(1, pictures + 1)}
    return found | {f"masks.mask_{number}": (f"picture {number}", 1) for number in range(1, masks + 1)}


def test_a_socket_appears_whenever_the_last_one_is_used(page):
    page.evaluate(BUILD, [4, 2])
    assert page.evaluate(SOCKETS, "images.") == [f"images.image_{number}" for number in range(1, 6)]
    assert page.evaluate(SOCKETS, "masks.") == [f"masks.mask_{number}" for number in range(1, 4)]
    assert sources(page) == fed(4, 2)


def test_there_are_no_more_than_sixteen_sockets(page):
    page.evaluate(BUILD, [16, 0])
    assert page.evaluate(SOCKETS, "images.")[-1] == "images.image_16"
    assert sources(page) == fed(16, 0)


def test_saving_and_loading_keeps_the_links(page):
    page.evaluate(BUILD, [4, 2])
    page.evaluate(SAVE_AND_LOAD)
    assert page.evaluate(SOCKETS, "images.") == [f"images.image_{number}" for number in range(1, 6)]
    assert sources(page) == fed(4, 2)


def test_a_subgraph_keeps_the_links_also_when_saved_and_loaded(page):
    page.evaluate(BUILD, [4, 2])
    page.evaluate(TO_SUBGRAPH)
    assert len(page.evaluate("() => app.graph.nodes.map(node => node.type)")) == 6
    assert sources(page) == fed(4, 2)
    page.evaluate(SAVE_AND_LOAD)
    assert sources(page) == fed(4, 2)


def test_the_pictures_after_a_removed_one_move_up(page):
    page.evaluate(BUILD, [3, 0])
    page.evaluate(CUT, "images.image_2")
    assert sources(page) == {"images.image_1": ("picture 1", 0), "images.image_2": ("picture 3", 0)}


@pytest.mark.parametrize("pictures", [0, 2])
def test_files_run_with_and_without_pictures_of_other_nodes(page, pictures):
    page.evaluate(BUILD, [pictures, 0])
    page.evaluate(
        """() => {
            const node = app.graph.nodes.find(n => n.type === 'MagrefLoadReferences')
            node.widgets[0].value = '[{"file": "cat.png"}]'
        }"""
    )
    kind, report = graph_page.run(page)
    assert kind == "execution_success", report
