"""Our MODEL among ComfyUI's own nodes: a LoRA, a cache, and SamplerCustom with MAGREF's solver and sigmas."""

from __future__ import annotations

from scripts.workflow_specs import parts
from scripts.workflow_specs.files import CAT, LORA, WOMAN
from scripts.workflow_specs.spec import Group, Node, Workflow, note

PROMPT = (
    "A young woman in an orange space suit holds a ginger tabby cat in her arms in a garden full of flowers. The cat "
    "looks up at her, she laughs and scratches its head. Soft daylight, shallow depth of field, the camera circles "
    "them slowly."
)
HINT = "Say what each subject looks like and does (the woman, the cat), then the place, the light and the camera."

WIDER = 260
"""How much wider than usual the last column is."""

CHANGES = (
    Node(
        key="lora",
        type="LoraLoaderModelOnly",
        box=(0, 0, 340, 86),
        values={"lora_name": LORA.name, "strength_model": 0.7},
        links={"model": ("dit", "model")},
        model=LORA,
    ),
    Node(key="cache", type="EasyCache", box=(0, 140, 340, 130), links={"model": ("lora", "MODEL")}),
    Node(
        key="shift",
        type="ModelSamplingSD3",
        box=(0, 330, 340, 62),
        values={"shift": 3.0},
        links={"model": ("cache", "MODEL")},
    ),
)

SAMPLING = (
    Node(key="solver", type="MagrefSolver", box=(370, 0, 300, 82)),
    Node(key="schedule", type="MagrefSchedule", box=(370, 172, 300, 110)),
    Node(
        key="sampler",
        type="SamplerCustom",
        box=(700, 0, 340, 220),
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
)

SAMPLER_NOTE = note(
    "sampler note",
    "On our MODEL",
    (370, 340, 300, 180),
    "Any node for MODEL fits between the loader and the sampler. With a speed LoRA such as lightx2v take 4 to 8 "
    "steps and cfg 1, and bypass EasyCache.",
    "Keep **solver** the same in MAGREF Solver and MAGREF Schedule.",
)

WORKFLOW = Workflow(
    name="magref_native_sampler",
    groups=(
        parts.models(parts.own_loader(), parts.OWN_LOADER_HINT, LORA),
        parts.plain_references(WOMAN, CAT),
        parts.canvas("references"),
        parts.prompt(PROMPT, HINT),
        Group(number=5, title="Sample", nodes=(*CHANGES, *SAMPLING, SAMPLER_NOTE), wider=WIDER),
        parts.video(("sampler", "output"), wider=WIDER),
    ),
)
