// One hidden unit along the end of the text: a bar for each character, up to 1 above the line or -1 below it.

const CELL = 13; // CSS pixels

/** How a character is shown where it stands alone. */
const symbol = (character) => ({ "\n": "⏎", "\r": "⏎", "\t": "⇥", " ": "·" })[character] ?? character;

class UnitStrip {
  constructor(canvas, model) {
    this._canvas = canvas;
    this._model = model;
    // The unit's place among all that is remembered; states between -1 and 1 are those that are called `state`.
    const kind = Math.max(0, model.states.findIndex(({ name }) => name === "state"));
    this._first = model.remembered.slice(0, kind).reduce((sum, part) => sum + part.length, 0);
    [this.layers, , this.units] = model.states[kind].before.shape;
  }

  /** Draw unit `unit` of layer `layer` after each of the last characters that `reader` has read. */
  draw(reader, layer, unit) {
    const { clientWidth: width, clientHeight: height } = this._canvas;
    const values = reader.unitOf(this._first + layer * this.units + unit, Math.floor(width / CELL));
    const scale = devicePixelRatio;
    Object.assign(this._canvas, { width: width * scale, height: height * scale });
    const context = this._canvas.getContext("2d");
    context.scale(scale, scale);
    const colour = (name) => getComputedStyle(this._canvas).getPropertyValue(name);
    const room = height - 22, middle = room / 2 + 2;
    context.fillStyle = colour("--line");
    context.fillRect(0, middle, width, 1);
    context.font = "12px ui-monospace, Menlo, Consolas, monospace";
    context.textAlign = "center";
    values.forEach(([id, value], i) => {
      const length = (Math.max(-1, Math.min(1, value)) * room) / 2;
      context.fillStyle = colour(value < 0 ? "--below" : "--above");
      context.fillRect(i * CELL + 1, middle - Math.max(0, length), CELL - 2, Math.max(1, Math.abs(length)));
      context.fillStyle = colour("--ink");
      context.fillText(symbol(this._model.characters[id]), (i + 0.5) * CELL, height - 5);
    });
    this._canvas.setAttribute("aria-label", this._told(values, layer, unit));
  }

  _told(values, layer, unit) {
    const where = `Unit ${unit} of layer ${layer} after the last ${values.length} characters`;
    if (!values.length) return `${where}: none was read`;
    const [id, value] = values.at(-1);
    return `${where}; after the last one, ${named(this._model.characters[id])}: ${value.toFixed(2)}`;
  }
}
