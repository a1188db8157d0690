"""Puppets of the small demo model who are called by their names in the prompt."""

from __future__ import annotations

from scripts.workflow_specs import demo, parts
from scripts.workflow_specs.files import Reference
from scripts.workflow_specs.spec import Group, Node, Workflow, note


def workflow(name: str, references: tuple[Reference, ...], prompt: str, *hints: str) -> Workflow:
    """The demo with other puppets, and MAGREF Bind Subjects for its prompt.

    Args:
        name: of the workflow.
        references: names, kinds, files and words.
        prompt: with @names.
        hints: paragraphs beside the prompt.
    """
    return Workflow(
        name=name,
        groups=(
            demo.models(),
            _references(references),
            demo.canvas(),
            _prompt(prompt, hints),
            parts.sampling(
                ("dit", "model"),
                {"steps": demo.STEPS, "guidance_scale": 1.0, "seed": demo.SEED},
                f"**{demo.STEPS}** steps are enough for this model. It needs no guidance: at **1** the "
                "negative prompt is not read.",
                "Another **seed** gives another take of the same scene.",
            ),
            demo.video(f"video/{name}"),
        ),
    )


def _references(references: tuple[Reference, ...]) -> Group:
    """Step 2: the pictures and what they are called."""
    nodes = (
        parts.pictures_note(references, (0, 0, 350, 230)),
        parts.load_references(references, (380, 0, 400, 560)),
        note(
            "names note",
            "Name and word",
            (0, 280, 350, 280),
            "The **name** is yours: with it you call a picture in the prompt, as *@name*. The **word** is "
            "what the model reads in its place, and has to be one that it knows; without a word it reads "
            "the name.",
            "To keep the prompt and change who acts, give a name another file, and the word of what is on "
            "it.",
        ),
    )
    return Group(number=2, title="References", nodes=nodes)


def _prompt(text: str, hints: tuple[str, ...]) -> Group:
    """Step 4: the prompt with names."""
    nodes: tuple[Node, ...] = (
        parts.bound_prompt(text, "references", (0, 0, 500, 270), clip=demo.CLIP),
        parts.text_node("negative", "Negative Prompt", (0, 350, 500, 100), "", parts.RED, clip=demo.CLIP),
        parts.guidance_node({"length": demo.LENGTH}, clip_vision=("encoders", "clip_vision"), is_bound=True),
        note("prompt note", "Who does what", (530, 260, 350, 240), *hints),
    )
    return Group(number=4, title="Prompt", nodes=nodes)
