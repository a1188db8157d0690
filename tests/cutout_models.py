"""Tiny models with random weights, as real files: a Segment Anything, and a pack of insightface."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

DETECTOR_SIDE = 64
STRIDES = (8, 16, 32)


def small_sam(*, embed_dim: int = 16, depth: int = 2) -> torch.nn.Module:
    """A Segment Anything that sees 64 x 64 pixels; the second block is global."""
    modeling: Any = __import__("segment_anything.modeling", fromlist=["Sam"])
    torch.manual_seed(0)
    encoder = modeling.ImageEncoderViT(
        depth=depth,
        embed_dim=embed_dim,
        img_size=64,
        mlp_ratio=2,
        norm_layer=partial(torch.nn.LayerNorm, eps=1e-6),
        num_heads=2,
        patch_size=16,
        qkv_bias=True,
        use_rel_pos=True,
        global_attn_indexes=(1,),
        window_size=3,
        out_chans=32,
    )
    prompts = modeling.PromptEncoder(
        embed_dim=32, image_embedding_size=(4, 4), input_image_size=(64, 64), mask_in_chans=16
    )
    transformer = modeling.TwoWayTransformer(depth=1, embedding_dim=32, mlp_dim=32, num_heads=8)
    decoder = modeling.MaskDecoder(
        num_multimask_outputs=3,
        transformer=transformer,
        transformer_dim=32,
        iou_head_depth=2,
        iou_head_hidden_dim=16,
    )
    return modeling.Sam(encoder, prompts, decoder).eval()


def save_sam(file: Path, **sizes: int) -> torch.nn.Module:
    """Write the weights of a small model as the released files are, and return the model."""
    model = small_sam(**sizes)
    file.parent.mkdir(parents=True, exist_ok=True)
    torch.save(model.state_dict(), file)
    return model


def save_face_pack(folder: Path, boxes: list[tuple[float, float, float, float]]) -> None:
    """Write a detector that sees the same faces in every picture, and a recogniser.

    Args:
        folder: of the pack.
        boxes: left, top, right and bottom of each face in the square that the detector sees, of
            `DETECTOR_SIDE` pixels; the first has the highest score.
    """
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(_detector(boxes), folder / "det_tiny.onnx")
    onnx.save(_recogniser(), folder / "w_tiny.onnx")


def _detector(boxes: list[tuple[float, float, float, float]]) -> onnx.ModelProto:
    """SCRFD's nine outputs, constant but for a sum over the picture times 0, so that the input is used."""
    nodes = [
        helper.make_node("ReduceMean", ["image"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "zero"], ["nothing"]),
    ]
    weights = [numpy_helper.from_array(np.array(0, np.float32), "zero")]
    outputs = []
    for kind, width in (("score", 1), ("box", 4), ("points", 10)):
        for stride in STRIDES:
            anchors = (DETECTOR_SIDE // stride) ** 2 * 2
            values = np.zeros((anchors, width), np.float32)
            if stride == STRIDES[0]:
                for index, box in enumerate(boxes):
                    values[2 * index] = _row(kind, box, index)
            name = f"{kind}_{stride}"
            weights.append(numpy_helper.from_array(values, f"{name}_values"))
            nodes.append(helper.make_node("Add", [f"{name}_values", "nothing"], [name]))
            outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [anchors, width]))
    shape = [1, 3, DETECTOR_SIDE, DETECTOR_SIDE]
    picture = helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)
    return _model(nodes, [picture], outputs, weights)


def _row(kind: str, box: tuple[float, float, float, float], index: int) -> list[float]:
    """What the detector says at anchor number `index` of the first row, in strides from its centre."""
    left, top, right, bottom = box
    stride, x = STRIDES[0], index * STRIDES[0]
    if kind == "score":
        return [0.9 - 0.05 * index]
    if kind == "box":
        return [(x - left) / stride, -top / stride, (right - x) / stride, bottom / stride]
    places = [(0.3, 0.4), (0.7, 0.4), (0.5, 0.6), (0.35, 0.8), (0.65, 0.8)]
    points = [(left + px * (right - left), top + py * (bottom - top)) for px, py in places]
    return [value for px, py in points for value in ((px - x) / stride, py / stride)]


def _recogniser() -> onnx.ModelProto:
    """112 x 112 pixels -> the three mean colours."""
    nodes = [
        helper.make_node("GlobalAveragePool", ["face"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["embedding"]),
    ]
    picture = helper.make_tensor_value_info("face", TensorProto.FLOAT, [1, 3, 112, 112])
    return _model(
        nodes, [picture], [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, [1, 3])], []
    )


def _model(nodes, inputs, outputs, weights) -> onnx.ModelProto:
    graph = helper.make_graph(nodes, "tiny", inputs, outputs, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    model.ir_version = 8
    return model
