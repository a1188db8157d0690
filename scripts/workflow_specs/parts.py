"""The steps that the workflows share."""

from __future__ import annotations

import json
from typing import Any

from scripts.workflow_specs.files import CLIP_VISION, DIT, TEXT_ENCODER, VAE, Reference
from scripts.workflow_specs.spec import Box, Colours, Group, Link, Node, note

GREEN, RED = ("#232", "#353"), ("#322", "#533")

NEGATIVE = (
    "Camera shake, bright tones, overexposed, static, blurred details, subtitles, style, works, paintings, "
    "images, overall gray, worst quality, low quality, JPEG compression residue, ugly, incomplete, extra "
    "fingers, poorly drawn hands, poorly drawn faces, deformed, disfigured, misshapen limbs, fused fingers, "
    "still picture, messy background, three legs, many people in the background, walking backwards"
)

OFFICIAL = "[official weights](https://huggingface.co/MAGREF-Video/MAGREF)"
OWN_LOADER_HINT = (
    f"For full quality take the {OFFICIAL} in 7 parts: put the parts and "
    "**diffusion_pytorch_model.safetensors.index.json** into *diffusion_models/MAGREF* and choose that "
    "index in MAGREF DiT Loader. A single bf16 file works as well."
)
NATIVE_LOADER_HINT = (
    f"Load Diffusion Model and GGUF loaders need the weights in one file, bf16 or quantised; the {OFFICIAL} "
    "in 7 parts need MAGREF DiT Loader."
)


def models(
    loader: Node, hint: str, *more: Node, others: tuple[int, int] = (400, 162), note_height: int = 340
) -> Group:
    """Step 1: the DiT's loader and `more`, the other loaders at `others`, and the files."""
    x, y = others
    named = (node.model for node in (loader, *more))
    files = (*(file for file in named if file is not None), TEXT_ENCODER, VAE, CLIP_VISION)
    listed = "\n".join(f"- **{file.folder}**: [{file.name}]({file.page})" for file in files)
    nodes = (
        note(
            "models note",
            "Model files",
            (0, 0, 380, note_height),
            "The page offers to download what is missing. By hand, put these files into the folders of "
            "ComfyUI's **models** and press **R**:",
            listed,
            hint,
        ),
        loader,
        Node(
            key="clip",
            type="CLIPLoader",
            box=(x, y, 380, 114),
            values={"clip_name": TEXT_ENCODER.name, "type": "wan"},
            model=TEXT_ENCODER,
        ),
        Node(
            key="vae",
            type="VAELoader",
            box=(x, y + 172, 380, 62),
            values={"vae_name": VAE.name},
            model=VAE,
        ),
        Node(
            key="clip vision",
            type="CLIPVisionLoader",
            box=(x, y + 290, 380, 62),
            values={"clip_name": CLIP_VISION.name},
            model=CLIP_VISION,
        ),
        *more,
    )
    return Group(number=1, title="Models", nodes=nodes)


def own_loader() -> Node:
    """MAGREF DiT Loader; its output is `model`."""
    return Node(
        key="dit", type="MagrefDiTLoader", box=(400, 0, 380, 110), values={"model": DIT.name}, model=DIT
    )


def native_loader() -> Node:
    """ComfyUI's own loader; its output is `MODEL`."""
    return Node(
        key="dit", type="UNETLoader", box=(400, 0, 380, 110), values={"unet_name": DIT.name}, model=DIT
    )


def load_references(references: tuple[Reference, ...], box: Box) -> Node:
    """The pictures, named in the input folder."""
    lines = (json.dumps(reference).replace(', "file"', ',\n   "file"') for reference in references)
    text = "[\n" + ",\n".join(f"  {line}" for line in lines) + "\n]"
    return Node(key="references", type="MagrefLoadReferences", box=box, values={"references": text})


def pictures_note(references: tuple[Reference, ...], box: Box) -> Node:
    """Which example pictures to copy, and how to bring one's own."""
    return note(
        "pictures note",
        "Pictures",
        box,
        copy_hint(*(reference["file"] for reference in references)),
        "For your own, press **Add pictures** in MAGREF Load References, drop files on it or paste them, and "
        "give each a **name** and a **kind**; or connect Load Image to image_1, image_2 and so on.",
    )


def copy_hint(*files: str) -> str:
    """Which example pictures to copy."""
    *others, last = (f"**{file}**" for file in files)
    listed = f"{', '.join(others)} and {last}" if others else last
    return f"To try it, copy {listed} from this pack's *workflows/pictures* into ComfyUI's **input** folder."


def plain_references(*references: Reference, wider: int = 0) -> Group:
    """Step 2: pictures as they are."""
    nodes = (
        pictures_note(references, (0, 0, 350, 210)),
        load_references(references, (380, 0, 400 + wider, 400)),
    )
    return Group(number=2, title="References", nodes=nodes)


def cut_out_references(*references: Reference) -> Group:
    """Step 2: pictures with their subjects cut out."""
    cut_out = Node(
        key="cut out",
        type="MagrefAutoMaskSubject",
        box=(430, 0, 350, 490),
        links={"references": ("references", "references")},
    )
    nodes = (
        load_references(references, (0, 0, 400, 480)),
        pictures_note(references, (0, 530, 400, 130)),
        cut_out,
    )
    return Group(number=2, title="References", nodes=nodes)


