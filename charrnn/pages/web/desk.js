// The page at work: a text that changes, what the model makes of it, and what the person asks for.

const MOST_WRITTEN = 2000; // characters for one press of the button
const TOLD = 4000; // characters that are left to read from which on it is said how far it is

const FOLLOWED = 90; // pixels from its end within which the text is kept in sight
const NAMED_AT_ONCE = 12; // unknown characters

const element = (id) => document.getElementById(id);

/** A text, the model that follows it, and the views of both. */
class Desk {
  constructor(model) {
    this._model = model;
    this._prompts = new Prompts(model);
    this._reader = new Reader(model);
    this._completion = new Completion(model);
    this._text = element("text");
    this._view = new TextView(element("mirror"));
    this._strip = new UnitStrip(element("strip"), model);
    this._offers = new Offers(element("continuations"), (offer) => this._take(offer));
    this._read = this._prompts.read("");
    this._readText = "";
    this._version = 0; // of what is being done: what was begun for an older one ends
    this._last = Promise.resolve();
    this.isWriting = false;
    this.changed();
  }

  /** The text or the cursor is another: let the model follow. */
  changed() {
    this._offers.clear();
    this._show();
    this._begin((isOver) => this._follow(isOver));
  }

  /** End what is being done, then do `work`, which ends where its argument says so. */
  _begin(work) {
    const version = ++this._version;
    const isOver = () => version !== this._version;
    this._last = this._last.then(() => (isOver() ? undefined : work(isOver))).catch(broken);
  }

  /** End what is being written. */
  stop() {
    this.changed();
  }

  /** Read what is new, then find how it goes on. */
  async _follow(isOver) {
    if (!(await this._readAll(isOver))) return;
    const cursor = this._text.selectionStart;
    const place = this._read.ends.filter((end) => end <= cursor).length;
    const predicted = await inSlices(this._reader.at(place), isOver);
    const offers = predicted && (await inSlices(this._completion.suggest(...predicted), isOver));
    if (!offers || isOver()) return;
    this._offers.show(offers);
    this._show();
  }

  /** Whether all of the text was read; false where the text has become another. */
  async _readAll(isOver) {
    const text = this._text.value;
    if (text !== this._readText) this._read = this._prompts.read((this._readText = text));
    const { ids, unknown } = this._read;
    const names = [...unknown].slice(0, NAMED_AT_ONCE).map(named).join(", ");
    const others = unknown.size > NAMED_AT_ONCE ? " and others" : "";
    const lacking = unknown.size ? `Not in this model's texts, and left out: ${names}${others}` : "";
    if (lacking || this._wasLacking) tell(lacking);
    this._wasLacking = lacking !== "";
    const sayHowFar = () => tell(`Reading: ${this._reader.length} of ${ids.length} characters`);
    const timer = ids.length - this._reader.length > TOLD ? setInterval(sayHowFar, 500) : undefined;
    await inSlices(this._reader.read(ids), isOver);
    clearInterval(timer);
    if (timer) tell(lacking);
    if (!isOver()) this._show();
    return !isOver();
  }

  /** Draw the text, its colours and the ghost, and the unit. */
  _show() {
    const text = this._text.value, paper = element("paper");
    const follows = paper.scrollTop + paper.clientHeight > paper.scrollHeight - FOLLOWED;
    const atEnd = this._text.selectionStart === text.length;
    const read = this._reader.length === this._read.ids.length;
    const coloured = element("surprise").checked && read;
    const marks = coloured ? marksOf(text.length, this._read.ends, this._reader.bits) : undefined;
    this._view.show(text, atEnd ? (this._offers.first?.text ?? "") : "", marks);
    if (atEnd && follows) paper.scrollTop = paper.scrollHeight;
    if (element("unit-shown").checked)
      this._strip.draw(this._reader, Number(element("layer").value), this._unit());
  }

  /** Draw again, after a change of what is to be seen. */
  redraw() {
    this._show();
  }

  get layers() {
    return this._strip.layers;
  }

  get units() {
    return this._strip.units;
  }

  _unit() {
    return Math.max(0, Math.min(this.units - 1, Math.floor(Number(element("unit").value)) || 0));
  }

