// What a person may set: each value is checked as Python checks it, and what is wrong with one is said in one line.

const NUMBER = /^\s*\d+(\.\d*)?\s*$|^\s*\.\d+\s*$/;

/** Settings: the input's id, what it must be, and the value of its text, undefined where it is none. */
const CHOICES = {
  temperature: ["temperature", "at least 0; 0 takes the likeliest", (text) => number(text)],
  topK: ["top-k", "a whole number, at least 0; 0 switches it off", (text) => whole(text)],
  topP: ["top-p", "above 0 and at most 1; 1 switches it off", (text) => number(text, (p) => p > 0 && p <= 1)],
  seed: ["seed", "a whole number below 2^64, or nothing", (text) => seedOf(text)],
};

const number = (text, fits = Number.isFinite) =>
  NUMBER.test(text) && fits(Number(text)) ? Number(text) : undefined;
const whole = (text) => (/^\s*\d{1,15}\s*$/.test(text) ? Number(text) : undefined);

function seedOf(text) {
  if (text.trim() === "") return BigInt(crypto.getRandomValues(new Uint32Array(1))[0]); // short enough to type
  const seed = /^\s*\d{1,40}\s*$/.test(text) ? BigInt(text.trim()) : LARGEST_SEED + 1n;
  return seed <= LARGEST_SEED ? seed : undefined;
}

/** The settings, as they stand in the page. Throws PageError where one cannot be used, and marks it. */
function readSettings() {
  const values = {};
  let wrong;
  for (const [key, [id, must, valueOf]] of Object.entries(CHOICES)) {
    const input = document.getElementById(id);
    values[key] = valueOf(input.value.replace(",", "."));
    input.setAttribute("aria-invalid", String(values[key] === undefined));
    if (values[key] === undefined) wrong ??= `${id} is “${input.value}”: it must be ${must}`;
  }
  if (wrong) throw new PageError(wrong);
  return values;
}
