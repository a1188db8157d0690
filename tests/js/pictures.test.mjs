import assert from "node:assert/strict";
import test from "node:test";

import { inputPath, PictureStore, viewPath } from "../../web/js/editor/pictures.js";
import { wantedPictures } from "../../web/js/editor/wanted.js";

/** A browser's decoder for blobs whose text is "WIDTHxHEIGHT"; remembers what it made. */
function decoder() {
  const made = [];
  globalThis.createImageBitmap = async (source, options = {}) => {
    const [width, height] = source.text ? (await source.text()).split("x").map(Number) : [source.width, source.height];
    if (!width) throw new Error("no picture");
    const bitmap = { width: options.resizeWidth ?? width, height: options.resizeHeight ?? height, isOpen: true };
    bitmap.close = () => (bitmap.isOpen = false);
    made.push(bitmap);
    return bitmap;
  };
  return made;
}

const store = (files) =>
  new PictureStore(async (path) => (path in files ? new Response(files[path]) : new Response("", { status: 404 })));
const want = (path) => ({ name: path, kind: "object", path, label: path });

test("pictures that are shown stay open until others are", async () => {
  const made = decoder();
  const pictures = store({ a: "10x20", b: "30x40" });
  const [one] = await pictures.load([want("a")]);
  const [other] = await pictures.load([want("b")]);
  assert.equal(one.bitmap.isOpen, true);
  pictures.keepOnly([want("b")]);
  await new Promise(setImmediate);
  assert.deepEqual([one.bitmap.isOpen, other.bitmap.isOpen], [false, true]);
  await pictures.load([want("b")]);
  assert.equal(made.length, 2); // decoded once
});

test("a picture of many pixels is kept small, under its own size", async () => {
  decoder();
  const [large] = await store({ a: "8000x4000" }).load([want("a")]);
  assert.deepEqual([large.width, large.height], [8000, 4000]);
  assert.deepEqual([large.bitmap.width, large.bitmap.height], [2048, 1024]);
});

test("a file that is gone, empty or no picture is named, and asked for again", async () => {
  decoder();
  const files = { empty: "", text: "hello" };
  const pictures = store(files);
  await assert.rejects(pictures.load([want("gone")]), /The picture 'gone' is not in ComfyUI's input folder/);
  await assert.rejects(pictures.load([want("empty")]), /The picture 'empty' cannot be read/);
  await assert.rejects(pictures.load([want("text")]), /The picture 'text' cannot be read/);
  files.gone = "5x5";
  assert.equal((await pictures.load([want("gone")]))[0].width, 5);
});

test("a format that only the server reads is asked for as another", async () => {
  decoder();
  const [picture] = await store({ "/view?a": "x", "/view?a&preview=webp;90": "6x7" }).load([want("/view?a")]);
  assert.deepEqual([picture.width, picture.height], [6, 7]);
});

test("names of files cannot break out of the address", () => {
  assert.equal(
    inputPath("cast/a b&type=output#.png [input]"),
    "/view?filename=a+b%26type%3Doutput%23.png&subfolder=cast&type=input",
  );
  assert.match(viewPath({ filename: "a.png", isOpaque: true }), /&channel=rgb$/);
});

test("the pictures of the last run are drawn as long as the list is the same", () => {
  const found = { entries: [{ name: "alice", kind: "person", file: "a.png" }] };
  const file = { filename: "t.png", subfolder: "", type: "temp" };
  const references = [{ reference: "alice", kind: "person", width: 9, height: 8, ...file }];
  const run = { references, entries: JSON.stringify(found.entries) };
  assert.match(wantedPictures(found, run)[0].path, /t\.png.*type=temp/);
  assert.match(wantedPictures(found, { ...run, entries: "[]" })[0].path, /a\.png.*type=input/);
  assert.deepEqual(wantedPictures({ entries: [{ name: "a", kind: "object" }] }, null), []);
  assert.deepEqual(wantedPictures({ entries: null }, { ...run, entries: "null" }).length, 1);
});
