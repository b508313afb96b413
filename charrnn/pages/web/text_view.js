// The text as it is seen: it lies under the textarea, whose own letters are transparent, and has colours and the ghost.

const PIECE = 256; // characters of a line that are drawn anew together
const COLOURED = 20_000; // characters at the end of a text that are coloured at most: each is an element

/** A line of the text for each element of `mirror`; only what has changed is drawn again. */
class TextView {
  constructor(mirror) {
    this._mirror = mirror;
    this._keys = [];
    this._ghost = document.createElement("span");
    this._ghost.className = "ghost";
    this._room = document.createElement("wbr"); // the ghost alone may move to the next line, not the word before it
  }

  /** Show `text`, `ghost` pale behind its end; marks: the colour of each place in it, 0 for none. */
  show(text, ghost, marks) {
    if (text !== this._shown || marks || this._marked) this._draw(keysOf(text, marks ?? new Uint8Array(text.length)));
    this._shown = text;
    this._marked = Boolean(marks);
    this._ghost.textContent = ghost;
    this._mirror.lastChild.append(this._room, this._ghost);
  }

  _draw(keys) {
    const { first, removed, added } = difference(this._keys, keys);
    if (removed.length === 1 && added.length === 1)
      replace(this._mirror.children[first], piecesOf(removed[0]), piecesOf(added[0]), runsOf);
    else replace(this._mirror, this._keys, keys, lineOf);
    this._keys = keys;
  }
}

/** What each line looks like: its letters and, where there are any, their colours, a digit for each, behind LF. */
function keysOf(text, marks) {
  let begin = 0;
  return text.split("\n").map((line) => {
    const colours = marks.subarray(begin, begin + line.length);
    begin += line.length + 1;
    return colours.some(Boolean) ? `${line}\n${colours.join("")}` : line;
  });
}

/** Where two lists differ: `removed` of the one stands where `added` stands in the other. */
function difference(before, after) {
  const both = Math.min(before.length, after.length);
  let first = 0, last = 0;
  while (first < both && before[first] === after[first]) first++;
  while (last < both - first && before.at(-1 - last) === after.at(-1 - last)) last++;
  const part = (list) => list.slice(first, list.length - last);
  return { first, removed: part(before), added: part(after) };
}

/** Make the first nodes in `parent`, which show `before`, show `after`. */
function replace(parent, before, after, make) {
  const { first, removed, added } = difference(before, after);
  const range = document.createRange();
  range.setStart(parent, first);
  range.setEnd(parent, first + removed.length);
  range.deleteContents();
  const fragment = document.createDocumentFragment();
  fragment.append(...added.map(make));
  range.insertNode(fragment);
}

function lineOf(key) {
  const line = document.createElement("div");
  replace(line, [], piecesOf(key), runsOf);
  return line;
}

/** A line in pieces, as a text may be one long line: what each looks like, as in `keysOf`. */
function piecesOf(key) {
  const [letters, colours = ""] = key.split("\n");
  if (!letters) return ["\u200b"]; // an empty line is as high as others
  const pieces = [];
  for (let begin = 0, end; begin < letters.length; begin = end) {
    end = begin + PIECE;
    if (/[\ud800-\udbff]/.test(letters[end - 1])) end++; // a character of two units is not cut
    pieces.push(`${letters.slice(begin, end)}\n${colours.slice(begin, end)}`);
  }
  return pieces;
}

/** What shows a piece: neighbours of one colour in one element. */
function runsOf(key) {
  const [letters, colours] = key.split("\n");
  if (!colours) return document.createTextNode(letters);
  const piece = document.createElement("span");
  for (let begin = 0, end; begin < letters.length; begin = end) {
    for (end = begin + 1; colours[end] === colours[begin]; ) end++;
    const run = document.createElement("b");
    if (colours[begin] !== "0") run.className = `c${colours[begin]}`;
    run.textContent = letters.slice(begin, end);
    piece.append(run);
  }
  return piece;
}

/** The colour of each place of a text: the whole bits of surprise of the character that ends there, 8 for all above. */
function marksOf(length, ends, bits) {
  const marks = new Uint8Array(length);
  for (let i = ends.length - 1; i >= 0 && ends[i] > length - COLOURED; i--)
    marks.fill(Math.min(8, Math.floor(bits[i] ?? 0)), ends[i - 1] ?? 0, ends[i]);
  return marks;
}
