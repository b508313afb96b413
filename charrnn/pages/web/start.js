// Where there is no document, as under Node.js, the parts are handed out: the tests run the page's own script.
if (typeof document === "undefined") {
  globalThis.charrnn = { Completion, OPERATORS, PageError, Prompts, Reader, Sampler, inSlices, named, openModel };
}
