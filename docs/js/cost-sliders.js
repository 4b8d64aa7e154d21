/* <cost-sliders>: the cost of attention, with sliders. Without JavaScript the page shows the element's content. */

import { hMhsa, keys, map, mhsa, ratio, short, sum, whole } from "./attention-cost.js";

const LIMITS = {
  height: { low: 32, high: 2048, step: 32 }, // step is for the slider; the box beside it accepts any whole number
  width: { low: 32, high: 2048, step: 32 },
  stride: { choices: [2, 4, 8, 16, 32] },
  C: { low: 16, high: 640, step: 16 },
  G1: { low: 1, high: 32, step: 1 },
  G2: { low: 1, high: 32, step: 1 },
};

const LABELS = {
  height: "Image height, pixels",
  width: "Image width, pixels",
  stride: "Stride, pixels per token",
  C: "<var>C</var>, channels",
  G1: "<var>G</var><sub>1</sub>, side of a window, tokens",
  G2: "<var>G</var><sub>2</sub>, side of a pooling cell, tokens",
};

const at224 = { height: 224, width: 224 };
const dense = { height: 800, width: 1280 };
const PRESETS = [
  {
    title: "Small, classification, 224 × 224",
    settings: {
      "stages.0": { ...at224, stride: 4, C: 64, G1: 8, G2: 8 },
      "stages.1": { ...at224, stride: 8, C: 128, G1: 7, G2: 4 },
      "stages.2": { ...at224, stride: 16, C: 320, G1: 7, G2: 2 },
    },
  },
  {
    title: "Small, detection, 800 × 1280",
    settings: {
      "stages.0": { ...dense, stride: 4, C: 64, G1: 8, G2: 16 },
      "stages.1": { ...dense, stride: 8, C: 128, G1: 8, G2: 8 },
      "stages.2": { ...dense, stride: 16, C: 320, G1: 8, G2: 4 },
    },
  },
];

const percent = new Intl.NumberFormat("en", { style: "percent", maximumFractionDigits: 1 });

/** The name of a term on the page: "Q1 K1^T" -> Q₁K₁ᵀ in HTML. */
function pretty(term) {
  const letter = (_, name, index, power) =>
    `<var>${name}</var>${index ? `<sub>${index}</sub>` : ""}${power ? `<sup>${power}</sup>` : ""}`;
  return term.replace(/\b([QKVW])(\d?)(?:\^?([qkvpT]))?\b/g, letter).replace("softmax", "Softmax ·");
}

/** Classes for the colour of a term: "plain", "near", "far" or "both". Matrices are light, products of two maps full. */
function kind(term) {
  const step = term === "Wp" ? "both" : term.includes("1") ? "near" : term.includes("2") ? "far" : "plain";
  return `${step} ${term.startsWith("W") ? "matrix" : "product"}`;
}

function segments(macs, full) {
  return Object.entries(macs)
    .map(([term, count]) => `<i class="${kind(term)}" style="width: ${(100 * count) / full}%"></i>`)
    .join("");
}

function rows(name, macs, largest, equation) {
  const total = sum(macs);
  const lines = Object.entries(macs).map(
    ([term, count]) => `<tr data-term="${term}">
      <th scope="row">${pretty(term)}</th>
      <td class="bar"><i class="${kind(term)}" style="width: ${(100 * count) / total / largest}%"></i></td>
      <td>${whole.format(count)}</td><td>${percent.format(count / total)}</td></tr>`,
  );
  const sumRow = (name, count) => `<th scope="row" colspan="2">${name}</th><td>${whole.format(count)}</td><td></td>`;
  return `<tr class="name"><th scope="rowgroup" colspan="2">${name}</th><th scope="col">MACs</th>
      <th scope="col">share</th></tr>${lines.join("")}
    <tr class="total">${sumRow("all", total)}</tr>
    <tr>${sumRow(`without <var>W</var><sup>p</sup>${equation}`, total - macs.Wp)}</tr>`;
}

const preset = (index, name) => `<button type="button" data-preset="${index} ${name}">${name}</button>`;

function control(name, { low, high, step, choices }) {
  const label = `<label for="cost-${name}">${LABELS[name]}</label>`;
  if (choices) {
    const options = choices.map((choice) => `<option>${choice}</option>`).join("");
    return `<div class="control">${label}<select id="cost-${name}" name="${name}">${options}</select></div>`;
  }
  const exactly = `${LABELS[name].replace(/<[^>]*>/g, "")}, exactly`;
  return `<div class="control">${label}
    <input type="range" id="cost-${name}" name="${name}" min="${low}" max="${high}" step="${step}">
    <input type="number" name="${name}" min="${low}" max="${high}" inputmode="numeric" aria-label="${exactly}"></div>`;
}

