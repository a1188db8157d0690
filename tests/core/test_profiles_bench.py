"""The prices of profiles: which conditions are compared, their tables, and their place in the documents."""

from __future__ import annotations

import argparse
import datetime
import json

import pytest
import torch

from benchmarks import profiles
from benchmarks.support.profile_run import CONDITIONS, GUIDED, differences
from benchmarks.support.profile_table import MEASURES, change, chosen, cost_table, price_table, verdicts
from magref_core.sampling.profiles import PROFILES, Profile, plan_with

EXACT, BALANCED = f"exact, guidance {GUIDED:g}", f"balanced, guidance {GUIDED:g}"


def record(number, *, set_name="one", better=True):
    """A scene in which balanced takes half the time and loses identity in every scene."""
    names = list(CONDITIONS)
    return {
        "set": set_name,
        "number": number,
        "seed": number,
        "scores": {
            name: {"identity": [0.0 if name == BALANCED and better else 1.0, 1.0], "swapped": [0.0, 1.0]}
            for name in names
        },
        "seconds": {name: (1.0 if name == BALANCED else 2.0) * (number + 1) for name in names},
        "answers": dict.fromkeys(names, 40),
        "differences": dict.fromkeys([name for name in names if CONDITIONS[name].reference], 0.125),
        "peaks": dict.fromkeys(names, 3 * 2**20) if number == 0 else {},
    }


def test_every_profile_is_measured_with_and_without_guidance_and_exact_is_what_it_is_compared_with():
    for scale in (GUIDED, 1.0):
        for name, profile in PROFILES.items():
            condition = CONDITIONS[f"{name}, guidance {scale:g}"]
            assert condition.profile == profile
            assert condition.reference == ("" if name == "exact" else f"exact, guidance {scale:g}")
    assert all(each.reference in {"", *CONDITIONS} for each in CONDITIONS.values())


def test_each_line_that_says_only_leaves_out_one_thing():
    alone = [each for each in CONDITIONS.values() if each.label.startswith("only")]
    exact = Profile()
    for condition in alone:
        plan = plan_with("tried", condition.profile, 20, condition.guidance_scale)
        assert sum([plan.steps < 20, plan.reuses, plan.has_interval]) == 1, condition.label
        assert condition.profile != exact


def test_times_are_ratios_within_a_scene():
    lines = cost_table([record(0), record(1), record(2)]).splitlines()
    assert lines[2] == f"| {EXACT} | 4.00 | 1 | 40.0 |  | 3 MiB |"
    assert lines[3] == f"| {BALANCED} | 2.00 | 0.50 | 40.0 | 12.5% | 3 MiB |"
    assert "| not measured |" in cost_table([record(1)]).splitlines()[2]


def test_latents_are_compared_with_those_of_the_exact_run_at_the_same_guidance():
    latents = {name: torch.full((2,), 1.5 if "balanced" in name else 1.0) for name in CONDITIONS}
    found = differences(latents)
    assert EXACT not in found
    assert found[BALANCED] == pytest.approx(0.5) and found[f"draft, guidance {GUIDED:g}"] == 0


def test_a_change_beyond_chance_is_marked_and_said_and_no_other():
    records = [record(number) for number in range(12)]
    found = change(records, MEASURES["identity"], CONDITIONS[BALANCED])
    assert found is not None and (found.value, found.low, found.high) == (-1.0, -1.0, -1.0)
    lines = price_table(records).splitlines()
    assert lines[2].startswith(f"| {EXACT} | 1.00 [1.00, 1.00] |")
    assert lines[4].startswith("| minus exact | -1.00 [-1.00, -1.00] * |")
    assert lines[6].startswith("| minus exact | +0.00 [+0.00, +0.00] |")
    said = verdicts(records)
    assert said[0] == f"- {BALANCED}: identity top-1 -1.00."
    assert all(line.endswith("no significant change.") for line in said[1:])


def test_records_are_put_in_order_and_other_sets_left_out():
    mixed = [record(1, set_name="two"), record(0, set_name="places"), record(1), record(0)]
    assert [(each["set"], each["number"]) for each in chosen(mixed)] == [("one", 0), ("one", 1), ("two", 1)]


def arguments_of(folder):
    models = folder / "models"
    (models / "vae").mkdir(parents=True)
    (models / "vae" / "small.safetensors").write_bytes(b"weights")
    return argparse.Namespace(
        folder=folder, models=models, device="cpu", scenes=6, steps=20, seed=0, preset=None
    )


def test_a_run_that_was_stopped_goes_on_with_the_whole_lines_of_the_same_run(tmp_path):
    arguments = arguments_of(tmp_path)
    stem = profiles.stem(arguments)
    assert stem.startswith("profiles-cpu-6-20-0-")
    whole = json.dumps(record(0))
    (tmp_path / f"{stem}-0.jsonl").write_text(f"\n{whole}\n{whole[:100]}")
    (tmp_path / f"{stem}-1.jsonl").write_text(f"\n{json.dumps(record(1))}")
    (tmp_path / f"{stem.replace('-6-', '-7-')}-0.jsonl").write_text(f"\n{whole}")
    assert [each["number"] for each in profiles.kept(arguments)] == [0, 1]


def test_other_weights_other_conditions_and_another_world_are_another_run(tmp_path, monkeypatch):
    arguments = arguments_of(tmp_path)
    stems = {profiles.stem(arguments)}
    arguments.preset = "gpu"
    stems.add(profiles.stem(arguments))
    (arguments.models / "vae" / "small.safetensors").write_bytes(b"Weights")
    stems.add(profiles.stem(arguments))
    monkeypatch.setattr("benchmarks.support.profile_run.CONDITIONS", {EXACT: CONDITIONS[EXACT]})
    stems.add(profiles.stem(arguments))
    assert len(stems) == 4


def test_what_is_written_tells_day_commit_and_machine_beside_the_records(tmp_path, monkeypatch):
    machine = pytest.importorskip("benchmarks.support.machine", exc_type=ImportError)
    monkeypatch.setattr(machine, "commit", lambda _: "abc-dirty")
    arguments, records = arguments_of(tmp_path), [record(0), record(1)]
    found = json.loads(profiles.content(records, arguments))
    assert found["records"] == records
    today = datetime.date.today().isoformat()
    assert (found["date"], found["commit"], found["steps"]) == (today, "abc-dirty", 20)
    assert found["machine"] == machine.describe("cpu")
    assert f"{today}; commit abc-dirty; " in profiles.report(records, arguments).splitlines()[-1]


def test_the_page_says_the_numbers_of_the_profiles():
    page = profiles.DOCS.read_text(encoding="utf-8")
    for name in ("balanced", "draft"):
        profile = PROFILES[name]
        assert f"{profile.step_share:g} of the steps" in page
        assert f"up to a change of {profile.reuse_threshold:g}" in page
