/* <attention-by-hand query="1,2" keys="2,0 -1,1 1,1" values="2,0 0,2 2,2">: attention with two channels, to be moved.
 * The left plane has the query and the keys, the right one the values and their weighted sum; a table has every number.
 * Points move with mouse, finger and arrow keys. The arithmetic is in one-query.js. Without JavaScript the page shows
 * the element's content. */

import { attention, shadow } from "./one-query.js";

const SIDE = 320; // of a plane, in units of its viewBox
const EDGE = 16; // free space around the plane
const TICKS = 3; // grid lines on each side of zero
const LOWEST = 0.1, HIGHEST = 10; // temperatures
const SHAPES = ["●", "■", "▲"]; // one per token, since colour alone must not carry the meaning

const parse = (text) => text.trim().split(/\s+/).map((point) => point.split(",").map(Number));

/** 1.25 -> "1.25", -2 -> "−2": at most two decimals, with a minus sign. */
const number = (value, digits = 2) => String(Number(value.toFixed(digits))).replace("-", "−");
const fixed = (value, digits) => (Math.abs(value) < 0.5 / 10 ** digits ? 0 : value).toFixed(digits).replace("-", "−");
const vector = (point, digits) => `(${point.map((value) => number(value, digits)).join(", ")})`;

/** A plane from -range to range: how a point becomes a place in its picture, and back. */
class Plane {
  constructor(points) {
    this.range = TICKS * Math.max(1, Math.ceil(Math.max(...points.flat().map(Math.abs)) / TICKS));
    this.step = this.range / 30; // of the arrow keys, and of the places where a point can be put
  }

  place([x, y]) {
    const unit = (SIDE / 2 - EDGE) / this.range;
    return [SIDE / 2 + x * unit, SIDE / 2 - y * unit];
  }

  /** The point under a pointer, on the grid of steps, and inside the plane. */
  point(svg, { clientX, clientY }) {
    const { left, top, width, height } = svg.getBoundingClientRect();
    const unit = (SIDE / 2 - EDGE) / this.range;
    const x = ((clientX - left) / width) * SIDE - SIDE / 2, y = SIDE / 2 - ((clientY - top) / height) * SIDE;
    return this.inside([x / unit, y / unit]);
  }

  inside(point) {
    const onGrid = (value) => Math.round(Math.min(Math.max(value, -this.range), this.range) / this.step) * this.step;
    return point.map((value) => Number(onGrid(value).toFixed(6)));
  }
}

function grid({ range }, plane) {
  const lines = [], labels = [];
  for (let tick = -TICKS; tick <= TICKS; tick += 1) {
    const at = (tick * range) / TICKS, [x, y] = plane.place([at, at]), kind = tick ? "grid" : "axis";
    lines.push(`<path class="${kind}" d="M${x} ${EDGE}V${SIDE - EDGE}M${EDGE} ${y}H${SIDE - EDGE}"/>`);
    if (tick) {
      labels.push(`<text class="tick" x="${x}" y="${SIDE / 2 + 14}">${number(at)}</text>`);
      labels.push(`<text class="tick left" x="${SIDE / 2 - 5}" y="${y + 4}">${number(at)}</text>`);
    }
  }
  return lines.join("") + labels.join("");
}

/** A point that can be moved. Its circle is larger than it looks, so that a finger meets it. */
const handle = (name, mark, letter, index) => `<g class="handle ${name}" data-point="${name}" tabindex="0" role="button"
    aria-roledescription="movable point"><circle class="target" r="16"/><circle class="ring" r="12"/>
    <text class="mark">${mark}</text><text class="letter"><tspan>${letter}</tspan>${
      index === undefined ? "" : `<tspan class="index" dy="4">${index}</tspan>`}</text></g>`;

const arrows = (name, tokens) => tokens.map((token) => `<path class="arrow" data-${name}="${token}"/>`).join("");

function drawing(tokens, [left, right]) {
  const plane = (kind, title, content, which) => `<figure class="${kind}"><figcaption>${title}</figcaption>
    <svg viewBox="0 0 ${SIDE} ${SIDE}" role="group" aria-label="${title}">${grid(which, which)}${content}</svg></figure>`;
  return plane("seek", "Query and keys", `<path class="line"/>
      ${tokens.map((token) => `<path class="shadow" data-shadow="${token}"/>`).join("")}
      ${arrows("key", tokens)}<path class="arrow query" data-query/>
      ${handle("query", "◆", "q")}
      ${tokens.map((token) => handle(`key-${token}`, SHAPES[token], "k", token)).join("")}`, left)
    + plane("give", "Values and their weighted sum", `<path class="hull"/>
      ${arrows("part", tokens)}<g class="result"><circle r="7"/><text x="10" y="20">A</text></g>
      ${tokens.map((token) => handle(`value-${token}`, SHAPES[token], "v", token)).join("")}`, right);
}

