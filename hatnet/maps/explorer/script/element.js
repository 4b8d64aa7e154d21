/* The element: it shows the state, and changes it as the reader points, clicks and types. */

const FROM_FILES = ["picture", "beside", "order"]; // the choices for which maps are read

class AttentionExplorer extends HTMLElement {
  async connectedCallback() {
    if (this.shadowRoot) return;
    this.attachShadow({ mode: "open" }).innerHTML = `<style>${STYLE}</style>
      <p class="state" role="status">Loading …</p>`;
    try {
      await this.open();
    } catch (error) {
      this.find(".state")[0].textContent = `The attention maps cannot be shown: ${error.message}`;
      return;
    }
    this.shadowRoot.innerHTML = `<style>${STYLE}</style>${skeleton(this.library, this.state.view.header, this.linked)}`;
    this.listen();
    this.settings();
    this.show();
    this.dispatchEvent(new Event("ready"));
  }

  /** Read the library, and the maps that the address asks for. */
  async open() {
    this.library = await this.read();
    const { networks, pictures } = this.library, first = await this.library.view(0, 0);
    [this.made, this.asked] = [[], null]; // the choices that wait for their maps, and the state that they lead to
    this.state = new State(first, networks.length > 1 ? 1 : null);
    this.images = await Promise.all(pictures.map(({ image }) => loadImage(image)));
    this.turn = 0;
    await this.change((this.linked && fromAddress(location.hash, this.library, first.header)) || {});
  }

  /** The data are inside the element or in `src`: those of one network, or an index (.json) of several. */
  async read() {
    const inside = this.querySelector("script[type='application/gzip;base64']");
    if (inside) return libraryOf(await read(fromBase64(inside.textContent.trim())));
    const source = new URL(this.getAttribute("src"), this.baseURI);
    const found = await fetchBytes(source.href);
    if (!source.pathname.endsWith(".json")) return libraryOf(await read(found));
    return libraryFrom(JSON.parse(new TextDecoder().decode(found)), source.href);
  }

  /** Whether the view is part of the page's address. */
  get linked() {
    return this.hasAttribute("linked");
  }

  /** @returns {HTMLElement[]} */
  find(selector) {
    return [...this.shadowRoot.querySelectorAll(selector)];
  }

  /** The networks that are shown, by their numbers in the library. */
  get networks() {
    return this.state.networks;
  }

  /** What is shown side by side: the networks, or the first of them for its answer and for the true class. */
  get seen() {
    const { state, views: [first, ...others] } = this;
    return state.both ? [state.of(0), state.of(1)] : [state, ...others.map((view) => state.in(view))];
  }

  /** The name above a map. */
  nameOf(position) {
    if (this.state.both) return `${this.library.networks[0].name}, ${["its answer", "the true class"][position]}`;
    return this.state.hidden ? `Network ${"AB"[position]}` : this.library.networks[this.networks[position]].name;
  }

  /**
   * Make choices by name, such as `{ kind: "global", query: [10, 15] }`, and show them. Maps are read first if need be;
   * the controls show the choices at once, and those that are made meanwhile are added.
   * @returns {Promise} fulfilled once these choices are shown, with those that were added
   */
  choose(choices) {
    this.latest = this.make(choices);
    return this.latest;
  }

  async make(choices) {
    const changed = this.change(choices);
    this.settings();
    this.showSettings();
    let trouble = "";
    try {
      if (!(await changed)) return this.latest;
    } catch (error) {
      trouble = `These maps cannot be shown: ${error.message}`;
    }
    this.find(".state")[0].textContent = trouble;
    this.settings();
    return this.show();
  }

  /** @returns {Promise<boolean>} false if a later change has overtaken this one, which then includes it */
  async change(choices) {
    const made = [...this.made, ...Object.entries(choices)], asked = this.state.with(made);
    const turn = (this.turn += 1);
    [this.made, this.asked] = [made, asked];
    const views = await this.viewsOf(asked).catch((error) => error);
    if (turn !== this.turn) return false;
    [this.made, this.asked] = [[], null];
    if (views instanceof Error) {
      this.state.make(made.filter(([name]) => !FROM_FILES.includes(name)));
      throw views;
    }
    this.views = views;
    [this.state.view] = views;
    this.state.make(made);
    return true;
  }

  /** Read the maps of a state, one view for each network. */
  async viewsOf({ networks, choice: { picture } }) {
    const views = await Promise.all(networks.map((network) => this.library.view(network, picture)));
    const [shape, ...others] = views.map(({ header: { stages, image } }) => JSON.stringify([stages, image]));
    if (others.some((other) => other !== shape)) throw new Error("the two networks differ in their stages or image size");
    return views;
  }

