// An ONNX file taken apart: a protobuf message, whose fields are numbered in onnx.proto.

/** What a person can be told in one line, where a page or its model cannot be used. */
class PageError extends Error {}

const FLOAT = 1, UINT8 = 2, INT8 = 3, INT32 = 6, INT64 = 7, FLOAT16 = 10; // TensorProto.DataType

const damaged = () => new PageError("the model in this page is damaged: make the page again with charrnn-export");

/** The fields of a message, in order: [number, value], a Number where it is a varint, else its bytes. */
function* fields(message) {
  let at = 0;
  const varint = () => {
    let value = 0n;
    for (let shift = 0n; shift < 70n; shift += 7n) {
      if (at >= message.length) throw damaged();
      const byte = message[at++];
      value |= BigInt(byte & 127) << shift;
      if (byte < 128) return Number(BigInt.asIntN(64, value));
    }
    throw damaged();
  };
  const bytes = (length) => {
    if (!(length >= 0 && at + length <= message.length)) throw damaged();
    at += length;
    return message.subarray(at - length, at);
  };
  while (at < message.length) {
    const tag = varint();
    const kind = tag & 7;
    if (kind === 0) yield [Math.floor(tag / 8), varint()];
    else if (kind === 2) yield [Math.floor(tag / 8), bytes(varint())];
    else if (kind === 1 || kind === 5) yield [Math.floor(tag / 8), bytes(kind === 1 ? 8 : 4)];
    else throw damaged();
  }
}

/** The fields of a message by number, each as the list of its values. */
function collected(message) {
  const values = [];
  for (const [number, value] of fields(message)) (values[number] ??= []).push(value);
  return (number) => values[number] ?? [];
}

const utf8 = new TextDecoder("utf-8", { fatal: true });
const text = (bytes) => {
  try {
    return utf8.decode(bytes ?? new Uint8Array());
  } catch {
    throw damaged();
  }
};

/** {metadata: {key: text}, nodes, constants: Map, inputs: Map, outputs: [name]} of the content of an ONNX file. */
function readModel(file) {
  const model = collected(file);
  const metadata = Object.fromEntries(
    model(14).map((entry) => [text(collected(entry)(1)[0]), text(collected(entry)(2)[0])]),
  );
  if (model(7).length !== 1) throw damaged();
  const graph = collected(model(7)[0]);
  return {
    metadata,
    nodes: graph(1).map(readNode),
    constants: new Map(graph(5).map(readConstant).map((constant) => [constant.name, constant])),
    inputs: new Map(graph(11).map(readInput)),
    outputs: graph(12).map((value) => text(collected(value)(1)[0])),
  };
}

function readNode(message) {
  const node = collected(message);
  const attributes = {};
  for (const each of node(5).map(collected)) attributes[text(each(1)[0])] = each(3)[0] ?? 0; // whole numbers alone
  const domain = text(node(7)[0]);
  const operator = text(node(4)[0]);
  return {
    operator: domain && domain !== "ai.onnx" ? `${domain}.${operator}` : operator,
    inputs: node(1).map(text),
    outputs: node(2).map(text),
    attributes,
  };
}

/** A weight: {name, type, shape, bytes}. */
function readConstant(message) {
  const tensor = collected(message);
  const name = text(tensor(8)[0]);
  if (!tensor(9).length && tensor(1)[0] !== 0)
    throw new PageError(`the weight ${name} is not stored as raw bytes: export the model with charrnn-export`);
  // Sizes may stand packed, several numbers in one field, or one by one.
  const shape = tensor(1).flatMap((size) => (typeof size === "number" ? size : [...varints(size)]));
  return { name, type: tensor(2)[0], shape, bytes: tensor(9)[0] ?? new Uint8Array() };
}

function* varints(bytes) {
  const tagged = new Uint8Array(bytes.length * 2); // each number as a field of its own, which `fields` reads
  let length = 0, begins = true;
  for (const byte of bytes) {
    if (begins) tagged[length++] = 8;
    tagged[length++] = byte;
    begins = byte < 128;
  }
  for (const [, value] of fields(tagged.subarray(0, length))) yield value;
}

/** [name, shape] of an input; the batch, which has a name for a size, is 1 here. */
function readInput(message) {
  const value = collected(message);
  const tensor = collected(collected(value(2)[0] ?? new Uint8Array())(1)[0] ?? new Uint8Array());
  const dims = collected(tensor(2)[0] ?? new Uint8Array())(1);
  return [text(value(1)[0]), dims.map((dim) => collected(dim)(1)[0] ?? 1)];
}
