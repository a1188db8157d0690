/** Undo and redo. */

const MOST = 100;

/** Snapshots of a value, at most a hundred; equal neighbours count once. */
export class History {
  #past = [];
  #future = [];

  /** @param {(one: unknown, other: unknown) => boolean} [isEqual] */
  constructor(isEqual = (one, other) => JSON.stringify(one) === JSON.stringify(other)) {
    this.isEqual = isEqual;
  }

  get canUndo() {
    return this.#past.length > 0;
  }

  get canRedo() {
    return this.#future.length > 0;
  }

  /** Note that `before` became `after`. */
  note(before, after) {
    if (this.isEqual(before, after)) return;
    this.#past.push(before);
    if (this.#past.length > MOST) this.#past.shift();
    this.#future = [];
  }

  /**
   * @param {unknown} current
   * @returns {unknown} what was before, or undefined if nothing was.
   */
  undo(current) {
    if (!this.canUndo) return undefined;
    this.#future.push(current);
    return this.#past.pop();
  }

  /**
   * @param {unknown} current
   * @returns {unknown} what was undone last, or undefined.
   */
  redo(current) {
    if (!this.canRedo) return undefined;
    this.#past.push(current);
    return this.#future.pop();
  }
}
