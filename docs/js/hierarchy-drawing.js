/* Drawing for <attention-hierarchy>: a picture as tokens, its window in detail, and its cells merged into their means. */

/** Mean colours of a square picture over rectangles, from running sums of its pixels. */
export class Means {
  /** @param {ImageData} pixels */
  constructor({ data, width }) {
    this.side = width;
    const row = (width + 1) * 3;
    this.sums = new Float64Array(row * (width + 1));
    for (let y = 0; y < width; y++) {
      for (let x = 0; x < width; x++) {
        for (let channel = 0; channel < 3; channel++) {
          const at = (y + 1) * row + (x + 1) * 3 + channel;
          this.sums[at] = data[(y * width + x) * 4 + channel]
            + this.sums[at - 3] + this.sums[at - row] - this.sums[at - row - 3];
        }
      }
    }
  }

  /** The mean from (top, left) to (bottom, right), fractions of the side, as [red, green, blue]. */
  of(top, left, bottom, right) {
    const { side, sums } = this, row = (side + 1) * 3;
    const low = (value) => Math.min(Math.round(value * side), side - 1);
    const [y, x] = [low(top), low(left)];
    const [end, stop] = [Math.max(Math.round(bottom * side), y + 1), Math.max(Math.round(right * side), x + 1)];
    const area = (end - y) * (stop - x);
    return [0, 1, 2].map((channel) => {
      const at = (r, c) => sums[r * row + c * 3 + channel];
      return (at(end, stop) - at(y, stop) - at(end, x) + at(y, x)) / area;
    });
  }

  /** A canvas with one pixel per token, each the mean over its cell of `step` x `step` tokens. */
  grid(tokens, step) {
    const canvas = new OffscreenCanvas(tokens, tokens), context = canvas.getContext("2d");
    const image = context.createImageData(tokens, tokens);
    for (let row = 0; row < tokens; row += step) {
      for (let column = 0; column < tokens; column += step) {
        const [end, stop] = [Math.min(row + step, tokens), Math.min(column + step, tokens)];
        const colour = [...this.of(row / tokens, column / tokens, end / tokens, stop / tokens), 255];
        for (let r = row; r < end; r++) {
          for (let c = column; c < stop; c++) image.data.set(colour, (r * tokens + c) * 4);
        }
      }
    }
    context.putImageData(image, 0, 0);
    return canvas;
  }
}

/** Where parts of `step` tokens begin and end along an axis: [[0, 8], [8, 16], ...]; the last may be shorter. */
export function parts(tokens, step) {
  return Array.from({ length: Math.ceil(tokens / step) }, (_, i) => [i * step, Math.min((i + 1) * step, tokens)]);
}

/** Fit a canvas to its place on the page, and return its context, its side and the colours of the page. */
function prepare(canvas) {
  const side = canvas.clientWidth, scale = window.devicePixelRatio || 1;
  canvas.width = canvas.height = Math.round(side * scale);
  const context = canvas.getContext("2d");
  context.scale(canvas.width / side, canvas.height / side);
  context.imageSmoothingEnabled = false;
  const style = getComputedStyle(canvas), colour = (name) => style.getPropertyValue(`--hat-${name}`).trim();
  return { context, side, near: colour("near"), far: colour("far"), paper: colour("paper") };
}

/** Lines between parts, over a square of `side`, `length` tokens wide. */
function rule(context, starts, length, side, width, colour) {
  if (width <= 0.02) return;
  context.fillStyle = colour;
  for (const start of starts) {
    const at = (start / length) * side - width / 2;
    context.fillRect(at, 0, width, side);
    context.fillRect(0, at, side, width);
  }
}

/** Outline of a rectangle, drawn outside it. */
function outline(context, [x, y, width, height], colour, thickness) {
  context.strokeStyle = colour;
  context.lineWidth = thickness;
  context.strokeRect(x - thickness / 2, y - thickness / 2, width + thickness, height + thickness);
}

/** The query: black on white, visible on any colour, and never smaller than 5 pixels. */
function mark(context, [x, y, width, height]) {
  const grow = Math.max(0, 5 - width) / 2, box = [x - grow, y - grow, width + 2 * grow, height + 2 * grow];
  outline(context, box, "#fff", 3);
  outline(context, box, "#000", 1.5);
}

