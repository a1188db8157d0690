import csv
import math

import numpy as np
import pytest
from PIL import Image

from magref_core.training.files import TrainingError
from magref_core.training.log import LINE, Log, draw_curves


def filled(file, steps=(10, 20, 30)):
    log = Log(file)
    for step in steps:
        log.add({"step": step, "loss": 1 / step})
    return log


def inked(image):
    """Pixels of the curve."""
    return (np.asarray(image) == LINE).all(-1)


def test_rows_are_written_at_once_and_read_back(tmp_path):
    filled(tmp_path / "log.csv")
    with (tmp_path / "log.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert rows[1] == {"step": "20", "loss": "0.05"}
    assert Log(tmp_path / "log.csv").curve("loss") == [(10, 0.1), (20, 0.05), (30, 0.0333333)]


def test_a_resumed_run_drops_the_rows_after_its_state(tmp_path):
    filled(tmp_path / "log.csv")
    log = Log(tmp_path / "log.csv", until=20)
    log.add({"step": 25, "loss": 9.0})
    assert [step for step, _ in Log(tmp_path / "log.csv").curve("loss")] == [10, 20, 25]


def test_a_new_run_starts_with_an_empty_log(tmp_path):
    filled(tmp_path / "log.csv")
    assert not Log(tmp_path / "log.csv", until=0).rows


def test_long_runs_keep_every_digit_of_their_steps(tmp_path):
    filled(tmp_path / "log.csv", steps=(1_234_567,))
    assert Log(tmp_path / "log.csv").rows[0]["step"] == 1_234_567


def test_rows_may_have_columns_that_others_lack(tmp_path):
    log = filled(tmp_path / "log.csv")
    log.add({"step": 40, "score": 0.5})
    again = Log(tmp_path / "log.csv")
    assert again.curve("score") == [(40, 0.5)]
    assert len(again.curve("loss")) == 3


def test_values_that_are_no_numbers_stay_out_of_the_curves(tmp_path):
    log = filled(tmp_path / "log.csv")
    log.add({"step": 40, "loss": math.inf})
    log.add({"step": 50, "loss": math.nan})
    again = Log(tmp_path / "log.csv")
    assert [step for step, _ in again.curve("loss")] == [10, 20, 30]
    again.draw(tmp_path / "curves.png", ["loss"])


@pytest.mark.parametrize("text", ["step,loss\n1,high\n", "loss\n0.5\n", "step,loss\n1,2,3\n"])
def test_what_is_no_log_is_refused(tmp_path, text):
    (tmp_path / "log.csv").write_text(text)
    with pytest.raises(TrainingError, match=r"log\.csv .*: move it away"):
        Log(tmp_path / "log.csv")


def test_a_log_in_another_encoding_is_refused(tmp_path):
    (tmp_path / "log.csv").write_bytes(b"step,\xff\n1,2\n")
    with pytest.raises(TrainingError, match=r"log\.csv is no table of numbers"):
        Log(tmp_path / "log.csv")


def test_each_curve_has_its_own_frame_and_falls_where_its_values_do(tmp_path):
    filled(tmp_path / "log.csv").draw(tmp_path / "curves.png", ["loss", "unknown"])
    with Image.open(tmp_path / "curves.png") as image:
        line = inked(image)
    half = line.shape[0] // 2
    assert not line[half:].any()
    rows, columns = line[:half].nonzero()
    assert columns.max() - columns.min() > 300
    assert rows[columns == columns.min()].mean() < rows[columns == columns.max()].mean() - 100


def test_a_level_curve_and_a_lone_point_can_be_drawn():
    assert inked(draw_curves([("level", [(0.0, 2.0), (5.0, 2.0)])])).any()
    draw_curves([("point", [(0.0, 2.0)]), ("nothing", [])])
