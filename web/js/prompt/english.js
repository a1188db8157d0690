/** The prompt's words in English; scripts/surface.py copies them into locales/en/main.json. Plain JSON within. */
export const ENGLISH = {
  "names": "Names of references",
  "checks": "Who is named in the prompt",
  "option": "{name}, {kind}",
  "optionWord": "{name}, {kind}, as {word}",
  "person": "person",
  "object": "object",
  "background": "background",
  "mentioned": "mentioned",
  "known": "{name} is named by @; the model reads {word}.",
  "knownTimes": "{name} is named by @ {count} times; the model reads {word}.",
  "word": "{name} is named by its word, {word}.",
  "unused": "{name} is not named. Press to write {mention}, or switch it off in MAGREF Load References.",
  "unusedElsewhere": "{name} is not named. Write {mention} where the prompt comes from, or switch it off in MAGREF Load References.",
  "unknown": "No reference is called {name}.",
  "unknownNear": "No reference is called {name}. Press to write {mention}.",
  "unknownNearElsewhere": "No reference is called {name}. Write {mention} where the prompt comes from.",
  "nameless": "An @ stands without a name: write the name behind it, or \\@ for the sign itself.",
  "ambiguous": "{name} may be {one} or {other}, whose names differ in spaces, dashes, dots or underscores alone: rename one of them.",
  "twofold": "{name} may be {one} or {other}: say which by @."
};
