import json
import threading

import av
import pytest
from PIL import Image

from scripts import ROOT, demo, workflow_edit
from scripts.comfy_client import PromptInterruptedError, output_files


@pytest.fixture
def workflow(client):
    """The multi-subject workflow in the sizes of the demo, on the tiny models."""
    found = workflow_edit.load_workflow(demo.WORKFLOW)
    workflow_edit.set_where_present(found, demo.TINY_SIZES)
    workflow_edit.fit_models(found, client.object_info())
    return found


def test_every_node_of_the_pack_is_there_and_nothing_failed_to_load(server):
    server.require_nodes(json.loads((ROOT / "tests" / "node_surface.json").read_text()))
    assert server.import_failures() == []


def test_photographs_become_a_video_and_a_canvas(client, workflow, tmp_path):
    seen = set()
    history = client.run(workflow, on_progress=lambda progress: seen.add(progress.label), timeout=300)
    assert "MAGREF Sampler" in seen
    outputs = {output.filename.rpartition(".")[2]: output for output in output_files(history)}
    with av.open(client.download(outputs["mp4"], tmp_path / "demo.mp4")) as video:
        frames = [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]
    assert len(frames) == demo.TINY_SIZES["length"] - 4
    size = (demo.TINY_SIZES["height"], demo.TINY_SIZES["width"], 3)
    assert {frame.shape for frame in frames} == {size}
    canvas = Image.open(client.download(outputs["png"], tmp_path / "canvas.png"))
    assert (canvas.height, canvas.width) == size[:2]
    assert len(canvas.convert("RGB").getcolors(1 << 20)) > 1000


def test_a_run_cancelled_in_the_sampler_ends_there_and_the_next_one_runs(client, workflow):
    workflow_edit.set_input(workflow, "MAGREF Sampler.seed=1")
    workflow_edit.set_input(workflow, "MAGREF Sampler.steps=200")
    queued, sampling = [], threading.Event()

    def cancel(progress):
        if progress.label == "MAGREF Sampler" and progress.value >= 1 and not sampling.is_set():
            sampling.set()
            client.cancel(queued[0])

    with pytest.raises(PromptInterruptedError):
        client.run(workflow, on_progress=cancel, on_queued=queued.append, timeout=300)
    assert sampling.is_set()
    workflow_edit.set_input(workflow, "MAGREF Sampler.steps=2")
    assert output_files(client.run(workflow, timeout=300))