  /** Show the two networks in this order, without anything that tells which is which. */
  hideNames(order) {
    return this.choose({ order });
  }

  showNames() {
    return this.choose({ order: null });
  }

  /** The weights of the keys that exist, in each network that is shown. @returns {{row: Row, weights: number[]}[]} */
  rows(kind) {
    return this.views.map((view) => {
      const row = this.state.in(view).row(kind);
      return { row, weights: ranked(row).map((key) => row.values[key]) };
    });
  }

  /** Show what an address says, such as "kind=global&stage=0"; what it leaves out stays. */
  look(address) {
    return this.choose(fromAddress(MARK + address, this.library, this.state.view.header));
  }

  listen() {
    const { state } = this, [query] = this.find(".query canvas");
    this.shadowRoot.addEventListener("change", ({ target: { name, value } }) => this.choose({ [name]: value }));
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
    onKeys(query, () => state.hasQuery, (to) => { state.moveQuery(to); this.show(); });
    for (const map of this.find(".map canvas")) {
      follow(map, overKey, keep, () => this.show());
      onKeys(map, () => true, (to) => { state.moveKey(to); this.show(); });
    }
    let width = this.clientWidth;
    new ResizeObserver(() => {
      if (this.clientWidth !== width) this.show();
      width = this.clientWidth;
    }).observe(this);
    if (this.linked) this.listenToAddress();
  }

  listenToAddress() {
    const [button] = this.find(".link button"), [answer] = this.find(".link span");
    button.addEventListener("click", async () => {
      this.writeAddress();
      const copied = await navigator.clipboard?.writeText(location.href).then(() => true, () => false);
      answer.textContent = copied ? "Copied." : "Copy it from the address bar.";
    });
    this.onAddress = ({ newURL }) => { // `location` may hold an address that was written since
      const choices = fromAddress(newURL ? new URL(newURL).hash : location.hash, this.library, this.state.view.header);
      if (choices && this.isConnected) this.choose(choices);
    };
    window.addEventListener("hashchange", this.onAddress);
  }

  /** Replace the address, so that going back leaves the page. Browsers refuse to do that many times a second. */
  writeAddress() {
    clearTimeout(this.writing);
    try {
      history.replaceState(history.state, "", toAddress(this.state));
    } catch {
      // a page inside another, such as a notebook, may not; then the view has no address
    }
  }

  /** The radio buttons that differ between stages, pictures and networks. The others stay, and the keyboard on them. */
  settings() {
    const { views } = this, { depth, heads } = (this.asked ?? this.state).stage;
    const numbers = (count, word) => Array.from({ length: count }, (_, index) => [index, index, `${word} ${index}`]);
    const mean = heads > 1 ? [["mean", "mean", "Mean of the heads"]] : [];
    refill(this.find(".of-stage")[0], choices("block", "Block", numbers(depth, "Block"))
      + choices("head", "Head", [...mean, ...numbers(heads, "Head")]));
    const ofClass = views.map(classMaps);
    const roles = views.length > 1 ? ["the network's answer", "the true class"].map((role, index) => [index, role, role])
      : ofClass[0].map(({ name, role }, index) => [index, escape(name), escape(`${name}, ${role}`)]);
    const most = largestOf(ofClass.map(({ length }) => length));
    const both = views.length > 1 && ofClass[0].length > 1 ? [[BOTH, "both, side by side", "both, side by side"]] : [];
    const legend = ofClass[0][0]?.of === "object" ? "Object" : "Class";
    refill(this.find(".of-picture")[0], choices("class", legend, [...roles.slice(0, most), ...both]));
    this.find(".size")[0].innerHTML = sizeWords(views);
  }

  /** Bring everything up to date. */
  show() {
    const { state, seen } = this, { kind } = state;
    const rows = seen.map((each) => each.row(kind)), key = state.keyOf(rows[0]), orders = rows.map(ranked);
    const own = state.query[0] * rows[0].columns + state.query[1];
    const scales = scalesOf(kind, rows, own);
    this.showSettings();
    this.showPicture(rows[0], key);
    this.find(".meaning")[0].innerHTML = mapWords(kind, state.stage, scales[0], rows[0].whole);
    this.find(".map").forEach((figure, at) =>
      this.showMap(figure, seen[at], rows[at], key, scales[at], this.nameOf(at)));
    this.find(".readout").forEach((readout, at) =>
      this.showReadout(readout, explain(seen[at], rows[at], key, orders[at]), this.nameOf(at)));
    this.speak(rows, orders);
    this.followAddress();
  }

