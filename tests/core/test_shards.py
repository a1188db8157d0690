"""Models in several files, and headers that lie: each with one sentence."""

from __future__ import annotations

import json
import struct
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file

from magref_core.dit import safetensors_file
from magref_core.dit.checkpoint import read_checkpoint
from magref_core.dit.safetensors_file import open_file
from magref_core.errors import CheckpointError

MATRICES = [f"blocks.{number}.ffn.0.weight" for number in range(4)]


def save_shards(folder: Path, parts: list[dict[str, torch.Tensor]], places: dict[str, int] | None = None):
    """Shards of these contents, and an index that tells where each weight is."""
    names = [f"dit-{number:05}-of-{len(parts):05}.safetensors" for number in range(1, len(parts) + 1)]
    for name, part in zip(names, parts, strict=True):
        save_file(part, folder / name)
    if places is None:
        places = {weight: number for number, part in enumerate(parts) for weight in part}
    index = folder / "dit.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {key: names[number] for key, number in places.items()}}))
    return index


def matrices(names, dtype=torch.bfloat16):
    return {name: torch.ones(2, 2, dtype=dtype) for name in names}


def write_header(file: Path, header: object, *, body: int = 0, length: int | None = None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    file.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + bytes(body))
    return file


def entry(first, last, count=1):
    return {"dtype": "F32", "shape": [count], "data_offsets": [first, last]}


def test_dtypes_are_told_in_the_words_of_the_file(tmp_path):
    save_file({"a": torch.ones(1), "b": torch.ones(1).to(torch.float8_e4m3fn)}, tmp_path / "x.safetensors")
    assert read_checkpoint(tmp_path / "x.safetensors").dtypes == {"a": "F32", "b": "F8_E4M3"}


def test_a_weight_in_two_shards_is_refused(tmp_path):
    index = save_shards(tmp_path, [matrices(MATRICES[:3]), matrices(MATRICES[2:])])
    sentence = (
        r"^dit.safetensors.index.json has blocks.2.ffn.0.weight in two shards "
        r"\(dit-00001-of-00002.safetensors and dit-00002-of-00002.safetensors\), so they are of "
        "different downloads: download all shards again$"
    )
    with pytest.raises(CheckpointError, match=sentence):
        read_checkpoint(index)


def test_an_index_that_names_weights_its_shards_lack_is_refused(tmp_path):
    parts = [matrices(MATRICES[:1]), matrices(MATRICES[1:2])]
    index = save_shards(tmp_path, parts, {MATRICES[0]: 0, MATRICES[1]: 1, MATRICES[2]: 1})
    with pytest.raises(CheckpointError, match=r"names 1 weights that are not in their shards \(blocks.2.ffn"):
        read_checkpoint(index)
    index = save_shards(tmp_path, parts, {MATRICES[0]: 1, MATRICES[1]: 0})
    with pytest.raises(CheckpointError, match=r"names 2 weights .*: download both again"):
        read_checkpoint(index)


def test_shards_of_different_dtypes_are_refused(tmp_path):
    index = save_shards(tmp_path, [matrices(MATRICES[:2]), matrices(MATRICES[2:], torch.float16)])
    sentence = (
        r"has shards of different dtypes \(dit-00001-of-00002.safetensors in BF16, "
        r"dit-00002-of-00002.safetensors in F16\), so they are of "
        "different downloads: download all shards of one of them$"
    )
    with pytest.raises(CheckpointError, match=sentence):
        read_checkpoint(index)


def test_a_model_that_mixes_dtypes_by_design_is_left_alone(tmp_path):
    norm = {"blocks.0.self_attn.norm_q.weight": torch.ones(2)}
    fp8 = matrices(MATRICES[:1], torch.float8_e4m3fn) | matrices(MATRICES[1:2])
    assert len(read_checkpoint(save_shards(tmp_path, [fp8, matrices(MATRICES[2:])])).shapes) == 4
    assert read_checkpoint(save_shards(tmp_path, [matrices(MATRICES), norm])).dtypes[MATRICES[0]] == "BF16"


