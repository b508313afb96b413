// Runs the script of a page without a document: node drive.mjs PAGE < commands, each a line of JSON; prints their results.
import { readFileSync } from "node:fs";
import { runInThisContext } from "node:vm";

const page = readFileSync(process.argv[2], "utf-8");
const [, script] = page.match(/<script>([^]*?)<\/script>/);
const [, block] = page.match(/<script type="application\/octet-stream" id="model">([^]*?)<\/script>/);
runInThisContext(script);
const { Completion, OPERATORS, PageError, Prompts, Reader, Sampler, inSlices, openModel } = globalThis.charrnn;

let model, prompts;
const commands = {
  operators: () => Object.keys(OPERATORS).sort(),

  /** The logits after each of the ids, as the 32 bits of each. */
  logits: ({ ids }) => {
    model.recall();
    return ids.map((id) => {
      model.step(id);
      return [...new Uint32Array(model.logits.slice().buffer)];
    });
  },

  /** The prompt's ids and `length` characters more. */
  write: ({ prompt, length, seed, settings }) => {
    const { ids } = prompts.read(prompt, "\n");
    const reader = new Reader(model);
    [...reader.read(ids)];
    if (!ids.length) reader.writeFromNothing();
    const sampler = new Sampler(model, settings, BigInt(seed));
    for (let written = 0; written < length; written++) reader.add(sampler.choose(model.logits));
    return reader.ids.map((id) => model.characters[id]).join("");
  },

  /** What was read of a text: ids, where each ends in the text as JavaScript counts, what is unknown. */
  prompt: ({ text }) => {
    const { ids, ends, unknown } = prompts.read(text, "\n");
    return { text: ids.map((id) => model.characters[id]).join(""), ends, unknown: [...unknown] };
  },

  /** What a line end of a textarea is read as. */
  lineEnd: () => prompts.read("\n").ids.map((id) => model.characters[id]).join(""),

  /** The surprises of several texts, read one after the other by one reader. */
  surprises: async ({ texts }) => {
    const reader = new Reader(model);
    const all = [];
    for (const text of texts) {
      await inSlices(reader.read(prompts.read(text, "\n").ids));
      all.push(reader.bits.slice(1));
    }
    return all;
  },

  suggest: async ({ text }) => {
    const reader = new Reader(model);
    const { ids } = prompts.read(text, "\n");
    await inSlices(reader.read(ids));
    const [logits, state] = await inSlices(reader.at(ids.length));
    return inSlices(new Completion(model).suggest(logits, state));
  },

  /** Characters a second, with states kept as while the page writes. */
  speed: ({ length, seed, settings }) => {
    const reader = new Reader(model);
    const sampler = new Sampler(model, settings, BigInt(seed));
    const write = (count) => {
      for (let written = 0; written < count; written++) reader.add(sampler.choose(model.logits));
    };
    write(length / 4);
    const start = performance.now();
    write(length);
    return Math.round((length / (performance.now() - start)) * 1000);
  },
};

try {
  model = await openModel(block);
  prompts = new Prompts(model);
  for (const line of readFileSync(0, "utf-8").split("\n").filter(Boolean)) {
    const { command, ...settings } = JSON.parse(line);
    console.log(JSON.stringify(await commands[command](settings)));
  }
} catch (error) {
  if (!(error instanceof PageError)) throw error;
  console.log(JSON.stringify({ error: error.message }));
}
