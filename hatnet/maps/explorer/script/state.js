/* State: what the reader has chosen, and the row that follows from it. Nothing here touches the page. */

const KINDS = { local: "Near", global: "Far", composed: "Composed", rollout: "Rollout", class: "Class" };
const BOTH = "both"; // instead of the number of a class map: the first network's answer beside the true class
const isWhole = (kind) => kind === "rollout" || kind === "class";
const classMaps = ({ whole }) => whole.filter(({ kind }) => kind === "class");

class State {
  /** @param {View} view @param {?number} beside the network that is shown beside the first one */
  constructor(view, beside = null) {
    const { start, image } = view.header, [x, y] = start.query ?? [image[1] / 2, image[0] / 2];
    this.view = view;
    this.choice = {
      picture: 0, kind: start.kind, stage: start.stage, block: start.block, head: start.head, class: 0, beside,
    };
    this.order = null; // of the networks, while their names are hidden
    this.startPixel = [y, x];
    this.kept = { pixel: this.startPixel, key: null }; // chosen with a click or an arrow key
    this.passing = { pixel: null, key: null }; // under the pointer
  }

  /** The same choices for another network. What changes here changes there. */
  in(view) {
    return Object.create(this, { view: { value: view } });
  }

  /** A copy of this state with these choices, which leaves this one as it is. */
  with(choices) {
    const { choice, kept, passing } = this, copies = { choice, kept, passing };
    for (const name of Object.keys(copies)) copies[name] = { value: { ...copies[name] } };
    const copy = Object.create(this, copies);
    copy.make(choices);
    return copy;
  }

  /** Make choices in turn: [["stage", 1], ["head", 0]]. */
  make(choices) {
    for (const [name, value] of choices) this.set(name, value);
  }

  /** While the reader guesses, nothing may tell which network is which. */
  get hidden() {
    return this.order !== null;
  }

  /** The networks side by side, by their numbers in the library. */
  get networks() {
    const { beside } = this.choice;
    return this.order ?? (beside ? [0, beside] : [0]);
  }

  /** The same view for one of its class maps. */
  of(index) {
    return Object.create(this, { choice: { value: { ...this.choice, class: index } } });
  }

  /** Whether two class maps of the first network are shown side by side; a right answer has only one. */
  get both() {
    const { kind, choice, view } = this;
    return kind === "class" && choice.class === BOTH && choice.beside !== null && classMaps(view).length > 1;
  }

  /** The number of the class map. */
  get class() {
    return this.choice.class === BOTH ? 0 : this.choice.class;
  }

  get stage() {
    return this.view.header.stages[this.choice.stage];
  }

  get block() {
    return this.view.weights[this.choice.stage][this.choice.block];
  }

  /** The head, null for the mean; a single head is its own mean. */
  get head() {
    return this.stage.heads === 1 ? 0 : this.choice.head;
  }

  /** The kind to show: a stage without windows has no local map, and not every picture has maps of the whole network. */
  get kind() {
    const { kind } = this.choice;
    if (kind === "local" && !this.stage.window) return "global";
    return this.has(kind) ? kind : "composed";
  }

  /** Whether there is a map of this kind. */
  has(kind) {
    if (kind === "class" && this.hidden) return false;
    return Boolean(isWhole(kind) ? this.whole(kind) : kind !== "local" || this.stage.window);
  }

  /** Whether the map that is shown belongs to a query. */
  get hasQuery() {
    return !isWhole(this.kind);
  }

  /** The chosen map of the whole network. @returns {WholeMap | undefined} */
  whole(kind) {
    const found = this.view.whole.filter((whole) => whole.kind === kind);
    return found[kind === "class" ? Math.min(this.class, found.length - 1) : 0];
  }

  /** The token of this stage at the chosen pixel. */
  get query() {
    const { stride, map } = this.stage;
    const pixel = this.passing.pixel ?? this.kept.pixel;
    return pixel.map((length, axis) => Math.min(Math.floor(length / stride), map[axis] - 1));
  }