  /** Put a continuation, or `count` characters of it, in the place of the selection. Whether there was one. */
  take(count = Infinity) {
    if (!this._offers.first) return false;
    this._take({ text: [...this._offers.first.text].slice(0, count).join("") });
    return true;
  }

  forget() {
    const had = Boolean(this._offers.first);
    this._offers.clear();
    this._show();
    return had;
  }

  _take({ text }) {
    this._offers.clear();
    const typed = text.replaceAll("\r", "");
    // As if it were typed, where that is possible: it can be undone.
    if (document.activeElement === this._text && document.execCommand("insertText", false, typed)) return;
    this._text.setRangeText(typed, this._text.selectionStart, this._text.selectionEnd, "end");
    this.changed();
  }

  /** Write on from the end of the text, `pace` characters a second. Throws PageError for settings that cannot be. */
  write(pace) {
    const { seed, ...settings } = readSettings();
    this._offers.show([]);
    this._begin((isOver) => this._write(new Sampler(this._model, settings, seed), pace, seed, isOver));
  }

  async _write(sampler, pace, seed, isOver) {
    this._setWriting(true);
    let written = 0;
    try {
      if (!(await this._readAll(isOver))) return;
      if (!this._read.ids.length) this._reader.writeFromNothing();
      else await inSlices(this._reader.at(this._read.ids.length), isOver);
      if (isOver()) return;
      this._reader.standAtEnd();
      tell("Writing");
      const start = performance.now();
      while (!isOver() && written < MOST_WRITTEN) {
        const due = Math.min(MOST_WRITTEN, Math.ceil(((performance.now() - start) / 1000) * pace));
        written += this._writeSome(sampler, due - written);
        await new Promise((resolve) => setTimeout(resolve, 16));
      }
    } finally {
      this._setWriting(false);
      if (written) tell(`Wrote ${written} characters with seed ${seed}`);
    }
    if (!isOver()) this.changed();
  }

  /** Write `count` characters, or as many as a frame has time for; returns how many. */
  _writeSome(sampler, count) {
    if (count < 1) return 0;
    const until = performance.now() + 10;
    let written = 0, piece = "";
    for (; written < count && performance.now() < until; written++) {
      const id = sampler.choose(this._model.logits);
      this._reader.add(id);
      piece += this._model.characters[id];
      this._read.ids.push(id);
      const shown = this._prompts.shown(piece);
      this._read.ends.push(this._text.value.length + shown.length);
    }
    this._text.setRangeText(this._prompts.shown(piece), this._text.value.length, this._text.value.length, "end");
    this._readText = undefined; // to be compared with what was written, as the normaliser has it
    this._show();
    return written;
  }

  _setWriting(is) {
    this.isWriting = is;
    element("write").textContent = is ? "Stop" : "Write on";
  }
}

/** The continuations as buttons: they stay the same elements, so that a focus on one is not lost. */
class Offers {
  constructor(list, take) {
    this._offers = [];
    this._buttons = Array.from({ length: COUNT }, (_, i) => {
      const button = document.createElement("button");
      button.type = "button";
      button.addEventListener("pointerdown", (event) => event.preventDefault()); // the text keeps the focus
      button.addEventListener("click", () => this._offers[i] && take(this._offers[i]));
      const item = document.createElement("li");
      item.append(button);
      list.append(item);
      return button;
    });
    this.show([]);
  }

  get first() {
    return this._offers[0];
  }

  show(offers) {
    this._offers = offers;
    this._buttons.forEach((button, i) => {
      button.parentElement.hidden = !offers[i];
      if (!offers[i]) return;
      const { text, probability } = offers[i];
      const chance = document.createElement("span");
      chance.className = "chance";
      chance.textContent = `${(probability * 100).toFixed(1)} %`;
      button.replaceChildren([...text].map(symbol).join(""), chance);
      button.setAttribute("aria-label", `${text.replace(/[\r\n]+/g, " line end ")}, ${chance.textContent}`);
    });
  }

  /** None can be taken; the buttons stay until there are others. */
  clear() {
    this._offers = [];
  }
}
