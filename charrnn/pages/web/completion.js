// The likeliest continuations up to the end of a word, by beam search, as in the terminal's autocomplete.

const COUNT = 5; // continuations that are found
const WIDTH = 32; // of the beginnings of each length, how many are followed up
const LONGEST = 24; // characters of a continuation at most

const inWord = (character) => /[\p{L}\p{N}_]/u.test(character);

/** Finds continuations: the next word, and before it whatever is no part of a word. */
class Completion {
  constructor(model) {
    this._model = model;
    this._inWord = model.characters.map(inWord);
  }

  /**
   * The likeliest continuations [{text, probability}] of a text after which the model predicts `logits` in `state`.
   *
   * The probability is that of the characters, times that of the word's end after them. The model is left elsewhere.
   */
  *suggest(logits, state) {
    const found = [];
    let beginnings = [{ ids: [], cost: 0, isWord: false, costs: costs(logits), state }];
    for (let length = 0; length < LONGEST && beginnings.length; length++) {
      for (const beginning of beginnings) if (beginning.isWord) this._end(beginning, found);
      const kept = this._kept(beginnings, worst(found));
      beginnings = [];
      for (const [from, id, cost] of kept) {
        this._model.recall(from.state);
        this._model.step(id);
        const isWord = from.isWord || this._inWord[id];
        const after = { costs: costs(this._model.logits), state: this._model.remember() };
        beginnings.push({ ids: [...from.ids, id], cost, isWord, ...after });
        yield;
      }
    }
    found.push(...beginnings); // as long as can be: each counts as one
    found.sort((a, b) => a.cost - b.cost);
    return found.slice(0, COUNT).map(({ ids, cost }) => ({
      text: ids.map((id) => this._model.characters[id]).join(""),
      probability: Math.exp(-cost),
    }));
  }

  /** Add the beginning as a whole word: its cost is also that of a next character which is no part of a word. */
  _end({ ids, cost, costs }, found) {
    let ends = 0;
    for (let id = 0; id < costs.length; id++) if (!this._inWord[id]) ends += Math.exp(-costs[id]);
    if (ends > 0) found.push({ ids, cost: cost - Math.log(ends) });
  }

  /** The cheapest [beginning, next id, cost], below `limit`: costs only grow. */
  _kept(beginnings, limit) {
    const all = [];
    for (const from of beginnings)
      for (let id = 0; id < from.costs.length; id++) {
        const cost = from.cost + from.costs[id];
        if (cost < limit && !(from.isWord && !this._inWord[id])) all.push([from, id, cost]);
      }
    return all.sort((a, b) => a[2] - b[2]).slice(0, WIDTH);
  }
}

/** The cost from which on a beginning cannot be among the best any more. */
function worst(found) {
  if (found.length < COUNT) return Infinity;
  return found.map(({ cost }) => cost).sort((a, b) => a - b)[COUNT - 1];
}
