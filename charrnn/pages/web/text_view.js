// The text as it is seen: it lies under the textarea, whose own letters are transparent, and has colours and the ghost.

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
    if (text !== this._shown || marks || this._marked) this._showLines(text, marks ?? new Uint8Array(text.length));
    this._shown = text;
    this._marked = Boolean(marks);
    this._ghost.textContent = ghost;
    this._mirror.lastChild.append(this._room, this._ghost);
  }

  _showLines(text, marks) {
    const lines = text.split("\n");
    let begin = 0;
    const keys = lines.map((line) => {
      const colours = marks.subarray(begin, begin + line.length);
      begin += line.length + 1;
      return colours.some(Boolean) ? `${line}\n${colours.join("")}` : line;
    });
    this._draw(keys);
  }

  _draw(keys) {
    const before = this._keys, both = Math.min(before.length, keys.length);
    let first = 0, last = 0;
    while (first < both && before[first] === keys[first]) first++;
    while (last < both - first && before.at(-1 - last) === keys.at(-1 - last)) last++;
    const drawn = keys.slice(first, keys.length - last).map(lineOf);
    const range = document.createRange();
    range.setStart(this._mirror, first);
    range.setEnd(this._mirror, before.length - last);
    range.deleteContents();
    const fragment = document.createDocumentFragment();
    fragment.append(...drawn);
    range.insertNode(fragment);
    this._keys = keys;
  }
}

/** The element of a line: neighbours of one colour in one element. */
function lineOf(key) {
  const line = document.createElement("div");
  const [letters, colours] = key.split("\n");
  if (!colours) {
    line.textContent = letters || "\u200b"; // an empty line is as high as others
    return line;
  }
  for (let begin = 0, end; begin < letters.length; begin = end) {
    for (end = begin + 1; colours[end] === colours[begin]; ) end++;
    const run = document.createElement("b");
    if (colours[begin] !== "0") run.className = `c${colours[begin]}`;
    run.textContent = letters.slice(begin, end);
    line.append(run);
  }
  return line;
}

/** The colour of each place of a text: the whole bits of surprise of the character that ends there, 8 for all above. */
function marksOf(length, ends, bits) {
  const marks = new Uint8Array(length);
  for (let i = ends.length - 1; i >= 0 && ends[i] > length - COLOURED; i--)
    marks.fill(Math.min(8, Math.floor(bits[i] ?? 0)), ends[i - 1] ?? 0, ends[i]);
  return marks;
}
