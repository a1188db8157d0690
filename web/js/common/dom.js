/** Build DOM elements; texts are always set as text, never parsed as HTML. */

/**
 * Make an element.
 * @param {string} tag - name of the element.
 * @param {Object} [attributes] - `on...` are listeners, `class` and `text` mean what they say, `dataset` and
 *   `style` are objects, booleans switch attributes on and off, everything else is set as an attribute.
 * @param {...(Node|string)} children - appended in order.
 * @returns {HTMLElement}
 */
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (name === "class") made.className = value;
    else if (name === "text") made.textContent = value;
    else if (name === "dataset" || name === "style") Object.assign(made[name], value);
    else if (typeof value === "boolean") made.toggleAttribute(name, value);
    else made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

/**
 * Load a style sheet of the pack.
 * @param {string} name - of a file in web/css.
 */
export function addStyleSheet(name) {
  const href = new URL(`../../css/${name}`, import.meta.url).href;
  document.head.append(element("link", { rel: "stylesheet", href }));
}
