import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import test from "node:test";

import { fill, speaker } from "../../web/js/common/words.js";
import { ENGLISH } from "../../web/js/gallery/english.js";
import { examplePath } from "../../web/js/gallery/examples.js";
import { DEFAULT_LIMIT, fileProblem, fitInto, formatOf, inputPath, uploadName, viewPath } from "../../web/js/gallery/files.js";

const bytes = (text) => Uint8Array.from([...text].map((letter) => letter.charCodeAt(0)));
const PNG = bytes("\x89PNG\r\n\x1a\n");
const PICTURES = new URL("../../workflows/pictures/", import.meta.url);

test("the shipped pictures are known for what they are", () => {
  const files = readdirSync(PICTURES).filter((name) => name.endsWith(".png"));
  assert.ok(files.length);
  for (const name of files) assert.equal(formatOf(readFileSync(new URL(name, PICTURES))), "png");
});

test("a format is told by the bytes, whatever the name", () => {
  for (const [head, format] of [
    ["\xff\xd8\xff\xe0", "jpg"],
    ["GIF89a", "gif"],
    ["BM....", "bmp"],
    ["II*\x00", "tif"],
    ["MM\x00*", "tif"],
    ["RIFF\x00\x00\x00\x00WEBPVP8 ", "webp"],
    ["RIFF\x00\x00\x00\x00WAVE", null],
    ["\x00\x00\x00\x24ftypheic", "heic"],
    ["\x00\x00\x00\x24ftypmif1", "heic"],
    ["\x00\x00\x00\x20ftypavif", "avif"],
    ["\x00\x00\x00\x20ftypisom", null],
    ["<svg xmlns='x'>", "svg"],
    ["\xef\xbb\xbf<?xml version='1.0'?>", "svg"],
    ["\n<!-- drawn --><svg>", "svg"],
    ["hello", null],
    ["", null],
  ])
    assert.equal(formatOf(bytes(head)), format, head);
});

test("a file that cannot serve is refused with its reason", () => {
  const megabyte = 1024 * 1024;
  for (const [name, size, head, key] of [
    ["a.png", 0, PNG, "fileEmpty"],
    ["a.png", 200 * megabyte, PNG, "fileBig"],
    ["a.heic", 9, bytes("\x00\x00\x00\x24ftypheic"), "fileHeic"],
    ["a.jpg", 9, bytes("\x00\x00\x00\x24ftypheic"), "fileHeic"],
    ["a.svg", 9, bytes("<svg>"), "fileSvg"],
    ["a.png", 9, bytes("<svg>"), "fileSvg"],
    ["a.avif", 9, bytes("\x00\x00\x00\x20ftypavif"), "fileAvif"],
    ["a.txt", 9, bytes("hello"), "fileUnknown"],
  ]) {
    const problem = fileProblem({ name, size }, head, DEFAULT_LIMIT);
    assert.equal(problem.key, key);
    assert.equal(problem.values.name, name);
  }
  assert.equal(fileProblem({ name: "a.png", size: DEFAULT_LIMIT }, PNG, DEFAULT_LIMIT), null);
  assert.deepEqual(fileProblem({ name: "a.png", size: 200 * megabyte }, PNG, DEFAULT_LIMIT).values, {
    name: "a.png",
    size: 200,
    most: 100,
  });
});

test("a file is sent under a name that every disk takes", () => {
  assert.equal(uploadName("alice.png", "png"), "alice.png");
  assert.equal(uploadName("cast/alice.JPG", "jpg"), "alice.JPG");
  assert.equal(uploadName("..\\..\\alice", "png"), "alice.png");
  assert.equal(uploadName("image", "png"), "image.png");
  assert.equal(uploadName('a<b>"c".png', "png"), "a_b__c_.png");
  for (const letter of ["x", "\u732b", "\ud83d\ude3a"]) {
    const name = uploadName(`${letter.repeat(300)}.png`, "png");
    assert.ok(new TextEncoder().encode(name).length <= 105 && name.endsWith(".png"), name);
  }
  assert.match(uploadName(" .png", "png"), /^[^. ].*\.png$/);
});

test("of too many files the first are taken, and the rest is told", () => {
  const files = Array.from({ length: 100 }, (_, index) => index);
  const { taken, problem } = fitInto(files, 14, 16);
  assert.deepEqual(taken, files.slice(0, 14));
  assert.deepEqual(problem.values, { given: 100, taken: 14, left: 86, most: 16 });
  assert.deepEqual(fitInto(files, -3, 16).taken, []);
  assert.equal(fitInto(files.slice(0, 2), 2, 16).problem, null);
});

test("a file is asked for with its folder, and whatever its name holds", () => {
  const query = (path) => Object.fromEntries(new URL(path, "http://host").searchParams);
  assert.deepEqual(query(inputPath("cast/a & b?.png [input]")), {
    filename: "a & b?.png",
    subfolder: "cast",
    type: "input",
  });
  assert.equal(query(inputPath("a.tif")).preview, "webp;80");
  assert.deepEqual(query(viewPath({ filename: '"><b>.png', subfolder: "", type: "temp" })), {
    filename: '"><b>.png',
    subfolder: "",
    type: "temp",
  });
});

test("values are put into a sentence once, and a place without a value stays", () => {
  assert.equal(fill("{a} and {b}", { a: "{b}", b: "$&" }), "{b} and $&");
  assert.equal(fill("{a} and {toString}", { a: 1 }), "1 and {toString}");
});

test("a sentence that is not translated is said in English", () => {
  const say = speaker(ENGLISH, { person: "Mensch" });
  assert.deepEqual([say("person"), say("object")], ["Mensch", "object"]);
});

test("every sentence that the gallery asks for is there", () => {
  const folder = new URL("../../web/js/gallery/", import.meta.url);
  const files = readdirSync(folder).filter((name) => name !== "english.js");
  const code = files.map((name) => readFileSync(new URL(name, folder), "utf-8")).join("\n");
  const asked = [...code.matchAll(/(?:say\(|key: )"(\w+)"/g)].map(([, key]) => key);
  assert.ok(asked.length > 20);
  for (const key of asked) assert.ok(key in ENGLISH, key);
  for (const key of Object.keys(ENGLISH)) assert.ok(code.includes(`"${key}"`), `${key} is never said`);
});

test("an example picture is looked for in the pack's own folder, and nothing else is", () => {
  const address = "http://127.0.0.1:8188/extensions/ComfyUI-MAGREF/js/gallery/examples.js";
  assert.equal(examplePath("cat.png", address), "/workflow_templates/ComfyUI-MAGREF/pictures/cat.png");
  for (const file of ["../cat.png", "cast/cat.png", "cat.png?x", "cat", "", "..", "%2e%2e.png"])
    assert.equal(examplePath(file, address), null, file);
  assert.equal(examplePath("cat.png", "file:///somewhere/examples.js"), null);
});
