"""The best of four takes: drafts of the small model are ranked by who is in them; the best is finished."""

from __future__ import annotations

from scripts.workflow_specs import demo, parts
from scripts.workflow_specs.spec import Group, Link, Node, Workflow, note

COUNT, DRAFT_STEPS = 4, 8
REFERENCE_SCALE = 2.5
ORDER = "robot, fox"


def references() -> Group:
    """Step 2: the pictures, and a node that may change them a little."""
    nodes = (
        parts.pictures_note(demo.REFERENCES, (0, 0, 350, 230)),
        parts.load_references(demo.REFERENCES, (380, 0, 400, 480)),
        Node(
            key="decorrelate",
            type="MagrefDecorrelateReferences",
            box=(380, 540, 400, 180),
            values={"flip": "none", "crop": 0.0, "blur": 0.0},
            links={"references": ("references", "references")},
        ),
        note(
            "decorrelate note",
            "Against copies",
            (0, 280, 350, 210),
            "MAGREF Decorrelate References is off here. Where the report says that a picture is **repeated "
            "pixel by pixel**, let it mirror, crop or blur.",
            "The report judges by the pictures of the gallery, not by the changed ones.",
        ),
    )
    return Group(number=2, title="References", nodes=nodes)


def canvas() -> Group:
    """Step 3: the canvas, enlarged to be seen."""
    nodes = (
        parts.canvas_node("decorrelate", {"width": demo.WIDTH, "height": demo.HEIGHT}),
        demo.enlarge("enlarge canvas", "Enlarge Canvas", (530, 0, 350, 82), ("canvas", "image")),
        parts.save_canvas(("enlarge canvas", "IMAGE"), (530, 134, 350, 302)),
    )
    return Group(number=3, title="Canvas", nodes=nodes)


def sampling() -> Group:
    """Step 5: guidance by the references, and four takes."""
    guided: dict[str, Link] = {"positive": ("guidance", "positive"), "negative": ("guidance", "negative")}
    nodes = (
        Node(
            key="guider",
            type="MagrefReferenceGuider",
            box=(0, 0, 370, 280),
            values={"guidance_scale": 1.0, "reference_scale": REFERENCE_SCALE},
            links={"model": ("dit", "model"), **guided},
        ),
        Node(
            key="best",
            type="MagrefBestOf",
            box=(400, 0, 380, 480),
            values={
                "seed": demo.SEED,
                "count": COUNT,
                "draft_steps": DRAFT_STEPS,
                "steps": demo.STEPS,
                "drop_frames": 1,
                "method": "colours",
                "order": ORDER,
            },
            links={
                "guider": ("guider", "guider"),
                "latent": ("guidance", "latent"),
                "vae": ("vae", "VAE"),
                "canvas": ("canvas", "canvas"),
            },
        ),
        note(
            "best note",
            "Four takes",
            (0, 330, 370, 190),
            f"**{COUNT}** seeds are drafted in **{DRAFT_STEPS}** steps; the draft that shows its "
            f"subjects best is finished in **{demo.STEPS}**. **order** says who stands where.",
            "**reference_scale** 1 would be plain guidance.",
        ),
    )
    return Group(number=5, title="Sample", nodes=nodes)


def video() -> Group:
    """Step 6: the frames, enlarged, the mp4, and the report on them."""
    nodes = (
        parts.decode_node(("best", "latent"), {"fps": float(demo.FPS), "drop_frames": 1}),
        demo.enlarge("enlarge video", "Enlarge Video", (0, 250, 300, 82), ("decode", "images")),
        Node(
            key="create video",
            type="CreateVideo",
            box=(0, 390, 300, 102),
            values={"fps": float(demo.FPS)},
            links={"images": ("enlarge video", "IMAGE")},
        ),
        parts.save_video(("create video", "VIDEO"), "video/magref_best_of", (330, 0, 450, 126)),
        Node(
            key="report",
            type="MagrefSubjectReport",
            box=(0, 560, 780, 620),
            values={"method": "colours", "order": ORDER},
            links={
                "images": ("decode", "images"),
                "canvas": ("canvas", "canvas"),
                "references": ("references", "references"),
            },
        ),
        Node(
            key="save sheet",
            type="SaveImage",
            title="Save Sheet",
            box=(330, 190, 450, 310),
            values={"filename_prefix": "magref_report"},
            links={"images": ("report", "sheet")},
        ),
    )
    return Group(number=6, title="Video and Report", nodes=nodes)


WORKFLOW = Workflow(
    name="magref_best_of",
    groups=(demo.models(), references(), canvas(), demo.prompt(), sampling(), video()),
)
