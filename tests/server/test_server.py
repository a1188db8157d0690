import json
import threading

import av
import pytest
from PIL import Image

from scripts import ROOT, demo, workflow_edit
from scripts.comfy_client import PromptInterruptedError, output_files

SMALL = {"width": 128, "height": 80, "length": 9, "steps": 2}


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


@pytest.mark.parametrize(
    "file", sorted((ROOT / "workflows" / "api").glob("*.json")), ids=lambda file: file.stem
)
def test_every_shipped_workflow_gives_its_video(client, tmp_path, file):
    workflow = workflow_edit.load_workflow(file)
    workflow_edit.set_where_present(workflow, SMALL)
    workflow_edit.fit_models(workflow, client.object_info())
    history = client.run(workflow, timeout=300)  # raises where the server refuses a part of it
    assert history["status"]["status_str"] == "success"
    assert "execution_success" in [kind for kind, _ in history["status"]["messages"]]
    (output,) = (output for output in output_files(history) if output.filename.endswith(".mp4"))
    with av.open(client.download(output, tmp_path / "video.mp4")) as video:
        frames = [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]
    assert [frame.shape for frame in frames] == [(SMALL["height"], SMALL["width"], 3)] * (SMALL["length"] - 4)


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