  /** Take the view into the address, once the reader has changed it. */
  followAddress() {
    const now = toAddress(this.state), first = this.address === undefined;
    if (this.linked && !first && now !== this.address) {
      clearTimeout(this.writing);
      this.writing = setTimeout(() => this.writeAddress(), 150);
    }
    this.address = now;
  }

  showSettings() {
    const state = this.asked ?? this.state, [panels] = this.find(".panels");
    panels.setAttribute("aria-busy", this.asked !== null);
    const now = { ...state.choice, kind: state.kind, head: state.head ?? "mean", class: state.class };
    if (state.both) Object.assign(now, { class: BOTH, beside: null }); // the other network is not shown
    for (const input of this.find("input")) input.checked = String(now[input.name]) === input.value;
    for (const label of this.find(".kinds label")) {
      const [input, words] = label.children, row = state.has(input.value) ? state.row(input.value) : null;
      input.disabled = !row;
      label.classList.toggle("chosen", input.checked);
      label.classList.toggle("missing", !row);
      words.innerHTML = kindWords(input.value, row, state.stage);
    }
    for (const setting of this.find("fieldset:is(.stage, .block, .head)")) setting.disabled = !state.hasQuery;
    this.find("fieldset.class")[0].hidden = state.kind !== "class";
    for (const setting of this.find("fieldset.beside")) setting.disabled = state.hidden;
  }

  /** The picture with the query, its window and the key, and the sentences below it. */
  showPicture(row, key) {
    const { state } = this, { stage } = state, { image } = state.view.header, [canvas] = this.find(".query canvas");
    const drawing = new Drawing(canvas, [0, 0, ...image], image);
    drawing.picture(this.images[state.choice.picture]);
    if (state.hasQuery && stage.window) drawing.outline(state.windowBox(), "window");
    drawing.outline(boxOf(row, key), "key");
    if (state.hasQuery) drawing.outline(state.queryBox(), "query");
    this.find(".query figcaption")[0].innerHTML = pictureWords(state, this.views.length === 1);
    canvas.tabIndex = state.hasQuery ? 0 : -1;
    canvas.setAttribute("aria-disabled", !state.hasQuery);
    setSlider(canvas, state.query, [0, stage.map[1] - 1], "token");
  }

  /** A map with its rulers, its colour scale, and the sentences below it. */
  showMap(figure, state, row, key, scale, name) {
    const { kind, stage, hasQuery } = state, canvas = figure.querySelector("canvas"), part = state.part(row, kind);
    const drawing = new Drawing(canvas, part, state.view.header.image);
    drawing.cells(row, scale);
    drawing.outline(boxOf(row, key), "key");
    const rulers = figure.querySelectorAll(".ruler");
    setRulers(rulers, "query", hasQuery && state.queryBox(), part);
    setRulers(rulers, "window", hasQuery && stage.window && kind !== "local" && state.windowBox(), part);
    showScale(figure, row, scale, kind);
    figure.querySelector(".name").textContent = name;
    figure.querySelector("figcaption").innerHTML = networkWords(state, row, this.views.length === 1);
    const label = hasQuery ? `Key of the ${kind} map` : `Token of the ${kind} map, whole network`;
    canvas.setAttribute("aria-label", name ? `${label}, ${name}` : label);
    const ends = [row.left, largestOf(ranked(row).map((key) => placeOf(row, key)[1]))];
    setSlider(canvas, placeOf(row, key), ends, row.side > 1 ? "cell" : "token", `, ${entryDigits(row, row.values[key])}`);
  }

  /** One network has its formulas in full; of two, the sentences stand side by side and the formulas are folded. */
  showReadout(readout, { finding, formulas }, name) {
    const open = readout.querySelector("details")?.open;
    readout.innerHTML = name ? `<p class="of">${escape(name)}</p>${finding}<details ${open ? "open" : ""}>
      <summary>How this number is computed</summary>${formulas}</details>` : finding + formulas;
  }

  /**
   * Tell screen readers about the row once the query rests, not at every step. Say nothing before the reader has changed
   * something, because a page may hold several explorers.
   */
  speak(rows, orders) {
    const words = this.find(".finding").map((finding, at) => {
      const name = this.nameOf(at), said = finding.textContent.replace(/\s+/g, " ");
      return `${name ? `${name}: ` : ""}${said} ${rowWords(rows[at], orders[at])}`;
    }).join(" ");
    const first = this.words === undefined, same = this.words === words;
    this.words = words;
    if (first || same) return;
    clearTimeout(this.resting);
    this.resting = setTimeout(() => { this.find(".said")[0].textContent = words; }, 500);
  }
}

customElements.define("attention-explorer", AttentionExplorer);
