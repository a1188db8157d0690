"""The weights of the verdicts are written with the videos and the network that they come from."""

from __future__ import annotations

import runpy

import numpy as np

from benchmarks.subject_report import FIT_CASES
from benchmarks.support import report_fit
from benchmarks.support.report_fit import fit, network_id, write
from magref_core.evaluation.sprite_verdicts import STATES, expand
from magref_core.evaluation.sprite_weights import FITTED_TO, NETWORK

CASES = ((64, 96, 1, 3), (96, 160, 1, 2))


def examples(count=120):
    """Three measures of which the first two tell the states apart."""
    rng = np.random.default_rng(0)
    states = rng.integers(3, size=count)
    measures = rng.normal(0, 0.3, (count, 3))
    measures[:, 0] += states == 1
    measures[:, 1] += states == 2
    return measures, [STATES[state] for state in states]


def test_what_is_fitted_is_read_back(tmp_path):
    measures, truth = examples()
    write(tmp_path / "weights.py", *fit(measures, truth), cases=CASES, network="1234abcd")
    read = runpy.run_path(str(tmp_path / "weights.py"))
    assert read["FITTED_TO"] == CASES and read["NETWORK"] == "1234abcd"
    scores = expand(measures, np.array(read["MEANS"]), np.array(read["SPREADS"])) @ np.array(read["WEIGHTS"])
    right = [STATES[state] == true for state, true in zip(scores.argmax(1), truth, strict=True)]
    assert np.mean(right) > 0.9


def test_the_same_videos_give_the_same_weights():
    first, second = fit(*examples()), fit(*examples())
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_swapped_subject_counts_as_there():
    measures, truth = examples()
    swapped = ["swapped" if state == "correct" else state for state in truth]
    np.testing.assert_array_equal(fit(measures, truth)[2], fit(measures, swapped)[2])


def test_the_network_is_told_by_its_file(tmp_path, monkeypatch):
    before = network_id()
    content = report_fit.NETWORK_FILE.read_bytes()
    monkeypatch.setattr(report_fit, "NETWORK_FILE", tmp_path / "halves.safetensors")
    report_fit.NETWORK_FILE.write_bytes(content)
    assert network_id() == before
    report_fit.NETWORK_FILE.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert network_id() != before


def test_the_shipped_weights_are_those_of_the_command():
    """Whoever trains the network or changes the videos fits anew: scripts/bench.py subject_report --fit."""
    assert FITTED_TO == FIT_CASES
    assert network_id() == NETWORK
