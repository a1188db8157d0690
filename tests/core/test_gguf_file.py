"""GGUF headers: what the gguf package writes is read as it reads it, and what is broken is named."""

from __future__ import annotations

import os
import struct
import tracemalloc

import gguf
import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType as Kind

from magref_core.dit.checkpoint import load_dit, read_checkpoint
from magref_core.dit.gguf_blocks import dequantise
from magref_core.dit.gguf_file import map_weights, read_header
from magref_core.errors import CheckpointError

UINT32, STRING, ARRAY, UINT64 = 4, 8, 9, 10


def write(file, tensors, *, arch="wan", fields=()):
    """A file of the package's own writer; tensors: name -> (float32 array, kind)."""
    writer = gguf.GGUFWriter(file, arch)
    for call, *arguments in fields:
        getattr(writer, call)(*arguments)
    for name, (array, kind) in tensors.items():
        writer.add_tensor(name, gguf.quants.quantize(array, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


def array(*shape):
    return np.random.default_rng(0).standard_normal(shape, np.float32)


def text(value):
    data = value if isinstance(value, bytes) else value.encode()
    return struct.pack("<Q", len(data)) + data


def value(key, kind, data):
    return text(key) + struct.pack("<I", kind) + data


def info(name, sides, kind, offset):
    return text(name) + struct.pack(f"<I{len(sides)}QIQ", len(sides), *sides, kind, offset)


ARCH = value("general.architecture", STRING, text("wan"))


def header(values=(ARCH,), infos=(), *, counts=None, version=3, body=b""):
    """A file byte by byte."""
    numbers = (len(infos), len(values)) if counts is None else counts
    start = b"GGUF" + struct.pack("<IQQ", version, *numbers) + b"".join(values) + b"".join(infos)
    return start + bytes(-len(start) % 32) + body


def refused(tmp_path, content, match):
    file = tmp_path / "x.gguf"
    file.write_bytes(content)
    with pytest.raises(CheckpointError, match=f"^x.gguf {match}"):
        read_header(file)


def test_a_file_is_read_as_the_package_reads_it(tmp_path):
    tensors = {
        "a.weight": (array(4, 64), Kind.Q8_0),
        "a.bias": (array(4), Kind.F32),
        "b.weight": (array(3, 96), Kind.Q5_1),
        "c.weight": (array(2, 3, 1, 2, 2), Kind.F16),
        "d.weight": (array(5, 7), Kind.BF16),
    }
    texts = [("add_array", "tokenizer.words", ["one", "two"]), ("add_uint32", "answer", 42)]
    file = write(tmp_path / "x.gguf", tensors, fields=texts)
    found = read_header(file)
    assert found.metadata["general.architecture"] == "wan" and found.metadata["answer"] == 42
    expected = {tensor.name: tensor for tensor in gguf.GGUFReader(file).tensors}
    assert {tensor.name for tensor in found.tensors} == set(tensors) == set(expected)
    weights = map_weights(file, found.tensors)
    for tensor in found.tensors:
        other = expected[tensor.name]
        assert tensor.shape == tensors[tensor.name][0].shape
        assert (tensor.offset, tensor.size) == (other.data_offset, other.n_bytes)
        mapped = weights[tensor.name]
        numbers = dequantise(mapped, tensor.kind) if mapped.dtype == torch.uint8 else mapped.float()
        reference = gguf.quants.dequantize(other.data, other.tensor_type).reshape(tensor.shape)
        assert torch.equal(numbers.view(tensor.shape), torch.from_numpy(reference.copy()))


def test_plain_formats_come_in_their_own_dtype(tmp_path):
    kinds = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
    file = write(tmp_path / "x.gguf", {name: (array(2, 4), Kind[name]) for name in kinds})
    weights = map_weights(file, read_header(file).tensors)
    assert {name: weight.dtype for name, weight in weights.items()} == kinds


def test_the_original_shape_is_told_apart(tmp_path):
    told = [("add_array", "comfy.gguf.orig_shape.a", (2, 4, 1, 4, 8))]
    file = write(tmp_path / "x.gguf", {"a": (array(8, 32), Kind.Q4_0)}, fields=told)
    (tensor,) = read_header(file).tensors
    assert tensor.shape == (2, 4, 1, 4, 8) and tensor.columns == 32
    assert map_weights(file, [tensor])["a"].shape == (8, 18)
    told = [("add_array", "comfy.gguf.orig_shape.a", (2, 4))]
    file = write(tmp_path / "y.gguf", {"a": (array(8, 32), Kind.Q4_0)}, fields=told)
    with pytest.raises(
        CheckpointError, match=r"a has 256 weights, but its original shape is told as \(2, 4\)"
    ):
        read_header(file)


def test_reading_costs_no_memory_for_weights(tmp_path):
    entry = info("a", (2**16, 2**10), 8, 0)
    file = tmp_path / "x.gguf"
    with file.open("wb") as stream:
        stream.write(header(infos=[entry]))
        stream.truncate(len(header(infos=[entry])) + 2**26 // 32 * 34)
    tracemalloc.start()
    try:
        map_weights(file, read_header(file).tensors)
        assert tracemalloc.get_traced_memory()[1] < 2**18
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "start",
    [
        value("k", STRING, struct.pack("<Q", 2**29)),
        value("k", ARRAY, struct.pack("<IQQ", STRING, 1, 2**29)),
        value("k", ARRAY, struct.pack("<IQ", UINT64, 2**20) + bytes(2**23)) * 2,
    ],
    ids=["text", "text in a list", "lists"],
)
def test_a_header_longer_than_any_is_refused_before_it_is_read(tmp_path, start):
    file = tmp_path / "x.gguf"
    file.write_bytes(header([ARCH, start], counts=(0, 4)))
    os.truncate(file, 2**30)
    tracemalloc.start()
    try:
        sentence = (
            r"^x.gguf is broken \(its header goes on to byte [\d,]+, but at most 16,777,216 bytes are "
            r"read\): download it again$"
        )
        with pytest.raises(CheckpointError, match=sentence):
            read_header(file)
        assert tracemalloc.get_traced_memory()[1] < 2**26
    finally:
        tracemalloc.stop()


def test_a_gguf_file_is_a_checkpoint_whatever_its_name(tmp_path):
    file = write(tmp_path / "x.safetensors", {"a.weight": (array(4, 64), Kind.Q8_0)})
    checkpoint = read_checkpoint(file)
    assert (checkpoint.shapes, checkpoint.dtypes) == ({"a.weight": (4, 64)}, {"a.weight": "Q8_0"})
    with pytest.raises(CheckpointError, match=r"x.safetensors is a GGUF file: load it in ComfyUI, or choose"):
        load_dit(file)


@pytest.mark.parametrize("part", [0.01, 0.3, 0.6, 0.999])
def test_a_truncated_file_is_told_from_a_whole_one(tmp_path, part):
    whole = write(tmp_path / "w.gguf", {f"a{i}": (array(16, 64), Kind.Q8_0) for i in range(8)}).read_bytes()
    refused(tmp_path, whole[: int(len(whole) * part)], "is cut off.*: download it again$")


def test_every_cut_within_the_header_is_refused(tmp_path):
    whole = header(infos=[info("a", (32,), 8, 0)], body=bytes(34))
    for length in range(4, len(whole)):
        refused(tmp_path, whole[:length], "is cut off")


@pytest.mark.parametrize("arch", ["flux", "llama", ""])
def test_another_architecture_is_refused_by_its_name(tmp_path, arch):
    content = header([value("general.architecture", STRING, text(arch))])
    refused(tmp_path, content, f"is a GGUF file of the architecture '{arch}', but MAGREF is .* 'wan': choose")


def test_a_file_that_tells_no_architecture_is_judged_by_its_weights(tmp_path):
    file = tmp_path / "x.gguf"
    file.write_bytes(header([], [info("a", (32,), 8, 0)], body=bytes(34)))
    assert [tensor.name for tensor in read_header(file).tensors] == ["a"]


@pytest.mark.parametrize(("number", "name"), [(23, "IQ4_XS"), (39, "MXFP4"), (4711, "type 4711")])
def test_an_unknown_format_is_named(tmp_path, number, name):
    content = header(infos=[info("a", (256,), number, 0)], body=bytes(512))
    sentence = (
        f"holds a in the GGUF format {name}, but only F32, .*Q6_K are read: choose another quantisation"
    )
    refused(tmp_path, content, sentence)


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (header(counts=(2**60, 1)), "is broken .*tells of 1,152,921,504,606,846,976 tensors, but"),
        (header(counts=(0, 2**40)), "is broken .*tells of 1,099,511,627,776 values, but"),
        (header([struct.pack("<Q", 2**50)]), "is broken .*name in its header is 1,125,899,906,842,624 bytes"),
        (header([value("k", STRING, struct.pack("<Q", 2**62))]), "is cut off or broken .*asks for 4,611"),
        (header([value("k", ARRAY, struct.pack("<IQ", UINT64, 2**61))]), "is broken .*a list in its header"),
        (header([value("k", ARRAY, struct.pack("<IQ", UINT32, 2**20))]), "is cut off or broken"),
        (header([value("k", ARRAY, struct.pack("<IQ", ARRAY, 1))]), "is broken .*unknown type 9"),
        (header([value("k", 77, b"")]), "is broken .*unknown type 77"),
        (header(infos=[info("a", (1,) * 9, 0, 0)]), "is broken .*a has 9 dimensions, but at most 8"),
        (header(infos=[info("a", (33,), 8, 0)]), "is broken .*a has rows of 33 weights, but Q8_0 needs"),
        (header(infos=[info("a", (), 8, 0)]), "is broken .*a has rows of 0 weights"),
        (header(infos=[info("a", (2**60, 2**60), 0, 0)]), "is cut off"),
        (header(infos=[info("a", (8,), 0, 2**63)]), "is cut off"),
        (
            header(infos=[info("a", (8,), 0, 0), info("b", (8,), 0, 0)], body=bytes(64)),
            "is broken .*a and b lie",
        ),
        (
            header(infos=[info("a", (8,), 0, 0), info("a", (8,), 0, 32)], body=bytes(64)),
            "is broken .*a 2 times",
        ),
        (
            header(infos=[info("a", (8,), 0, 4)], body=bytes(64)),
            "is broken .*a does not lie at a multiple of 32",
        ),
        (header([value("general.alignment", UINT32, struct.pack("<I", 0))]), "is broken .*alignment is 0"),
        (header([value("general.alignment", UINT32, struct.pack("<I", 48))]), "is broken .*alignment is 48"),
        (header([value("general.alignment", STRING, text("x"))]), "is broken .*alignment is x"),
        (header(version=1), "is of GGUF version 1, but versions 2 and 3"),
        (
            b"GGUF" + struct.pack(">IQQ", 3, 0, 0),
            "is of GGUF version 50331648, but versions 2 and 3 of little",
        ),
        (b"GGML" + bytes(40), "is not a GGUF file"),
    ],
)
def test_a_header_that_lies_is_refused_with_its_fault(tmp_path, content, match):
    refused(tmp_path, content, match)


def test_random_bytes_never_end_in_anything_but_a_sentence(tmp_path):
    generator = np.random.default_rng(0)
    whole = np.frombuffer(header(infos=[info("a", (32, 2), 8, 0)], body=bytes(68)), np.uint8)
    file = tmp_path / "x.gguf"
    for _ in range(300):
        content = whole.copy()
        content[generator.integers(4, len(whole) - 68, 3)] = generator.integers(0, 256, 3)
        file.write_bytes(content.tobytes())
        try:
            map_weights(file, read_header(file).tensors)
        except CheckpointError as error:
            assert str(error).startswith("x.gguf ")


def test_what_is_named_gguf_and_is_not_gets_its_sentence(tmp_path):
    file = tmp_path / "x.gguf"
    for content, match in (
        (b"", "is empty"),
        (b"<!DOCTYPE", "is a web page"),
        (b"12345678", "is not a readable GGUF"),
    ):
        file.write_bytes(content)
        with pytest.raises(CheckpointError, match=f"^x.gguf {match}"):
            read_checkpoint(file)
