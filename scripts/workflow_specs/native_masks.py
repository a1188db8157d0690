"""ComfyUI's own segmenters: SAM 3 finds a subject by its name, BiRefNet the foreground."""

from __future__ import annotations

import json

from scripts.workflow_specs import parts
from scripts.workflow_specs.files import BIREFNET, CAT, SAM3, TABLE, WOMAN
from scripts.workflow_specs.spec import CANVAS_WIDTH, COLUMN_WIDTH, Box, Group, Link, Node, Workflow, note

PROMPT = (
    "A young woman in an orange space suit leans over a wooden table with a cup of coffee on it and holds "
    "out her hand to a ginger tabby cat. The cat sniffs at her fingers and rubs its head against them. Soft "
    "window light, the camera slowly moves closer."
)
HINT = (
    "Say what each subject looks like and does (the woman, the cat), then the place, the light and the "
    "camera."
)

LOADERS = (
    Node(
        key="sam3",
        type="CheckpointLoaderSimple",
        title="Load SAM 3",
        box=(800, 0, 380, 110),
        values={"ckpt_name": SAM3.name},
        model=SAM3,
    ),
    Node(
        key="birefnet",
        type="LoadBackgroundRemovalModel",
        box=(800, 172, 380, 62),
        values={"bg_removal_name": BIREFNET.name},
        model=BIREFNET,
    ),
)


def load_image(key: str, title: str, file: str, box: Box) -> Node:
    """A picture for our gallery and for a segmenter."""
    return Node(key=key, type="LoadImage", title=title, box=box, values={"image": file})


def cut_out(key: str, name: str, *, mask: Link, references: Link, box: Box) -> Node:
    """MAGREF Auto Mask Subject with the mask of another node for one subject."""
    return Node(
        key=key,
        type="MagrefAutoMaskSubject",
        title=f"Cut Out the {name.capitalize()}",
        box=box,
        values={"method": "mask", "subjects": name},
        links={"references": references, "mask": mask},
    )


def segmenters() -> tuple[Node, ...]:
    """Two pictures, and the two ways to their masks."""
    name = parts.text_node(
        "name", "What SAM 3 Looks For", (330, 0, 400, 110), "woman", parts.GREEN, clip=("sam3", "CLIP")
    )
    detect = Node(
        key="detect",
        type="SAM3_Detect",
        box=(330, 160, 400, 220),
        links={
            "model": ("sam3", "MODEL"),
            "image": ("woman", "IMAGE"),
            "conditioning": ("name", "CONDITIONING"),
        },
    )
    remove = Node(
        key="remove",
        type="RemoveBackground",
        box=(330, 440, 400, 62),
        links={"bg_removal_model": ("birefnet", "bg_model"), "image": ("cat", "IMAGE")},
    )
    return (
        load_image("woman", "Woman", WOMAN["file"], (0, 0, 290, 350)),
        load_image("cat", "Cat", CAT["file"], (0, 410, 290, 350)),
        name,
        detect,
        remove,
    )


def references() -> Group:
    """Step 2: pictures over links, and their masks from ComfyUI's own nodes."""
    entries = (
        {"name": WOMAN["name"], "kind": WOMAN["kind"], "image": "image_1"},
        {"name": CAT["name"], "kind": CAT["kind"], "image": "image_2"},
        TABLE,
    )
    lines = ",\n".join(f"  {json.dumps(entry)}" for entry in entries)
    loader = Node(
        key="references",
        type="MagrefLoadReferences",
        box=(0, 830, 420, 500),
        values={"references": f"[\n{lines}\n]"},
        links={"images.image_1": ("woman", "IMAGE"), "images.image_2": ("cat", "IMAGE")},
    )
    listed = ("references", "references")
    nodes = (
        *segmenters(),
        loader,
        cut_out("cut woman", "woman", mask=("detect", "masks"), references=listed, box=(780, 0, 400, 560)),
        cut_out(
            "cut cat",
            "cat",
            mask=("remove", "mask"),
            references=("cut woman", "references"),
            box=(780, 620, 400, 560),
        ),
        note(
            "masks note",
            "Masks of other nodes",
            (330, 552, 400, 230),
            "**SAM 3** cuts out what the text names; **threshold** 0.5 may need to be lower for unusual "
            "words. **BiRefNet** cuts out the foreground.",
            "Each MAGREF Auto Mask Subject takes one MASK (method **mask**) for the one subject that it "
            "names. Any node that gives a MASK, 1 on the subject, can stand in their place.",
        ),
        note(
            "pictures note",
            "Pictures",
            (450, 830, 290, 350),
            parts.copy_hint(WOMAN["file"], CAT["file"], TABLE["file"]),
            "For your own, choose them in **Woman** and **Cat**, and add more in MAGREF Load References.",
            "Without the files of SAM 3 and BiRefNet, bypass both **Cut Out** nodes (select them, "
            "**Ctrl+B**), or choose another **method** and unplug **mask**.",
        ),
    )
    return Group(number=2, title="References", nodes=nodes)


WORKFLOW = Workflow(
    name="magref_native_masks",
    groups=(
        parts.models(parts.own_loader(), parts.OWN_LOADER_HINT, *LOADERS, note_height=460),
        references(),
        parts.canvas("cut cat"),
        parts.prompt(PROMPT, HINT),
        parts.official_sampling(("dit", "model")),
        parts.video(("sampler", "latent"), turn=800),
    ),
    widths=(1220, CANVAS_WIDTH, COLUMN_WIDTH),
)
