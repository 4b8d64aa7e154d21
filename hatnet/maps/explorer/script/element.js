/* The element: it shows the state, and changes it as the reader points, clicks and types. */

class AttentionExplorer extends HTMLElement {
  async connectedCallback() {
    if (this.shadowRoot) return;
    this.attachShadow({ mode: "open" }).innerHTML = `<style>${STYLE}</style>
      <p class="state" role="status">Loading …</p>`;
    try {
      this.state = new State(await read(await this.bytes()));
      this.images = await Promise.all(this.header.pictures.map(({ image }) => loadImage(image)));
    } catch (error) {
      this.find(".state")[0].textContent = `The attention maps cannot be shown: ${error.message}`;
      return;
    }
    this.shadowRoot.innerHTML = `<style>${STYLE}</style>${skeleton(this.header)}`;
    this.listen();
    this.stageSettings();
    this.classSettings();
    this.show();
  }

  /** The file, from inside the element or from `src`. */
  async bytes() {
    const inside = this.querySelector("script[type='application/gzip;base64']");
    if (inside) return fromBase64(inside.textContent.trim());
    const answer = await fetch(this.getAttribute("src"));
    if (!answer.ok) throw new Error(`${answer.url} answered ${answer.status}`);
    return new Uint8Array(await answer.arrayBuffer());
  }

  get header() {
    return this.state.maps.header;
  }

  /** @returns {HTMLElement[]} */
  find(selector) {
    return [...this.shadowRoot.querySelectorAll(selector)];
  }

  listen() {
    const { state } = this, [query] = this.find(".query canvas"), [map] = this.find(".map canvas");
    this.shadowRoot.addEventListener("change", ({ target }) => this.set(target));
    for (const label of this.find(".kinds label")) { // by a class, because some browsers lack :has()
      const mark = ({ target }) => label.classList.toggle("focused", target.matches(":focus-visible"));
      label.addEventListener("focusin", mark);
      label.addEventListener("focusout", mark);
    }
    const overKey = (spot) => { state.passing = { pixel: null, key: spot && state.keyAt(spot) }; };
    const overQuery = (spot) => { state.passing = { pixel: spot && state.pixelAt(spot), key: null }; };
    const keep = () => { state.keepPassing(); this.show(); };
    // Without a query, the picture chooses the same place of the map.
    follow(query, (spot) => (state.hasQuery ? overQuery : overKey)(spot), keep, () => this.show());
    follow(map, overKey, keep, () => this.show());
    onKeys(query, () => state.hasQuery, (to) => { state.moveQuery(to); this.show(); });
    onKeys(map, () => true, (to) => { state.moveKey(to); this.show(); });
    let width = this.clientWidth;
    new ResizeObserver(() => {
      if (this.clientWidth !== width) this.show();
      width = this.clientWidth;
    }).observe(this);
  }

  /** The reader chose a setting. */
  set({ name, value }) {
    this.state.set(name, value);
    if (name === "stage") this.stageSettings();
    if (name === "picture") this.classSettings();
    this.show();
  }

  /** Blocks and heads, which differ from stage to stage. */
  stageSettings() {
    const { depth, heads } = this.state.stage;
    const numbers = (count, word) => Array.from({ length: count }, (_, index) => [index, index, `${word} ${index}`]);
    const mean = heads > 1 ? [["mean", "mean", "Mean of the heads"]] : [];
    this.find(".of-stage")[0].innerHTML = choices("block", "Block", numbers(depth, "Block"))
      + choices("head", "Head", [...mean, ...numbers(heads, "Head")]);
  }

  /** The classes that a picture has maps for. */
  classSettings() {
    const { maps, choice } = this.state;
    const options = maps.whole[choice.picture].filter(({ kind }) => kind === "class")
      .map(({ name, role }, index) => [index, escape(name), escape(`${name}, ${role}`)]);
    this.find(".of-picture")[0].innerHTML = choices("class", "Class", options);
  }

  /** Bring everything up to date. */
  show() {
    const { state } = this, { kind } = state;
    const rows = Object.fromEntries(Object.keys(KINDS).filter((kind) => state.has(kind))
      .map((kind) => [kind, state.row(kind)]));
    const row = rows[kind], key = state.keyOf(row), order = ranked(row);
    this.showSettings(rows);
    this.showPicture(rows.local, row, key);
    this.showMap(row, key);
    this.find(".readout")[0].innerHTML = explain(state, row, key, order);
    this.speak(row, order);
  }

