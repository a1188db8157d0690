/** A graph as the page holds it, as far as the walk needs it. */
export class Graph {
  constructor(rootGraph) {
    this.rootGraph = rootGraph ?? this;
    this.nodes = [];
    this.links = new Map();
    this.subgraphs = new Map();
  }

  getNodeById(id) {
    return this.nodes.find((node) => node.id === id) ?? null;
  }

  add(type, { inputs = [], widgets = {}, ...more } = {}) {
    const node = {
      id: this.nodes.length + 1,
      type,
      mode: 0,
      graph: this,
      inputs: inputs.map((name) => ({ name, type: typeOf(name), link: null })),
      widgets: Object.entries(widgets).map(([name, value]) => ({ name, value })),
      ...more,
    };
    this.nodes.push(node);
    return node;
  }

  link(from, slot, to, name) {
    const id = this.links.size + 1;
    const target = to?.inputs.findIndex((input) => input.name === name);
    this.links.set(id, { id, origin_id: from?.id ?? -10, origin_slot: slot, target_slot: target });
    if (to) to.inputs[target].link = id;
    return this.links.get(id);
  }
}

const typeOf = (name) => (name.startsWith("images.") ? "IMAGE" : "MAGREF_REFERENCES");
