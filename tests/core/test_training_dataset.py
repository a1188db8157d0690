from collections import Counter
from dataclasses import fields
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from magref_core.training.dataset import FORMAT, Dataset, read_shard, write_shard
from magref_core.training.files import TrainingError
from tests.training_runs import dataset_in, sample


def tensors_of(batch):
    """All tensors of a batch."""
    parts = {field.name: getattr(batch.conditions, field.name) for field in fields(batch.conditions)}
    return {"latents": batch.latents, "subject": batch.subject} | parts


def shard_without(folder: Path, name: str):
    tensors = load_file(folder / "0.safetensors")
    tensors.pop(name)
    save_file(tensors, folder / "0.safetensors")


@pytest.fixture
def folder(tmp_path):
    """A folder with one good shard."""
    write_shard(tmp_path / "0.safetensors", [sample(seed) for seed in range(3)])
    return tmp_path


def test_a_shard_gives_its_samples_back(folder):
    shard = read_shard(folder / "0.safetensors")
    assert len(shard) == 3
    for name in sample(0):
        assert torch.equal(shard.tensors[name][1], sample(1)[name]), name


@pytest.mark.parametrize("has_ids", [True, False])
def test_a_batch_holds_the_samples_that_its_names_tell(tmp_path, has_ids):
    samples = [sample(seed, has_ids=has_ids) for seed in range(5)]
    write_shard(tmp_path / "a.safetensors", samples[:2])
    write_shard(tmp_path / "b.safetensors", samples[2:])
    batch = Dataset(tmp_path).batch(16, torch.Generator().manual_seed(0))
    assert len(set(batch.names)) == 5
    for row, name in enumerate(batch.names):
        file, _, number = name.rpartition(":")
        source = samples[int(number) + (2 if file == "b.safetensors" else 0)]
        for field, value in tensors_of(batch).items():
            expected = source[field].float() / (255 if field == "subject" else 1)
            assert torch.equal(value[row].float(), expected), field
    assert batch.conditions.text.dtype == (torch.int64 if has_ids else torch.float32)
    assert batch.latents.dtype == torch.float32


def test_samples_are_drawn_evenly_from_all_shards(tmp_path):
    write_shard(tmp_path / "a.safetensors", [sample(0)])
    write_shard(tmp_path / "b.safetensors", [sample(seed) for seed in range(1, 4)])
    dataset = Dataset(tmp_path)
    assert len(dataset) == 4
    seen = Counter(dataset.batch(4000, torch.Generator().manual_seed(0)).names)
    assert len(seen) == 4
    for times in seen.values():
        assert times / 4000 == pytest.approx(0.25, abs=0.03)


def test_a_batch_has_one_size_and_sizes_come_in_proportion(tmp_path):
    write_shard(tmp_path / "a.safetensors", [sample(0)])
    write_shard(tmp_path / "b.safetensors", [sample(seed, rows=8) for seed in range(3)])
    dataset = Dataset(tmp_path)
    rows = Counter(
        dataset.batch(2, torch.Generator().manual_seed(seed)).latents.shape[3] for seed in range(2000)
    )
    assert rows[8] / 2000 == pytest.approx(0.75, abs=0.03)


def test_shards_with_other_text_never_share_a_batch(tmp_path):
    write_shard(tmp_path / "a.safetensors", [sample(0, has_ids=True)])
    write_shard(tmp_path / "b.safetensors", [sample(1)])
    dataset = Dataset(tmp_path)
    for seed in range(20):
        assert len(set(dataset.batch(4, torch.Generator().manual_seed(seed)).names)) == 1


def test_clips_are_cut_to_their_first_frames(tmp_path):
    dataset = dataset_in(tmp_path, [sample(0, frames=4)])
    whole, cut = (
        dataset.batch(1, torch.Generator().manual_seed(0), num_latent_frames=count) for count in (None, 3)
    )
    assert torch.equal(cut.latents, whole.latents[:, :, :3])
    assert torch.equal(cut.subject, whole.subject[:, :3])
    assert torch.equal(cut.conditions.canvas_latents, whole.conditions.canvas_latents[:, :, :3])
    longer = dataset.batch(1, torch.Generator().manual_seed(0), num_latent_frames=9)
    assert torch.equal(longer.latents, whole.latents)


def test_clips_that_are_too_short_are_left_out(tmp_path):
    write_shard(tmp_path / "0.safetensors", [sample(0, frames=2)])
    write_shard(tmp_path / "1.safetensors", [sample(1, frames=4)])
    dataset = Dataset(tmp_path)

    def lengths(count):
        batches = (
            dataset.batch(1, torch.Generator().manual_seed(seed), num_latent_frames=count)
            for seed in range(20)
        )
        return {(batch.names[0], batch.latents.shape[2]) for batch in batches}

    short, long = "0.safetensors:0", "1.safetensors:0"
    assert lengths(2) == {(short, 2), (long, 2)}
    assert lengths(3) == {(long, 3)}
    assert lengths(None) == lengths(9) == {(short, 2), (long, 4)}


def test_samples_without_image_tokens_are_allowed(folder):
    shard_without(folder, "image_tokens")
    batch = Dataset(folder).batch(2, torch.Generator().manual_seed(0))
    assert batch.conditions.image_tokens is None


def test_the_batch_follows_from_the_seed(folder):
    dataset = Dataset(folder)
    names = [dataset.batch(9, torch.Generator().manual_seed(seed)).names for seed in (1, 1, 2)]
    assert names[0] == names[1] != names[2]


@pytest.mark.parametrize("name", ["there is none", "."])
def test_a_folder_without_shards_is_refused(tmp_path, name):
    with pytest.raises(TrainingError, match=r"holds no \.safetensors shard: make the data set first"):
        Dataset(tmp_path / name)


@pytest.mark.parametrize("size", [0, 5, 100, -1])
def test_a_broken_shard_is_named(folder, size):
    file = folder / "0.safetensors"
    file.write_bytes(file.read_bytes()[:size])
    with pytest.raises(
        TrainingError, match=r"0\.safetensors is no readable shard .*: make the data set again"
    ):
        Dataset(folder)


@pytest.mark.parametrize("name", ["latents", "text", "latent_mask"])
def test_a_missing_tensor_is_named(folder, name):
    shard_without(folder, name)
    with pytest.raises(TrainingError, match=rf"0\.safetensors lacks {name}: make the data set again"):
        Dataset(folder)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("text", torch.zeros(2, 4, 16)),
        ("text", torch.zeros(3)),
        ("text", torch.tensor(1.0)),
        ("subject", torch.zeros(3, 2, 4, 5)),
        ("canvas_latents", torch.zeros(3, 16, 1, 4, 4)),
        ("latent_mask", torch.zeros(3, 2, 4, 4)),
        ("latents", torch.zeros(3, 4, 2, 4, 4)),
        ("latents", torch.zeros(0, 16, 2, 4, 4)),
        ("image_tokens", torch.zeros(1, 3, 16)),
    ],
)
def test_tensors_that_do_not_belong_together_are_refused(folder, name, value):
    file = folder / "0.safetensors"
    tensors = {key: tensor.clone() for key, tensor in load_file(file).items()}
    save_file(tensors | {name: value}, file, metadata=FORMAT)
    with pytest.raises(TrainingError, match=r"0\.safetensors holds tensors that make up no samples .*again"):
        Dataset(folder)


def test_an_empty_shard_is_never_written(tmp_path):
    with pytest.raises(TrainingError, match="would hold no samples: give at least one"):
        write_shard(tmp_path / "0.safetensors", [])
    assert not list(tmp_path.iterdir())
