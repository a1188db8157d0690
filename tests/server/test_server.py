import json
import threading

import av
import numpy as np
import pytest
from PIL import Image

from scripts import ROOT, demo, workflow_edit
from scripts.comfy_client import PromptInterruptedError, output_files

OF_THE_DEMO_MODEL = ("magref_demo", "magref_best_of", "magref_three_people", "magref_person_object_place")
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


def frames_of(client, history, file):
    """The decoded frames (H, W, 3) of the run's one video, and its frames per second."""
    (output,) = (output for output in output_files(history) if output.filename.endswith(".mp4"))
    with av.open(client.download(output, file)) as video:
        frames = [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]
        return frames, video.streams.video[0].average_rate


@pytest.mark.parametrize(
    "file",
    sorted(file for file in demo.PUPPETS.parent.glob("*.json") if file.stem not in OF_THE_DEMO_MODEL),
    ids=lambda file: file.stem,
)
def test_every_workflow_of_the_released_model_gives_its_video(client, tmp_path, file):
    workflow = workflow_edit.load_workflow(file)
    workflow_edit.set_where_present(workflow, SMALL)
    workflow_edit.fit_models(workflow, client.object_info())
    history = client.run(workflow, timeout=300)  # raises where the server refuses a part of it
    assert history["status"]["status_str"] == "success"
    assert "execution_success" in [kind for kind, _ in history["status"]["messages"]]
    frames, _ = frames_of(client, history, tmp_path / "video.mp4")
    assert [frame.shape for frame in frames] == [(SMALL["height"], SMALL["width"], 3)] * (SMALL["length"] - 4)


def test_the_demo_model_runs_as_it_is_shipped_beside_other_models(client, tmp_path):
    workflow = workflow_edit.load_workflow(demo.PUPPETS)
    assert workflow_edit.fit_models(workflow, client.object_info()) == []
    assert workflow == workflow_edit.load_workflow(demo.PUPPETS)
    history = client.run(workflow, timeout=300)
    frames, rate = frames_of(client, history, tmp_path / "demo.mp4")
    assert [frame.shape for frame in frames] == [(384, 576, 3)] * 16 and rate == 8
    red, _, blue = np.mean(frames, axis=0)[-30:].mean((0, 1))
    assert red > blue + 20  # the sand of the given beach, below; random models know none
    (canvas,) = (output for output in output_files(history) if output.filename.startswith("magref_canvas"))
    with Image.open(client.download(canvas, tmp_path / "canvas.png")) as picture:
        assert picture.size == (576, 384)


@pytest.mark.parametrize("name", ["magref_three_people", "magref_person_object_place"])
def test_named_puppets_run_as_they_are_shipped(client, tmp_path, name):
    workflow = workflow_edit.load_workflow(demo.PUPPETS.parent / f"{name}.json")
    assert workflow_edit.fit_models(workflow, client.object_info()) == []
    history = client.run(workflow, timeout=300)
    frames, _ = frames_of(client, history, tmp_path / "video.mp4")
    assert [frame.shape for frame in frames] == [(384, 576, 3)] * 16
    assert np.std(np.mean(frames, axis=(1, 2, 3))) < 20 < np.std(frames[8])  # one scene, and not a blank


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
