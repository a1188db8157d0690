from __future__ import annotations

import json
import time
import weakref

import comfy.model_management
import comfy.patcher_extension
import pytest
import torch
from comfy_extras.nodes_custom_sampler import CFGGuider, Noise_RandomNoise, SamplerCustomAdvanced
from magref_pack.magref_core.canvas.compose import compose_canvas
from magref_pack.magref_core.canvas.layout import arrange
from magref_pack.magref_core.canvas.references import Reference
from magref_pack.magref_core.errors import MagrefError, ShapeError
from magref_pack.nodes import best_of
from magref_pack.nodes.best_of import BestOf, Judge, Take, as_json, best_take
from magref_pack.nodes.sampling import MagrefSchedule, MagrefSolver

from . import models, runs

SIZE = {"frames": 2, "height": 8, "width": 12}
NOISY = 1e-6


@pytest.fixture
def canvas():
    generator = torch.Generator().manual_seed(3)
    pictures = [torch.randint(0, 256, (20, 14, 3), generator=generator, dtype=torch.uint8) for _ in range(2)]
    given = tuple(Reference(name=f"r{i}", image=picture) for i, picture in enumerate(pictures))
    return compose_canvas(given, arrange([(20, 14)] * 2, height=64, width=96, seed=1), height=64, width=96)


def guider(model):
    return CFGGuider.execute(model, *runs.prompts(**SIZE), 5.0).args[0]


def best(canvas, model=None, **changes):
    values = {
        "guider": guider(models.our_model() if model is None else model),
        "latent": runs.empty(**SIZE),
        "vae": models.vae(),
        "canvas": canvas,
        "seed": 5,
        "count": 3,
        "draft_steps": 1,
        "steps": 2,
        "shift": 3.0,
        "solver": "unipc",
        "drop_frames": 1,
        "method": "colours",
        "order": "",
        "num_frames": 2,
    }
    return BestOf.execute(**(values | changes)).args


def one(seed, steps=2):
    sampler = MagrefSolver.execute("unipc", True).args[0]
    sigmas = MagrefSchedule.execute("unipc", steps, 3.0).args[0]
    given = SamplerCustomAdvanced.execute(
        Noise_RandomNoise(seed), guider(models.our_model()), sampler, sigmas, runs.empty(**SIZE)
    )
    return given.args[0]["samples"]


def test_the_best_take_is_what_its_seed_gives_alone(canvas):
    latent, seed, scores = best(canvas)
    told = json.loads(scores)
    assert [take["seed"] for take in told["takes"]] == [5, 6, 7]
    assert told["best_seed"] == seed == max(told["takes"], key=lambda take: take["score"])["seed"]
    assert all(take["steps"] == 1 and set(take["verdicts"]) == {"r0", "r1"} for take in told["takes"])
    torch.testing.assert_close(latent["samples"], one(seed), rtol=0, atol=NOISY)


def test_the_draft_with_the_highest_score_is_finished(canvas, monkeypatch):
    monkeypatch.setattr(Judge, "__call__", scored({5: 0.1, 6: 0.2, 7: 0.9, 8: 0.3}))
    model, calls = runs.watch(models.our_model())
    latent, seed, _ = best(canvas, model, count=4)
    assert seed == 7
    rows = sum(len(call["x"]) for call in calls)
    assert rows == 2 * (4 * 1 + 2), "4 drafts of a step and 2 steps, with and without text"
    torch.testing.assert_close(latent["samples"], one(7), rtol=0, atol=NOISY)


def scored(scores):
    def judge(self, seed, steps, latents):
        return Take(seed=seed, steps=steps, score=scores[seed], verdicts={})

    return judge


@pytest.mark.parametrize("draft_steps", [0, 2, 9])
def test_without_drafts_every_take_is_finished_once(canvas, monkeypatch, draft_steps):
    monkeypatch.setattr(Judge, "__call__", scored({5: 0.1, 6: 0.7, 7: 0.2}))
    model, calls = runs.watch(models.our_model())
    latent, seed, _ = best(canvas, model, draft_steps=draft_steps)
    rows = sum(len(call["x"]) for call in calls)
    assert seed == 6 and rows == 3 * 2 * 2, "three takes of two steps, with and without text"
    torch.testing.assert_close(latent["samples"], one(6), rtol=0, atol=NOISY)


def test_one_take_is_not_drafted(canvas):
    model, calls = runs.watch(models.our_model())
    latent, seed, scores = best(canvas, model, count=1)
    assert seed == 5 and sum(len(call["x"]) for call in calls) == 2 * 2
    assert len(json.loads(scores)["takes"]) == 1
    torch.testing.assert_close(latent["samples"], one(5), rtol=0, atol=NOISY)


class Sampled:
    """Stands for sampling: remembers what is still held of all takes."""

    def __init__(self):
        self.held: list = []
        self.most = 0
        self.seeds: list[tuple[int, int]] = []

    def __call__(self, seed, steps, report):
        latents = torch.full((1, 16, 2, 8, 12), float(seed % 97))
        self.seeds.append((seed, steps))
        self.held.append(weakref.ref(latents))
        self.most = max(self.most, sum(each() is not None for each in self.held))
        report()
        return latents


