// The operators that charrnn's exporter writes, for a batch of one text.
//
// Each gets its inputs and returns its outputs and, unless they are views of the inputs or constants, what a step has
// to do for them: {outputs: [tensor], run?: () => void}. A tensor is {type, shape, count}, and one of
// - at: its place in memory; - array: a constant's elements; - numbers: int64, kept as a list outside of memory.

const isConstant = (tensor) => tensor.array !== undefined;
const wrong = (operator, what) =>
  new PageError(`the model's ${operator} ${what}, which this page cannot run: export it again with charrnn-export`);

const OPERATORS = {
  /** A row of a table by a token's id; a layer of a state is always the same row: a view. */
  Gather([data, index], { axis = 0 }, memory) {
    if (axis !== 0 || !index.numbers || index.count !== 1) throw wrong("Gather", "takes no single row");
    const table = memory.placed(data);
    const inner = data.shape.slice(1);
    const count = product(inner), bytes = count * BYTES[data.type];
    const row = () => table.at + index.numbers[0] * bytes;
    if (!index.given) return { outputs: [{ type: data.type, shape: inner, count, at: row() }] };
    const out = memory.tensor(data.type, [...index.shape, ...inner]);
    const run = () => new Uint8Array(memory.kernel.memory.buffer).copyWithin(out.at, row(), row() + bytes);
    return { outputs: [out], run };
  },

  MatMul([a, matrix], _, memory) {
    const [K, N] = sides("MatMul", a, matrix);
    const { at, panels } = memory.floatPanels(matrix);
    const out = memory.tensor(FLOAT, [...a.shape.slice(0, -1), N]);
    const from = memory.placed(a).at;
    return { outputs: [out], run: () => memory.kernel.multiply_floats(from, at, out.at, K, panels) };
  },

  /** Sums of products of whole numbers: exact, in whatever order. */
  MatMulInteger([a, matrix, zero, none], _, memory) {
    const [K, N] = sides("MatMulInteger", a, matrix);
    if (none || a.type !== UINT8 || matrix.type !== INT8) throw wrong("MatMulInteger", "has other types");
    const { at, panels, pairs } = memory.integerPanels(matrix);
    const out = memory.tensor(INT32, [...a.shape.slice(0, -1), N]);
    const from = memory.placed(a).at, nothing = zero ? scalar("MatMulInteger", zero) : 0;
    const shifted = memory.room(2 * K);
    const { without_zero, multiply_integers } = memory.kernel;
    const run = () => {
      without_zero(from, shifted, K, nothing);
      multiply_integers(shifted, at, out.at, pairs, panels);
    };
    return { outputs: [out], run };
  },

  QuantizeLinear([x, scale, zero], _, memory) {
    const out = memory.tensor(UINT8, x.shape);
    const step = scalar("QuantizeLinear", scale), nothing = scalar("QuantizeLinear", zero);
    if (zero.type !== UINT8) throw wrong("QuantizeLinear", "has other types");
    const from = memory.placed(x).at;
    return { outputs: [out], run: () => memory.kernel.quantise(from, out.at, x.count, step, nothing) };
  },

  /** To float32, in which float16 and int8 are exact; a constant is cast once, when the page opens. */
  Cast([x], { to }, memory) {
    if (to !== FLOAT) throw wrong("Cast", `has type ${to}`);
    if (isConstant(x)) return { outputs: [{ ...x, type: FLOAT, at: undefined, array: Float32Array.from(x.array) }] };
    if (x.type !== INT32) throw wrong("Cast", "has other types");
    const out = memory.tensor(FLOAT, x.shape);
    return { outputs: [out], run: () => memory.kernel.to_floats(x.at, out.at, x.count) };
  },

  Add: (inputs, _, memory) => elementwise("add", (a, b) => a + b, inputs, memory),
  Sub: (inputs, _, memory) => elementwise("subtract", (a, b) => a - b, inputs, memory),
  Mul: (inputs, _, memory) => elementwise("multiply", (a, b) => a * b, inputs, memory),
  Tanh: ([x], _, memory) => activation("tanh", x, memory),
  Sigmoid: ([x], _, memory) => activation("sigmoid", x, memory),

  /** Views of one row. */
  Split([x, sizes], { axis = 0 }, memory) {
    const place = axis < 0 ? axis + x.shape.length : axis;
    if (!sizes?.numbers || product(x.shape.slice(0, place)) !== 1) throw wrong("Split", "cuts more than one row");
    const inner = product(x.shape.slice(place + 1)) * BYTES[x.type];
    let { at } = memory.placed(x);
    const outputs = sizes.numbers.map((size) => {
      const shape = x.shape.with(place, size);
      const part = { type: x.type, shape, count: product(shape), at };
      at += size * inner;
      return part;
    });
    return { outputs };
  },

  Unsqueeze([x, axes], _, memory) {
    const shape = [...x.shape];
    for (const axis of axes.numbers) shape.splice(axis < 0 ? axis + shape.length + 1 : axis, 0, 1);
    return { outputs: [{ ...memory.placed(x), shape }] };
  },

  /** One part behind the other. */
  Concat(parts, { axis }, memory) {
    const [{ type, shape }] = parts;
    const place = axis < 0 ? axis + shape.length : axis;
    if (product(shape.slice(0, place)) !== 1) throw wrong("Concat", "joins more than one row");
    const length = parts.reduce((sum, part) => sum + part.shape[place], 0);
    const out = memory.tensor(type, shape.with(place, length));
    const from = parts.map((part) => memory.placed(part));
    const run = () => {
      const bytes = new Uint8Array(memory.kernel.memory.buffer);
      let at = out.at;
      for (const part of from) {
        bytes.copyWithin(at, part.at, part.at + part.count * BYTES[type]);
        at += part.count * BYTES[type];
      }
    };
    return { outputs: [out], run };
  },
};

