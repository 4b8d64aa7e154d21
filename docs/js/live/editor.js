/* The sources of the reference to edit, and the table of what departs from PyTorch's figures. */

const FILES = ["hierarchical_attention", "attention", "layers", "network"].map((name) => `reference/${name}.py`);
export const LIMIT = 1e-12; // relative; the two implementations agree to about 1e-15

/** 2.9e-1 -> 2.9 · 10⁻¹ */
export function power(value) {
  if (value === null) return "other shape";
  if (value === 0) return "0";
  const [digits, exponent] = value.toExponential(1).split("e");
  const raised = [...String(Number(exponent))].map((sign) => "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"["-0123456789".indexOf(sign)]).join("");
  return `${digits} · 10${raised}`;
}

/** The first row that departs by more than the limit; undefined if none does. */
export const firstDeparture = (rows) => rows.find(({ error }) => error === null || error > LIMIT);

export class Editor {
  constructor(place, sources, edits) {
    this.original = sources;
    this.texts = { ...sources };
    place.innerHTML = `
      <p class="suggestions" role="group" aria-label="Edits to try">
        ${edits.map(({ title }, index) => `<button type="button" data-edit="${index}">${title}</button>`).join("")}</p>
      <div class="choices"><label>File <select name="file">${FILES.map((name) => `<option>${name}</option>`).join("")}
        </select></label>
        <span class="changed" role="status"></span></div>
      <div class="code"><pre aria-hidden="true"></pre><textarea spellcheck="false" autocapitalize="off" wrap="off"
        aria-label="Source of the file; Escape leaves it"></textarea></div>
      <div class="choices"><button type="button" class="main again">Run the edited reference</button>
        <button type="button" class="reset">Reset all files</button></div>`;
    this.area = place.querySelector("textarea");
    this.numbers = place.querySelector("pre");
    this.file = place.querySelector("[name=file]");
    this.changed = place.querySelector(".changed");
    this.file.onchange = () => this.show();
    this.area.oninput = () => this.keep();
    this.area.onscroll = () => (this.numbers.scrollTop = this.area.scrollTop);
    this.area.onkeydown = (event) => {
      if (event.key === "Escape") this.file.focus();
    };
    place.querySelector(".reset").onclick = () => this.reset();
    place.addEventListener("click", ({ target }) => {
      if (target.dataset.edit) this.suggest(edits[target.dataset.edit].change);
    });
    this.show();
  }

  /** Whether a file differs from the repository's. */
  get edited() {
    return FILES.some((name) => this.texts[name] !== this.original[name]);
  }

  reset() {
    this.texts = { ...this.original };
    this.show();
  }

  /** Apply one edit to the unchanged files, and show where it is. */
  suggest({ file, old, new: replacement }) {
    this.texts = { ...this.original, [file]: this.original[file].replace(old, () => replacement) };
    this.file.value = file;
    this.show();
    const start = this.original[file].indexOf(old);
    this.goTo(this.original[file].slice(0, start).split("\n").length);
    this.area.setSelectionRange(start, start + replacement.length);
  }

  /** Scroll to a line, counted from 1, of a file, and select it. */
  goTo(line, file = this.file.value) {
    if (!FILES.includes(file)) return;
    if (file !== this.file.value) {
      this.file.value = file;
      this.show();
    }
    const height = this.area.scrollHeight / this.area.value.split("\n").length;
    this.area.scrollTop = Math.max(0, (line - 5) * height);
    this.area.scrollLeft = 0;
    const before = this.area.value.split("\n").slice(0, line - 1).join("\n").length + (line > 1);
    this.area.setSelectionRange(before, before + this.area.value.split("\n")[line - 1].length);
    this.area.focus({ preventScroll: true });
  }

  show() {
    this.area.value = this.texts[this.file.value];
    this.area.scrollTop = 0;
    this.keep();
  }

  keep() {
    this.texts[this.file.value] = this.area.value;
    const lines = this.area.value.split("\n").length;
    this.numbers.textContent = Array.from({ length: lines }, (_, index) => index + 1).join("\n");
    const names = FILES.filter((name) => this.texts[name] !== this.original[name]);
    this.changed.textContent = names.length ? `Edited: ${names.join(", ")}` : "Unchanged";
  }
}

/** The sentence and the table, as HTML. */
export function departures(rows, against) {
  const first = firstDeparture(rows), index = rows.indexOf(first);
  const before = index > 0 ? ` The ${index} before it agree.` : "";
  const worst = Math.max(...rows.map(({ error }) => error ?? 0));
  const finding = first
    ? `<p class="finding departs"><b>First to depart from ${against}: <code>${first.name}</code></b>, by
       ${power(first.error)} of its largest entry.${before}</p>`
    : `<p class="finding agrees"><b>All ${rows.length} intermediates agree with ${against}</b>, to ${power(worst)} of their
       largest entry.</p>`;
  const bar = (error) => (error === null ? 100 : error ? Math.min(100, Math.max(0, (100 * (Math.log10(error) + 16)) / 16)) : 0);
  const line = ({ name, error }) => `<tr class="${error === null || error > LIMIT ? "departs" : ""}${
    name === first?.name ? " first" : ""}"><th scope="row"><code>${name}</code></th>
    <td class="bar"><i style="width: ${bar(error)}%"></i></td><td>${power(error)}</td></tr>`;
  return `${finding}<details${first ? " open" : ""}><summary>All ${rows.length} intermediates, in the order of
    computation</summary><div class="scroll"><table class="departures"><thead><tr><th scope="col">intermediate</th>
    <th scope="col">10⁻¹⁶ to 1</th><th scope="col">difference</th></tr></thead>
    <tbody>${rows.map(line).join("")}</tbody></table></div></details>`;
}
