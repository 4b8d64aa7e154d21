/* <bug-lab>: choose a planted bug and a size, predict, and watch what the bug does. On the record that the builder
 * made by running every bug; and by running it here too, once Python is loaded. */

import { power } from "./editor.js";
import { record } from "./engine.js";
import { scale, tokens } from "./lab_figures.js";
import { loading } from "./loading.js";
import { look, shrinkSteps, SIDES } from "./shrink.js";

const LOOSE = 1e-3, SHARP = 1e-12;
const LABELS = { H: "<var>H</var>, rows of tokens", W: "<var>W</var>, columns", G1: "<var>G</var><sub>1</sub>, side of a window" };
const KINDS = { unit: "as in our tests: a matrix keeps the size of its input, biases are random",
  fresh: "as before training: standard deviation 0.02, biases 0" };
const times = ([H, W, G1]) => `${H} × ${W}, G₁ = ${G1}`;

export async function start(element) {
  const lab = new Lab(element, await record());
  lab.engine = await loading(element.querySelector(".engine"));
  lab.engine.addEventListener("ready", () => lab.show());
}

class Lab {
  constructor(element, kept) {
    Object.assign(this, { element, kept, bug: 0, weights: "unit", size: [6, 8, 3], right: 0, asked: 0 });
    const slider = (name, [low, high], axis) => `<label>${LABELS[name]} <output></output>
      <input type="range" name="${axis}" min="${low}" max="${high}" value="${this.size[axis]}"></label>`;
    element.innerHTML = `
      <div class="bugs" role="group" aria-label="The bug">${kept.bugs.map(({ title }, index) =>
        `<button type="button" data-bug="${index}">${title}</button>`).join("")}</div>
      <div class="about"></div>
      <div class="settings">${Object.entries(SIDES).map(([name, ends], axis) => slider(name, ends, axis)).join("")}</div>
      <fieldset class="weights"><legend>Weights</legend>${Object.entries(KINDS).map(([kind, words]) =>
        `<label><input type="radio" name="weights" value="${kind}"${kind === "unit" ? " checked" : ""}> ${words}</label>`).join("")}
      </fieldset>
      <div class="predict" role="group" aria-label="Your prediction"><p>A test compares the two outputs in float32, and allows a
        difference of 10⁻³. <b>Does it see the bug?</b></p>
        <button type="button" class="main" data-guess="yes">Yes, it fails</button>
        <button type="button" class="main" data-guess="no">No, it passes</button>
        <label><input type="checkbox" name="open"> show the answer at once</label></div>
      <div class="result" hidden><p class="finding" role="status"></p><div class="scale"></div>
        <div class="lands"><figure class="before"></figure><figure class="after"></figure></div>
        <p class="count"></p>
        <h4>The counterexample shrinks</h4><p class="shrinks"></p><ol class="steps"></ol>
        <p class="live-result" role="status"></p></div>
      <div class="engine"></div>`;
    element.addEventListener("click", ({ target }) => this.click(target.dataset));
    element.addEventListener("input", ({ target }) => this.input(target));
    this.change();
  }

  find(selector) {
    return this.element.querySelector(selector);
  }

  click({ bug, guess, step }) {
    if (bug) Object.assign(this, { bug: Number(bug) });
    if (step) this.setSize(step.split(" ").map(Number));
    if (bug) this.change();
    if (guess) this.reveal(guess);
    if (step) this.show();
  }

  input({ name, value }) {
    if (name === "open") return this.change();
    if (name === "weights") this.weights = value;
    else if (/^\d$/.test(name)) this.size = this.size.with(Number(name), Number(value));
    else return;
    this.change();
  }

  setSize(size) {
    this.size = size;
    this.element.querySelectorAll("[type=range]").forEach((input, axis) => (input.value = size[axis]));
    this.labels();
  }

  labels() {
    this.element.querySelectorAll(".settings output").forEach((output, axis) => (output.textContent = this.size[axis]));
    this.element.querySelectorAll("[data-bug]").forEach((button) =>
      button.setAttribute("aria-pressed", Number(button.dataset.bug) === this.bug));
  }

  /** After a new choice: a new question, or the answer at once if the reader wants that. */
  change() {
    this.labels();
    const { title, about, changes, patch } = this.kept.bugs[this.bug];
    const lines = changes.flatMap(({ old, new: by }) => [...cut(old, "-"), ...cut(by, "+")]);
    this.find(".about").innerHTML = `<p><b>${title}.</b> ${about}</p>
      <pre class="diff" tabindex="0" aria-label="The change in ${changes[0].file}"><code></code></pre>
      <p class="source">${changes[0].file}; planted in PyTorch as <code>${patch}.patch</code></p>`;
    this.find(".diff code").replaceChildren(...lines.map(([sign, line]) =>
      Object.assign(document.createElement("span"), { className: sign === "-" ? "old" : "new", textContent: `${sign} ${line}\n` })));
    const open = this.find("[name=open]").checked;
    this.find(".result").hidden = !open;
    this.element.querySelectorAll("[data-guess]").forEach((button) => (button.hidden = open));
    if (open) this.show();
  }

