"""How many and which pictures a training canvas gets."""

from __future__ import annotations

import random
from pathlib import Path

from scripts.training import user_data, user_samples


def test_drawn_references_differ_in_number_and_may_leave_the_place_out():
    sources = [
        user_data.Source(subject=name, kind=kind, file=Path(file))
        for name, kind, file in (
            ("ann", "person", "1.png"),
            ("ann", "person", "2.png"),
            ("dog", "object", "3.png"),
            ("park", "background", "4.png"),
        )
    ]
    drawn = [user_samples.draw_references(tuple(sources), random.Random(seed)) for seed in range(300)]
    counts = [sum(source.kind != "background" for source in chosen) for chosen in drawn]
    assert set(counts) == {1, 2, 3, 4, 5, 6, 7, 8, 9}
    with_place = sum(chosen[-1] is sources[3] for chosen in drawn)
    assert 120 < with_place < 180  # half of 300, within 3.5 deviations
    assert {source.file for chosen in drawn for source in chosen} == {source.file for source in sources}
    assert user_samples.draw_references((sources[3],), random.Random(0)) == [sources[3]]
