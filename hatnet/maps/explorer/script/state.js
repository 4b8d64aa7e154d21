/* State: what the reader has chosen, and the row that follows from it. Nothing here touches the page. */

const KINDS = { local: "Local", global: "Global", composed: "Composed", rollout: "Rollout", class: "Class" };
const isWhole = (kind) => kind === "rollout" || kind === "class";

class State {
  /** @param {Maps} maps */
  constructor(maps) {
    const { start, image } = maps.header, [x, y] = start.query ?? [image[1] / 2, image[0] / 2];
    this.maps = maps;
    this.choice = { picture: 0, stage: start.stage, block: start.block, head: start.head, kind: start.kind, class: 0 };
    this.startPixel = [y, x];
    this.kept = { pixel: this.startPixel, key: null }; // chosen with a click or an arrow key
    this.passing = { pixel: null, key: null }; // under the pointer
  }

  get stage() {
    return this.maps.header.stages[this.choice.stage];
  }

  get block() {
    return this.maps.weights[this.choice.picture][this.choice.stage][this.choice.block];
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
    return Boolean(isWhole(kind) ? this.whole(kind) : kind !== "local" || this.stage.window);
  }

  /** Whether the map that is shown belongs to a query. */
  get hasQuery() {
    return !isWhole(this.kind);
  }

  /** The chosen map of the whole network. @returns {WholeMap | undefined} */
  whole(kind) {
    const found = this.maps.whole[this.choice.picture].filter((whole) => whole.kind === kind);
    return found[kind === "class" ? this.choice.class : 0];
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
    if (isWhole(kind)) return wholeRow(this.maps.header, this.whole(kind));
    if (kind === "composed") return composedRow(this.maps.header, stage, block, head, query);
    return (kind === "local" ? localRow : globalRow)(stage, block, head, query);
  }

  /** The part of the picture that a map of this kind shows: the window, or everything. */
  part(row, kind) {
    if (kind !== "local") return [0, 0, ...this.maps.header.image];
    return [row.top, row.left, row.rows, row.columns].map((length) => length * row.stride);
  }

  /** The square of the query, in pixels. */
  queryBox() {
    const { stride } = this.stage;
    return [this.query[0] * stride, this.query[1] * stride, stride, stride];
  }

  /**
   * The end of the colour scale. The query's own residual would darken a composed map, so its place is left out there.
   * A few places at the border would darken maps of the whole network, so there it is the 99th percentile, as in figures.
   */
  largest(row, kind) {
    const hundredth = Math.ceil(0.99 * row.values.length) - 1;
    const end = row.whole ? Float64Array.from(row.values).sort()[hundredth] : 0;
    if (end) return end;
    const own = kind === "composed" ? this.query[0] * row.columns + this.query[1] : -1;
    return largestOf(row.values.filter((_, key) => key !== own)) || 1;
  }

  /** The pixel at a spot of the picture, given in fractions of it. */
  pixelAt([x, y]) {
    const [height, width] = this.maps.header.image;
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
    const { choice } = this;
    choice[name] = name === "kind" ? value : name === "head" && value === "mean" ? null : Number(value);
    choice.block = Math.min(choice.block, this.stage.depth - 1);
    if (choice.head !== null && choice.head >= this.stage.heads) choice.head = null;
    if (name === "picture") choice.class = 0;
    if (name === "stage" || name === "kind") this.kept.key = this.passing.key = null; // cells are not tokens
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
    this.kept.pixel = token.map((at, axis) => Math.min((at + 0.5) * stride, this.maps.header.image[axis] - 1));
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
