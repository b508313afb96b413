// Lets the model read a text that changes anywhere, in slices of time: a page that is busy for longer seems frozen.

const SPARSE = 256; // every so many characters a state is kept for good
const RECENT = 256; // and of the last characters all of them are

/** Run the steps of a generator, a few milliseconds at a time, until it returns; undefined where `isOver` says so. */
async function inSlices(work, isOver = () => false, slice_ms = 12) {
  for (;;) {
    const until = performance.now() + slice_ms;
    do {
      const { done, value } = work.next();
      if (done) return value;
    } while (performance.now() < until);
    await new Promise((resolve) => setTimeout(resolve));
    if (isOver()) return undefined;
  }
}

/** What the model thinks of a text: the surprise of each character, and the state after it. */
class Reader {
  constructor(model) {
    this.model = model;
    this.ids = [];
    /** The surprise of each character that was read, in bits; of the first one undefined: nothing predicts it. */
    this.bits = [];
    this._sparse = [];
    this._origin = undefined;
    this._recent = Array.from({ length: RECENT }, () => ({ place: -1, state: new Float32Array(model.stateSize) }));
    this._restart(0);
  }

  /** How many characters were read. */
  get length() {
    return this.ids.length;
  }

  /** Read `ids` from where they differ from what was read; afterwards the model stands behind the last one. */
  *read(ids) {
    const both = Math.min(ids.length, this.ids.length);
    let same = 0;
    while (same < both && ids[same] === this.ids[same]) same++;
    if (same < this.ids.length || this._modelAt !== same) yield* this._goTo(same);
    this.ids.length = this.bits.length = same;
    if (same === 0) this._origin = undefined;
    for (const state of this._recent) if (state.place > same) state.place = -1;
    this._sparse.length = Math.min(this._sparse.length, Math.floor(same / SPARSE) + 1);
    for (let place = same; place < ids.length; place++) {
      this.add(ids[place]);
      if (place % 16 === 0) yield;
    }
  }

  /** Read one more character behind the others. */
  add(id) {
    const place = this.ids.length;
    this.bits.push(place ? surprise(this.model.logits, id) : undefined);
    if (place === 0) this.model.recall(this._origin);
    this.model.step(id);
    this.ids.push(id);
    this._modelAt = place + 1;
    this._keep(place + 1);
  }

  /**
   * Go on from an empty text as if it began with an unseen character, as Python does where it writes without a prompt.
   *
   * A text that is typed is read from nothing instead.
   */
  writeFromNothing() {
    this._restart();
    this._origin = this.model.remember();
  }

  /** The model was brought to the end of the text, by `at` or `writeFromNothing`: more can be added. */
  standAtEnd() {
    this._modelAt = this.length;
  }

  /** Bring the model to where it has read the first `place` characters of the text. */
  *_goTo(place) {
    if (place === 0) return this._restart();
    this._modelAt = undefined; // somewhere on the way, where this is not run to its end
    // One before it at most: what is predicted after a state is known once its last character was read again.
    let from = place - 1;
    while (from > 0 && !this._kept(from)) from--;
    this.model.recall(from ? this._kept(from) : this._origin);
    for (; from < place; from++) {
      this.model.step(this.ids[from]);
      if (from % 16 === 0) yield;
    }
    this._modelAt = place;
    return undefined;
  }

  _restart() {
    this.model.recall();
    this.model.step(this.model.startId);
    this._modelAt = 0;
  }

  /** What is predicted after the first `place` characters, and the state there: [logits, state]. */
  *at(place) {
    if (this._modelAt !== place) yield* this._goTo(place);
    this._modelAt = undefined;
    return [this.model.logits.slice(), place ? this.model.remember() : new Float32Array(this.model.stateSize)];
  }

  /** The state after `place` characters where it is kept; of the last ones it is. */
  _kept(place) {
    const recent = this._recent[place % RECENT];
    if (recent.place === place) return recent.state;
    return place % SPARSE === 0 ? this._sparse[place / SPARSE] : undefined;
  }

  _keep(place) {
    const recent = this._recent[place % RECENT];
    recent.place = place;
    this.model.remember(recent.state);
    if (place % SPARSE === 0) this._sparse[place / SPARSE] = recent.state.slice();
  }

  /** What number `unit` of the state was after each of the last `count` characters at most: [[id, value], ...] */
  unitOf(unit, count) {
    const values = [];
    for (let place = this.length; place > 0 && values.length < Math.min(count, RECENT); place--) {
      const state = this._kept(place);
      if (!state) break;
      values.unshift([this.ids[place - 1], state[unit]]);
    }
    return values;
  }
}

/** The surprise of `id` by the logits before it, in bits. */
function surprise(logits, id) {
  let most = -Infinity, sum = 0;
  for (let i = 0; i < logits.length; i++) if (logits[i] > most) most = logits[i];
  for (let i = 0; i < logits.length; i++) sum += Math.exp(logits[i] - most);
  return (most - logits[id] + Math.log(sum)) / Math.LN2;
}
