from pytest import approx

from scripts import graph_hands, graph_page
from tests.browser.layout import RED_NODES, open_template, outside, overlaps

SIZES = {"width": 128, "height": 80, "length": 9, "steps": 2}

SHRINK = """sizes => {
    for (const node of app.graph.nodes) for (const widget of node.widgets ?? [])
        if (widget.name in sizes) { widget.value = sizes[widget.name]; widget.callback?.(widget.value) }
}"""

PLAYED = """async () => {
    const video = document.querySelector('video')
    video.muted = true
    await video.play()
    return [video.duration, video.videoWidth, video.videoHeight, video.error]
}"""


def test_the_run_button_gives_a_video_that_plays(page):
    open_template(page, "magref_multi_subject")
    page.evaluate(SHRINK, SIZES)
    kind, report = graph_hands.press_run(page)
    assert kind == "execution_success", report
    page.wait_for_function("() => document.querySelector('video')?.readyState >= 2", timeout=60_000)
    frames = SIZES["length"] - 4
    assert page.evaluate(PLAYED) == [approx(frames / 15, abs=0.02), SIZES["width"], SIZES["height"], None]
    page.wait_for_function("() => document.querySelector('video').currentTime > 0")
    assert page.evaluate(RED_NODES) == []
    graph_page.settle(page)
    assert overlaps(page) == []
    assert outside(page) == []


def test_the_demo_runs_as_it_is_shipped(page):
    open_template(page, "magref_demo")
    kind, report = graph_page.run(page)
    assert kind == "execution_success", report
    page.wait_for_function("() => document.querySelector('video')?.readyState >= 2", timeout=60_000)
    assert page.evaluate(PLAYED) == [approx(16 / 8, abs=0.02), 576, 384, None]
    assert page.evaluate(RED_NODES) == []
    graph_page.settle(page)
    assert overlaps(page) == []
    assert outside(page) == []


def test_a_doubtful_cut_out_is_told_on_the_node(page):
    open_template(page, "magref_multi_subject")
    page.evaluate(SHRINK, {**SIZES, "method": "transparency"})
    page.evaluate(
        "() => { window.told = []; app.api.addEventListener('progress_text', e => told.push(e.detail)) }"
    )
    kind, report = graph_page.run(page)
    assert kind == "execution_success", report
    cut_out = page.evaluate("() => app.graph.nodes.find(n => n.type === 'MagrefAutoMaskSubject').id")
    (told,) = [item for item in page.evaluate("() => told") if str(item["nodeId"]) == str(cut_out)]
    assert "the picture of 'cat' has no transparency" in told["text"]
    shown = """id => app.graph.nodes.find(node => node.id == id)
        .widgets.some(widget => String(widget.value).includes('no transparency'))"""
    page.wait_for_function(shown, arg=cut_out)
