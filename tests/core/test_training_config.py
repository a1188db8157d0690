import json
from dataclasses import fields, replace

import pytest

from magref_core.errors import MagrefError
from magref_core.training.conditions import DropConfig
from magref_core.training.config import TrainConfig, differences, from_json, read_config, to_json
from magref_core.training.disentangling import DisentanglingConfig
from magref_core.training.files import TrainingError
from magref_core.training.flow import FlowConfig
from magref_core.training.grounding import GroundingConfig
from magref_core.training.lora import LoraConfig
from magref_core.training.rates import RateConfig

OTHER = TrainConfig(
    steps=7,
    batch_size=3,
    seed=5,
    flow=FlowConfig(law="uniform_weighted", shift=5.0),
    drops=DropConfig(text=0.5),
    grounding=GroundingConfig(blocks=(0, 2), spread=0.3),
    disentangling=DisentanglingConfig(rate=0.5, projection="value_out"),
    rate=RateConfig(peak=1e-5, decay="cosine_restarts"),
    betas=(0.8, 0.9),
    weight_decay=0.0,
    clip_norm=0.05,
    average=0.5,
    clip_lengths=((0.25, 1), (0.5, 3)),
    keep_short=0.2,
    lora=LoraConfig(rank=2),
    adapter_steps=1,
    adapter_names=".*lora_A",
    precision="bfloat16",
    gradient_checkpointing=True,
)
"""Nothing as by default."""


def refused(document, sentence):
    with pytest.raises(TrainingError, match=sentence):
        from_json(TrainConfig, document if isinstance(document, str) else json.dumps(document))


@pytest.mark.parametrize("config", [TrainConfig(), OTHER, replace(OTHER, lora=None)])
def test_json_gives_the_configuration_back(config):
    assert from_json(TrainConfig, to_json(config)) == config


def test_the_other_configuration_covers_every_field():
    assert differences(OTHER, TrainConfig()) == [field.name for field in fields(TrainConfig)]


def test_keys_that_are_left_out_keep_their_defaults():
    config = from_json(TrainConfig, '{"steps": 5, "flow": {"shift": 2}}')
    assert config == TrainConfig(steps=5, flow=FlowConfig(shift=2.0))
    assert type(config.flow.shift) is float


def test_a_configuration_is_read_from_its_file(tmp_path):
    file = tmp_path / "config.json"
    file.write_text(to_json(OTHER), encoding="utf-8")
    assert read_config(TrainConfig, file) == OTHER


def test_unknown_keys_are_named_with_the_known_ones():
    refused(
        {"stepps": 5, "batch": 1}, "the configuration has the unknown keys batch, stepps: use some of adap"
    )
    refused(
        {"flow": {"shifts": 5}},
        "flow in the configuration has the unknown keys shifts: use some of canvas_we",
    )


@pytest.mark.parametrize(
    ("document", "sentence"),
    [
        ({"steps": "5"}, "steps in the configuration is '5', but int is needed: correct it"),
        ({"steps": 5.0}, "steps in the configuration is 5.0, but int is needed"),
        ({"steps": True}, "steps in the configuration is True, but int is needed"),
        ({"clip_norm": None}, "clip_norm in the configuration is None, but float is needed"),
        ({"gradient_checkpointing": 1}, "gradient_checkpointing in .* is 1, but bool is needed"),
        ({"betas": [0.9]}, r"betas in the configuration is \[0.9\], but tuple\[float, float\] is needed"),
        ({"betas": 0.9}, r"betas in the configuration is 0.9, but tuple\[float, float\] is needed"),
        ({"clip_lengths": [[0.5, "2"]]}, "clip_lengths in the configuration is '2', but int is needed"),
        ({"precision": 16}, r"precision in the configuration is 16, but .*'float32', 'bfloat16'.* is needed"),
        ({"lora": 4}, "lora in the configuration is 4, but an object with named values is needed"),
        ({"flow": None}, "flow in the configuration is None, but an object with named values is needed"),
        ([], r"the configuration is \[\], but an object with named values is needed"),
        ("steps: 5", r"the configuration is not JSON \(.*\): correct it"),
        ("", "the configuration is not JSON"),
    ],
)
def test_a_wrong_type_is_told_with_the_right_one(document, sentence):
    refused(document, sentence)


def test_a_missing_or_unreadable_file_is_told(tmp_path):
    with pytest.raises(
        TrainingError, match=r"there is no file .*none\.json: give the path of a configuration"
    ):
        read_config(TrainConfig, tmp_path / "none.json")
    file = tmp_path / "image.json"
    file.write_bytes(b"\x89PNG\xff")
    with pytest.raises(TrainingError, match=r"image\.json cannot be read .*: give a text file"):
        read_config(TrainConfig, file)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"steps": 0}, "steps is 0, but must be at least 1"),
        ({"batch_size": -1}, "batch_size is -1, but must be at least 1"),
        (
            {"precision": "float16"},
            "the precision is 'float16', which is unknown: use one of float32, bfloat16",
        ),
        ({"average": 1.0}, "average is 1.0"),
        ({"clip_norm": 0.0}, "clip_norm 0.0"),
        ({"adapter_steps": -1}, "adapter_steps -1"),
        ({"betas": (0.9, 1.0)}, r"betas are \(0.9, 1.0\)"),
        ({"weight_decay": -0.1}, "weight_decay is -0.1"),
        ({"clip_lengths": ((0.5, 0),)}, r"clip_lengths are \(\(0.5, 0\),\): use pairs"),
        ({"keep_short": -0.1}, "keep_short is -0.1, but must be from 0 to 1"),
        ({"clip_lengths": ((1.5, 2),)}, r"clip_lengths are \(\(1.5, 2\),\)"),
        ({"adapter_names": "(img"}, r"the adapter_names are '\(img', no regular expression .*: correct it"),
    ],
)
def test_bad_values_are_refused(change, sentence):
    with pytest.raises(MagrefError, match=sentence):
        TrainConfig(**change)


def test_a_bad_value_in_json_is_refused_by_its_own_sentence():
    with pytest.raises(MagrefError, match="the law is 'cosine', which is unknown"):
        from_json(TrainConfig, '{"flow": {"law": "cosine"}}')


def test_clips_grow_over_the_run():
    config = TrainConfig(steps=100, clip_lengths=((0.25, 1), (0.5, 3)))
    lengths = [config.latent_frames_at(step) for step in (0, 24, 25, 49, 50, 99)]
    assert lengths == [1, 1, 3, 3, None, None]


def test_some_later_steps_keep_to_the_first_length_evenly_spread():
    config = TrainConfig(steps=100, clip_lengths=((0.2, 2), (1.0, 5)), keep_short=0.25)
    lengths = [config.latent_frames_at(step) for step in range(100)]
    assert lengths[:20] == [2] * 20
    assert [lengths[start : start + 4].count(2) for start in range(20, 100, 4)] == [1] * 20
    assert set(lengths[20:]) == {2, 5}


def test_differences_are_told_by_the_names_of_the_fields():
    changed = replace(OTHER, seed=1, flow=FlowConfig(shift=2.0))
    assert differences(OTHER, changed) == ["seed", "flow"]
    assert not differences(OTHER, replace(OTHER))
