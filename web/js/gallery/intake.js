/** Files on their way in: looked at, sent one after the other, told of meanwhile. */

import { fileProblem, formatOf, HEAD, uploadName } from "./files.js";
import { sendPicture } from "./upload.js";

/**
 * @typedef {Object} Transfer - one file on its way.
 * @property {number} id
 * @property {string} name - as the file is called.
 * @property {number} share - 0 to 1.
 * @property {AbortController} abort
 */

/** Takes files, and hands over the name of each that has arrived in the input folder. */
export class Intake {
  /**
   * @param {Object} api - ComfyUI's.
   * @param {Object} hooks
   * @param {function(string, string, *): void} hooks.onFile - a file has arrived: its name there, its name here, and
   *   its target.
   * @param {function(Object): void} hooks.onProblem - a file cannot serve or did not arrive.
   * @param {function(): void} hooks.onChange - the list of transfers is another.
   * @param {function(Transfer): void} hooks.onProgress - one of them went on.
   * @param {function(): number} hooks.limit - bytes that the server takes at once.
   */
  constructor(api, hooks) {
    this.api = api;
    this.hooks = hooks;
    /** @type {Transfer[]} */
    this.transfers = [];
    this.last = Promise.resolve();
    this.count = 0;
  }

  /**
   * Take files; each is sent when those before it are through.
   * @param {File[]} files
   * @param {*} target - handed back with each name.
   * @returns {Promise<void>} when all are through; it never rejects.
   */
  take(files, target) {
    const queued = files.map((file) => {
      const transfer = { id: ++this.count, name: file.name, share: 0, abort: new AbortController() };
      this.transfers.push(transfer);
      return { file, transfer };
    });
    this.hooks.onChange();
    for (const { file, transfer } of queued) this.last = this.last.then(() => this.pass(file, transfer, target));
    return this.last;
  }

  /** Take no file of those on their way. */
  stop() {
    for (const transfer of [...this.transfers]) this.cancel(transfer);
  }

  /** @param {Transfer} transfer */
  cancel(transfer) {
    transfer.abort.abort();
    this.leave(transfer);
  }

  /** @private */
  async pass(file, transfer, target) {
    if (transfer.abort.signal.aborted) return;
    const problem = await this.send(file, transfer, target);
    this.leave(transfer);
    if (problem) this.hooks.onProblem(problem);
  }

  /** @private */
  async send(file, transfer, target) {
    try {
      const head = new Uint8Array(await file.slice(0, HEAD).arrayBuffer());
      const problem = fileProblem(file, head, this.hooks.limit());
      if (problem) return problem;
      const onProgress = (share) => {
        transfer.share = share;
        this.hooks.onProgress(transfer);
      };
      const name = uploadName(file.name, formatOf(head));
      const arrived = await sendPicture(this.api, file, name, { onProgress, signal: transfer.abort.signal });
      if (!transfer.abort.signal.aborted) this.hooks.onFile(arrived, file.name, target);
      return null;
    } catch (error) {
      if (error.name === "AbortError") return null;
      const values = { name: file.name, reason: error.message };
      if (error.code === 413) return fileProblem(file, new Uint8Array(), file.size - 1);
      return error.code
        ? { key: "uploadRefused", values: { ...values, code: error.code } }
        : { key: "uploadFailed", values };
    }
  }

  /** @private */
  leave(transfer) {
    const place = this.transfers.indexOf(transfer);
    if (place < 0) return;
    this.transfers.splice(place, 1);
    this.hooks.onChange();
  }
}
