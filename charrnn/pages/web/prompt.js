// From what a person typed to ids, and back to the place in the text that each id came from.

// Characters that never join what stands before them, in any Unicode form: ASCII, Cyrillic and kana letters, CJK
// ideographs, Hangul syllables. Text is brought into a form in pieces that begin with one: each stays at its place.
const FRESH = /^[\x00-\x7f\u0400-\u0482\u048a-\u052f\u3041-\u3096\u30a1-\u30fa\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7a3]/;

/** The steps of a normaliser: each makes pieces of pieces, [characters, end], end being a place in the typed text. */
const NORMALISER = {
  // A capital sigma would become another letter at a word's end: here, as in Python, it always becomes the same one.
  lowercase: (pieces) => pieces.map(([part, end]) => [part.replaceAll("\u03a3", "\u03c3").toLowerCase(), end]),
  keep: (pieces, { characters, replacement = "" }) => {
    const kept = new Set(characters);
    return pieces.map(([part, end]) => [Array.from(part, (c) => (kept.has(c) ? c : replacement)).join(""), end]);
  },
  lf: (pieces) =>
    pieces.map(([part, end], i) => {
      const goesOn = part.endsWith("\r") && pieces[i + 1]?.[0].startsWith("\n"); // as half of a CR LF
      return [(goesOn ? part.slice(0, -1) : part).replace(/\r\n?/g, "\n"), end];
    }),
  tabs,
  nfc: (pieces) => inForm(pieces, "NFC"),
  nfd: (pieces) => inForm(pieces, "NFD"),
  nfkc: (pieces) => inForm(pieces, "NFKC"),
  nfkd: (pieces) => inForm(pieces, "NFKD"),
};

function inForm(pieces, form) {
  const result = [];
  for (let begin = 0; begin < pieces.length; ) {
    let next = begin + 1;
    while (next < pieces.length && !FRESH.test(pieces[next][0])) next++;
    const cluster = pieces.slice(begin, next);
    const before = cluster.map(([part]) => part).join("");
    const after = before.normalize(form);
    if (after === before) result.push(...cluster);
    else result.push([after, cluster.at(-1)[1]]);
    begin = next;
  }
  return result;
}

/** Each line indented by a tab for every level of indentation that it is within. */
function tabs(pieces) {
  const levels = [0]; // columns of indentation
  const indented = (blank) => {
    let columns = 0;
    for (const [character] of blank) columns += character === " " ? 1 : 8 - (columns % 8);
    while (levels.at(-1) > columns) levels.pop();
    if (levels.at(-1) < columns) levels.push(columns);
    const within = levels.length - 1;
    return Array.from({ length: within }, (_, i) => ["\t", blank[Math.max(0, blank.length - within + i)][1]]);
  };
  const result = [];
  let blank = []; // what the line begins with; null after its first character that is no space and no tab
  for (const piece of pieces.flatMap(([part, end]) => Array.from(part, (character) => [character, end]))) {
    if (blank && /[ \t]/.test(piece[0])) {
      blank.push(piece);
      continue;
    }
    if (blank) result.push(.../[\r\n]/.test(piece[0]) ? blank : indented(blank));
    result.push(piece);
    blank = piece[0] === "\n" ? [] : null;
  }
  return result.concat(blank ? indented(blank) : []);
}

/** Reads texts as the corpus was read. */
class Prompts {
  constructor(model) {
    this._ids = new Map(model.characters.map((character, id) => [character, id]));
    this._steps = model.normaliser;
    this._lineEnd = lineEnd(model);
    for (const { step } of this._steps)
      if (!Object.hasOwn(NORMALISER, step))
        throw new PageError(`the model's normaliser has a step ${step}, which this page does not know`);
  }

  /** {ids, ends, unknown}: the place where that which became each id ends, and the characters that the model lacks. */
  read(typed, lineEnd = this._lineEnd) {
    let place = 0;
    let pieces = Array.from(typed, (character) => [
      character === "\n" ? lineEnd : character,
      (place += character.length),
    ]);
    for (const step of this._steps) pieces = NORMALISER[step.step](pieces, step).filter(([part]) => part);
    const ids = [], ends = [], unknown = new Set();
    for (const [part, end] of pieces) {
      for (const character of part) {
        const id = this._ids.get(character);
        if (id === undefined) unknown.add(character);
        else ids.push(id), ends.push(end);
      }
    }
    if (!ids.length && typed) for (const character of typed) unknown.add(character); // the normaliser deletes them
    return { ids, ends, unknown };
  }

  /** What a textarea is to show of what the model wrote. */
  shown(written) {
    return this._lineEnd === "\r" ? written.replaceAll("\r", "\n") : written.replaceAll("\r", "");
  }
}

/** What the model writes at the end of a line. A textarea has LF there, whatever is put into it. */
function lineEnd(model) {
  const [cr, lf] = ["\r", "\n"].map((end) => model.characters.indexOf(end));
  if (cr < 0 || lf < 0) return cr < 0 ? "\n" : "\r";
  // Where lines end in CR LF, a line is as good as never ended by LF; a text with LF may have a stray CR.
  model.recall();
  model.step(lf);
  return model.logits[cr] > model.logits[lf] ? "\r\n" : "\n";
}

const NAMED = { " ": "space", "\n": "line end", "\t": "tab", "\r": "carriage return", "\u00a0": "no-break space" };

/** A character as a message names it. */
function named(character) {
  const code = `U+${character.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}`;
  if (NAMED[character]) return NAMED[character];
  return /[\p{L}\p{N}\p{P}\p{S}]/u.test(character) ? `${character} (${code})` : code;
}
