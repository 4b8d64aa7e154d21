/* <attention-hierarchy>: point at a token, and see the keys of its query: the window near it, and the merged cells of
 * the whole map. Without JavaScript, or without the photo, the page shows the element's content. */

import { hMhsa, keys, map, mhsa, ratio, short, sum, whole } from "./attention-cost.js";
import { drawFar, drawMap, drawNear, Means } from "./hierarchy-drawing.js";

const PHOTO = new URL("../assets/hierarchy/photo.jpg", import.meta.url);
const STAGE_0 = { stride: 4, C: 64 }; // of HAT-Net Small
const SLIDERS = {
  size: { low: 32, high: 1024, step: 32, label: "Image side, pixels" },
  G1: { low: 2, high: 32, step: 1, label: "<var>G</var><sub>1</sub>, side of a window, tokens" },
  G2: { low: 2, high: 32, step: 1, label: "<var>G</var><sub>2</sub>, side of a cell, tokens" },
};
const MOVES = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
const DURATION = 1100; // ms, from all tokens to window and cells

const TEMPLATE = `
  <div class="map">
    <div class="choice" role="group" aria-label="Kind of attention">
      <button type="button" data-merged="0">Plain attention</button>
      <button type="button" data-merged="1">Hierarchical attention</button>
    </div>
    <canvas class="whole" tabindex="0" role="application" aria-label="Token map: arrow keys move the query"></canvas>
    <p class="hint">Point at a token, or move the query with the arrow keys.</p>
  </div>
  <div class="readings">
    <p class="count"><b class="number"></b> <span class="of"></span></p>
    <div class="sets">
      <figure class="near"><canvas></canvas><figcaption></figcaption></figure>
      <figure class="far"><canvas></canvas><figcaption></figcaption></figure>
    </div>
    <div class="sliders">${Object.entries(SLIDERS).map(([name, { low, high, step, label }]) => `
      <label for="hierarchy-${name}">${label}</label>
      <input type="range" id="hierarchy-${name}" name="${name}" min="${low}" max="${high}" step="${step}">
      <output for="hierarchy-${name}" data-of="${name}"></output>`).join("")}
    </div>
    <div class="cost" aria-hidden="true">
      <span>Plain attention, multiplications</span><i class="plain"></i><span class="plain-macs"></span>
      <span>Hierarchical attention</span><i class="ours"></i><span class="our-macs"></span>
    </div>
    <p class="finding"></p>
    <p class="announcement" role="status"></p>
  </div>`;

class AttentionHierarchy extends HTMLElement {
  async connectedCallback() {
    if (this.means) return;
    this.settings = { size: 224, G1: 8, G2: 8 };
    this.place = { y: 0.41, x: 0.41 }; // the cat's eye, as a fraction of the side
    this.merged = 0;
    this.means = await load(PHOTO).catch(() => null);
    if (!this.means) return;
    this.innerHTML = TEMPLATE;
    this.classList.add("live");
    this.listen();
    this.measure();
    this.show();
    new ResizeObserver(() => this.show()).observe(this);
    new MutationObserver(() => this.show()).observe(document.body, { attributeFilter: ["data-md-color-scheme"] });
    playOnceSeen(this.querySelector(".whole"), () => this.untouched && this.merge(1));
    this.untouched = true;
  }

  listen() {
    const canvas = this.querySelector(".whole");
    const follow = ({ clientX, clientY }) => {
      const { left, top, width, height } = canvas.getBoundingClientRect();
      this.moveTo((clientY - top) / height, (clientX - left) / width);
    };
    canvas.addEventListener("pointermove", follow);
    canvas.addEventListener("pointerdown", follow);
    canvas.addEventListener("keydown", (event) => {
      const move = MOVES[event.key];
      if (!move) return;
      event.preventDefault(); // the page would scroll
      const { count, query } = this.state();
      this.moveTo((query.row + move[0] + 0.5) / count, (query.column + move[1] + 0.5) / count);
    });
    this.addEventListener("input", ({ target }) => {
      this.settings[target.name] = Number(target.value);
      this.measure();
      this.touch();
    });
    this.addEventListener("click", ({ target }) => {
      if (target.dataset.merged) this.merge(Number(target.dataset.merged));
    });
  }

  /** Move the query to a place inside the map, and merge the cells if they are not. */
  moveTo(y, x) {
    const inside = (value) => Math.min(Math.max(value, 0), 1 - 1e-9);
    this.place = { y: inside(y), x: inside(x) };
    this.touch();
  }

  touch() {
    if (this.untouched) this.merge(1);
    else this.show();
  }

  /** Go to `goal`, step by step unless the reader wants no motion. */
  merge(goal) {
    this.untouched = false;
    this.goal = goal;
    const start = this.merged, begin = performance.now(), run = (this.run = {});
    const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    const step = (now) => {
      if (this.run !== run) return; // another one began meanwhile
      const part = still ? 1 : Math.min(Math.max(now - begin, 0) / DURATION, 1);
      this.merged = part < 1 ? start + (goal - start) * part * part * (3 - 2 * part) : goal; // exactly, in the end
      this.show();
      if (part < 1) requestAnimationFrame(step);
    };
    step(begin);
  }

