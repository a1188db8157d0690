"""The small model that comes with the pack: two puppets and a place, in seconds and on a CPU."""

from __future__ import annotations

from scripts.workflow_specs import parts
from scripts.workflow_specs.files import (
    BEACH,
    DEMO_CLIP_VISION,
    DEMO_DIT,
    DEMO_TEXT_ENCODER,
    DEMO_VAE,
    FOX,
    ROBOT,
)
from scripts.workflow_specs.spec import Group, Link, Node, Workflow, note

WIDTH, HEIGHT, LENGTH, STEPS, FPS, SEED = 96, 64, 17, 20, 8, 7
ENLARGED = 6
"""How often the pixels are enlarged, so that a person sees something."""

WHO = "girl, robot, fox, bear, penguin, ball, kite, teapot"
DEEDS = "stands, walks left, walks right, jumps, spins, waves, bounces, grows"
THINGS = "moves left, moves right, sways"
PLACES = (
    "on the hills, in the room, in the sky, on the beach, on the street, at the wall, in the forest, "
    "in the snow"
)
CAMERA = "the camera pans left, pans right, zooms in, zooms out; it gets dark, it gets bright"

PROMPT = "a robot on the left waves and a fox on the right jumps, on the beach"

CLIP: Link = ("encoders", "clip")
REFERENCES = (ROBOT, FOX, BEACH)


def models() -> Group:
    """Step 1: the loaders; their files come with the pack."""
    nodes = (
        note(
            "models note",
            "A small MAGREF, complete",
            (0, 0, 380, 340),
            "The model of this graph has the form of the released one and is small: 22 MB, which come "
            "with this pack in *models/demo*. Nothing is to be downloaded. Press **Run**: on a CPU the video "
            "takes seconds.",
            "It was trained on drawn puppets and places and knows nothing else. Prompts never told it what "
            "anybody looks like, so who acts in the video can come from the pictures alone. The robot and "
            "the fox here were not seen in training.",
            "The encoders and the VAE fit this DiT only, and the DiT fits them only.",
        ),
        Node(
            key="dit",
            type="MagrefDiTLoader",
            box=(400, 0, 380, 110),
            values={"model": DEMO_DIT},
        ),
        Node(
            key="encoders",
            type="MagrefDemoEncoders",
            box=(400, 215, 380, 130),
            values={"text_encoder": DEMO_TEXT_ENCODER, "clip_vision": DEMO_CLIP_VISION},
        ),
        Node(key="vae", type="VAELoader", box=(400, 400, 380, 62), values={"vae_name": DEMO_VAE}),
    )
    return Group(number=1, title="Models", nodes=nodes)


def references() -> Group:
    """Step 2: the pictures, and where more of them come from."""
    nodes = (
        parts.pictures_note(REFERENCES, (0, 0, 350, 230)),
        parts.load_references(REFERENCES, (380, 0, 400, 480)),
        note(
            "canvas note",
            "From pictures to canvas",
            (380, 530, 400, 130),
            "The canvas is all that the model sees of your pictures. Another **layout_seed** in MAGREF Build "
            "Masked Canvas deals the places on it anew; who stands where in the video is said by the prompt.",
        ),
        note(
            "puppets note",
            "Other puppets",
            (0, 280, 350, 190),
            "Give **fox** the file **puppet_fox_2.png**, which lies there too: the same happens with "
            "another fox.",
            "*python scripts/draw_pictures.py fox --seed 7 --out my_fox.png*, called in a clone of this "
            "pack, draws as many as you like.",
        ),
    )
    return Group(number=2, title="References", nodes=nodes)


def canvas() -> Group:
    """Step 3: the canvas, enlarged to be seen."""
    nodes = (
        parts.canvas_node("references", {"width": WIDTH, "height": HEIGHT}),
        enlarge("enlarge canvas", "Enlarge Canvas", (530, 0, 350, 82), ("canvas", "image")),
        parts.save_canvas(("enlarge canvas", "IMAGE"), (530, 134, 350, 302)),
    )
    return Group(number=3, title="Canvas", nodes=nodes)


def prompt() -> Group:
    """Step 4: the prompt, in the words that the model knows."""
    nodes = (
        parts.text_node("prompt", "Prompt", (0, 0, 500, 130), PROMPT, parts.GREEN, clip=CLIP),
        parts.text_node("negative", "Negative Prompt", (0, 180, 500, 100), "", parts.RED, clip=CLIP),
        parts.guidance_node({"length": LENGTH}, clip_vision=("encoders", "clip_vision")),
        note(
            "length note",
            "Length",
            (0, 350, 500, 130),
            "Of the 17 frames the first shows the canvas and is dropped by MAGREF Decode Video. The released "
            "model needs **drop_frames** 4 there, this one 1.",
        ),
        note(
            "prompt note",
            "The words that it knows",
            (530, 260, 350, 300),
            f"- **who**: {WHO}",
            f"- **does what**: {DEEDS}; things {THINGS}",
            f"- **where**: {PLACES}",
            f"- **light and camera**: {CAMERA}",
            "Name one puppet, or two (*on the left*, *on the right*), or three (*in the middle* too), from "
            "left to right.",
        ),
    )
    return Group(number=4, title="Prompt", nodes=nodes)


def video(prefix: str) -> Group:
    """Step 6: the frames, enlarged, and the mp4."""
    latent = ("sampler", "latent")
    nodes = (
        parts.decode_node(latent, {"fps": float(FPS), "drop_frames": 1}),
        enlarge("enlarge video", "Enlarge Video", (0, 250, 300, 82), ("decode", "images")),
        Node(
            key="create video",
            type="CreateVideo",
            box=(0, 390, 300, 102),
            values={"fps": float(FPS)},
            links={"images": ("enlarge video", "IMAGE")},
        ),
        parts.save_video(("create video", "VIDEO"), prefix, (330, 0, 450, 126)),
    )
    return Group(number=6, title="Video", nodes=nodes)


def enlarge(key: str, title: str, box: tuple[int, int, int, int], image: Link) -> Node:
    """ImageScaleBy."""
    return Node(
        key=key,
        type="ImageScaleBy",
        title=title,
        box=box,
        values={"upscale_method": "lanczos", "scale_by": float(ENLARGED)},
        links={"image": image},
    )


WORKFLOW = Workflow(
    name="magref_demo",
    groups=(
        models(),
        references(),
        canvas(),
        prompt(),
        parts.sampling(
            ("dit", "model"),
            {"steps": STEPS, "guidance_scale": 1.0, "seed": SEED},
            f"**{STEPS}** steps are enough for this model. It needs no guidance: at **1** the negative "
            "prompt is not read.",
            "Another **seed** gives another take of the same scene.",
        ),
        video("video/magref_demo"),
    ),
)
