/** One file on its way, as the gallery shows it. */

import { element } from "../common/dom.js";
import { button } from "./card.js";
import { shorten } from "./entries.js";

/**
 * Make the line of a file on its way.
 * @param {import("./intake.js").Transfer} transfer
 * @param {function(string, Object=): string} say - the word list.
 * @param {function(): void} cancel
 * @returns {HTMLElement}
 */
export function makeTransfer(transfer, say, cancel) {
  const progress = element("progress", { max: "1" });
  const stop = button("×", say("cancel"), `transfer${transfer.id}`, cancel);
  const dataset = { transfer: `${transfer.id}` };
  const made = element("li", { class: "magref-transfer", dataset }, element("span"), progress, stop);
  showShare(made, transfer, say);
  return made;
}

/**
 * Show how far it has got.
 * @param {HTMLElement} made - as `makeTransfer` gives it.
 * @param {import("./intake.js").Transfer} transfer
 * @param {function(string, Object=): string} say
 */
export function showShare(made, transfer, say) {
  const percent = Math.round(transfer.share * 100);
  made.querySelector("progress").value = transfer.share;
  made.querySelector("span").textContent = say("uploading", { name: shorten(transfer.name), percent });
}