  /** Mean colours of tokens and cells, which change with the sliders alone. */
  measure() {
    const { size, G2 } = this.settings;
    const { H } = map({ ...STAGE_0, height: size, width: size });
    this.grids = { tokens: this.means.grid(H, 1), cells: this.means.grid(H, G2) };
  }

  /** What the settings and the place of the query mean. */
  state() {
    const { size, G1, G2 } = this.settings;
    const sizes = map({ ...STAGE_0, height: size, width: size, G1, G2 }), count = sizes.H;
    const query = { row: Math.floor(this.place.y * count), column: Math.floor(this.place.x * count) };
    const [top, left] = [query.row, query.column].map((place) => Math.floor(place / G1) * G1);
    const window = [top, left, Math.min(top + G1, count), Math.min(left + G1, count)];
    return { sizes, count, G2, query, window, ...this.grids, merged: this.merged, keys: keys({ ...sizes, ...query }) };
  }

  show() {
    const state = this.state();
    drawMap(this.querySelector(".whole"), state);
    drawNear(this.querySelector(".near canvas"), state);
    drawFar(this.querySelector(".far canvas"), state);
    this.showKeys(state);
    this.showCost(state.sizes);
    for (const button of this.querySelectorAll("[data-merged]")) {
      button.setAttribute("aria-pressed", Number(button.dataset.merged) === (this.goal ?? 0));
    }
    for (const [name, value] of Object.entries(this.settings)) {
      this.querySelector(`input[name=${name}]`).value = value;
      this.querySelector(`[data-of=${name}]`).textContent = value;
    }
  }

  showKeys({ keys: { near, far, plain }, window: [top, left, bottom, right], count, G2, merged }) {
    // On the way the number falls by equal factors, so that one sees it fall.
    const number = plain ** (1 - merged) * (near + far) ** merged;
    this.querySelector(".number").textContent = whole.format(number);
    const ends = [plain, near + far].map(whole.format), [from, to] = this.goal ? ends : ends.reverse();
    this.querySelector(".of").innerHTML = merged === 0 ? `keys for one query: every token of the ${count} × ${count} map`
      : merged === 1 ? `keys for one query, instead of ${whole.format(plain)}`
        : `keys for one query, on the way from ${from} to ${to}`;
    this.querySelector(".sets").style.opacity = 0.25 + 0.75 * merged;
    const cells = Math.ceil(count / G2);
    this.querySelector(".near figcaption").innerHTML =
      `<b>${whole.format(near)} near</b>: the ${bottom - top} × ${right - left} tokens of its window`;
    this.querySelector(".far figcaption").innerHTML =
      `<b>${whole.format(far)} far</b>: ${cells} × ${cells} cells, each merged into one token`;
  }

  showCost(sizes) {
    const plain = sum(mhsa(sizes)), ours = sum(hMhsa(sizes)), full = Math.max(plain, ours), times = plain / ours;
    this.querySelector("i.plain").style.width = `${(100 * plain) / full}%`;
    this.querySelector("i.ours").style.width = `${(100 * ours) / full}%`;
    this.querySelector(".plain-macs").textContent = short(plain);
    this.querySelector(".our-macs").textContent = short(ours);
    this.querySelector(".finding").innerHTML = times >= 1
      ? `For all ${whole.format(sizes.H * sizes.W)} queries, plain attention takes <b>${ratio(times)} times</b> as many
         multiplications as hierarchical attention.`
      : `Here the hierarchy does not pay: it takes <b>${ratio(1 / times)} times</b> as many multiplications as plain
         attention.`;
    this.announce();
  }

  /** Read the counter and the cost out once nothing has changed for a while. */
  announce() {
    clearTimeout(this.resting);
    this.resting = setTimeout(() => {
      const { query } = this.state(), text = (selector) => this.querySelector(selector).textContent;
      this.querySelector(".announcement").textContent = `Row ${query.row}, column ${query.column}: ${text(".number")}
        ${text(".of")}. ${text(".near figcaption")}; ${text(".far figcaption")}. ${text(".finding")}`;
    }, 700);
  }
}

/** Mean colours of the photo. */
async function load(address) {
  const image = new Image();
  image.src = address;
  await image.decode();
  const { naturalWidth: side } = image, context = new OffscreenCanvas(side, side).getContext("2d");
  context.drawImage(image, 0, 0);
  return new Means(context.getImageData(0, 0, side, side));
}

/** Call `play` a moment after most of an element has come into view. */
function playOnceSeen(element, play) {
  const observer = new IntersectionObserver(([{ isIntersecting }]) => {
    if (!isIntersecting) return;
    observer.disconnect();
    setTimeout(play, 1200);
  }, { threshold: 0.6 });
  observer.observe(element);
}

customElements.define("attention-hierarchy", AttentionHierarchy);
