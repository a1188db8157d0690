"""The two runs of the ablation: same start, same samples, one with disentanglement and one without."""

from dataclasses import replace
from itertools import islice

import pytest
import torch
from safetensors.torch import load_file

from magref_core.bundle import verify
from magref_core.dit.checkpoint import load_dit
from magref_core.training.config import TrainConfig, read_config
from magref_core.training.dataset import write_shard
from magref_core.training.disentangling import DisentanglingConfig, word_positions
from magref_core.training.grounding import NO_WORD
from scripts import ROOT
from scripts.training import variants
from scripts.training.bundle import PARTS
from scripts.training.files import RunFiles, load_encoders
from scripts.training.samples import draw_samples
from scripts.training.variants import NAMES

DEMO = ROOT / "models" / "demo"
PRESET = variants.variant_preset(
    steps=2,
    batch_size=2,
    num_samples=6,
    num_short_samples=0,
    disentangling=DisentanglingConfig(rate=1.0, alpha=0.5),
)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    files = RunFiles(folder=tmp_path_factory.mktemp("variants"))
    variants.take_encoders(DEMO, files)
    drawn = draw_samples(
        PRESET.scenes, PRESET.staging, load_encoders(files), seed=variants.FIRST_SEED, num_frames=5
    )
    write_shard(files.samples / "shard_0000.safetensors", list(islice(drawn, 6)))
    return files


@pytest.fixture(scope="module")
def bundles(files):
    for name in NAMES:
        assert variants.train_variant(name, DEMO, files, PRESET)
        variants.export_variant(name, DEMO, files, PRESET, files.folder / "bundles" / name)
    return {name: files.folder / "bundles" / name for name in NAMES}


def test_every_subject_of_a_drawn_caption_is_found_in_its_tokens(files):
    shard = load_file(files.samples / "shard_0000.safetensors")
    for words, text in zip(shard["words"], shard["text"], strict=True):
        named = int((words[:, 0] != NO_WORD).sum())
        found = word_positions(words, text)
        assert list(found) == list(range(1, named + 1))
        assert [len(rows) for rows in found.values()] == [1 if named == 1 else 4] * named
        assert len({row for rows in found.values() for row in rows}) == sum(map(len, found.values()))


def test_the_runs_differ_in_disentanglement_alone(files, bundles):
    configs = {name: read_config(TrainConfig, bundles[name] / "training.json") for name in NAMES}
    assert configs["disentangled"].disentangling.rate == 1 and configs["control"].disentangling.rate == 0
    rate = replace(configs["control"].disentangling, rate=1.0)
    assert replace(configs["control"], disentangling=rate) == configs["disentangled"]


def test_both_bundles_load_and_differ_from_the_start_and_from_each_other(bundles):
    weights = {
        name: load_dit(folder / PARTS["dit"]).state_dict()
        for name, folder in {"start": DEMO, **bundles}.items()
    }
    key = "blocks.0.cross_attn.v.weight"
    assert not torch.equal(weights["control"][key], weights["disentangled"][key])
    assert not torch.equal(weights["control"][key], weights["start"][key])
    for folder in bundles.values():
        for part in PARTS.values():
            verify(folder / part)


def test_a_run_that_is_done_is_not_trained_again(files, bundles):
    before = (files.folder / "control" / "log.csv").read_bytes()
    assert variants.train_variant("control", DEMO, files, PRESET)
    assert (files.folder / "control" / "log.csv").read_bytes() == before