def canvas(source: str, *, mask_shape: str = "rectangle") -> Group:
    """Step 3: the canvas of the references of node `source`, and a way to compute it alone."""
    nodes = (
        canvas_node(source, {"mask_shape": mask_shape}),
        save_canvas(("canvas", "image"), (530, 0, 350, 302)),
        note(
            "canvas note",
            "Look before you wait",
            (530, 355, 350, 145),
            "The canvas is all that the model sees of your pictures. To see it alone, select **Save "
            "Canvas** and press the play button above it.",
            "Another **layout_seed** deals the places anew.",
        ),
    )
    return Group(number=3, title="Canvas", nodes=nodes)


def canvas_node(source: str, values: dict[str, Any]) -> Node:
    """MAGREF Build Masked Canvas on the references of node `source`."""
    return Node(
        key="canvas",
        type="MagrefBuildMaskedCanvas",
        box=(0, 0, 500, 840),
        values=values,
        links={"references": (source, "references")},
    )


def save_canvas(image: Link, box: Box) -> Node:
    """The picture of the canvas as a file."""
    return Node(
        key="save canvas",
        type="SaveImage",
        title="Save Canvas",
        box=box,
        values={"filename_prefix": "magref_canvas"},
        links={"images": image},
    )


def prompt(text: str, hint: str, *, bound_to: str | None = None) -> Group:
    """Step 4: what happens, and the canvas beside it; `bound_to` is the node of the references it names."""
    is_bound = bound_to is not None
    nodes = (
        bound_prompt(text, bound_to, (0, 0, 500, 270))
        if is_bound
        else text_node("prompt", "Prompt", (0, 0, 500, 210), text, GREEN),
        text_node(
            "negative",
            "Negative Prompt",
            (0, 350, 500, 150) if is_bound else (0, 260, 500, 240),
            NEGATIVE,
            RED,
        ),
        guidance_node({}, clip_vision=("clip vision", "CLIP_VISION"), is_bound=is_bound),
        note(
            "prompt note",
            "Prompt and length",
            (530, 260, 350, 190),
            hint,
            "**length** is a multiple of 4 plus 1. The first 4 frames show the canvas and are dropped: 81 "
            "become 77, about 5 seconds at 15 frames per second.",
        ),
    )
    return Group(number=4, title="Prompt", nodes=nodes)


def guidance_node(values: dict[str, Any], *, clip_vision: Link, is_bound: bool = False) -> Node:
    """MAGREF Apply Masked Guidance; `is_bound` where the prompt is one of `bound_prompt`."""
    return Node(
        key="guidance",
        type="MagrefApplyMaskedGuidance",
        box=(530, 0, 350, 180),
        values=values,
        links={
            "positive": ("prompt", "conditioning" if is_bound else "CONDITIONING"),
            "negative": ("negative", "CONDITIONING"),
            "vae": ("vae", "VAE"),
            "clip_vision": clip_vision,
            "canvas": ("canvas", "canvas"),
        },
    )


def bound_prompt(text: str, references: str, box: Box, *, clip: Link = ("clip", "CLIP")) -> Node:
    """MAGREF Bind Subjects: a prompt with @names of the references of that node."""
    return Node(
        key="prompt",
        type="MagrefBindSubjects",
        title="Prompt",
        box=box,
        values={"prompt": text},
        links={"clip": clip, "references": (references, "references")},
        colours=GREEN,
    )


def text_node(
    key: str, title: str, box: Box, text: str, colours: Colours, *, clip: Link = ("clip", "CLIP")
) -> Node:
    """A prompt."""
    return Node(
        key=key,
        type="CLIPTextEncode",
        title=title,
        box=box,
        values={"text": text},
        links={"clip": clip},
        colours=colours,
    )


def official_sampling(model: Link) -> Group:
    """Step 5: MAGREF Sampler with the values of the official program."""
    return sampling(
        model,
        {},
        "These are the values of the official program: **unipc**, **40** steps, guidance **5**, shift **3**.",
        "For a quick look take 20 steps and 49 frames.",
    )


def sampling(model: Link, values: dict[str, Any], *hints: str) -> Group:
    """Step 5: MAGREF Sampler."""
    sampler = Node(
        key="sampler",
        type="MagrefSampler",
        box=(0, 0, 400, 340),
        values={"seed": 3407, **values},
        links={
            "model": model,
            "positive": ("guidance", "positive"),
            "negative": ("guidance", "negative"),
            "latent": ("guidance", "latent"),
        },
    )
    hint = note("sampler note", "Sampling", (480, 0, 300, 150), *hints)
    return Group(number=5, title="Sample", nodes=(sampler, hint))


def video(latent: Link, *, turn: int = 450) -> Group:
    """Step 6: frames and the mp4; `turn` is the x in the column at which the latent's link comes down."""
    nodes = (
        decode_node(latent, {}, turn=turn),
        save_video(("decode", "video"), "video/magref", (330, 0, 450, 126)),
    )
    return Group(number=6, title="Video", nodes=nodes)


def decode_node(latent: Link, values: dict[str, Any], *, turn: int = 450) -> Node:
    """MAGREF Decode Video; `turn` as for `video`."""
    return Node(
        key="decode",
        type="MagrefDecodeVideo",
        box=(0, 0, 300, 180),
        values=values,
        links={"latent": latent, "vae": ("vae", "VAE")},
        via={"latent": ((2, turn), (2, 10)), "vae": ((1, -20), (2, -20))},
    )


def save_video(video: Link, prefix: str, box: Box) -> Node:
    """The mp4."""
    return Node(
        key="save video",
        type="SaveVideo",
        box=box,
        values={"filename_prefix": prefix},
        links={"video": video},
    )