  reveal(guess) {
    const seen = this.look().departure > LOOSE, hit = seen === (guess === "yes");
    this.asked += 1;
    this.right += hit;
    this.find(".result").hidden = false;
    this.element.querySelectorAll("[data-guess]").forEach((button) => (button.hidden = true));
    this.show(`${hit ? "You were right" : "You were wrong"} (${this.right} of ${this.asked}). `);
  }

  look(size = this.size) {
    return look(this.kept, this.bug, size, this.weights);
  }

  show(verdict = "") {
    if (this.find(".result").hidden) return;
    const found = this.look(), { departure, float32 } = found;
    const seen = departure > LOOSE, sharp = departure > SHARP;
    const far = seen ? "" : departure > 3 * float32 ? ` It is ${Math.round(departure / float32)} times the noise of float32; the tolerance hides it.`
      : " That is about the noise of float32 itself, so no tolerance in float32 could see it.";
    const words = !sharp
      ? "At this size the bug changes nothing, so no test can see it. Only another size can: this is why sizes are drawn."
      : `It moves the output by ${power(departure)} of its largest entry. The test at 10⁻³ in float32 <b>${
        seen ? "fails, so it sees the bug" : "passes, so it misses the bug"}</b>.${far} A test at 10⁻¹² in float64 sees it.`;
    this.find(".finding").innerHTML = `${verdict}${words} ${this.kept.bugs[this.bug].clue}`;
    this.find(".scale").innerHTML = scale(found, LOOSE, SHARP);
    this.lands(found.landing);
    this.shrinks(seen ? LOOSE : SHARP, sharp);
    this.live();
  }

  lands(landing) {
    const [H, W, G1] = this.size, own = landing.map((_, token) => token);
    const moved = landing.filter((token, place) => token >= 0 && token !== place).length;
    const changed = landing.filter((token) => token < 0).length;
    this.find(".before").innerHTML = `${tokens(H, W, G1, own)}<figcaption>without the bug: the local result of each token,
      in its place</figcaption>`;
    this.find(".after").innerHTML = `${tokens(H, W, G1, landing)}<figcaption>with the bug: whose result is there; × is
      nobody's</figcaption>`;
    this.find(".count").textContent = moved + changed === 0
      ? "All local results are in place and unchanged: here the bug acts after the windows, or not at all."
      : `${moved} of ${H * W} tokens land in the wrong place, ${changed} hold a wrong result.`;
  }

  shrinks(tolerance, any) {
    const list = this.find(".steps");
    this.find(".shrinks").textContent = !any ? "There is nothing to shrink: this size is no counterexample."
      : `Found at ${times(this.size)} by the test at ${tolerance === LOOSE ? "10⁻³ in float32" : "10⁻¹² in float64"}. As
        Hypothesis does, each step makes one side as small as it can be while the test still fails. Click a step to look at it.`;
    const steps = any ? shrinkSteps(this.size, (size) => this.look(size).departure > tolerance) : [];
    list.innerHTML = steps.map((size, index) => `<li style="--step: ${index}"><button type="button" data-step="${size.join(" ")}">
      ${tokens(...size, Array.from({ length: size[0] * size[1] }, (_, token) => token), 5)}<span>${times(size)}</span></button></li>`).join("");
  }

  /** The same bug, run here. */
  async live() {
    const words = this.find(".live-result");
    if (!this.engine?.ready) return (words.textContent = "These figures were recorded when the site was built. Load Python below to compute them here.");
    const at = [this.bug, String(this.size), this.weights].join();
    this.wanted = at;
    try {
      const result = await this.engine.call("bug", this.kept.bugs[this.bug].changes, ...this.size, this.weights);
      if (this.wanted !== at) return;
      const same = String(result.landing) === String(this.look().landing);
      words.textContent = `Computed here: ${power(result.departure)}; recorded: ${power(this.look().departure)}.${
        same ? "" : " The tokens land elsewhere!"}`;
      words.dataset.departure = result.departure;
    } catch (error) {
      words.textContent = `Not computed: ${error.message}`;
    }
  }
}

const cut = (text, sign) => text.replace(/\n$/, "").split("\n").map((line) => [sign, line.trim()]);
