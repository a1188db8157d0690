/** The area on which boxes are dragged: pointer and keys become moves and sizes. */

import { element } from "../common/dom.js";
import { GRID, grow, move, pick, resize } from "./model.js";
import { drawMarks, handlePlaces, marksLayer } from "./view.js";
import { say } from "./words.js";

const HANDLE_REACH = 9;
const SNAP_REACH = 7;
const LEAST_DRAG = 2;
const CURSORS = { nw: "nwse-resize", se: "nwse-resize", ne: "nesw-resize", sw: "nesw-resize" };

/**
 * @typedef {Object} StageHost - what the stage asks of the editor.
 * @property {() => {canvas: {width: number, height: number}, cells: import("./layout.js").Box[],
 *   placements: import("./layout.js").Placement[], selected: string|null, isLocked: boolean,
 *   guides: Object|undefined}} scene
 * @property {(name: string|null) => void} select
 * @property {(box: import("./layout.js").Placement) => void} show - while dragging.
 * @property {(box: import("./layout.js").Placement, isNudge?: boolean) => void} commit
 * @property {() => void} cancel
 * @property {(steps: number) => void} restack
 * @property {(steps: number) => void} step - select another.
 * @property {() => void} undo
 * @property {() => void} redo
 */

/** Canvas, mask and marks on top of each other, listening. */
export class Stage {
  #drag = null;

  /** @param {StageHost} host */
  constructor(host) {
    this.host = host;
    this.picture = element("canvas", { class: "magref-editor-picture" });
    this.mask = element("canvas", { class: "magref-editor-mask" });
    this.marks = marksLayer();
    this.element = element(
      "div",
      { class: "magref-editor-stage", tabindex: "0", role: "application", "aria-label": say("help") },
      this.picture,
      this.mask,
      this.marks,
    );
    // The host keeps its own undo away from what has this type; the editor has its own.
    this.element.type = "textarea";
    this.element.addEventListener("pointerdown", (event) => this.#press(event));
    this.element.addEventListener("pointermove", (event) => this.#move(event));
    this.element.addEventListener("pointerup", (event) => this.#release(event));
    this.element.addEventListener("pointercancel", () => this.#abandon());
    this.element.addEventListener("keydown", (event) => this.#key(event));
    this.element.addEventListener("contextmenu", (event) => event.preventDefault());
  }

  /** Draw cells, outlines and handles. */
  drawMarks() {
    const scene = this.host.scene();
    const unit = scene.canvas.width / (this.marks.clientWidth || scene.canvas.width);
    drawMarks(this.marks, { ...scene, unit });
    this.element.classList.toggle("locked", scene.isLocked);
  }

  #point(event) {
    const area = this.picture.getBoundingClientRect();
    const { canvas } = this.host.scene();
    const unit = canvas.width / (area.width || 1);
    return { x: (event.clientX - area.left) * unit, y: (event.clientY - area.top) * unit, unit };
  }

  #hit(point) {
    const { placements, selected } = this.host.scene();
    const chosen = placements.find(({ reference }) => reference === selected);
    if (chosen) {
      const reach = HANDLE_REACH * point.unit;
      for (const [corner, place] of Object.entries(handlePlaces(chosen)))
        if (Math.abs(place.x - point.x) <= reach && Math.abs(place.y - point.y) <= reach)
          return { box: chosen, corner };
    }
    const top = pick(placements, point);
    const under = chosen && pick([chosen], point);
    return top && { box: under ?? top, top };
  }

  #press(event) {
    if (event.button !== 0) return;
    event.stopPropagation();
    this.element.focus({ preventScroll: true });
    const scene = this.host.scene();
    const point = this.#point(event);
    const hit = this.#hit(point);
    this.host.select(hit?.box.reference ?? null);
    if (!hit || scene.isLocked) return;
    this.element.setPointerCapture(event.pointerId);
    this.#drag = { ...hit, from: point, start: event, hasMoved: false };
  }

  #move(event) {
    const point = this.#point(event);
    if (!this.#drag) {
      const hit = this.host.scene().isLocked ? null : this.#hit(point);
      this.element.style.cursor = hit ? (CURSORS[hit.corner] ?? "move") : "default";
      return;
    }
    event.stopPropagation();
    const { start } = this.#drag;
    this.#drag.hasMoved ||=
      Math.hypot(event.clientX - start.clientX, event.clientY - start.clientY) >= LEAST_DRAG;
    if (this.#drag.hasMoved) this.host.show(this.#dragged(event));
  }

  #dragged(event) {
    const { box, corner, from } = this.#drag;
    const { canvas, guides } = this.host.scene();
    const point = this.#point(event);
    const way = { x: point.x - from.x, y: point.y - from.y };
    const snap = { guides: event.altKey ? undefined : guides, reach: SNAP_REACH * point.unit };
    return corner ? resize(box, corner, way, canvas, snap) : move(box, way, canvas, snap);
  }

  #release(event) {
    const drag = this.#drag;
    if (!drag) return;
    event.stopPropagation();
    const box = drag.hasMoved ? this.#dragged(event) : null;
    this.#drag = null;
    if (box) this.host.commit(box);
    else if (drag.top) this.host.select(drag.top.reference);
  }

  #abandon() {
    if (!this.#drag) return;
    this.#drag = null;
    this.host.cancel();
  }

  #key(event) {
    const action = event.ctrlKey || event.metaKey ? this.#chord(event) : this.#plainKey(event);
    if (!action) return;
    event.preventDefault();
    event.stopPropagation();
    action();
  }

  #chord({ key, shiftKey }) {
    const letter = key.toLowerCase();
    if (letter === "z") return shiftKey ? this.host.redo : this.host.undo;
    return letter === "y" ? this.host.redo : null;
  }

  #plainKey({ key, shiftKey }) {
    if (key === "Escape") return () => (this.#drag ? this.#abandon() : this.host.select(null));
    if (key === "n" || key === "N") return () => this.host.step(1);
    if (key === "p" || key === "P") return () => this.host.step(-1);
    const { canvas, placements, selected, isLocked } = this.host.scene();
    const box = placements.find(({ reference }) => reference === selected);
    if (!box || isLocked || this.#drag) return null;
    const far = shiftKey ? GRID : 1;
    const ways = { ArrowLeft: [-far, 0], ArrowRight: [far, 0], ArrowUp: [0, -far], ArrowDown: [0, far] };
    if (ways[key]) {
      const [x, y] = ways[key];
      return () => this.host.commit(move(box, { x, y }, canvas), true);
    }
    const sizes = { "+": GRID, "=": GRID, "-": -GRID, _: -GRID };
    if (sizes[key]) return () => this.host.commit(grow(box, 1 + sizes[key] / box.width, canvas), true);
    if (key === "PageUp") return () => this.host.restack(1);
    return key === "PageDown" ? () => this.host.restack(-1) : null;
  }
}
