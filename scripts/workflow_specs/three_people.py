"""Three puppets with names of their own, in the small demo model."""

from __future__ import annotations

from scripts.workflow_specs import demo, named_puppets
from scripts.workflow_specs.files import FOX, GIRL, ROBOT, Reference

PROMPT = "a @ann on the left waves, a @rob in the middle jumps and a @finn on the right spins, on the beach"
REFERENCES: tuple[Reference, ...] = (
    {**GIRL, "name": "ann", "word": "girl"},
    {**ROBOT, "name": "rob", "word": "robot"},
    {**FOX, "name": "finn", "kind": "person", "word": "fox"},
)

WORKFLOW = named_puppets.workflow(
    "magref_three_people",
    REFERENCES,
    PROMPT,
    "The model reads *a girl on the left waves, a robot in the middle ...*: hold the mouse over a name on "
    "the line under the prompt to see its word. After a run the node shows the tokens of each name.",
    f"The words that this model knows: {demo.WHO}; {demo.DEEDS}.",
)