/** How far merged cells cover the picture: enough to have a colour each, and little enough to leave the cat to see. */
const COVER = 0.6;

/** Lines between cells: thinner between small ones, or the lines would be a picture of their own. */
const gapOf = (cell, widest) => Math.min(widest, 0.05 * cell);

/** The whole map: `merged` goes from 0, all tokens, to 1, the window in tokens and all else in cells. */
export function drawMap(canvas, { tokens, cells, count, G2, window, query, merged }) {
  const { context, side, near, far, paper } = prepare(canvas), unit = side / count;
  const square = ([top, left, bottom, right]) => [left * unit, top * unit, (right - left) * unit, (bottom - top) * unit];
  context.drawImage(tokens, 0, 0, side, side);
  rule(context, parts(count, 1).slice(1).map(([start]) => start), count, side, unit > 3 ? 0.5 * (1 - merged) : 0, "#fff9");
  context.globalAlpha = COVER * merged;
  context.drawImage(cells, 0, 0, side, side);
  context.globalAlpha = 1;
  rule(context, parts(count, G2).slice(1).map(([start]) => start), count, side, gapOf(unit * G2, 3) * merged, paper);
  if (merged > 0.5) rays(context, { count, G2, unit, query, far, opacity: 2 * merged - 1 });
  if (merged > 0) { // the window opens around its query
    const closed = [query.row, query.column, query.row + 1, query.column + 1];
    const [top, left, bottom, right] = closed.map((edge, i) => edge + (window[i] - edge) * merged);
    const box = square([top, left, bottom, right]);
    context.drawImage(tokens, left, top, right - left, bottom - top, ...box);
    outline(context, box, "#fff", 4.5);
    outline(context, box, near, 3);
  }
  mark(context, square([query.row, query.column, query.row + 1, query.column + 1]));
}

/** From the query to the merged tokens, while they are few enough to tell apart. */
function rays(context, { count, G2, unit, query, far, opacity }) {
  const cells = parts(count, G2), x = (query.column + 0.5) * unit, y = (query.row + 0.5) * unit;
  if (cells.length > 12) return;
  const ends = cells.flatMap(([top, bottom]) => cells.map(([left, right]) => [left + right, top + bottom]));
  context.globalAlpha = 0.45 * opacity;
  for (const [colour, width] of [["#fff", 1.8], [far, 1]]) {
    context.strokeStyle = colour;
    context.lineWidth = width;
    context.beginPath();
    for (const [endX, endY] of ends) {
      context.moveTo(x, y);
      context.lineTo((endX / 2) * unit, (endY / 2) * unit);
    }
    context.stroke();
  }
  context.globalAlpha = opacity;
  for (const [endX, endY] of ends) {
    context.beginPath();
    context.arc((endX / 2) * unit, (endY / 2) * unit, 2.6, 0, 2 * Math.PI);
    context.fillStyle = far;
    context.fill();
    context.strokeStyle = "#fff";
    context.lineWidth = 1;
    context.stroke();
  }
  context.globalAlpha = 1;
}

/** The keys near the query: its window, enlarged. */
export function drawNear(canvas, { tokens, window: [top, left, bottom, right], query }) {
  const { context, side, paper } = prepare(canvas), length = Math.max(bottom - top, right - left), unit = side / length;
  const [width, height] = [(right - left) * unit, (bottom - top) * unit];
  context.drawImage(tokens, left, top, right - left, bottom - top, 0, 0, width, height);
  rule(context, parts(length, 1).slice(1).map(([start]) => start), length, side, Math.min(1.5, unit / 8), paper);
  mark(context, [(query.column - left) * unit, (query.row - top) * unit, unit, unit]);
}

/** The keys far from the query: every cell of the map, merged. */
export function drawFar(canvas, { cells, count, G2 }) {
  const { context, side, paper } = prepare(canvas);
  context.drawImage(cells, 0, 0, side, side);
  const starts = parts(count, G2).slice(1).map(([start]) => start);
  rule(context, starts, count, side, gapOf((side / count) * G2, 1.5), paper);
}
