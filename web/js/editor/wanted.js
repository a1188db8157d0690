/** Which files are drawn: those of the last run, which are cut out, else those of the list. */

import { inputPath, viewPath } from "./pictures.js";

/**
 * @param {import("./graph.js").Found} found
 * @param {{references: Object[], entries: string}|null} run - the last one; entries: the list then, as JSON.
 * @returns {{name: string, kind: string, subject?: string, path: string, label: string, width?: number, height?: number}[]} empty
 *   where the pictures are not known.
 */
export function wantedPictures(found, run) {
  const isOfRun = run?.references.length && run.entries === JSON.stringify(found.entries);
  if (isOfRun)
    return run.references.map(({ reference, kind, subject, width, height, ...file }) => ({
      name: reference,
      kind,
      subject: subject ?? undefined,
      width,
      height,
      path: viewPath(file),
      label: reference,
    }));
  const entries = found.entries ?? [];
  if (!entries.every(({ file }) => file)) return [];
  return entries.map(({ name, kind, subject, file, isOpaque }) => ({
    name,
    kind,
    subject,
    path: inputPath(file, isOpaque),
    label: file,
  }));
}
