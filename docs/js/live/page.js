/* <live-reference>: choose a picture, run the reference on it, look at its maps, and edit a line. */

import { facts, sources } from "./engine.js";
import { departures, Editor, firstDeparture, power } from "./editor.js";
import { loading } from "./loading.js";
import { Maps } from "./maps.js";
import { decode, drawing, invert, lightBorder, paint, shrink } from "./pictures.js";

const percent = (share) => (share > 0.9995 && share < 1 ? "> 99.9 %" : `${(100 * share).toFixed(1)} %`);

export async function start(element) {
  const page = new Page(element, await facts());
  page.engine = await loading(element.querySelector(".engine"));
  page.connect();
}

class Page {
  constructor(element, known) {
    Object.assign(this, { element, known });
    element.innerHTML = `
      <div class="engine"></div>
      <section aria-label="The picture"><h3>1. A picture</h3><div class="pictures">
        <div class="choose"><div class="thumbs" role="group" aria-label="Test images of Fashion-MNIST">
          ${known.images.map(({ name }, i) => `<button type="button" data-image="${i}"><canvas></canvas>${name}</button>`).join("")}
        </div>
        <label class="drop">Your own picture <input type="file" accept="image/*"></label>
        <label><input type="checkbox" name="invert"> Swap light and dark (the network knows light clothes on black)</label>
        </div>
        <figure><canvas class="draw" width="196" height="196"></canvas>
          <figcaption>Draw here. <button type="button" class="clear">Clear</button></figcaption></figure>
        <figure><canvas class="chosen"></canvas><figcaption>What the network receives: 28 × 28 grey pixels</figcaption></figure>
      </div></section>
      <section aria-label="The answer"><h3>2. The answer</h3><div class="choices">
        <button type="button" class="main run">Run the reference</button></div>
        <p class="recorded" role="status"></p><div class="answer"></div></section>
      <section aria-label="Attention maps"><h3>3. Its attention maps</h3><div class="map-place"></div></section>
      <section aria-label="Edit a line"><h3>4. Edit a line</h3>
        <p>Change the source, run it again, and see which intermediate departs first from PyTorch's figures.</p>
        <div class="editor"><p>The source appears here once Python is loaded.</p></div><div class="departed"></div></section>`;
    this.find(".run").disabled = true;
    element.querySelectorAll("[data-image] canvas").forEach((canvas, i) => paint(canvas, decode(known.images[i].pixels)));
    this.choose(0);
  }

  find(selector) {
    return this.element.querySelector(selector);
  }

  connect() {
    this.maps = new Maps(this.find(".map-place"), this.engine, this.known);
    this.element.addEventListener("click", ({ target }) => {
      const button = target.closest("[data-image]");
      if (button) this.choose(Number(button.dataset.image));
    });
    this.find("[type=file]").onchange = ({ target }) => this.read(target.files[0]);
    this.find("[name=invert]").onchange = () => this.take(invert(this.pixels), this.image);
    const clear = drawing(this.find(".draw"), (pixels) => this.take(pixels, ""));
    this.find(".clear").onclick = clear;
    const drop = this.find(".pictures");
    drop.ondragover = (event) => event.preventDefault();
    drop.ondrop = (event) => {
      event.preventDefault();
      this.read(event.dataTransfer.files[0]);
    };
    this.find(".run").onclick = () => this.run();
    this.engine.addEventListener("ready", async () => {
      this.editor ??= new Editor(this.find(".editor"), await sources(), this.known.edits);
      this.find(".again").onclick = () => this.run(true);
      this.enable(true);
      this.run();
    });
    this.engine.addEventListener("stopped", () => this.enable(false));
    this.engine.addEventListener("progress", ({ detail: { recorded, count } }) => {
      if (recorded) this.find(".recorded").textContent = `Computing: ${recorded} (${count} of ${this.names ?? 41})`;
    });
  }

