import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import test from "node:test";

const ROOT = new URL("../../web/js/", import.meta.url);
const files = readdirSync(ROOT, { recursive: true }).filter((name) => name.endsWith(".js"));
const WITH_PAGE = ["gallery.js", "prompt.js", "editor/register.js"];

test("only three modules need the host's page; the host imports all others too, and they do nothing then", async () => {
  const others = files.map((name) => name.replaceAll("\\", "/")).filter((name) => !WITH_PAGE.includes(name));
  assert.equal(others.length, files.length - WITH_PAGE.length);
  assert.ok(others.length > 20);
  for (const file of others) {
    const module = await import(new URL(file, ROOT));
    assert.ok(Object.keys(module).length > 0, file);
  }
});
