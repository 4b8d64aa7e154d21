/* The attention maps of the latest run: a query on the picture, its near weights, and its far weights. */

import { paint, SIDE } from "./pictures.js";

const percent = (share) => `${(100 * share).toFixed(1)} %`;

export class Maps {
  constructor(place, engine, { heads, depths }) {
    Object.assign(this, { place, engine, heads, query: [12, 14] });
    const blocks = depths.flatMap((depth, stage) => Array.from({ length: depth }, (_, block) => [stage, block]));
    const option = ([stage, block]) =>
      `<option value="${stage} ${block}">stage ${stage}, block ${block}${stage === depths.length - 1 ? " (plain)" : ""}</option>`;
    place.innerHTML = `
      <div class="choices"><label>Block <select name="block">${blocks.map(option).join("")}</select></label>
        <label>Head <select name="head"></select></label></div>
      <div class="maps">
        <figure><canvas class="query" tabindex="0" role="application"
          aria-label="The query: point at the picture, or move it with the arrow keys"></canvas>
          <figcaption>The query. Point at a token, or use the arrow keys.</figcaption></figure>
        <figure class="near"><canvas></canvas><figcaption></figcaption></figure>
        <figure class="far"><canvas></canvas><figcaption></figcaption></figure></div>
      <p class="words" role="status"></p>`;
    this.block = place.querySelector("[name=block]");
    this.head = place.querySelector("[name=head]");
    this.picture = place.querySelector(".query");
    this.block.onchange = () => this.show();
    this.head.onchange = () => this.show();
    this.picture.onpointermove = (event) => this.point(event);
    this.picture.onpointerdown = (event) => this.point(event);
    this.picture.onkeydown = (event) => this.move(event);
  }

  point({ offsetX, offsetY }) {
    const at = (offset, length) => Math.min(Math.max(Math.floor((offset / length) * SIDE), 0), SIDE - 1);
    this.ask([at(offsetY, this.picture.clientHeight), at(offsetX, this.picture.clientWidth)]);
  }

  move(event) {
    const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    if (!step) return;
    event.preventDefault();
    const stride = SIDE / (this.size?.[0] ?? SIDE);
    const next = this.query.map((place, axis) => Math.min(Math.max(place + step[axis] * stride, 0), SIDE - 1));
    this.ask(next);
  }

  ask(query) {
    if (String(query) === String(this.query)) return;
    this.query = query;
    this.show();
  }

  /** Ask Python for the weights of the query; while it answers, later wishes replace earlier ones. */
  async show(pixels = this.pixels) {
    this.pixels = pixels;
    if (!pixels || !this.engine.ready) return;
    this.again = true;
    if (this.asking) return;
    this.asking = true;
    while (this.again && this.engine.ready) {
      this.again = false;
      const [stage, block] = this.block.value.split(" ").map(Number);
      this.offer(this.heads[stage]);
      const side = SIDE >> stage, [row, column] = this.query.map((place) => place >> stage);
      try {
        this.draw(await this.engine.call("attention", stage, block, Number(this.head.value), row * side + column), row, column);
      } catch (error) {
        this.place.querySelector(".words").textContent = error.message;
      }
    }
    this.asking = false;
  }

  offer(count) {
    if (this.head.length === count) return;
    this.head.innerHTML = Array.from({ length: count }, (_, head) => `<option>${head}</option>`).join("");
  }

  draw({ size, near, far, cell }, row, column) {
    this.size = size;
    paint(this.picture, this.pixels);
    this.mark(size[0], row, column);
    const plain = near === null;
    const figures = { near: this.place.querySelector(".near"), far: this.place.querySelector(".far") };
    figures.near.hidden = plain;
    figures.far.classList.toggle("plain", plain);
    if (!plain) heat(figures.near.querySelector("canvas"), near, "--hat-near");
    heat(figures.far.querySelector("canvas"), far, plain ? "--hat-both" : "--hat-far");
    const words = [plain ? null : largest("Near", near, "token"), largest(plain ? "All tokens" : "Far", far, plain ? "token" : "cell")];
    figures.near.querySelector("figcaption").textContent = "near: the tokens of its window";
    figures.far.querySelector("figcaption").textContent = plain
      ? "all tokens of the map" : `far: cells of ${cell} × ${cell} tokens`;
    this.place.querySelector(".words").textContent =
      `Query: token in row ${row}, column ${column} of ${size[0]} × ${size[1]}. ${words.filter(Boolean).join(" ")}`;
  }

  mark(side, row, column) {
    const scale = 10, draw = this.picture.getContext("2d");
    const image = new OffscreenCanvas(SIDE, SIDE);
    image.getContext("2d").drawImage(this.picture, 0, 0);
    this.picture.width = this.picture.height = SIDE * scale;
    draw.imageSmoothingEnabled = false;
    draw.drawImage(image, 0, 0, SIDE * scale, SIDE * scale);
    const token = (SIDE * scale) / side;
    for (const [colour, width] of [["black", 5], ["white", 2]]) {
      Object.assign(draw, { strokeStyle: colour, lineWidth: width });
      draw.strokeRect(column * token, row * token, token, token);
    }
  }
}

/** Colour is weight: from the page's ground to the full colour at the largest weight. */
function heat(canvas, rows, name) {
  const most = Math.max(...rows.flat()), scale = Math.ceil(280 / rows.length);
  canvas.width = rows[0].length * scale;
  canvas.height = rows.length * scale;
  const draw = canvas.getContext("2d");
  draw.fillStyle = getComputedStyle(canvas).getPropertyValue(name) || "#8a4f9e";
  rows.forEach((row, y) => row.forEach((weight, x) => {
    draw.globalAlpha = weight / most;
    draw.fillRect(x * scale, y * scale, scale, scale);
  }));
}

function largest(kind, rows, unit) {
  const all = rows.flat(), most = Math.max(...all), at = all.indexOf(most);
  const row = Math.floor(at / rows[0].length), column = at % rows[0].length;
  return `${kind}: ${percent(most)} at most, for the ${unit} in row ${row}, column ${column}.`;
}