const table = (tokens) => `<table class="arithmetic"><caption class="spoken">Every step for each of the keys</caption>
  <thead><tr><th scope="col">token</th><th scope="col"><var>q</var> · <var>k</var></th>
    <th scope="col">÷ √2</th><th scope="col" class="wide">weight</th>
    <th scope="col">weight × <var>v</var></th></tr></thead>
  <tbody>${tokens.map((token) => `<tr data-row="${token}"><th scope="row"><span aria-hidden="true">${SHAPES[token]}</span>
    ${token}</th><td></td><td></td><td class="wide"><i></i><b></b></td><td></td></tr>`).join("")}
  </tbody><tfoot><tr><th scope="row">sum</th><td></td><td></td><td class="wide"><b></b></td>
    <td></td></tr></tfoot></table>`;

class AttentionByHand extends HTMLElement {
  /** Draw everything once; `show` fills in the rest after every change. */
  connectedCallback() {
    if (this.points) return;
    this.start();
    this.tokens = this.points.keys.map((_, token) => token);
    this.planes = [new Plane([this.points.query, ...this.points.keys]), new Plane(this.points.values)];
    this.innerHTML = `<div class="planes">${drawing(this.tokens, this.planes)}</div>
      <div class="controls"><label>temperature <var>T</var> <output></output>
        <input type="range" min="${Math.log10(LOWEST)}" max="${Math.log10(HIGHEST)}" step="0.05"></label>
        <button type="button">Start again</button></div>
      ${table(this.tokens)}<p class="finding"></p><p class="spoken" role="status"></p>`;
    for (const grip of this.querySelectorAll(".handle")) this.listen(grip);
    this.querySelector("input").addEventListener("input", ({ target }) => {
      this.temperature = 10 ** Number(target.value);
      this.show();
    });
    this.querySelector("button").addEventListener("click", () => {
      this.start();
      this.show();
    });
    this.show(false);
  }

  /** The positions that the page gives. */
  start() {
    const [query] = parse(this.getAttribute("query"));
    this.points = { query, keys: parse(this.getAttribute("keys")), values: parse(this.getAttribute("values")) };
    this.temperature = 1;
  }

  listen(grip) {
    const svg = grip.closest("svg"), plane = this.planes[grip.closest("figure").matches(".seek") ? 0 : 1];
    grip.addEventListener("pointerdown", (event) => {
      grip.setPointerCapture(event.pointerId);
      grip.focus({ preventScroll: true });
      event.preventDefault(); // select no text
    });
    grip.addEventListener("pointermove", (event) => {
      if (grip.hasPointerCapture(event.pointerId)) this.move(grip, plane.point(svg, event));
    });
    grip.addEventListener("keydown", (event) => {
      const sides = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
      if (!sides) return;
      event.preventDefault(); // scroll no page
      const [x, y] = this.at(grip), step = plane.step * (event.shiftKey ? 5 : 1);
      this.move(grip, plane.inside([x + sides[0] * step, y + sides[1] * step]));
    });
  }

  /** The position of a point by the name of its grip: "query", "key-0", "value-2". */
  at({ dataset }) {
    const [kind, token] = dataset.point.split("-");
    return token === undefined ? this.points.query : this.points[`${kind}s`][token];
  }

  move({ dataset }, point) {
    const [kind, token] = dataset.point.split("-");
    if (token === undefined) this.points.query = point;
    else this.points[`${kind}s`][token] = point;
    this.show();
  }

  /** Update everything on the page. */
  show(changed = true) {
    const steps = attention({ ...this.points, temperature: this.temperature });
    this.drawKeys(steps);
    this.drawValues(steps);
    for (const grip of this.querySelectorAll(".handle")) this.drawHandle(grip);
    this.fill(steps);
    const slider = this.querySelector("input");
    if (document.activeElement !== slider || !changed) slider.value = Math.log10(this.temperature);
    slider.setAttribute("aria-valuetext", number(this.temperature));
    this.querySelector("output").textContent = number(this.temperature);
    this.querySelector(".finding").innerHTML = finding(steps, this.temperature);
    if (changed) this.announce();
  }

  drawKeys({ weights }) {
    const { query, keys } = this.points, [plane] = this.planes, path = (...points) => line(plane, points);
    const length = Math.hypot(...query), far = length ? query.map((value) => (value / length) * 2 * plane.range) : [0, 0];
    this.querySelector(".line").setAttribute("d", path(far.map((value) => -value), far));
    this.querySelector("[data-query]").setAttribute("d", arrow(plane, [0, 0], query, 10));
    for (const token of this.tokens) {
      this.querySelector(`[data-shadow="${token}"]`).setAttribute("d", path(keys[token], shadow(query, keys[token])));
      const key = this.querySelector(`[data-key="${token}"]`);
      key.setAttribute("d", arrow(plane, [0, 0], keys[token], 10));
      key.style.strokeWidth = 1.5 + 5 * weights[token];
    }
  }

