/** Send a file to ComfyUI's input folder through its own route, with progress; `fetch` cannot tell any. */

/**
 * Send one picture.
 * @param {Object} api - ComfyUI's.
 * @param {File} file
 * @param {string} name - under which it is sent; ComfyUI numbers it where another file has the name.
 * @param {{onProgress: function(number): void, signal: AbortSignal}} options - progress is 0 to 1.
 * @returns {Promise<string>} the file's name in the input folder. Rejects with an `UploadError`, or with an
 *   `AbortError` once the signal says so.
 */
export function sendPicture(api, file, name, { onProgress, signal }) {
  const body = new FormData();
  body.append("image", file, name);
  body.append("type", "input");
  const request = new XMLHttpRequest();
  request.open("POST", api.apiURL("/upload/image"));
  if (api.user) request.setRequestHeader("Comfy-User", api.user);
  return new Promise((resolve, reject) => {
    const stop = () => {
      request.abort();
      reject(new DOMException("cancelled", "AbortError"));
    };
    if (signal.aborted) return stop();
    signal.addEventListener("abort", stop, { once: true });
    request.upload.addEventListener("progress", (event) => {
      if (event.lengthComputable) onProgress(event.loaded / event.total);
    });
    request.addEventListener("error", () => reject(new UploadError("network")));
    request.addEventListener("load", () => {
      if (request.status !== 200) return reject(new UploadError("refused", request.status));
      const answer = readAnswer(request.responseText);
      if (answer === null) return reject(new UploadError("refused", request.status));
      resolve(answer);
    });
    request.send(body);
  });
}

function readAnswer(text) {
  try {
    const { name, subfolder } = JSON.parse(text);
    if (typeof name !== "string" || !name) return null;
    return subfolder ? `${subfolder}/${name}` : name;
  } catch {
    return null;
  }
}

/** Why a file did not arrive. */
export class UploadError extends Error {
  /**
   * @param {"network"|"refused"} reason
   * @param {number} [code] - of the answer.
   */
  constructor(reason, code) {
    super(code ? `${reason} with code ${code}` : reason);
    this.reason = reason;
    this.code = code;
  }
}