@pytest.mark.parametrize("draft_steps", [3, 0])
def test_64_takes_are_held_one_at_a_time(draft_steps):
    run = Sampled()
    judge = scored({seed: (seed * 37 % 64) / 64 for seed in range(64)})
    winner, takes, latents = best_take(
        run, lambda *args: judge(None, *args), list(range(64)), draft_steps=draft_steps, steps=10
    )
    assert len(takes) == 64 and [take.seed for take in takes] == list(range(64))
    assert winner.score == max(take.score for take in takes)
    assert float(latents[0, 0, 0, 0, 0]) == winner.seed
    assert run.most == (1 if draft_steps else 2), "beside the one at work the best so far, if it is finished"
    assert len(run.seeds) == 64 + (draft_steps > 0)


def test_64_takes_through_the_node(canvas, monkeypatch):
    monkeypatch.setattr(Judge, "__call__", scored({seed: (seed * 37 % 64) / 64 for seed in range(5, 69)}))
    model, calls = runs.watch(models.our_model())
    latent, seed, scores = best(canvas, model, count=64)
    told = json.loads(scores)
    assert [take["seed"] for take in told["takes"]] == list(range(5, 69))
    assert seed == told["best_seed"] == max(told["takes"], key=lambda take: take["score"])["seed"]
    assert sum(len(call["x"]) for call in calls) == 2 * (64 + 2), "a step of each, and two of the best"
    assert latent["samples"].shape[0] == 1


def test_of_equal_scores_the_first_wins():
    judge = scored(dict.fromkeys(range(4), 0.5))
    winner, _, _ = best_take(Sampled(), lambda *a: judge(None, *a), list(range(4)), draft_steps=1, steps=2)
    assert winner.seed == 0


def test_the_seeds_go_on_from_the_largest_one(canvas):
    largest = 2**64 - 1
    _, _, scores = best(canvas, seed=largest, count=2)
    assert [take["seed"] for take in json.loads(scores)["takes"]] == [largest, 0]


def test_interrupted_in_the_third_take_it_stops_at_once_and_the_next_run_is_whole(canvas):
    calls, asked = [], []

    def stop(executor, *args, **kwargs):
        calls.append(1)
        if len(calls) == 3:  # a draft is one step, prompts batched
            comfy.model_management.interrupt_current_processing()
            asked.append(time.monotonic())
        return executor(*args, **kwargs)

    model = models.our_model()
    model.add_wrapper_with_key(comfy.patcher_extension.WrappersMP.DIFFUSION_MODEL, "stop", stop)
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        best(canvas, model, count=5)
    assert len(calls) == 3 and time.monotonic() - asked[0] < 1
    assert json.loads(best(canvas)[2])["best_seed"] in (5, 6, 7)


def test_interrupted_while_a_take_is_looked_at_it_stops_at_once(canvas, monkeypatch):
    started = []

    def decode(*args):
        started.append(time.monotonic())
        comfy.model_management.interrupt_current_processing()
        return torch.rand(1, 3, 5, 64, 96)

    monkeypatch.setattr(best_of.host, "decode_with", decode)
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        best(canvas)
    assert len(started) == 1 and time.monotonic() - started[0] < 1


def test_all_seeds_and_scores_go_into_what_savers_write(canvas, monkeypatch):
    class Hidden:
        extra_pnginfo: dict = {"workflow": {"nodes": []}}  # noqa: RUF012
        unique_id = None

    monkeypatch.setattr(BestOf, "hidden", Hidden, raising=False)
    scores = best(canvas)[2]
    assert Hidden.extra_pnginfo["magref_best_of"] == json.loads(scores)
    assert Hidden.extra_pnginfo["workflow"] == {"nodes": []}


@pytest.mark.parametrize(
    ("changes", "error", "sentence"),
    [
        ({"count": 0}, MagrefError, "0 takes are wanted: use 1 to 64"),
        ({"count": 65}, MagrefError, "65 takes are wanted: use 1 to 64"),
        ({"drop_frames": 5}, ShapeError, "holds 5 frames and drop_frames is 5, .*: use 0 to 4"),
        ({"latent": runs.empty(**SIZE, batch=2)}, ShapeError, "holds 2 videos, but takes of one are made"),
        (
            {"method": "eyes"},
            MagrefError,
            "the method is 'eyes', which is unknown: choose one of auto, faces",
        ),
        ({"order": "r0, nobody"}, MagrefError, "the order names 'nobody', but the subjects are r0, r1"),
        ({"steps": 0}, MagrefError, "set steps to 40"),
        ({"method": "encoder"}, MagrefError, "no image encoder is connected: connect Load CLIP Vision"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence(canvas, changes, error, sentence):
    with pytest.raises(error, match=sentence):
        best(canvas, **changes)


def test_the_scores_are_plain_json():
    take = Take(seed=3, steps=2, score=0.5, verdicts={"é": "correct"})
    assert json.loads(as_json(take, [take], steps=9)) == {
        "version": 1,
        "best_seed": 3,
        "steps": 9,
        "takes": [{"seed": 3, "steps": 2, "score": 0.5, "verdicts": {"é": "correct"}}],
    }


def test_a_draft_that_cannot_be_decoded_ends_with_what_can_be_changed_here(canvas, monkeypatch):
    """There is no size of tiles to choose."""

    def full(*_args, **_kwargs):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(best_of.host, "decode_with", full)
    with pytest.raises(MagrefError, match=r"are free: use a smaller size of the video, or close"):
        best(canvas)
