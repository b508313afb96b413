// The choice of a character, as export/README.md defines it: the same seed writes the text that Python writes.

const FAINT = 2 ** -80; // with top-p, noise is 1 / e times this: less than any difference of sums of probabilities
const LARGEST_SEED = 2n ** 64n - 1n;

/** Chooses the characters of one text: settings {temperature, topK, topP}; seed: a BigInt below 2^64. */
class Sampler {
  constructor(model, { temperature, topK, topP }, seed) {
    this.temperature = temperature;
    this.topP = Math.fround(topP);
    const V = model.characters.length;
    this.limited = topK > 0 || topP < 1;
    this.count = Math.min(topK || V, V);
    this._bounded = Math.fround(Math.min(Math.max(temperature, 1e-30), 1e30));
    this._kernel = model.kernel;
    this._words = Math.ceil(this.count / 2);
    this._at = model.noiseAt;
    // The first text of a batch has a generator of its own, seeded by number 0 of that of `seed`.
    this._kernel.numbers(seed, 0n, this._at, 1);
    this._seed = new BigUint64Array(this._kernel.memory.buffer, this._at, 1)[0];
    this._drawn = 0n;
    this._halves = new Uint32Array(this._kernel.memory.buffer, this._at, 2 * this._words); // the lower half comes first
    // More noise than any number that begins with these 8 bits can have; of the last, NaN: it has no bound.
    this._bounds = Array.from({ length: 256 }, (_, first) => this._gumbel(exponential((first + 1) * 2 ** 24)) + 1e-5);
    this._order = Array.from({ length: V }, (_, id) => id);
  }

  /** The id that is drawn by `logits`. */
  choose(logits) {
    if (this.temperature === 0) return highest(logits.length, (id) => logits[id]);
    const e = this._exponentials();
    if (!this.limited) return this._ofAll(logits, e);
    // From the likeliest down, of equal ones the lower id first.
    const order = this._order.slice().sort((a, b) => logits[b] - logits[a] || a - b).slice(0, this.count);
    if (this.topP === 1) return order[highest(order.length, (i) => Math.fround(logits[order[i]] + this._gumbel(e(i))))];
    return order[this._nucleus(order.map((id) => logits[id]), e)];
  }

  /** Of all characters the one with the highest sum of score and noise. */
  _ofAll(logits, e) {
    const halves = this._halves;
    let best = 0, most = -Infinity;
    for (let id = 0; id < logits.length; id++) {
      // Two logarithms for each character would take longer than the model does: few can be the highest at all.
      if (logits[id] + this._bounds[halves[id] >>> 24] <= most) continue;
      const score = Math.fround(logits[id] + this._gumbel(e(id)));
      if (score > most) [best, most] = [id, score];
    }
    return best;
  }

  /** Uniform numbers u of 32 bits each, the next of this text's generator; e = -log(u) is a function of the place. */
  _exponentials() {
    this._kernel.numbers(this._seed, this._drawn, this._at, this._words);
    this._drawn += BigInt(this._words);
    return (i) => exponential(this._halves[i]);
  }

  _gumbel(e) {
    return Math.fround(Math.fround(Math.log(e)) * -this._bounded);
  }

  /** Which of `top`, the highest logits from the highest down, is drawn: those stay before which less than p lies. */
  _nucleus(top, e) {
    const weights = top.map((logit) => Math.fround(Math.exp(Math.fround(Math.fround(logit - top[0]) / this._bounded))));
    const total = weights.reduce((sum, weight) => Math.fround(sum + weight), 0);
    let before = 0;
    const scores = weights.map((weight, i) => {
      const probability = Math.fround(weight / total);
      const score = Math.fround(probability * Math.min(Math.fround(FAINT / e(i)), Math.fround(this.topP - before)));
      before = Math.fround(before + probability);
      return score;
    });
    return highest(scores.length, (i) => scores[i]);
  }
}

/** e = -log(u) of the k of 32 bits in u = (k + 1/2) / 2^32. */
const exponential = (k) => -Math.fround(Math.log((k + 0.5) * 2 ** -32));

/** The place of the highest of `count` scores, of equal ones the first. */
function highest(count, score) {
  let best = 0, most = score(0);
  for (let i = 1; i < count; i++) {
    const value = score(i);
    if (value > most) [best, most] = [i, value];
  }
  return best;
}

/** -log of the probability of each character, in nats. */
function costs(logits) {
  let most = -Infinity, sum = 0;
  for (const logit of logits) if (logit > most) most = logit;
  for (const logit of logits) sum += Math.exp(logit - most);
  const all = most + Math.log(sum);
  return Float64Array.from(logits, (logit) => all - logit);
}
