// The graph of a model file, one step: what each node does is planned once, and done for each character.

const OPENED_FORMAT = 1;

/** A model of export/README.md, for one text at a time. */
class Model {
  /** file: the content of a model.onnx; kernel: the exports of a new instance of kernel.wasm. Throws PageError. */
  constructor(file, kernel) {
    const { metadata, nodes, constants, inputs, outputs } = readModel(file);
    this.kernel = kernel;
    this.memory = new Memory(kernel);
    this._readMetadata(metadata);
    this._token = { type: INT64, shape: [1], count: 1, numbers: [0], given: true };
    this._runs = [];
    const values = new Map([...constants].map(([name, constant]) => [name, constantOf(constant)]));
    for (const [name, shape] of inputs)
      if (!values.has(name)) values.set(name, name === "token" ? this._token : this.memory.tensor(FLOAT, shape));
    for (const node of nodes) this._plan(node, values);
    this._findStates(inputs, outputs, values);
    const logits = values.get("logits");
    if (logits?.count !== this.characters.length) throw damaged();
    this.memory.placed(logits);
    /** Where a Sampler draws its random numbers. Nothing gets a place after this: views would end with the memory. */
    this.noiseAt = this.memory.room(8 * Math.ceil(this.characters.length / 2));
    this.logits = this.memory.view(logits);
    /** Where what the model remembers lies: a view of each kind of state, before a step. */
    this.remembered = this.states.map(({ before }) => this.memory.view(before));
    this.stateSize = this.remembered.reduce((sum, part) => sum + part.length, 0);
  }

  _readMetadata(metadata) {
    const entry = (key) => {
      if (!(key in metadata)) throw new PageError(`this is no charrnn model: it has no ${key}`);
      try {
        return JSON.parse(metadata[key]);
      } catch {
        throw damaged();
      }
    };
    const version = entry("charrnn.format_version");
    if (version !== OPENED_FORMAT)
      throw new PageError(`the model has format version ${version}, and this page reads ${OPENED_FORMAT}`);
    this.characters = [...entry("charrnn.vocabulary").characters]; // code points, not UTF-16 units
    this.normaliser = entry("charrnn.normaliser");
    this.config = entry("charrnn.model");
    this.training = entry("charrnn.training");
  }

  _plan({ operator, inputs, outputs, attributes }, values) {
    if (!Object.hasOwn(OPERATORS, operator))
      throw new PageError(`the model uses the operator ${operator}, which this page does not know: export it as int8`);
    const tensors = inputs.map((name) => (name === "" ? undefined : values.get(name)));
    if (tensors.some((tensor, i) => !tensor && inputs[i])) throw damaged();
    const { outputs: made, run } = OPERATORS[operator](tensors, attributes, this.memory);
    outputs.forEach((name, i) => values.set(name, made[i]));
    if (run) this._runs.push(run);
  }

  /** Every input but `token` is a state, and `next_` + its name what it becomes. */
  _findStates(inputs, outputs, values) {
    this.states = [...inputs.keys()]
      .filter((name) => values.get(name).at !== undefined && name !== "token" && outputs.includes(`next_${name}`))
      .map((name) => ({ name, before: values.get(name), after: values.get(`next_${name}`) }));
    if (!this.states.length || this.states.some(({ before, after }) => before.count !== after?.count)) throw damaged();
    this.states.forEach(({ after }) => this.memory.placed(after));
    this._copies = this.states.map(({ before, after }) => [before.at, after.at, after.at + after.count * 4]);
  }

  /** Read the character `id`: `logits` are those of the next one, and the state is the new one. */
  step(id) {
    if (!(id >= 0 && id < this.characters.length)) throw new RangeError(`no character has id ${id}`);
    this._token.numbers[0] = id;
    for (const run of this._runs) run();
    const bytes = new Uint8Array(this.kernel.memory.buffer);
    for (const [before, after, end] of this._copies) bytes.copyWithin(before, after, end);
  }

  /** Copy what the model remembers into `state`, or into a new array, and return it. */
  remember(state = new Float32Array(this.stateSize)) {
    let at = 0;
    for (const part of this.remembered) {
      state.set(part, at);
      at += part.length;
    }
    return state;
  }

  /** Remember `state`, or nothing. */
  recall(state) {
    let at = 0;
    for (const part of this.remembered) {
      if (state) part.set(state.subarray(at, at + part.length));
      else part.fill(0);
      at += part.length;
    }
  }

  /** The id that is read, but not shown, before an empty text: of newline, else of space, else 0. */
  get startId() {
    const start = [..."\n "].find((character) => this.characters.includes(character));
    return start === undefined ? 0 : this.characters.indexOf(start);
  }
}
