import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import test from "node:test";

const FOLDER = new URL("../../web/js/editor/", import.meta.url);
const files = readdirSync(FOLDER).filter((name) => name.endsWith(".js"));

test("only one module needs the host's page; the host imports all others too, and they do nothing then", async () => {
  assert.ok(files.includes("register.js") && files.length > 10);
  for (const file of files.filter((name) => name !== "register.js")) {
    const module = await import(new URL(file, FOLDER));
    assert.ok(Object.keys(module).length > 0, file);
  }
});