@pytest.mark.parametrize(
    ("header", "body", "message"),
    [
        ({"a": entry(0, 4), "b": entry(2, 6)}, 6, r"is broken \(a and b lie over each other\)"),
        ({"a": entry(0, 4), "b": entry(0, 4)}, 4, r"is broken \(a and b lie over each other\)"),
        ({"a": entry(0, 4), "b": entry(8, 12)}, 12, r"is broken \(its header does not say where b lies\)"),
        ({"a": entry(4, 0)}, 4, "is broken"),
        ({"a": entry(0, 2**62, 2**60)}, 4, r"is cut off \(\d+ of 4,611,686,018,427,\d+,\d+ bytes\)"),
        ({"a": {"dtype": "F32", "shape": [2**40, 2**40], "data_offsets": [0, 4]}}, 4, "is not a readable"),
        ({"a": {"dtype": "F3", "shape": [1], "data_offsets": [0, 4]}}, 4, "is not a readable safetensors"),
        ({"a": "b"}, 0, "is not a readable safetensors file"),
        (b"[" * 100_000, 0, "is not a readable safetensors file"),
        (b'{"a":' * 20_000, 0, "is not a readable safetensors file"),
    ],
)
def test_a_header_that_lies_is_refused_with_its_fault(tmp_path, header, body, message):
    file = write_header(tmp_path / "x.safetensors", header, body=body)
    with pytest.raises(CheckpointError, match=f"^x.safetensors {message}.*: download it again$"):
        read_checkpoint(file)


def test_a_header_longer_than_any_is_not_read(tmp_path):
    file = write_header(tmp_path / "x.safetensors", b"{", length=2**40)
    sentence = (
        "^x.safetensors says that its header is 1,099,511,627,776 bytes long, but at most 100,000,000 are "
        "read: download it again$"
    )
    with pytest.raises(CheckpointError, match=sentence):
        read_checkpoint(file)


def test_a_header_of_endless_tensors_is_refused_before_each_is_looked_at(tmp_path, monkeypatch):
    looked_at = []

    @contextmanager
    def watched(file):
        with open_file(file) as reader:
            yield SimpleNamespace(
                keys=reader.keys,
                metadata=reader.metadata,
                get_slice=lambda name: looked_at.append(name) or reader.get_slice(name),
            )

    monkeypatch.setattr(safetensors_file, "open_file", watched)
    few = write_header(tmp_path / "few.safetensors", {"a": entry(0, 4), "b": entry(4, 8)}, body=8)
    assert read_checkpoint(few).shapes == {"a": (1,), "b": (1,)} and looked_at == ["a", "b"]
    looked_at.clear()
    count = 100_001
    header = {f"b{number}": {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]} for number in range(count)}
    file = write_header(tmp_path / "x.safetensors", header)
    sentence = "^x.safetensors holds 100,001 tensors, but at most 100,000 are read: choose another file$"
    with pytest.raises(CheckpointError, match=sentence):
        read_checkpoint(file)
    assert not looked_at


def test_a_name_that_stands_twice_in_a_header_is_refused_or_read_once(tmp_path):
    text = json.dumps({"a": entry(0, 4)})[:-1] + ", " + json.dumps({"a": entry(4, 8)})[1:]
    file = write_header(tmp_path / "x.safetensors", text.encode(), body=8)
    with pytest.raises(CheckpointError, match=r"^x.safetensors is .*: download it again$"):
        read_checkpoint(file)


def test_a_shard_that_is_cut_off_is_named_and_not_the_index(tmp_path):
    index = save_shards(tmp_path, [matrices(MATRICES[:2]), matrices(MATRICES[2:])])
    shard = tmp_path / "dit-00002-of-00002.safetensors"
    shard.write_bytes(shard.read_bytes()[:-3])
    with pytest.raises(
        CheckpointError, match=r"^dit-00002-of-00002.safetensors is cut off \(\d+ of \d+ bytes"
    ):
        read_checkpoint(index)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"weight_map": ["a"]}', '{"weight_map": null}'])
def test_an_index_of_nonsense_is_refused(tmp_path, text):
    index = tmp_path / "dit.safetensors.index.json"
    index.write_text(text)
    with pytest.raises(CheckpointError, match="is not the index of a sharded model"):
        read_checkpoint(index)
