"""The benchmark of the subjects' controls: what it says of results that are known."""

import argparse

import numpy as np
import pytest

from benchmarks import who_is_who
from benchmarks.support import quality_sets, who_table
from benchmarks.support.docs import put_between_marks
from benchmarks.support.who_controls import CONTROLS, PLAIN, with_words
from benchmarks.support.who_run import SHOWN, key_of
from benchmarks.support.who_sheet import draw_sheet
from magref_core.world.captions import caption
from scripts.host_install import HostError
from scripts.training.presets import PRESETS

PRESET = PRESETS["cpu"]
CASES = quality_sets.draw_set("pairs", PRESET.scenes, PRESET.staging, count=6, seed=0)


def records_of(**scores):
    """label -> (swapped, identity), both one answer per scene."""
    count = len(next(iter(scores.values()))[0])
    return [
        {
            "index": number,
            "scores": {
                label: {"swapped": (swapped[number], 1.0), "identity": (identity[number], 1.0)}
                for label, (swapped, identity) in scores.items()
            },
        }
        for number in range(count)
    ]


ALL, NONE, HALF = [1.0] * 40, [0.0] * 40, [0.0, 1.0] * 20
RECORDS = records_of(
    plain=(HALF, HALF), good=(NONE, ALL), bad=(ALL, HALF), both=(NONE, NONE), same=(HALF, HALF)
)


@pytest.mark.parametrize(
    ("label", "verdict"),
    [("good", "helps"), ("bad", "hurts"), ("both", "mixed"), ("same", "no effect seen")],
)
def test_the_verdict_follows_the_intervals(label, verdict):
    assert who_table.verdict_of(RECORDS, label, to="plain") == verdict


def test_the_best_setting_of_each_kind_is_joined():
    kinds = {"bad": "a", "good": "a", "same": "b", "both": "c"}
    assert who_table.best_kinds(RECORDS, kinds) == ["good", "both"]


def test_the_table_has_a_row_per_control_and_marks_what_is_significant():
    rows = who_table.control_table(RECORDS, {"good": 2}).splitlines()
    assert len(rows) == 2 + len(RECORDS[0]["scores"])
    assert "**-0.500" in rows[3] and rows[3].startswith("| good | 2 |") and rows[3].endswith("| helps |")
    assert "**" not in rows[6]
    assert len({row.count("|") for row in rows}) == 1


def test_the_words_follow_the_table():
    records = [
        record
        | {
            "scores": {
                label: scores | {"motion": (float(label != "good"), 1.0)}
                for label, scores in record["scores"].items()
            }
        }
        for record in RECORDS
    ]
    lines = who_table.in_words(records)
    assert [line.rpartition(": ")[2] for line in lines[:4]] == ["good.", "both.", "same.", "bad."]
    assert lines[4:] == ["- Motion follows the prompt less with good."]


def test_other_models_are_compared_scene_by_scene():
    better = [record | {"scores": {"plain": record["scores"]["good"]}} for record in RECORDS]
    rows = who_table.model_table({"as shipped": RECORDS, "trained": better}, "as shipped").splitlines()
    assert "**-0.500" in rows[-1] and rows[-1].startswith("| trained | plain |")
    assert len({row.count("|") for row in rows}) == 1 and "in another order" in rows[0]