/** K and N of a product of one row and a constant matrix [K, N]. */
function sides(operator, a, matrix) {
  if (!isConstant(matrix) || matrix.shape.length !== 2) throw wrong(operator, "multiplies by no constant matrix");
  const [K, N] = matrix.shape;
  if (a.count !== K) throw wrong(operator, `multiplies ${a.count} numbers by ${K} rows`);
  return [K, N];
}

function scalar(operator, tensor) {
  if (!isConstant(tensor) || tensor.count !== 1) throw wrong(operator, "has a scale or zero for each element");
  return tensor.array[0];
}

function activation(name, x, memory) {
  const out = memory.tensor(FLOAT, x.shape);
  const from = memory.placed(x).at;
  return { outputs: [out], run: () => memory.kernel[name](from, out.at, x.count) };
}

/** Constants are computed once, when the page opens; the kernel does equal shapes, and a slow loop all others. */
function elementwise(name, apply, [a, b], memory) {
  if (a.type !== FLOAT || b.type !== FLOAT) throw wrong(name, "has other types");
  const shape = broadcastShape(name, a.shape, b.shape);
  const count = product(shape);
  if (isConstant(a) && isConstant(b)) {
    const array = new Float32Array(count);
    broadcast(apply, shape, [a, a.array], [b, b.array], array);
    return { outputs: [{ type: FLOAT, shape, count, array }] };
  }
  const out = memory.tensor(FLOAT, shape);
  memory.placed(a);
  memory.placed(b);
  const fast = () => memory.kernel[name](a.at, b.at, out.at, count);
  const slow = () => broadcast(apply, shape, [a, memory.view(a)], [b, memory.view(b)], memory.view(out));
  return { outputs: [out], run: a.count === count && b.count === count ? fast : slow };
}

/** The shape of both: from the last dimension on they are equal, or one of them is 1. */
function broadcastShape(operator, a, b) {
  const rank = Math.max(a.length, b.length);
  return Array.from({ length: rank }, (_, place) => {
    const one = a[place - rank + a.length] ?? 1, other = b[place - rank + b.length] ?? 1;
    if (one !== other && one !== 1 && other !== 1) throw wrong(operator, `has shapes [${a}] and [${b}]`);
    return Math.max(one, other);
  });
}

/** out = apply(a, b), element by element; a and b: [tensor, its elements], stretched to `shape`. */
function broadcast(apply, shape, [a, left], [b, right], out) {
  const steps = (of) => {
    const padded = [...Array(shape.length - of.length).fill(1), ...of];
    return padded.map((size, place) => (size === 1 ? 0 : product(padded.slice(place + 1))));
  };
  const stepsA = steps(a.shape), stepsB = steps(b.shape);
  let place = 0;
  const walk = (dimension, atA, atB) => {
    if (dimension === shape.length) {
      out[place++] = apply(left[atA], right[atB]); // rounded to float32 as it is stored
      return;
    }
    for (let i = 0; i < shape[dimension]; i++)
      walk(dimension + 1, atA + i * stepsA[dimension], atB + i * stepsB[dimension]);
  };
  walk(0, 0, 0);
}
