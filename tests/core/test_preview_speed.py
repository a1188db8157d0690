"""The benchmark of the preview, with a limit that a busy machine keeps as well."""

from __future__ import annotations

from benchmarks import preview


def test_a_preview_of_8_references_takes_a_fraction_of_a_second():
    result = preview.measure(rounds=3)
    assert set(result) == {"official layout", "canvas and mask", "report", "views", "all"}
    assert 0 < result["all"] < 5 * preview.LIMIT_MS


def test_the_table_says_where_the_limit_is_missed():
    result = {"official layout": 1.0, "canvas and mask": 100.0, "report": 30.0, "views": 19.0, "all": 150.0}
    assert "limit 150 ms: within" in preview.table(result, rounds=3, side=1024)
    assert "limit 150 ms: MISSED" in preview.table({**result, "all": 150.1}, rounds=3, side=1024)