class CostSliders extends HTMLElement {
  /** Draw the controls once; `show` fills in the rest after every change. */
  connectedCallback() {
    if (this.settings) return;
    this.settings = { ...PRESETS[0].settings["stages.0"] };
    this.innerHTML = `
      <div class="settings" role="group" aria-label="Settings">
        ${PRESETS.map(({ title, settings }, index) => `
          <div class="presets" role="group" aria-label="${title}"><span>${title}</span>
            ${Object.keys(settings).map((name) => preset(index, name)).join("")}
          </div>`).join("")}
        ${Object.entries(LIMITS).map(([name, limits]) => control(name, limits)).join("")}
      </div>
      <p class="finding"></p>
      <p class="announcement" role="status"></p>
      <div class="bars" aria-hidden="true"></div>
      <table class="terms"><caption>Every term, in the order of computation</caption>
        <tbody class="h-mhsa"></tbody><tbody class="mhsa"></tbody></table>`;
    this.addEventListener("input", ({ target }) => this.change(target));
    this.addEventListener("change", () => this.show()); // replaces a typed number that is out of bounds
    this.addEventListener("click", ({ target }) => {
      const [index, name] = target.dataset.preset?.split(" ") ?? [];
      if (!name) return;
      Object.assign(this.settings, PRESETS[index].settings[name]);
      this.show();
    });
    this.show();
  }

  /** Adopt a value, within its limits, if it is a number. */
  change(source) {
    const { low, high } = LIMITS[source.name];
    const value = Math.round(Number(source.value));
    if (source.value === "" || !Number.isFinite(value)) return;
    this.settings[source.name] = source.tagName === "SELECT" ? value : Math.min(Math.max(value, low), high);
    this.show(source);
  }

  /** Update everything on the page, except the box in which someone is typing. */
  show(source = null) {
    const settings = this.settings;
    for (const input of this.querySelectorAll("input, select")) {
      if (input !== source) input.value = settings[input.name];
      if (input.type === "range") input.setAttribute("aria-valuetext", settings[input.name]);
    }
    for (const button of this.querySelectorAll("[data-preset]")) {
      const [index, name] = button.dataset.preset.split(" ");
      const same = Object.entries(PRESETS[index].settings[name]).every(([key, value]) => settings[key] === value);
      button.setAttribute("aria-pressed", same);
    }
    const sizes = map(settings);
    const ours = hMhsa(sizes), plain = mhsa(sizes);
    this.querySelector(".finding").innerHTML = finding(sizes, ours, plain);
    this.announce();
    this.querySelector(".bars").innerHTML = bars(ours, plain);
    const largest = Math.max(...[ours, plain].map((macs) => Math.max(...Object.values(macs)) / sum(macs)));
    const divides = [sizes.G1, sizes.G2].every((G) => sizes.H % G === 0 && sizes.W % G === 0);
    this.querySelector(".h-mhsa").innerHTML = rows("H-MHSA", ours, largest, divides ? ": Eq. 15" : "");
    this.querySelector(".mhsa").innerHTML = rows("Plain attention", plain, largest, ": Eq. 5");
  }

  /** Announce the finding to screen readers once the sliders rest, not at every step. */
  announce() {
    clearTimeout(this.resting);
    this.resting = setTimeout(() => {
      this.querySelector(".announcement").textContent = this.querySelector(".finding").textContent;
    }, 600);
  }
}

/** The result of the settings, in words. */
function finding(sizes, ours, plain) {
  const { H, W, G1 } = sizes;
  const { near, far, plain: N } = keys({ ...sizes, row: 0, column: 0 }); // the first window is the largest
  const without = (sum(plain) - plain.Wp) / (sum(ours) - ours.Wp), all = sum(plain) / sum(ours);
  const verdict = all > 1 ? "H-MHSA is cheaper" : all < 1 ? "<strong>H-MHSA costs more</strong>" : "They cost the same";
  return `<b>${verdict}.</b> Plain attention needs <b>${ratio(all)} times</b> as many MACs, or ${ratio(without)} times
    without <var>W</var><sup>p</sup>, which Eq. 5 and 15 leave out. The map has ${H} × ${W} tokens. A query has
    ${whole.format(near + far)} keys${H % G1 || W % G1 ? " at most" : ""} (${whole.format(near)} near,
    ${whole.format(far)} far) instead of ${whole.format(N)}.`;
}

/** One bar for each of the two, on a common scale. */
function bars(ours, plain) {
  const full = Math.max(sum(ours), sum(plain));
  const line = (name, macs) => `<span>${name}</span><span class="stack">${segments(macs, full)}</span>
    <span>${short(sum(macs))}</span>`;
  const entry = (kind, words) => `<span><i class="${kind}"></i><span>${words}</span></span>`;
  return `${line("H-MHSA", ours)}${line("Plain", plain)}
    <div class="legend">${entry("near matrix", "near, matrices")}${entry("near product", "near, attention products")}
    ${entry("far matrix", "far, matrices")}${entry("far product", "far, attention products")}
    ${entry("plain matrix", "plain, matrices")}${entry("plain product", "plain, attention products")}
    ${entry("both matrix", "<var>W</var><sup>p</sup>")}</div>`;
}

customElements.define("cost-sliders", CostSliders);
