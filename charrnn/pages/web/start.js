// Where there is no document, as under Node.js, the parts are handed out: the tests run the page's own script.
if (typeof document === "undefined") {
  globalThis.charrnn = { Completion, OPERATORS, PageError, Prompts, Reader, Sampler, inSlices, named, openModel };
} else {
  // The model stands behind the script: where the file is cut off, there is still a script to say so.
  document.addEventListener("DOMContentLoaded", () => start().catch(broken));
}

/** Say `message` to eyes and to screen readers. */
function tell(message, isWrong = false) {
  const place = document.getElementById("message");
  place.classList.toggle("wrong", isWrong);
  if (place.textContent !== message) place.textContent = message;
}

/** What cannot go on is said, also where it is our mistake. */
function broken(error) {
  tell(error instanceof PageError ? error.message : `the page has failed (${error}): load it again`, true);
  if (!(error instanceof PageError)) reportError(error);
}

async function start() {
  const block = element("model");
  if (!block) throw damaged();
  const model = await openModel(block.textContent);
  element("facts").textContent = facts(model);
  element("work").hidden = false;
  tell("");
  const desk = new Desk(model);
  listenToText(desk);
  listenToControls(desk);
  element("text").focus();
}

function facts({ config, characters }) {
  const { cell = "tanh", hidden_size: H, num_layers: L = 1 } = config;
  const network = { tanh: "A tanh network", gru: "A GRU", lstm: "An LSTM" }[cell] ?? "A network";
  const size = `${H} hidden units${L > 1 ? ` in each of ${L} layers` : ""}`;
  return `${network} of ${size}, which knows ${characters.length} characters.`;
}

function listenToText(desk) {
  const text = element("text");
  text.addEventListener("input", () => desk.changed());
  let cursor = -1;
  document.addEventListener("selectionchange", () => {
    if (document.activeElement !== text || desk.isWriting || text.selectionStart === cursor) return;
    cursor = text.selectionStart;
    desk.changed();
  });
  text.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || event.shiftKey || event.isComposing) return;
    const atEnd = text.selectionStart === text.value.length;
    const done =
      (event.key === "Tab" && desk.take()) ||
      (event.key === "ArrowRight" && atEnd && desk.take(1)) ||
      (event.key === "Escape" && desk.forget());
    if (done) event.preventDefault();
  });
}

function listenToControls(desk) {
  const attempt = (work) => {
    try {
      work();
      if (element("message").classList.contains("wrong")) tell("");
    } catch (error) {
      broken(error);
    }
  };
  element("write").addEventListener("click", () =>
    attempt(() => (desk.isWriting ? desk.stop() : desk.write(Number(element("pace").value)))),
  );
  for (const [id] of Object.values(CHOICES)) element(id).addEventListener("change", () => attempt(readSettings));
  for (let n = 0; n < 9; n++) {
    const colour = document.createElement("b");
    colour.className = `c${n}`;
    colour.textContent = n < 8 ? n : "8+";
    element("scale").append(colour);
  }
  for (let layer = 0; layer < desk.layers; layer++) element("layer").append(new Option(layer, layer));
  element("unit").max = desk.units - 1;
  const seen = () => {
    element("legend").hidden = !element("surprise").checked;
    for (const part of document.querySelectorAll(".of-unit")) part.hidden = !element("unit-shown").checked;
    desk.redraw();
  };
  for (const id of ["surprise", "unit-shown", "layer", "unit"]) element(id).addEventListener("input", seen);
  addEventListener("resize", seen);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", seen);
  seen(); // a browser may restore what was checked
}
