/** One card: a subject's pictures, its name, its kind and its switches. */

import { element } from "../common/dom.js";
import { KINDS } from "./entries.js";
import { inputPath, viewPath } from "./files.js";

/**
 * @typedef {Object} CardContext - what a card needs to know and to call.
 * @property {function(string, Object=): string} say - the word list.
 * @property {function(string): string} url - the address of a path of ComfyUI's.
 * @property {function(string): Promise<boolean>} isThere - whether the server has what an address names.
 * @property {number} count - of all cards.
 * @property {function(string): void} onMissing - told a file that is not in the input folder.
 * @property {Object|undefined} shown - the small picture of the last run, where it came over a link.
 * @property {boolean} isConnected - whether its socket is.
 * @property {string} sentence - what is wrong with it, or "".
 * @property {boolean} isLocked - nothing may be changed.
 * @property {Object} actions - rename, reword, change, remove, addPhotos, removePhoto, replace; the last argument of
 *   each is the card's place.
 */

/**
 * Make a card.
 * @param {import("./entries.js").Entry} entry
 * @param {number} index - its place.
 * @param {CardContext} context
 * @returns {HTMLElement} with `refresh(entry, sentence)`, which shows another name and another sentence without
 *   making anything new, so that a click which ends the typing still meets its button.
 */
export function makeCard(entry, index, context) {
  const { say, count, isLocked } = context;
  const problem = element("p", { class: "magref-problem", role: "alert" });
  const name = nameField(index, context, problem);
  const word = wordField(index, context, problem);
  const switched = switches(entry, index, context, word);
  const card = element(
    "li",
    {
      class: entry.off ? "magref-card magref-off" : "magref-card",
      tabindex: "0",
      dataset: { focus: `${index}`, index: `${index}` },
    },
    pictures(entry, index, context, problem),
    element(
      "div",
      { class: "magref-fields" },
      element("div", { class: "magref-row" }, name, kindField(entry, index, context)),
      element("div", { class: "magref-row" }, ...switched),
      problem,
    ),
  );
  card.refresh = (now, sentence) => {
    const about = { name: now.name, kind: say(now.kind), number: index + 1, count };
    card.setAttribute("aria-label", say("card", about));
    for (const remove of switched.filter((made) => made.classList.contains("magref-remove"))) {
      remove.title = say("remove", { name: now.name });
      remove.setAttribute("aria-label", remove.title);
    }
    keep(name, now.name, `${now.name}: ${say("name")}`);
    keep(word, now.word ?? "", say("word"));
    const isHeld = [name, word].some((field) => field.getAttribute("aria-invalid") === "true");
    if (!isHeld) problem.textContent = sentence || (problem.dataset.picture ?? "");
  };
  card.refresh(entry, context.sentence);
  if (isLocked) for (const field of card.querySelectorAll("input, select, button")) field.disabled = true;
  return card;
}

function pictures(entry, index, context, problem) {
  const { say, url, actions } = context;
  const handle = element("div", { class: "magref-main", title: say("drag"), dataset: { handle: "" } });
  handle.append(mainPicture(entry, context, problem));
  const strip = entry.photos.map((file, photo) => {
    const text = say("removePhoto", { number: photo + 2 });
    return element(
      "span",
      { class: "magref-photo" },
      thumbnail(url(inputPath(file)), file, context, problem),
      button("×", text, `${index}:photo${photo}`, () => actions.removePhoto(photo, index)),
    );
  });
  const add = button("+", say("addPhoto"), `${index}:photos`, () => actions.addPhotos(index));
  add.classList.add("magref-plus");
  return element("div", { class: "magref-pictures" }, handle, element("div", { class: "magref-strip" }, ...strip, add));
}

function mainPicture(entry, context, problem) {
  const { say, url, shown } = context;
  if (entry.file !== undefined) return thumbnail(url(inputPath(entry.file)), entry.file, context, problem);
  if (!context.isConnected) return element("span", { class: "magref-none", text: "!" });
  if (!shown) {
    const text = say("socketWaiting", { socket: entry.image });
    return element("span", { class: "magref-none", title: text, text: "?" });
  }
  const { filename, subfolder, type } = shown;
  return thumbnail(url(viewPath({ filename, subfolder, type })), entry.image, context, problem);
}