def test_the_page_has_the_marks_between_which_the_table_goes(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(who_is_who.DOCS.read_text(encoding="utf-8"), encoding="utf-8")
    put_between_marks(page, "who is who", "the table")
    assert "<!-- who is who -->\n\nthe table\n\n<!-- end of who is who -->" in page.read_text(
        encoding="utf-8"
    )


def test_the_scenes_are_those_of_the_quality_benchmark_and_a_longer_run_begins_with_them():
    pairs = [
        case
        for case in quality_sets.draw_cases(PRESET.scenes, PRESET.staging, num_scenes=10, seed=0)
        if case.set_name == "pairs"
    ]
    assert [(case.seed, case.scene) for case in pairs] == [(case.seed, case.scene) for case in CASES[:3]]


@pytest.mark.parametrize("case", CASES, ids=lambda case: str(case.number))
def test_the_two_of_a_category_are_bound_to_words_that_stand_once_in_the_prompt(case):
    named = with_words(case)
    prompt = caption(case.scene)
    words = [reference.word for reference in named.references]
    assert [prompt.count(word) for word in words] == [1] * len(words)
    assert words[0].endswith("on the left") and words[1].endswith("on the right")
    assert len({actor.identity.category for actor in case.scene.actors}) == 1


def test_labels_are_told_apart_and_joined_controls_keep_both():
    assert len({each.label for each in CONTROLS}) == len(CONTROLS)
    one = next(each for each in CONTROLS if each.kind == "disentangle")
    other = next(each for each in CONTROLS if each.kind == "guider")
    both = one.joined(other)
    assert (both.alpha, both.projection) == (one.alpha, one.projection)
    assert (both.reference_scale, both.form, both.num_answers) == (2.5, other.form, other.num_answers)
    assert both.bound and not PLAIN.bound


def arguments_of(folder, **changes):
    values = {"only": "", "device": "cpu", "processes": 1, "models": folder, "variant": [], "add_to": None}
    values |= {"scenes": 40, "seed": 0, "steps": 20, "guidance_scale": 1.0, "shift": 3.0}
    return argparse.Namespace(**(values | {"solver": "unipc", "precision": "default"} | changes))


@pytest.fixture
def earlier(tmp_path, monkeypatch):
    """Results of a run of its own in a folder, written as the benchmark does."""
    monkeypatch.setattr(who_is_who, "files_of", lambda models: ["dit", "vae", "text", "vision"])
    records = [record | {"seed": 1, "prompt": "a fox", "words": {}} for record in RECORDS]
    options = {key: getattr(arguments_of(tmp_path), key) for key in who_is_who.OPTIONS}
    result = {"date": "2000-01-02", "commit": "0", "device": "cpu", "machine": {}, "comfyui": "0"}
    result |= {"files": who_is_who.files_of(None), "first_seed": 7, "options": options, "joined": []}
    result |= {"answers_per_step": {}, "processes": 1, "seconds": 60.0}
    pictures = {}
    for index in range(SHOWN):
        pictures[key_of(index, "canvas")] = np.zeros((16, 24, 3), np.uint8)
        for label in RECORDS[0]["scores"]:
            pictures[key_of(index, label)] = np.zeros((16, 16, 24, 3), np.uint8)
    given = {"records": records, "variants": {"old": records_of(plain=(ALL, ALL))}, "pictures": pictures}
    who_is_who.write(result | given, tmp_path, docs=False)
    return tmp_path / "2000-01-02-who-is-who.json"


def test_variants_are_added_to_what_was_measured_before(earlier, monkeypatch):
    ran = []

    def run_stage(arguments, host, models, controls):
        ran.append((models, {each.label for each in controls}))
        return records_of(plain=(NONE, ALL)), {}, "0"

    monkeypatch.setattr(who_is_who, "run_stage", run_stage)
    before = earlier.with_suffix(".png").read_bytes()
    given = arguments_of(earlier.parent, add_to=earlier, variant=[("new", earlier.parent / "new")])
    result = who_is_who.measure(given, None)
    assert ran == [(earlier.parent / "new", set(who_is_who.VARIANT_CONTROLS))]
    assert list(result["variants"]) == ["as shipped", "new", "old"]
    assert [record["scores"].keys() for record in result["variants"]["as shipped"][:1]] == [{"plain"}]
    assert len(result["records"]) == 40
    who_is_who.write(result, earlier.parent, docs=False)
    assert '"new"' in earlier.read_text(encoding="utf-8")
    assert earlier.with_suffix(".png").read_bytes() == before, "the sheet stays"


def test_results_of_another_run_are_not_added_to(earlier):
    with pytest.raises(HostError, match="is of another run: its options"):
        who_is_who.take_up(arguments_of(earlier.parent, add_to=earlier, steps=10))
    (earlier.parent / "none.json").write_text("[]", encoding="utf-8")
    for name in ("none.json", "absent.json"):
        with pytest.raises(HostError, match=f"{name} holds no results of this benchmark"):
            who_is_who.take_up(arguments_of(earlier.parent, add_to=earlier.parent / name))


def test_the_sheet_has_a_column_per_scene_and_a_row_per_control(tmp_path):
    pictures = {key_of(0, "canvas"): np.zeros((16, 24, 3), np.uint8)}
    pictures |= {key_of(0, label): np.full((16, 16, 24, 3), 200, np.uint8) for label in ("plain", "more")}
    draw_sheet(pictures, [(0, "a fox on the left jumps and another")], ["plain"], tmp_path / "one.png")
    draw_sheet(pictures, [(0, "a fox")], ["plain", "more"], tmp_path / "two.png")
    from PIL import Image

    with Image.open(tmp_path / "one.png") as one, Image.open(tmp_path / "two.png") as two:
        assert two.width == one.width and two.height > one.height
