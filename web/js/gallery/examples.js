/** The example pictures that come with the pack, for workflows that name one which is not in the input folder. */

/** .../extensions/<folder of the pack>/js/gallery/examples.js */
const OWN_ADDRESS = /\/extensions\/([^/]+)\//;
const PLAIN_NAME = /^[\w-]+\.png$/;

/**
 * Where ComfyUI serves an example picture.
 * @param {string} file - its name, such as "cat.png".
 * @param {string} [address] - of this module.
 * @returns {string|null} a path of ComfyUI's API; null for what can be no example. That it is one is not said.
 */
export function examplePath(file, address = import.meta.url) {
  const pack = OWN_ADDRESS.exec(address)?.[1];
  return pack && PLAIN_NAME.test(file) ? `/workflow_templates/${pack}/pictures/${file}` : null;
}

/**
 * Whether the pack has an example of this name.
 * @param {Object} api - ComfyUI's.
 * @param {string} file
 * @returns {Promise<boolean>}
 */
export async function isExample(api, file) {
  const path = examplePath(file);
  if (!path) return false;
  return fetch(api.apiURL(path), { method: "HEAD" }).then(({ ok }) => ok, () => false);
}

/**
 * Fetch examples as files, as if they had been chosen in a dialog.
 * @param {Object} api - ComfyUI's.
 * @param {string[]} files
 * @returns {Promise<File[]>} those that can be had.
 */
export async function fetchExamples(api, files) {
  const fetched = files.map(async (file) => {
    const answer = await fetch(api.apiURL(examplePath(file)));
    return answer.ok ? new File([await answer.blob()], file, { type: "image/png" }) : null;
  });
  const settled = await Promise.allSettled(fetched);
  return settled.map(({ value }) => value).filter(Boolean);
}