function thumbnail(address, file, { say, isThere, onMissing }, problem) {
  const image = element("img", { src: address, alt: "", draggable: "false", loading: "lazy", title: file });
  const fail = (key) => {
    image.replaceWith(element("span", { class: "magref-none", title: file, text: "!" }));
    problem.dataset.picture = say(key, { file });
    problem.textContent ||= problem.dataset.picture;
    if (key === "missing") onMissing(file);
  };
  // Asked apart: the browser may still show from memory what is gone.
  const known = isThere(address);
  known.then((found) => found || fail("missing"));
  image.addEventListener("error", async () => (await known) && fail("unreadable"));
  return image;
}

function nameField(index, context, problem) {
  return textField({ of: "name", title: context.say("name"), take: context.actions.rename }, index, context, problem);
}

function wordField(index, context, problem) {
  const { say, actions } = context;
  const made = textField({ of: "word", title: say("word"), take: actions.reword }, index, context, problem);
  made.placeholder = say("wordPlace");
  return made;
}

/** A field that gives its text to `take` once it is typed, and keeps the old one where that has something to say. */
function textField({ of, title, take }, index, { say, actions }, problem) {
  const field = element("input", {
    type: "text",
    class: `magref-${of}`,
    "aria-label": title,
    title,
    spellcheck: "false",
    autocomplete: "off",
    dataset: { focus: `${index}:${of}` },
  });
  field.addEventListener("change", () => {
    field.setAttribute("aria-invalid", "false");
    const isKept = field.value === field.dataset.kept;
    const sentence = isKept ? "" : take(field.value, index);
    field.setAttribute("aria-invalid", String(Boolean(sentence)));
    problem.textContent = sentence ? `${sentence} ${say("kept")}` : problem.textContent;
    if (isKept) actions.refresh();
  });
  field.addEventListener("keydown", (event) => {
    if (event.key === "Enter") field.blur();
    if (event.key !== "Escape") return;
    field.value = field.dataset.kept;
    field.setAttribute("aria-invalid", "false");
    field.closest("li").focus();
    actions.refresh();
  });
  return field;
}

/** Show a text that was taken. */
function keep(field, text, title) {
  if (field.dataset.kept === text) return;
  field.dataset.kept = text;
  field.value = text;
  field.title = title;
  field.setAttribute("aria-invalid", "false");
}

function kindField(entry, index, { say, actions }) {
  const options = KINDS.map((kind) => element("option", { value: kind, text: say(kind), selected: kind === entry.kind }));
  const field = element(
    "select",
    { "aria-label": say("kind"), title: say("kind"), dataset: { focus: `${index}:kind` } },
    ...options,
  );
  field.addEventListener("change", () => actions.change({ kind: field.value }, index));
  return field;
}

function switches(entry, index, context, word) {
  const { say, actions } = context;
  const use = element("input", {
    type: "checkbox",
    class: "magref-use",
    "aria-label": say("use"),
    title: say("use"),
    dataset: { focus: `${index}:use` },
  });
  use.checked = !entry.off;
  use.addEventListener("change", () => actions.change({ off: !use.checked }, index));
  const found = [use, wholeSwitch(entry, index, context), word];
  if (entry.image !== undefined)
    found.push(element("span", { class: "magref-note", text: say("socket", { socket: entry.image }) }));
  else found.push(button("⟳", say("replace"), `${index}:replace`, () => actions.replace(index)));
  // A connected picture stays a subject as long as it is connected; it can be switched off.
  if (!context.isConnected)
    found.push(removeButton(index, actions));
  return found;
}

function removeButton(index, actions) {
  const made = button("×", "", `${index}:remove`, () => actions.remove(index));
  made.classList.add("magref-remove");
  return made;
}

function wholeSwitch(entry, index, { say, actions }) {
  const isBackground = entry.kind === "background";
  const isWhole = isBackground || entry.keep_whole;
  const hint = isBackground ? "backgroundHint" : isWhole ? "wholeHint" : "cutOutHint";
  const made = button(say(isWhole ? "whole" : "cutOut"), say(hint), `${index}:whole`, () =>
    actions.change({ keep_whole: !entry.keep_whole }, index),
  );
  made.setAttribute("aria-label", `${say(isWhole ? "whole" : "cutOut")}: ${say(hint)}`);
  made.classList.add("magref-whole");
  made.disabled = isBackground;
  return made;
}

/** A button with a sign on it and a sentence for those who ask. */
export function button(sign, sentence, focus, onclick) {
  const attributes = { type: "button", text: sign, title: sentence, "aria-label": sentence, dataset: { focus } };
  return element("button", { ...attributes, onclick });
}