  /** The parts, weight times value, head to tail from zero: the last one ends at the result. */
  drawValues({ parts, result }) {
    const { values } = this.points, plane = this.planes[1];
    this.querySelector(".hull").setAttribute("d", `${line(plane, values)}Z`);
    let from = [0, 0];
    for (const token of this.tokens) {
      const to = from.map((value, channel) => value + parts[token][channel]);
      this.querySelector(`[data-part="${token}"]`).setAttribute("d", arrow(plane, from, to, token === this.tokens.length - 1 ? 9 : 0));
      from = to;
    }
    this.querySelector(".result").setAttribute("transform", `translate(${plane.place(result).join(" ")})`);
  }

  drawHandle(grip) {
    const plane = this.planes[grip.closest("figure").matches(".seek") ? 0 : 1], point = this.at(grip);
    const [x, y] = plane.place(point), [kind, token] = grip.dataset.point.split("-");
    grip.setAttribute("transform", `translate(${x} ${y})`);
    const letter = grip.querySelector(".letter"); // beyond the arrow's end, but inside the picture
    letter.setAttribute("x", x > SIDE - 40 ? -16 : 13);
    letter.setAttribute("text-anchor", x > SIDE - 40 ? "end" : "start");
    letter.setAttribute("y", y < 40 ? 22 : -10);
    const name = token === undefined ? "query" : `${kind} of token ${token}`;
    grip.setAttribute("aria-label", `${name}, at ${point.map((value) => number(value)).join(", ")}; move with arrow keys`);
  }

  fill({ products, scores, weights, parts, result }) {
    for (const token of this.tokens) {
      const [, product, score, weight, part] = this.querySelector(`[data-row="${token}"]`).cells;
      product.textContent = fixed(products[token], 2);
      score.textContent = fixed(scores[token], 3);
      weight.style.setProperty("--share", weights[token]);
      weight.querySelector("b").textContent = weights[token].toFixed(3);
      part.textContent = `(${parts[token].map((value) => fixed(value, 2)).join(", ")})`;
    }
    const [, , , sum, whole] = this.querySelector("tfoot tr").cells;
    sum.querySelector("b").textContent = weights.reduce((total, weight) => total + weight, 0).toFixed(3);
    whole.innerHTML = `<b><var>A</var> = (${result.map((value) => fixed(value, 2)).join(", ")})</b>`;
  }

  /** Read the result to screen readers once the points rest, not at every step. */
  announce() {
    clearTimeout(this.resting);
    this.resting = setTimeout(() => {
      this.querySelector("[role=status]").textContent = this.querySelector(".finding").textContent;
    }, 600);
  }
}

const line = (plane, points) => points.map((point, index) => `${index ? "L" : "M"}${plane.place(point).join(" ")}`).join("");

/** A line with a head of two strokes; it stops `short` of its end, where a handle is. */
function arrow(plane, from, to, short) {
  const [x0, y0] = plane.place(from), [x1, y1] = plane.place(to), length = Math.hypot(x1 - x0, y1 - y0);
  if (length < short + 2) return "";
  const [dx, dy] = [(x1 - x0) / length, (y1 - y0) / length], [x, y] = [x1 - dx * short, y1 - dy * short];
  const head = Math.min(8, length / 2), back = [x - head * dx, y - head * dy], side = [(-dy * head) / 2, (dx * head) / 2];
  return `M${x0} ${y0}L${x} ${y}M${back[0] + side[0]} ${back[1] + side[1]}L${x} ${y}L${back[0] - side[0]} ${back[1] - side[1]}`;
}

/** The result in words. */
function finding({ weights, result }, temperature) {
  const largest = Math.max(...weights), best = weights.flatMap((weight, token) => (largest - weight < 5e-4 ? [token] : []));
  const list = best.length > 1 ? `${best.slice(0, -1).join(", ")} and ${best.at(-1)}` : best[0];
  const who = best.length === weights.length ? "All keys fit the query equally well"
    : best.length > 1 ? `The keys of tokens ${list} fit the query best` : `The key of token ${list} fits the query best`;
  const heat = Math.abs(temperature - 1) < 1e-9 ? "" : ` at temperature ${number(temperature)}`;
  return `${who}${heat}. The weights of tokens 0, 1 and 2 are ${weights.map((weight) => weight.toFixed(3)).join(", ")}.
    The result <var>A</var> is ${vector(result)}.`;
}

customElements.define("attention-by-hand", AttentionByHand);
