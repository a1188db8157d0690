/** What the server says of the canvas before anything is paid for. */

import { viewPath } from "./pictures.js";
import { say } from "./words.js";

const PAUSE = 200;

/**
 * @typedef {Object} Result
 * @property {Object} report - as docs/preview.md lays down.
 * @property {Object<string, string>} views - address of each picture by its kind.
 * @property {import("./layout.js").Placement[]} [placements]
 */

/** Asks the route /magref/preview, at most once at a time, and only when nothing has changed for a moment. */
export class PreviewClient {
  #timer = 0;
  #flight = null;
  #asked = "";

  /**
   * @param {(path: string, options: RequestInit) => Promise<Response>} fetchRoute - the host's fetch.
   * @param {(key: string, result: Result|null, problem: string) => void} tell - told every answer; result is null
   *   where the server refuses, and problem says why.
   */
  constructor(fetchRoute, tell) {
    this.fetchRoute = fetchRoute;
    this.tell = tell;
  }

  /** Ask for this body; a body that has been asked for last is not asked for again. */
  ask(body) {
    const key = JSON.stringify(body);
    if (key === this.#asked) return;
    this.stop();
    this.#asked = key;
    this.#timer = setTimeout(() => this.#send(key), PAUSE);
  }

  /** Forget what is under way. */
  stop() {
    clearTimeout(this.#timer);
    this.#flight?.abort();
    this.#flight = null;
    this.#asked = "";
  }

  async #send(key) {
    const flight = new AbortController();
    this.#flight = flight;
    const headers = { "Content-Type": "application/json" };
    try {
      const response = await this.fetchRoute("/magref/preview", {
        method: "POST",
        headers,
        body: key,
        signal: flight.signal,
      });
      const answer = await response.json().catch(() => ({}));
      if (flight.signal.aborted) return;
      if (response.ok) this.tell(key, answer, "");
      else this.tell(key, null, answer.error ?? say("refused", { status: response.status }));
    } catch (error) {
      if (flight.signal.aborted) return;
      this.#asked = ""; // the server may be back at the next change
      this.tell(key, null, say("noServer", { reason: error.message }));
    }
  }
}

/**
 * The result of a run from the node's outputs.
 * @param {Object} output - what the host hands to `onExecuted`.
 * @param {{apiURL: (path: string) => string}} api - the host's.
 * @returns {{report: Object, views: Object<string, string>, references: Object[]}|null} null for an older node.
 */
export function resultOfRun(output, api) {
  const [report] = output?.magref_report ?? [];
  if (!report) return null;
  let read;
  try {
    read = typeof report === "string" ? JSON.parse(report) : report;
  } catch {
    return null;
  }
  const views = Object.fromEntries((output.magref_views ?? []).map(({ kind, ...file }) => [kind, api.apiURL(viewPath(file))]));
  return { report: read, views, references: output.magref_references ?? [] };
}

/**
 * The boxes of a report in the order of pasting: what has the whole canvas as its cell lies behind the others.
 * @param {Object} report
 * @returns {import("./layout.js").Placement[]}
 */
export function boxesOf({ subjects, width, height }) {
  const isBehind = ({ cell }) => Boolean(cell) && cell.width === width && cell.height === height;
  const sorted = [...subjects].sort((one, other) => isBehind(other) - isBehind(one));
  return sorted.map(({ reference, box }) => ({ reference, ...box }));
}
