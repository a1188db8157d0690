"""Our MODEL among ComfyUI's own nodes: a LoRA, a cache, and SamplerCustom with MAGREF's solver and sigmas."""

from __future__ import annotations

from scripts.workflow_specs import parts
from scripts.workflow_specs.files import CAT, LORA, WOMAN
from scripts.workflow_specs.spec import CANVAS_WIDTH, COLUMN_WIDTH, Group, Node, Workflow, note

PROMPT = (
    "A young woman in an orange space suit holds a ginger tabby cat in her arms in a garden full of "
    "flowers. The cat looks up at her, she laughs and scratches its head. Soft daylight, shallow depth of "
    "field, the camera circles them slowly."
)
HINT = (
    "Say what each subject looks like and does (the woman, the cat), then the place, the light and the "
    "camera."
)

CHANGES = (
    Node(
        key="lora",
        type="LoraLoaderModelOnly",
        box=(400, 180, 380, 86),
        values={"lora_name": LORA.name, "strength_model": 0.7},
        links={"model": ("dit", "model")},
        model=LORA,
    ),
    Node(key="cache", type="EasyCache", box=(400, 318, 380, 130), links={"model": ("lora", "MODEL")}),
    Node(
        key="shift",
        type="ModelSamplingSD3",
        box=(800, 400, 380, 62),
        values={"shift": 3.0},
        links={"model": ("cache", "MODEL")},
    ),
)

SAMPLING = (
    Node(key="solver", type="MagrefSolver", box=(0, 140, 300, 110)),
    Node(key="schedule", type="MagrefSchedule", box=(0, 330, 300, 142)),
    Node(
        key="sampler",
        type="SamplerCustom",
        box=(400, 0, 380, 230),
        values={"noise_seed": 3407, "cfg": 5.0},
        links={
            "model": ("shift", "MODEL"),
            "positive": ("guidance", "positive"),
            "negative": ("guidance", "negative"),
            "sampler": ("solver", "sampler"),
            "sigmas": ("schedule", "sigmas"),
            "latent_image": ("guidance", "latent"),
        },
    ),
    note(
        "sampler note",
        "ComfyUI's own nodes",
        (400, 330, 380, 170),
        "Whatever takes a MODEL fits behind MAGREF DiT Loader. With a speed LoRA such as lightx2v take 4 to "
        "8 **steps** and **cfg** 1, and bypass EasyCache.",
        "Keep **solver** the same in MAGREF Solver and MAGREF Schedule, and **shift** the same in MAGREF "
        "Schedule and ModelSamplingSD3.",
    ),
)

WORKFLOW = Workflow(
    name="magref_native_sampler",
    groups=(
        parts.models(parts.own_loader(), parts.OWN_LOADER_HINT, *CHANGES, others=(800, 0)),
        parts.plain_references(WOMAN, CAT, wider=400),
        parts.canvas("references"),
        parts.prompt(PROMPT, HINT),
        Group(number=5, title="Sample", nodes=SAMPLING),
        parts.video(("sampler", "output"), turn=800),
    ),
    widths=(1220, CANVAS_WIDTH, COLUMN_WIDTH),
)
