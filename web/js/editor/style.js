/** How the editor looks; colours are the host's, so that it is dark or light as the page is. */

const CSS = `
.magref-editor { display: flex; flex-direction: column; gap: 4px; min-height: 0; box-sizing: border-box;
  padding: 2px; font: 12px/1.35 system-ui, sans-serif; color: var(--input-text, #ddd); }
.magref-editor [hidden] { display: none !important; }
.magref-editor p { margin: 0; }
.magref-editor button, .magref-editor-colour { font: inherit; color: inherit; padding: 2px 7px; cursor: pointer;
  background: var(--comfy-input-bg, #222); border: 1px solid var(--border-color, #4e4e4e); border-radius: 4px; }
.magref-editor button:hover:enabled { border-color: currentColor; }
.magref-editor button:disabled { opacity: 0.45; cursor: default; }
.magref-editor :is(button, input, textarea, summary, .magref-editor-stage):focus-visible {
  outline: 2px solid #4c9ffe; outline-offset: 1px; }
.magref-editor button:is([aria-pressed=true], [aria-selected=true]) { background: #2f6fd0; color: #fff;
  border-color: #2f6fd0; }
.magref-editor-toolbar { display: flex; flex-wrap: wrap; gap: 3px 9px; }
.magref-editor-group, .magref-editor-tabs { display: flex; flex-wrap: wrap; gap: 3px; }
.magref-editor input.magref-editor-colour { width: 34px; height: 23px; padding: 2px; box-sizing: border-box; }
.magref-editor-stand { position: relative; flex: 1 1 220px; min-height: 120px; display: grid; place-items: center;
  margin: 2px 0; container-type: size; overflow: clip; overflow-clip-margin: 8px; }
.magref-editor-stage { position: relative; width: min(100cqw, calc(100cqh * var(--magref-ratio)));
  aspect-ratio: var(--magref-ratio); touch-action: none; user-select: none;
  box-shadow: 0 0 0 1px var(--border-color, #4e4e4e); }
.magref-editor-stage.locked { cursor: not-allowed; }
.magref-editor-stage > * { position: absolute; inset: 0; width: 100%; height: 100%; pointer-events: none; }
.magref-editor-mask { opacity: 0.5; }
.magref-editor-marks { overflow: visible; }
.magref-editor-marks rect { fill: none; vector-effect: non-scaling-stroke; }
.magref-editor-marks .cell { stroke: #808080; stroke-dasharray: 4 4; stroke-width: 1; }
.magref-editor-marks .box { stroke: #4c9ffe; stroke-width: 1; }
.magref-editor-marks .box.selected { stroke-width: 2; }
.magref-editor-marks .handle { fill: #fff; stroke: #2f6fd0; stroke-width: 1.5; }
.magref-editor-view { position: absolute; inset: 0; width: 100%; height: 100%; object-fit: contain; }
.magref-editor-view:is([data-view=latent_mask]) { image-rendering: pixelated; }
.magref-editor-message { display: flex; gap: 6px; align-items: center; min-height: 1.35em; }
.magref-editor-status { flex: 1; overflow-wrap: anywhere; color: var(--descrip-text, #999); }
.magref-editor-status.problem { color: var(--error-text, #ff4444); }
.magref-editor-panel { flex: 0 1 auto; max-height: 170px; overflow: auto; }
.magref-editor-note { color: var(--descrip-text, #999); }
.magref-editor-numbers { width: 100%; border-collapse: collapse; font-variant-numeric: tabular-nums; }
.magref-editor-numbers :is(th, td) { padding: 1px 4px; text-align: right; font-weight: normal; }
.magref-editor-numbers th:first-child { text-align: left; overflow-wrap: anywhere; }
.magref-editor-numbers th[scope=col] { color: var(--descrip-text, #999); }
.magref-editor-findings { list-style: none; margin: 0; padding: 0; }
.magref-editor-finding { display: flex; gap: 6px; padding: 1px 0; overflow-wrap: anywhere; }
.magref-editor-finding .sign { flex: none; width: 16px; height: 16px; border-radius: 8px; text-align: center;
  line-height: 16px; font-weight: bold; font-size: 11px; color: #fff; background: #3b7ddd; }
.magref-editor-finding.warning .sign { background: #b86e00; }
.magref-editor-finding.error .sign { background: #cc2b2b; }
.magref-editor-text summary { cursor: pointer; color: var(--descrip-text, #999); }
.magref-editor-text textarea { width: 100%; box-sizing: border-box; resize: vertical; color: inherit;
  font: 11px/1.3 ui-monospace, monospace; background: var(--comfy-input-bg, #222);
  border: 1px solid var(--border-color, #4e4e4e); border-radius: 4px; }
`;

/** Add the rules to the page, once. */
export function addStyle() {
  const id = "magref-editor-style";
  if (document.getElementById(id)) return;
  const made = document.createElement("style");
  made.id = id;
  made.textContent = CSS;
  document.head.append(made);
}
