// The kernel's memory: where tensors lie in it, and matrices in the order in which its products read them.

const PANEL = 32; // columns of a matrix that are multiplied at a time
const PANEL_BYTES = 4 * PANEL; // of its sums
const PAGE_BYTES = 65536;
const BYTES = { [FLOAT]: 4, [UINT8]: 1, [INT8]: 1, [INT32]: 4 };
const ARRAYS = { [FLOAT]: Float32Array, [UINT8]: Uint8Array, [INT8]: Int8Array, [INT32]: Int32Array };

const product = (numbers) => numbers.reduce((a, b) => a * b, 1);

/** The kernel, and memory that is handed out once and never given back: all of it is planned before the first step. */
class Memory {
  constructor(kernel) {
    this.kernel = kernel;
    this.end = 64;
  }

  /** A place for `bytes` bytes and what a loop over vectors may write behind them. */
  room(bytes) {
    const at = this.end;
    this.end += (Math.ceil(bytes / PANEL_BYTES) + 1) * PANEL_BYTES;
    const missing = this.end - this.kernel.memory.buffer.byteLength;
    if (missing > 0) this.kernel.memory.grow(Math.ceil(missing / PAGE_BYTES));
    return at;
  }

  /** A new tensor {type, shape, count, at}. */
  tensor(type, shape) {
    const count = product(shape);
    return { type, shape, count, at: this.room(count * BYTES[type]) };
  }

  /** The elements of a tensor, until the next `room`. */
  view({ type, count, at }) {
    return new ARRAYS[type](this.kernel.memory.buffer, at, count);
  }

  /** `tensor`, in memory: a constant {array} gets its place when it is first asked for. */
  placed(tensor) {
    if (tensor.at === undefined) {
      tensor.at = this.room(tensor.count * BYTES[tensor.type]);
      this.view(tensor).set(tensor.array);
    }
    return tensor;
  }

  /** A constant matrix [K, N] of floats in panels of columns, [panels, K, 32]. */
  floatPanels({ array, shape: [K, N] }) {
    const panels = Math.ceil(N / PANEL);
    const packed = this.tensor(FLOAT, [panels, K, PANEL]);
    const out = this.view(packed);
    for (let panel = 0, place = 0; panel < panels; panel++) {
      const width = Math.min(PANEL, N - panel * PANEL);
      for (let row = 0; row < K; row++, place += PANEL) {
        const begin = row * N + panel * PANEL;
        out.set(array.subarray(begin, begin + width), place);
      }
    }
    return { at: packed.at, panels };
  }

  /** A constant matrix [K, N] of bytes in panels of columns, two rows side by side: [panels, pairs, 32, 2]. */
  integerPanels({ array, shape: [K, N] }) {
    const panels = Math.ceil(N / PANEL), pairs = Math.ceil(K / 2);
    const packed = this.tensor(INT8, [panels, pairs, PANEL, 2]);
    const out = this.view(packed);
    for (let row = 0; row < K; row++) {
      const offset = (row >> 1) * PANEL * 2 + (row & 1);
      for (let column = 0; column < N; column++) {
        const panel = Math.floor(column / PANEL);
        out[panel * pairs * PANEL * 2 + offset + (column % PANEL) * 2] = array[row * N + column];
      }
    }
    return { at: packed.at, panels, pairs };
  }
}

/** What a file's weight {type, shape, bytes} is here: whole numbers of 64 bits as a list, all else as an array. */
function constantOf({ name, type, shape, bytes }) {
  const count = product(shape);
  const size = type === INT64 ? 8 : type === FLOAT16 ? 2 : BYTES[type];
  if (size === undefined) throw new PageError(`the weight ${name} has type ${type}, which this page does not know`);
  if (bytes.length !== count * size) throw damaged();
  const own = bytes.slice().buffer; // in the file it begins anywhere, and an array at a multiple of its elements' size
  if (type === INT64) return { type, shape, count, numbers: [...new BigInt64Array(own)].map(Number) };
  if (type === FLOAT16) return { type, shape, count, array: Float32Array.from(new Uint16Array(own), fromHalf) };
  return { type, shape, count, array: new ARRAYS[type](own) };
}

/** The number that 16 bits stand for: a sign, five bits of exponent, ten of fraction. */
function fromHalf(bits) {
  const sign = bits & 0x8000 ? -1 : 1, exponent = (bits >> 10) & 31, fraction = bits & 1023;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}