  enable(can) {
    this.find(".run").disabled = !can;
    if (this.editor) this.find(".again").disabled = !can;
    if (!can) this.find(".recorded").textContent = "";
  }

  choose(index) {
    const { name, pixels } = this.known.images[index];
    this.find("[name=invert]").checked = false;
    this.take(decode(pixels), name);
  }

  /** Read a picture from a file; a picture on a light ground is inverted, since the network knows black ground only. */
  async read(file) {
    if (!file) return;
    try {
      const bitmap = await createImageBitmap(file);
      const pixels = shrink(bitmap, bitmap.width, bitmap.height), light = lightBorder(pixels);
      this.find("[name=invert]").checked = light;
      this.take(light ? invert(pixels) : pixels, "");
    } catch {
      this.find(".recorded").textContent = `${file.name} is no picture that this browser can read.`;
    }
  }

  take(pixels, image) {
    const bundled = this.known.images.find(({ name }) => name === image);
    const same = bundled && String(decode(bundled.pixels)) === String(pixels);
    Object.assign(this, { pixels, image: same ? image : "" });
    paint(this.find(".chosen"), pixels);
    for (const button of this.element.querySelectorAll("[data-image]")) {
      button.setAttribute("aria-pressed", same && this.known.images[button.dataset.image].name === image);
    }
    if (this.engine?.ready) this.run();
  }

  /** Run the reference, edited or not. A picture chosen meanwhile runs next. */
  async run(edited = false) {
    if (!this.engine.ready) return;
    if (this.running) return (this.next = [edited]);
    this.running = true;
    this.engine.busy(true);
    const { pixels, image } = this;
    this.find(".departed").innerHTML = "";
    try {
      const texts = edited && this.editor.edited ? this.editor.texts : null;
      const result = await this.engine.call("run", pixels, image, texts);
      this.names = result.departures.length || 41;
      this.answer(result, image, texts !== null);
      if (edited) this.find(".departed").innerHTML = departures(result.departures, result.against || "PyTorch");
      this.maps.show(pixels);
    } catch (error) {
      this.failed(error);
    } finally {
      this.running = false;
      this.engine.busy(false);
    }
    const next = this.next;
    this.next = null;
    if (next && this.engine.ready) await this.run(...next);
  }

  answer({ logits, probabilities, seconds, departures: rows }, image, edited) {
    const order = probabilities.map((share, label) => [share, label]).sort(([a], [b]) => b - a).slice(0, 4);
    const bars = order.map(([share, label]) => `<tr><th scope="row">${this.known.classes[label]}</th>
      <td class="bar"><i style="width: ${100 * share}%"></i></td><td>${percent(share)}</td></tr>`);
    const kept = this.known.images.find(({ name }) => name === image)?.logits;
    const apart = kept && Math.max(...kept.map((logit, label) => Math.abs(logit - logits[label])));
    const verdict = !kept ? "PyTorch's logits are kept for the five test images only."
      : `The largest difference from PyTorch's logits is <b class="apart" data-value="${apart}">${power(apart)}</b>${
        edited ? "." : apart <= 1e-12 ? ", within the limit of 10⁻¹²." : ", more than the limit of 10⁻¹²."}`;
    this.find(".recorded").textContent = `${edited ? "Edited reference" : "Unchanged files"}: ${seconds.toFixed(2)} s, in float64.`;
    this.find(".answer").innerHTML = `<table class="shares"><tbody>${bars.join("")}</tbody></table><p>${verdict}</p>`;
    this.element.dataset.first = firstDeparture(rows)?.name ?? "";
  }

  failed(error) {
    this.find(".recorded").textContent = error.file ? "The edited reference raised an error." : `Not computed: ${error.message}`;
    if (!error.file) return;
    this.find(".departed").innerHTML = `<p class="finding departs"><b>${error.file}, line ${error.line}</b><br></p>`;
    this.find(".departed .finding").append(error.message);
    this.editor.goTo(error.line, error.file);
  }
}
