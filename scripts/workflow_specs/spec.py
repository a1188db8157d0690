"""What a workflow is made of."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

Link = tuple[str, str]
"""(key of the node it comes from, name of the output there)."""

Colours = tuple[str, str]
"""Of title and body."""

Box = tuple[int, int, int, int]
"""x, y, width, height."""

GAP = 40
"""Between groups."""
COLUMN_WIDTH, CANVAS_WIDTH = 820, 920
"""Of a column, and of the one in which the canvas stands."""
UPPER, LOWER = 640, 1200
"""Height of the upper row of groups, and the least of the lower one, in which the canvas grows by its picture
and by its findings once it has run."""
HEAD, MARGIN = 80, 20
"""From the upper and left edge of a group to its first node; the head holds the titles of both."""
GROWTH = 60
"""By how much Nodes 2.0 draws the lowest node of a group higher than it is."""

CELLS = ((0, 0), (0, 1), (1, 1), (1, 0), (2, 0), (2, 1))
"""(column, row) of the groups 1 to 6: down, right, up, right, down."""
GROUP_COLOURS = ("#3f789e", "#8A8", "#8A8", "#b58b2a", "#88A", "#88A")


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelFile:
    """A released file of weights."""

    folder: str
    """Below ComfyUI's `models`."""
    repository: str
    """On huggingface.co."""
    path: str
    """In the repository."""

    @property
    def name(self) -> str:
        """As the loaders show it."""
        return self.path.rpartition("/")[2]

    @property
    def url(self) -> str:
        """Where a browser fetches it."""
        return f"https://huggingface.co/{self.repository}/resolve/main/{self.path}"

    @property
    def page(self) -> str:
        """Where a person looks at it."""
        return f"https://huggingface.co/{self.repository}/blob/main/{self.path}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Node:
    """A node of the graph."""

    key: str
    """The name by which links find it."""
    type: str
    box: Box
    """Counted from where the first node of the group stands."""
    title: str = ""
    values: dict[str, Any] = field(default_factory=dict[str, Any])
    """Widget -> value, where it is not the default; a note has one widget without a name."""
    links: dict[str, Link] = field(default_factory=dict[str, Link])
    """Input -> where it comes from."""
    via: dict[str, tuple[tuple[int, int], ...]] = field(
        default_factory=dict[str, tuple[tuple[int, int], ...]]
    )
    """Input -> (column, x) of the points between the rows through which its link runs."""
    model: ModelFile | None = None
    """The weights that it names, so that the page can offer them where they are missing."""
    colours: Colours | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """A titled frame around the nodes of one step."""

    number: int
    """1 to 6; its title begins with it and its place in the grid follows from it."""
    title: str
    nodes: tuple[Node, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Workflow:
    """A workflow; `name` is its file's and what the template browser shows."""

    name: str
    groups: tuple[Group, ...]
    widths: tuple[int, int, int] = (COLUMN_WIDTH, CANVAS_WIDTH, COLUMN_WIDTH)
    """Of the columns."""

    def frame(self, group: Group) -> Box:
        """Where a group lies in the graph."""
        column, row = CELLS[group.number - 1]
        top = row * (UPPER + GAP)
        return self.left(column), top, self.widths[column], self.lower if row else UPPER

    @property
    def lower(self) -> int:
        """Height of the lower row."""
        nodes = [node for group in self.groups if CELLS[group.number - 1][1] for node in group.nodes]
        return max(LOWER, HEAD + GROWTH + max(node.box[1] + node.box[3] for node in nodes))

    def place(self, group: Group, node: Node) -> Box:
        """Where a node of a group lies in the graph."""
        left, top, _, _ = self.frame(group)
        x, y, width, height = node.box
        return left + MARGIN + x, top + HEAD + y, width, height

    def left(self, column: int) -> int:
        """X of a column."""
        return sum(self.widths[:column]) + column * GAP

    def point(self, column: int, x: int) -> tuple[int, int]:
        """A point between the rows, `x` right of the left edge of a column."""
        return self.left(column) + x, UPPER + GAP // 2

    @property
    def models(self) -> tuple[ModelFile, ...]:
        """The weights that it names."""
        return tuple(node.model for group in self.groups for node in group.nodes if node.model is not None)


def note(key: str, title: str, box: Box, *paragraphs: str) -> Node:
    """A note in Markdown."""
    text = "\n\n".join(paragraphs)
    colours = ("#2a2f3a", "#343a46")
    return Node(key=key, type="MarkdownNote", title=title, box=box, values={"": text}, colours=colours)
