"""A person, a thing and the place where they are, each from a picture and with a name, in the demo model."""

from __future__ import annotations

from scripts.workflow_specs import demo, named_puppets
from scripts.workflow_specs.files import BALL, BEACH, GIRL

PROMPT = "a @girl on the left waves and a @ball on the right bounces, on the @beach"
REFERENCES = (GIRL, BALL, BEACH)

WORKFLOW = named_puppets.workflow(
    "magref_person_object_place",
    REFERENCES,
    PROMPT,
    "A reference of the kind **background** is called by its name too. It has a cell of its own on the "
    "canvas, as MAGREF was trained.",
    f"The words that this model knows: {demo.WHO}; {demo.DEEDS}; things {demo.THINGS}; {demo.PLACES}.",
)
