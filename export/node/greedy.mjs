// A client of export/README.md, always taking the likeliest: node greedy.mjs model.onnx "prompt" 200
// onnxruntime-web is WebAssembly: the same calls work in a browser, where fetch() takes the place of readFile.
import { readFile } from "node:fs/promises";
import * as ort from "onnxruntime-web";

const METADATA_PROPS = 14; // of ModelProto; an entry's fields are 1, the key, and 2, the value

/** The fields of a protobuf message, in order: yields [number, bytes] of those that have bytes, skips numbers. */
function* fields(message) {
  let at = 0;
  const varint = () => {
    let value = 0;
    for (let place = 1; ; place *= 128) {
      if (at >= message.length) throw new Error("the file is cut off");
      const byte = message[at++];
      value += (byte & 127) * place; // not shifts, which end at 32 bits
      if (byte < 128) return value;
    }
  };
  while (at < message.length) {
    const tag = varint();
    const kind = tag % 8;
    if (kind === 0) varint();
    else if (kind === 1) at += 8;
    else if (kind === 5) at += 4;
    else if (kind === 2) {
      const length = varint();
      if (at + length > message.length) throw new Error("the file is cut off");
      yield [Math.floor(tag / 8), message.subarray(at, at + length)];
      at += length;
    } else throw new Error("this is not an ONNX file");
  }
}

/** The model's metadata_props, which onnxruntime's JavaScript interface does not show, as {key: text}. */
function metadata(model) {
  const decoder = new TextDecoder("utf-8", { fatal: true });
  const entries = {};
  for (const [number, entry] of fields(model)) {
    if (number !== METADATA_PROPS) continue;
    const { 1: key, 2: value } = Object.fromEntries(fields(entry));
    entries[decoder.decode(key)] = decoder.decode(value);
  }
  return entries;
}

function argmax(scores) {
  let best = 0;
  for (let id = 1; id < scores.length; id++) if (scores[id] > scores[best]) best = id;
  return best;
}

async function main([path, prompt, length]) {
  const model = await readFile(path);
  const entries = metadata(model);
  if (entries["charrnn.format_version"] !== "1") throw new Error(`${path}: is no charrnn model of format version 1`);
  const characters = [...JSON.parse(entries["charrnn.vocabulary"]).characters]; // code points, not UTF-16 units

  ort.env.wasm.numThreads = 1; // a step is too small to share
  const session = await ort.InferenceSession.create(model, { executionProviders: ["wasm"] });
  const states = {};
  for (const { name, shape } of session.inputMetadata) {
    if (name === "token") continue; // every other input is a state [L, batch, H]
    const [L, , H] = shape;
    states[name] = new ort.Tensor("float32", new Float32Array(L * H), [L, 1, H]);
  }

  async function step(id) {
    const token = new ort.Tensor("int64", BigInt64Array.of(BigInt(id)), [1]);
    const results = await session.run({ token, ...states });
    for (const name in states) states[name] = results[`next_${name}`];
    return results.logits.data;
  }

  let logits;
  for (const character of prompt) {
    const id = characters.indexOf(character);
    if (id < 0) throw new Error(`the model does not know ${JSON.stringify(character)}`);
    logits = await step(id);
  }
  let text = prompt;
  for (let written = 0; written < Number(length); written++) {
    const id = argmax(logits);
    text += characters[id];
    logits = await step(id);
  }
  console.log(text);
}

await main(process.argv.slice(2));