  /** @returns {Row} */
  row(kind) {
    const { stage, block, head, query } = this;
    if (isWhole(kind)) return wholeRow(this.view.header, this.whole(kind));
    if (kind === "composed") return composedRow(this.view.header, stage, block, head, query);
    return (kind === "local" ? localRow : globalRow)(stage, block, head, query);
  }

  /** The part of the picture that a map of this kind shows: the window, or everything. */
  part(row, kind) {
    if (kind !== "local") return [0, 0, ...this.view.header.image];
    return [row.top, row.left, row.rows, row.columns].map((length) => length * row.stride);
  }

  /** The square of the query, in pixels. */
  queryBox() {
    const { stride } = this.stage;
    return [this.query[0] * stride, this.query[1] * stride, stride, stride];
  }

  /** The window of the query, in pixels. */
  windowBox() {
    const { top, left, rows, columns, stride } = windowAt(this.stage, ...this.query);
    return [top, left, rows, columns].map((length) => length * stride);
  }

  /** The pixel at a spot of the picture, given in fractions of it. */
  pixelAt([x, y]) {
    const [height, width] = this.view.header.image;
    return [Math.min(y * height, height - 1), Math.min(x * width, width - 1)];
  }

  /** The place of the key at a spot of the map; null where there is none. */
  keyAt([x, y]) {
    const { kind } = this, row = this.row(kind), [top, left, height, width] = this.part(row, kind);
    const side = row.side * row.stride, inner = (start, at, length) => Math.floor((start + at * length) / side);
    const place = [inner(top, y, height), inner(left, x, width)];
    const key = keyAt(row, place);
    return key >= 0 && exists(row, key) ? place : null;
  }

  /** The key to explain: under the pointer, kept, or the one with the largest weight. */
  keyOf(row) {
    const place = this.passing.key ?? this.kept.key, key = place ? keyAt(row, place) : -1;
    return key >= 0 && exists(row, key) ? key : ranked(row)[0];
  }

  /** Change a setting. A block or head that the new stage lacks falls back to the last block, or to the mean. */
  set(name, value) {
    const { choice, kept } = this;
    if (name === "order") this.order = value;
    else if (name === "query") kept.pixel = [value[1] + 0.5, value[0] + 0.5]; // the middle of a pixel
    else if (name === "key") kept.key = value;
    else if (name === "kind" || value === BOTH) choice[name] = value;
    else choice[name] = value === "mean" || value === null ? null : Number(value);
    choice.block = Math.min(choice.block, this.stage.depth - 1);
    if (choice.head !== null && choice.head >= this.stage.heads) choice.head = null;
    if (name === "picture") choice.class = 0;
    if (name === "beside") choice.class = this.class; // to see the other network
    if (name === "stage" || name === "kind") kept.key = this.passing.key = null; // cells are not tokens
  }

  /** Keep what the pointer is on. */
  keepPassing() {
    this.kept = { pixel: this.passing.pixel ?? this.kept.pixel, key: this.passing.key ?? this.kept.key };
  }

  /** Move the query to a neighbour, [rows, columns] away, to the "first" or "last" token, or back to the "start". */
  moveQuery(to) {
    this.passing.pixel = null;
    if (to === "start") {
      this.kept.pixel = this.startPixel;
      return;
    }
    const { stride, map } = this.stage, last = map.map((length) => length - 1);
    const token = { first: [0, 0], last }[to]
      ?? this.query.map((at, axis) => Math.min(Math.max(at + to[axis], 0), last[axis]));
    this.kept.pixel = token.map((at, axis) => Math.min((at + 0.5) * stride, this.view.header.image[axis] - 1));
  }

  /** Move the key in the same way; its start is the largest weight. */
  moveKey(to) {
    const row = this.row(this.kind), from = placeOf(row, this.keyOf(row));
    this.passing.key = null;
    if (to === "start") {
      this.kept.key = null;
      return;
    }
    const known = Array.from(row.values.keys()).filter((key) => exists(row, key));
    const end = { first: known[0], last: known[known.length - 1] }[to];
    const key = end ?? keyAt(row, from.map((at, axis) => at + to[axis]));
    if (key >= 0 && exists(row, key)) this.kept.key = placeOf(row, key);
  }
}