  /** The radio buttons, with a small map for each kind. */
  showSettings(rows) {
    const { state } = this;
    const now = { ...state.choice, kind: state.kind, head: state.head ?? "mean" };
    for (const input of this.find("input")) input.checked = String(now[input.name]) === input.value;
    for (const label of this.find(".kinds label")) {
      const [input, canvas, words] = label.children, row = rows[input.value];
      input.disabled = !row;
      label.classList.toggle("chosen", input.checked);
      label.classList.toggle("missing", !row);
      words.innerHTML = kindWords(input.value, row, state.stage);
      if (row) this.draw(canvas, row, input.value);
    }
    for (const setting of this.find("fieldset:is(.stage, .block, .head)")) setting.disabled = !state.hasQuery;
    this.find("fieldset.class")[0].hidden = state.kind !== "class";
  }

  /** The cells over the grey picture. */
  draw(canvas, row, kind, numbers = false) {
    const drawing = new Drawing(canvas, this.state.part(row, kind), this.header.image);
    drawing.picture(this.images[this.state.choice.picture], true);
    drawing.cells(row, this.state.largest(row, kind), numbers);
    return drawing;
  }

  /** The picture with the query, its window and the key, and the sentences below it. */
  showPicture(window, row, key) {
    const { state } = this, [canvas] = this.find(".query canvas");
    const drawing = new Drawing(canvas, [0, 0, ...this.header.image], this.header.image);
    drawing.picture(this.images[state.choice.picture], false);
    if (state.hasQuery && window) drawing.outline(state.part(window, "local"), "window");
    drawing.outline(boxOf(row, key), "key");
    if (state.hasQuery) drawing.outline(state.queryBox(), "query");
    this.find(".query figcaption")[0].innerHTML = pictureWords(state);
    canvas.tabIndex = state.hasQuery ? 0 : -1;
    canvas.setAttribute("aria-disabled", !state.hasQuery);
    setSlider(canvas, state.query, [0, state.stage.map[1] - 1], "token");
  }

  /** The chosen map, its colour scale, and the sentences below it. */
  showMap(row, key) {
    const { state } = this, { kind, stage } = state, [canvas] = this.find(".map canvas");
    const drawing = this.draw(canvas, row, kind, true);
    if (state.hasQuery) {
      const window = stage.window && kind !== "local" && windowAt(stage, ...state.query);
      if (window) drawing.outline(state.part(window, "local"), "window");
      drawing.outline(state.queryBox(), "query");
    }
    drawing.outline(boxOf(row, key), "key");
    this.showScale(row);
    this.find(".map figcaption")[0].innerHTML = mapWords(kind, stage, row);
    canvas.setAttribute("aria-label", state.hasQuery ? `Key of the ${kind} map` : `Token of the ${kind} map, whole network`);
    const ends = [row.left, largestOf(ranked(row).map((key) => placeOf(row, key)[1]))];
    setSlider(canvas, placeOf(row, key), ends, row.side > 1 ? "cell" : "token", `, ${entryDigits(row, row.values[key])}`);
  }

  /** The colour scale from zero to the largest weight, with a tick where all weights would be equal. */
  showScale(row) {
    const { kind } = this.state, most = this.state.largest(row, kind);
    const even = 1 / ranked(row).length, at = (100 * even) / most;
    const [tick] = this.find(".ramp i"), [word] = this.find(".even");
    tick.style.left = `${at}%`;
    tick.hidden = word.hidden = at > 100 || kind === "class"; // the sum of a class map has no meaning
    word.style.left = `${Math.min(Math.max(at, 26), 66)}%`;
    word.textContent = `equal ${digits(even)}`;
    const beyond = row.whole && largestOf(row.values) > most;
    this.find(".most")[0].textContent = `${beyond ? "≥ " : ""}${entryDigits(row, most)}`;
  }

  /**
   * Tell screen readers about the row once the query rests, not at every step. Say nothing before the reader has changed
   * something, because a page may hold several explorers.
   */
  speak(row, order) {
    const finding = this.find(".finding")[0].textContent.replace(/\s+/g, " ");
    const words = `${finding} ${rowWords(row, order)}`;
    const first = this.words === undefined, same = this.words === words;
    this.words = words;
    if (first || same) return;
    clearTimeout(this.resting);
    this.resting = setTimeout(() => { this.find(".spoken[role=status]")[0].textContent = words; }, 500);
  }
}

customElements.define("attention-explorer", AttentionExplorer);
