/* <attention-explorer>: the softmax rows of a network, under the pointer.
 *
 *   <attention-explorer src="maps.bin"></attention-explorer>
 *
 * or with the data inside the element, as base64 in a <script type="application/gzip;base64">. hatnet.maps.explorer writes
 * the data and says how they are laid out (binary.py); tests/site/test_attention_explorer.py holds the numbers here
 * equal to those of Python. No dependency, no request but for `src`. */

/* ------------------------------------------------------------------------------------------------------ the file */

/**
 * @typedef {[number, number]} Pair rows and columns, or row and column
 * @typedef {{local: ?Float32Array, global: Float32Array}} Block weights, (heads, N, keys) each
 * @typedef {Object} Stage
 * @property {number} stride pixels from one token to the next
 * @property {Pair} map in tokens
 * @property {number} depth
 * @property {number} heads
 * @property {?Pair} window in tokens; null where attention is plain
 * @property {?number} pool side of a cell, in tokens
 * @property {?Pair} merged rows and columns of cells
 * @typedef {Object} WholeMap of the whole network: of all tokens together, not of a query
 * @property {string} kind "rollout" or "class"
 * @property {string} [name] of the class
 * @property {string} [role] why this class
 * @property {number} largest
 * @property {Float64Array} values over the tokens of stage 0
 * @typedef {{header: Object, weights: Block[][][], whole: WholeMap[][]}} Maps weights[picture][stage][block],
 *   whole[picture]
 */

const MAGIC = "hatmaps1";

/** Weights are float16, from 0 to 1; this is the value of each pattern of bits. */
const HALF = Float32Array.from({ length: 0x3c01 }, (_, bits) => {
  const exponent = bits >> 10, fraction = (bits & 0x3ff) / 1024;
  return exponent ? 2 ** (exponent - 15) * (1 + fraction) : 2 ** -14 * fraction;
});

/**
 * Unpack what hatnet.maps.explorer.encode made.
 * @param {Uint8Array} file gzip, or unpacked already, as some servers do
 * @returns {Promise<Maps>}
 */
export async function read(file) {
  const bytes = file[0] === 0x1f && file[1] === 0x8b ? await unzip(file) : file;
  const text = (from, to) => new TextDecoder().decode(bytes.subarray(from, to));
  if (text(0, 8) !== MAGIC) throw new Error("these are not the data of an attention explorer");
  const start = 12 + new DataView(bytes.buffer, bytes.byteOffset).getUint32(8, true);
  const header = JSON.parse(text(12, start));
  const count = (bytes.length - start) / 2;
  let taken = 0;
  const take = (heads, tokens, keys) => {
    const rows = new Float32Array(heads * tokens * keys);
    for (let index = 0; index < rows.length; index++, taken++) {
      rows[index] = HALF[(bytes[start + taken] << 8) | bytes[start + count + taken]];
    }
    return rows;
  };
  const area = ([rows, columns]) => rows * columns;
  const weights = [], whole = [];
  for (const { maps } of header.pictures) {
    weights.push(header.stages.map(({ heads, map, window, merged, depth }) =>
      Array.from({ length: depth }, () => ({
        local: window && take(heads, area(map), area(window)),
        global: take(heads, area(map), area(merged ?? map)),
      }))));
    whole.push(maps.map((about) => {
      const shares = take(1, area(header.stages[0].map), 1);
      return { ...about, values: Float64Array.from(shares, (share) => share * about.largest) };
    }));
  }
  return { header: { ...header, bytes: file.length }, weights, whole };
}

/** An index loop: `Uint8Array.from` with a function takes many times as long and as much memory for megabytes. */
function fromBase64(text) {
  const letters = atob(text), bytes = new Uint8Array(letters.length);
  for (let index = 0; index < bytes.length; index++) bytes[index] = letters.charCodeAt(index);
  return bytes;
}

async function unzip(bytes) {
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/* ------------------------------------------------------------------------------------------------------ the rows */

/**
 * What one query gives to its keys, and where they lie. Keys are cells of `side` x `side` tokens, laid in `rows` and
 * `columns` from the token (top, left).
 * @typedef {Object} Row
 * @property {Float64Array} values
 * @property {number} rows
 * @property {number} columns
 * @property {number} side
 * @property {number} top
 * @property {number} left
 * @property {Pair} map
 * @property {number} stride pixels from one token of the map to the next
 * @property {boolean} [summed] whether values are made of softmax entries, and are none
 * @property {WholeMap} [whole] the map of the whole network that this is
 */

/** The heads that count: one, or all for their mean. */
const chosen = (stage, head) => (head === null ? Array.from({ length: stage.heads }, (_, index) => index) : [head]);

/** A row of (heads, N, keys), of one head or the mean of all (null). */
function softmaxRow(weights, stage, head, token) {
  const keys = weights.length / (stage.heads * stage.map[0] * stage.map[1]);
  const row = new Float64Array(keys), heads = chosen(stage, head);
  for (const one of heads) {
    const start = (one * stage.map[0] * stage.map[1] + token) * keys;
    for (let key = 0; key < keys; key++) row[key] += weights[start + key] / heads.length;
  }
  return row;
}

/** @returns {Row} L: the window of a query [row, column]. */
export function localRow(stage, block, head, [row, column]) {
  const values = softmaxRow(block.local, stage, head, row * stage.map[1] + column);
  return { values, ...windowAt(stage, row, column) };
}

/** Where the window of a token lies. */
const windowAt = ({ window: [g, h], map, stride }, row, column) =>
  ({ rows: g, columns: h, side: 1, top: row - (row % g), left: column - (column % h), map, stride });

/** @returns {Row} G: the merged cells, or A: all tokens, where attention is plain. */
export function globalRow(stage, block, head, [row, column]) {
  const [rows, columns] = stage.merged ?? stage.map;
  const values = softmaxRow(block.global, stage, head, row * stage.map[1] + column);
  return { values, rows, columns, side: stage.pool ?? 1, top: 0, left: 0, map: stage.map, stride: stage.stride };
}

/**
 * Every way from the tokens of a block's input to one token of its output, over all tokens, each summing to one:
 * the residuals, I; then L, G P and G P L, in each head and averaged after that. P is the merging of Eq. 10.
 * Plain attention has the residual and A.
 * @returns {Object<string, Float64Array>} by the names in the header's `ways` and `plainWays`
 */
export function ways(stage, block, head, query) {
  const [H, W] = stage.map, token = query[0] * W + query[1];
  const residual = new Float64Array(H * W);
  residual[token] = 1;
  if (!stage.window) return { residual, tokens: globalRow(stage, block, head, query).values };

  const window = new Float64Array(H * W);
  const near = localRow(stage, block, head, query);
  eachToken(near, (key, token) => { window[token] = near.values[key]; });
  const cells = new Float64Array(H * W);
  spread(globalRow(stage, block, head, query), cells);
  const both = new Float64Array(H * W), heads = chosen(stage, head), within = new Float64Array(H * W);
  for (const one of heads) {
    spread(globalRow(stage, block, one, query), within);
    throughWindows(within, stage, block, one, heads.length, both);
  }
  return { residual, window, cells, "windows then cells": both };
}

/** Each cell's weight over the number of its tokens: G P. */
function spread(row, tokens) {
  row.values.forEach((value, key) => {
    const cell = tokensOf(row, key);
    for (const token of cell) tokens[token] = value / cell.length;
  });
}

/** A row r over what comes out of the windows, taken back to what goes in: r L / share, added to `result`. */
function throughWindows(r, stage, block, head, share, result) {
  const [H, W] = stage.map, keys = stage.window[0] * stage.window[1];
  for (let row = 0; row < H; row++) {
    for (let column = 0; column < W; column++) {
      const token = row * W + column, start = (head * H * W + token) * keys;
      eachToken(windowAt(stage, row, column), (key, to) => {
        result[to] += (r[token] * block.local[start + key]) / share;
      });
    }
  }
}

/** Calls `action(key, token)` for the keys of a row of single tokens that lie on the map. */
function eachToken({ rows, columns, top, left, map: [H, W] }, action) {
  for (let row = 0; row < Math.min(rows, H - top); row++) {
    for (let column = 0; column < Math.min(columns, W - left); column++) {
      action(row * columns + column, (top + row) * W + left + column);
    }
  }
}

/** The tokens of one key of a row: of a cell, or one; none beyond the border. */
function tokensOf({ columns, side, top, left, map: [H, W] }, key) {
  const row = top + Math.floor(key / columns) * side, column = left + (key % columns) * side, tokens = [];
  for (let r = row; r < Math.min(row + side, H); r++) {
    for (let c = column; c < Math.min(column + side, W); c++) tokens.push(r * W + c);
  }
  return tokens;
}

/** @returns {Row} C: all ways together, each as often as the header says, a row that sums to one. */
export function composedRow(header, stage, block, head, query) {
  const found = ways(stage, block, head, query), counts = stage.window ? header.ways : header.plainWays;
  const values = new Float64Array(stage.map[0] * stage.map[1]), total = sum(Object.values(counts));
  for (const [name, way] of Object.entries(found)) {
    way.forEach((value, token) => { values[token] += (counts[name] * value) / total; });
  }
  return { values, ...wholeMap(stage), summed: true };
}

/** Where the tokens of a whole map lie. */
const wholeMap = ({ map, stride }) => ({ rows: map[0], columns: map[1], side: 1, top: 0, left: 0, map, stride });

/** @returns {Row} a map of the whole network, which lies over the tokens of its first stage. */
const wholeRow = (header, whole) => ({ values: whole.values, ...wholeMap(header.stages[0]), summed: true, whole });

const sum = (values) => values.reduce((total, value) => total + value, 0);
/** Of values that are not negative. Not Math.max(...values): arguments are limited, in Safari to 65536. */
const largestOf = (values) => values.reduce((most, value) => (value > most ? value : most), 0);

/** The keys of a row that exist, the largest weight first. */
const ranked = (row) => Array.from(row.values.keys()).filter((key) => exists(row, key))
  .sort((a, b) => row.values[b] - row.values[a]);

const exists = ({ columns, side, top, left, map: [H, W] }, key) =>
  top + Math.floor(key / columns) * side < H && left + (key % columns) * side < W;

/** Row and column of a key: of a token in its map, of a cell among the cells. */
const placeOf = ({ columns, top, left }, key) => [top + Math.floor(key / columns), left + (key % columns)];

/** The key at a place, or -1. */
function keyAt({ rows, columns, top, left }, [row, column]) {
  const inside = row >= top && row < top + rows && column >= left && column < left + columns;
  return inside ? (row - top) * columns + column - left : -1;
}

/* ------------------------------------------------------------------------------------------ numbers and formulas */

const HTML = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" };
const escape = (text) => String(text).replace(/[&<>"]/g, (letter) => HTML[letter]);
const whole = new Intl.NumberFormat("en");
const place = ([row, column]) => `(${row},\u2009${column})`;

/**
 * How many digits float16 holds of a weight, three at most. From 6.1 × 10⁻⁵ down its values are 6 × 10⁻⁸ apart, so that
 * the seventh decimal is the last: three digits of 1.20 × 10⁻⁵, two of 1.2 × 10⁻⁶, one of 1 × 10⁻⁷.
 */
const held = (weight) => Math.min(Math.max(Math.floor(Math.log10(Math.abs(weight))) + 8, 1), 3);

/** A weight of less than this is zero in float16. No softmax gives zero to a key that exists. */
const SMALLEST = 3e-8;

/** 0.0312, 1.20 × 10⁻⁵, 6 × 10⁻⁸. */
export function digits(value, count = held(value)) {
  if (value === 0) return "0";
  if (Math.abs(value) >= 1e-4) return value.toPrecision(count).replace("-", "−");
  const [number, power] = value.toExponential(count - 1).split("e");
  const superscript = String(Math.abs(power)).replace(/./g, (digit) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[digit]);
  return `${number.replace("-", "−")} × 10⁻${superscript}`;
}

/** A softmax entry; where float16 has made it zero, what is left of it. */
export const weightDigits = (weight) => (weight ? digits(weight) : `< ${digits(SMALLEST)}`);

/** What is made of softmax entries and not zero either, but may be several times as large as `SMALLEST`. */
const sumDigits = (value) => (value ? digits(value) : "≈ 0");

/** An entry of a row, in the words of its kind. Maps of the whole network are stored as shares of their largest. */
function entryDigits(row, value) {
  if (row.whole && value) return digits(value, held(value / row.whole.largest));
  return (row.summed ? sumDigits : weightDigits)(value);
}

/** As short as a cell of a map: .031 */
const brief = (value) => (value >= 0.9995 ? "1.00" : value.toFixed(3).slice(1));

const times = (value) => (value < 10 ? digits(value, Math.min(held(value), 2)) : whole.format(Math.round(value)));

const bytes = (count) => (count < 1e6 ? `${Math.round(count / 1e3)} kB` : `${(count / 1e6).toFixed(1)} MB`);

const mi = (name) => `<mi>${name}</mi>`;
const mn = (number) => `<mn>${escape(number)}</mn>`;
const mo = (sign) => `<mo>${sign}</mo>`;
const indices = (letters) => `<mrow>${[...letters].map(mi).join("")}</mrow>`;
const sub = (base, letters) => `<msub>${base}${indices(letters)}</msub>`;
const total = (letter) => `<munder><mo>∑</mo>${mi(letter)}</munder>`;
const group = (...parts) => `<mrow>${mo("(")}${parts.join("")}${mo(")")}</mrow>`;
const frac = (above, below) => `<mfrac><mrow>${above}</mrow><mrow>${below}</mrow></mfrac>`;
const root = (d) => `<msqrt>${mn(d)}</msqrt>`;
const size = (name) => `<mrow>${mo("|")}${mi(name)}${mo("|")}</mrow>`;
const joined = (parts, sign) => parts.join(mo(sign));
/** "= 0.031"; "< 3 × 10⁻⁸" for a weight that is zero in float16. */
const equals = (weight) => (weight ? mo("=") + mn(digits(weight)) : mo("&lt;") + mn(digits(SMALLEST)));
const equalsSum = (value) => (value ? mo("=") + mn(digits(value)) : mo("≈") + mn(0));
/** A line of formulas, below one another where there is no room beside. */
const line = (...formulas) =>
  `<div class="line">${formulas.map((parts) => `<math display="block">${parts.join("")}</math>`).join("")}</div>`;

const IDENTITY = sub(mi("I"), "ij");
const WAYS = {
  residual: { term: IDENTITY, words: "stays: the residuals, Eq. 9 and 14", kind: "stays" },
  window: { term: sub(mi("L"), "ij"), words: "through the window", kind: "near" },
  cells: { term: sub(group(mi("G"), mi("P")), "ij"), words: "through the merged cells", kind: "far" },
  "windows then cells": {
    term: sub(group(mi("G"), mi("P"), mi("L")), "ij"), words: "through a window, then the cells", kind: "far both",
  },
  tokens: { term: sub(mi("A"), "ij"), words: "through attention", kind: "far" },
};

/**
 * A softmax with its numbers: of one head, and how far its score is below the largest; or the mean of heads.
 * @param {string} letter of the matrix
 * @param {string} key "j" for a token, "m" for a merged one
 * @param {number} d channels of a head
 * @param {number[]} heads the weight in each head that counts
 * @param {number} largest of the row
 * @param {number} rowSum
 */
function softmaxLines(letter, key, d, heads, largest, rowSum) {
  const weight = sub(mi(letter), `i${key}`), value = sum(heads) / heads.length;
  const score = (index) => `${sub(mi("q"), "i")}${mo("·")}${index}`;
  const sums = [total(key), weight, mo("="), mn(rowSum.toFixed(3))];
  if (heads.length > 1) {
    const each = heads.map((weight) => mn(weightDigits(weight)));
    return line([weight, mo("="), frac(mn(1), mn(heads.length)), group(joined(each, "+")), equals(value)], sums);
  }
  const softmax = line([weight, mo("="), `<msub><mi>softmax</mi>${mi(key)}</msub>`,
    group(frac(score(sub(mi("k"), key)), root(d))), equals(value)], sums);
  if (value >= largest) return softmax;
  const top = `<msub>${mi("k")}<mo>max</mo></msub>`;
  const difference = `${sub(mi("q"), "i")}${mo("·")}${group(sub(mi("k"), key), mo("−"), top)}`;
  const at = value || SMALLEST, exact = Math.min(held(at) + 1, 3); // a small weight tells little of its logarithm
  return softmax + line([frac(difference, root(d)), mo(value ? "=" : "&lt;"), mi("ln"),
    frac(mn(digits(at)), mn(digits(largest))), mo("="), mn(digits(Math.log(at / largest), exact))]);
}

/* ------------------------------------------------------------------------------------------------------- drawing */

/** Viridis, as in hatnet.maps.report.colour: it stays ordered for colour-blind readers and in print. */
const VIRIDIS = [
  [68, 1, 84], [72, 37, 118], [65, 68, 135], [53, 96, 141], [42, 120, 142], [33, 144, 140],
  [34, 168, 132], [67, 191, 113], [122, 209, 81], [187, 223, 39], [253, 231, 37],
];
const OPACITY = 0.8; // of cells, so that the picture shows through
const GREY = "#808080";

/** The channels of a share of the scale, from 0 to 1. */
export function colour(share) {
  const position = (Math.round(Math.min(Math.max(share, 0), 1) * 100) / 100) * (VIRIDIS.length - 1);
  const low = Math.min(Math.floor(position), VIRIDIS.length - 2);
  return VIRIDIS[low].map((value, channel) => value + (VIRIDIS[low + 1][channel] - value) * (position - low));
}

/** Black or white, whichever has more contrast on a colour, as WCAG defines it: on every colour one has 4.58. */
export function inkOn(channels) {
  const [r, g, b] = channels.map((channel) => Math.round(channel) / 255)
    .map((share) => (share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4));
  const light = 0.2126 * r + 0.7152 * g + 0.0722 * b;
  return 1.05 / (light + 0.05) > (light + 0.05) / 0.05 ? "#fff" : "#000";
}

const rgb = (channels, opacity = 1) => `rgb(${channels.map(Math.round).join(" ")} / ${opacity})`;
const RAMP = `linear-gradient(to right, ${VIRIDIS.map((channels) => rgb(channels, OPACITY)).join(", ")}), ${GREY}`;

const LINES = { query: "#fff", window: "#56b4e9", key: "#e69f00" }; // each with a dark line around it

/** A rectangle in pixels of the picture: [top, left, height, width]. */
const boxOf = ({ side, top, left, columns, stride }, key) => {
  const row = top + Math.floor(key / columns) * side, column = left + (key % columns) * side;
  return [row, column, side, side].map((length) => length * stride);
};

/**
 * A drawing of one part of the picture on a canvas of any size; its unit is a pixel of the picture.
 * The edges of cells are rounded to those of the screen's pixels, so that they are sharp and leave no gap.
 */
class Drawing {
  /** @param {HTMLCanvasElement} canvas @param {number[]} part @param {Pair} size of the picture */
  constructor(canvas, part, size) {
    const ratio = window.devicePixelRatio || 1;
    canvas.style.aspectRatio = `${part[3]} / ${part[2]}`;
    canvas.width = Math.max(Math.round(canvas.clientWidth * ratio), 1);
    canvas.height = Math.max(Math.round((canvas.width * part[2]) / part[3]), 1);
    Object.assign(this, { part, size, ratio, scale: canvas.width / part[3], context: canvas.getContext("2d") });
  }

  /** Where a box lies on the canvas; with `cut`, the part of it that lies on the picture. */
  place([top, left, height, width], cut = false) {
    const [bottom, right] = cut
      ? [Math.min(top + height, this.size[0]), Math.min(left + width, this.size[1])] : [top + height, left + width];
    const [x, y, x2, y2] = [left - this.part[1], top - this.part[0], right - this.part[1], bottom - this.part[0]]
      .map((length) => Math.round(length * this.scale));
    return [x, y, x2 - x, y2 - y];
  }

  /** The picture itself, in colour or grey. Small pictures keep their pixels. */
  picture(image, grey) {
    const { context } = this, [H, W] = this.size;
    const spot = this.place([0, 0, H, W]);
    context.imageSmoothingEnabled = Math.max(H, W) > 100;
    context.drawImage(image, ...spot);
    if (!grey) return;
    context.globalCompositeOperation = "saturation";
    context.fillStyle = GREY;
    context.fillRect(...spot);
    context.globalCompositeOperation = "source-over";
  }

  /**
   * The cells of a row, coloured from 0 to `largest`; with their numbers where they are large enough. The picture shows
   * through cells, black or white as it may be, so around its number a cell has its full colour.
   */
  cells(row, largest, numbers) {
    const { context } = this;
    row.values.forEach((value, key) => {
      if (!exists(row, key)) return;
      const channels = colour(value / largest), spot = this.place(boxOf(row, key), true);
      context.fillStyle = rgb(channels, OPACITY);
      context.fillRect(...spot);
      const width = spot[2] / this.ratio;
      if (!numbers || row.whole || width < 30) return; // of whole maps all but a few would be .000
      context.font = `${Math.min(width * 0.36, 14) * this.ratio}px system-ui, sans-serif`;
      context.textAlign = "center";
      context.textBaseline = "middle";
      const number = [brief(value), spot[0] + spot[2] / 2, spot[1] + spot[3] / 2];
      context.save();
      context.strokeStyle = rgb(channels);
      context.lineWidth = 5 * this.ratio;
      context.lineJoin = "round"; // a miter would stand out from the digits as a spike
      context.strokeText(...number);
      context.restore();
      context.fillStyle = inkOn(channels);
      context.fillText(...number);
    });
  }

  /** A line around a box, light on dark so that it is seen on every colour. */
  outline(box, kind) {
    const [x, y, width, height] = this.place(box), { context, ratio } = this, { canvas } = context;
    const inset = 1.5 * ratio;
    const left = Math.max(x, inset), top = Math.max(y, inset);
    const right = Math.min(x + width, canvas.width - inset), bottom = Math.min(y + height, canvas.height - inset);
    for (const [style, thick] of [["rgb(0 0 0 / 0.75)", 4.5], [LINES[kind], 2]]) {
      context.strokeStyle = style;
      context.lineWidth = thick * ratio;
      context.strokeRect(left, top, right - left, bottom - top);
    }
  }
}

/* --------------------------------------------------------------------------------------------------- the element */

const KINDS = { local: "Local", global: "Global", composed: "Composed", rollout: "Rollout", class: "Class" };
const isWhole = (kind) => kind === "rollout" || kind === "class";
const KEYS = {
  ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1],
  Home: "first", End: "last", Escape: "start",
};

class AttentionExplorer extends HTMLElement {
  async connectedCallback() {
    if (this.shadowRoot) return;
    this.attachShadow({ mode: "open" }).innerHTML = `<style>${STYLE}</style>
      <p class="state" role="status">Loading …</p>`;
    try {
      this.maps = await read(await this.bytes());
      this.images = await Promise.all(this.maps.header.pictures.map(({ image }) => decoded(image)));
    } catch (error) {
      this.shadowRoot.querySelector(".state").textContent = `The attention maps can't be shown: ${error.message}`;
      return;
    }
    const { start, image } = this.maps.header;
    const [x, y] = start.query ?? [image[1] / 2, image[0] / 2];
    this.choice = { picture: 0, stage: start.stage, block: start.block, head: start.head, kind: start.kind, class: 0 };
    this.startPixel = [y, x];
    this.kept = { pixel: this.startPixel, key: null }; // what a click or an arrow key chose
    this.passing = { pixel: null, key: null }; // what the pointer is over
    this.build();
    let width = this.clientWidth;
    new ResizeObserver(() => {
      if (this.clientWidth !== width) this.show();
      width = this.clientWidth;
    }).observe(this);
  }

  /** The file, from inside the element or from `src`. */
  async bytes() {
    const inside = this.querySelector("script[type='application/gzip;base64']");
    if (inside) return fromBase64(inside.textContent.trim());
    const answer = await fetch(this.getAttribute("src"));
    if (!answer.ok) throw new Error(`${answer.url} answered ${answer.status}`);
    return new Uint8Array(await answer.arrayBuffer());
  }

  /** Everything that stays; `show` fills in the rest at every change. */
  build() {
    const { header } = this.maps;
    const stages = header.stages.map(({ map }, index) => [index, index, `Stage ${index}, ${map.join(" × ")} tokens`]);
    const pictures = header.pictures.map(({ name, image }, index) =>
      [index, `<img src="${escape(image)}" alt="">`, escape(name)]);
    this.shadowRoot.innerHTML = `<style>${STYLE}</style>
      <p class="provenance">${escape(header.provenance)}</p>
      ${pictures.length > 1 ? choices("picture", "Picture", pictures) : ""}
      <div class="settings">${choices("stage", "Stage", stages)}<div class="of-stage"></div>
        <div class="of-picture"></div></div>
      <div class="panels">
        <figure class="query">
          <canvas tabindex="0" role="slider" aria-roledescription="two-dimensional slider" aria-label="Query token"
            aria-describedby="keys"></canvas>
          <figcaption></figcaption>
        </figure>
        <fieldset class="kinds"><legend class="spoken">Map</legend>${Object.keys(KINDS).map((kind) => `
          <label><input type="radio" name="kind" value="${kind}"><canvas aria-hidden="true"></canvas>
            <span></span></label>`).join("")}
        </fieldset>
        <figure class="map">
          <canvas tabindex="0" role="slider" aria-roledescription="two-dimensional slider"
            aria-describedby="keys"></canvas>
          <div class="bar" aria-hidden="true"><div class="ramp" style="background: ${RAMP}"><i></i></div>
            <div class="numbers"><span>0</span><span class="even"></span><span class="most"></span></div></div>
          <figcaption></figcaption>
        </figure>
      </div>
      <div class="readout"></div>
      <p class="size">${sizeWords(header)}</p>
      <p class="spoken" id="keys">Left and right change the column, up and down the row. Home and End go to the first
        and the last, Escape goes back.</p>
      <p class="spoken" role="status"></p>`;
    this.shadowRoot.addEventListener("change", ({ target }) => this.set(target));
    for (const label of this.find(".kinds label")) { // with a class, as not every browser that has the rest has :has()
      const mark = ({ target }) => label.classList.toggle("focused", target.matches(":focus-visible"));
      label.addEventListener("focusin", mark);
      label.addEventListener("focusout", mark);
    }
    const [query] = this.find(".query canvas"), [map] = this.find(".map canvas");
    const overKey = (spot) => { this.passing = { pixel: null, key: spot && this.keyAt(spot) }; };
    const overQuery = (spot) => { this.passing = { pixel: spot && this.pixelAt(spot), key: null }; };
    const keep = () => this.keep({
      pixel: this.passing.pixel ?? this.kept.pixel, key: this.passing.key ?? this.kept.key,
    });
    // Without a query, the picture chooses the place of the map that is the same.
    follow(query, (spot) => (this.asked ? overQuery : overKey)(spot), keep, () => this.show());
    follow(map, overKey, keep, () => this.show());
    query.addEventListener("keydown", (event) => { if (this.asked) this.press(event, (go) => this.goQuery(go)); });
    map.addEventListener("keydown", (event) => this.press(event, (go) => this.goKey(go)));
    this.settings();
    this.classes();
    this.show();
  }

  /** @returns {HTMLElement[]} */
  find(selector) {
    return [...this.shadowRoot.querySelectorAll(selector)];
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

  /** What can be shown: in a stage without windows there is no local map, and not every picture has whole maps. */
  get kind() {
    const { kind } = this.choice;
    if (kind === "local" && !this.stage.window) return "global";
    return isWhole(kind) && !this.whole(kind) ? "composed" : kind;
  }

  /** Whether the map that is shown is of a query. */
  get asked() {
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

  pixelAt([x, y]) {
    const [height, width] = this.maps.header.image;
    return [Math.min(y * height, height - 1), Math.min(x * width, width - 1)];
  }

  /** The key under a spot of the map; null where there is none. */
  keyAt([x, y]) {
    const { kind } = this, row = this.row(kind), [top, left, height, width] = this.part(row, kind);
    const side = row.side * row.stride, inner = (start, at, length) => Math.floor((start + at * length) / side);
    const place = [inner(top, y, height), inner(left, x, width)];
    const key = keyAt(row, place);
    return key >= 0 && exists(row, key) ? place : null;
  }

  /** A setting was chosen; what it leaves impossible goes back to the first. */
  set({ name, value }) {
    const { choice } = this;
    choice[name] = name === "kind" ? value : name === "head" && value === "mean" ? null : Number(value);
    choice.block = Math.min(choice.block, this.stage.depth - 1);
    if (choice.head !== null && choice.head >= this.stage.heads) choice.head = null;
    if (name === "stage" || name === "kind") this.kept.key = this.passing.key = null; // a cell's place is no token's
    if (name === "stage") this.settings();
    if (name === "picture") this.classes();
    this.show();
  }

  keep(what) {
    Object.assign(this.kept, what);
    this.show();
  }

  press(event, go) {
    if (!KEYS[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
    go(KEYS[event.key]);
    event.preventDefault();
  }

  /** To a neighbour, [rows, columns] away, to the "first" or "last" token, or back to the "start". */
  goQuery(go) {
    this.passing.pixel = null;
    if (go === "start") return this.keep({ pixel: this.startPixel });
    const { stride, map } = this.stage, last = map.map((length) => length - 1);
    const token = { first: [0, 0], last }[go]
      ?? this.query.map((at, axis) => Math.min(Math.max(at + go[axis], 0), last[axis]));
    this.keep({ pixel: token.map((at, axis) => Math.min((at + 0.5) * stride, this.maps.header.image[axis] - 1)) });
  }

  /** The same for the key; its start is the largest weight. */
  goKey(go) {
    const row = this.row(this.kind), from = placeOf(row, this.keyOf(row));
    this.passing.key = null;
    if (go === "start") return this.keep({ key: null });
    const known = Array.from(row.values.keys()).filter((key) => exists(row, key));
    const end = { first: known[0], last: known[known.length - 1] }[go];
    const key = end ?? keyAt(row, from.map((at, axis) => at + go[axis]));
    if (key >= 0 && exists(row, key)) this.keep({ key: placeOf(row, key) });
  }

  /** The key that is explained: under the pointer, kept, or the one with the largest weight. */
  keyOf(row) {
    const place = this.passing.key ?? this.kept.key, key = place ? keyAt(row, place) : -1;
    return key >= 0 && exists(row, key) ? key : ranked(row)[0];
  }

  /** Blocks and heads, which differ from stage to stage. */
  settings() {
    const { depth, heads } = this.stage;
    const numbers = (count, word) => Array.from({ length: count }, (_, index) => [index, index, `${word} ${index}`]);
    const mean = heads > 1 ? [["mean", "mean", "Mean of the heads"]] : [];
    this.find(".of-stage")[0].innerHTML = choices("block", "Block", numbers(depth, "Block"))
      + choices("head", "Head", [...mean, ...numbers(heads, "Head")]);
  }

  /** The classes that a picture has maps for. */
  classes() {
    const maps = this.maps.whole[this.choice.picture].filter(({ kind }) => kind === "class");
    const options = maps.map(({ name, role }, index) => [index, escape(name), escape(`${name}, ${role}`)]);
    this.find(".of-picture")[0].innerHTML = choices("class", "Class", options);
    this.choice.class = 0;
  }

  /** Bring everything up to date. */
  show() {
    const { choice, stage, kind, query } = this;
    const now = { ...choice, kind, head: this.head ?? "mean" };
    for (const input of this.find("input")) input.checked = String(now[input.name]) === input.value;
    const image = this.images[choice.picture];
    const isThere = (kind) => (isWhole(kind) ? this.whole(kind) : kind !== "local" || stage.window);
    const there = Object.keys(KINDS).filter(isThere);
    const rows = Object.fromEntries(there.map((kind) => [kind, this.row(kind)]));
    const row = rows[kind], key = this.keyOf(row), order = ranked(row);

    this.find(".kinds label").forEach((label, index) => {
      const kind = Object.keys(KINDS)[index], [input, canvas, words] = label.children;
      input.disabled = !rows[kind];
      label.classList.toggle("chosen", input.checked);
      label.classList.toggle("missing", !rows[kind]);
      words.innerHTML = kindWords(kind, rows[kind], stage);
      if (rows[kind]) this.draw(canvas, rows[kind], kind, image);
    });
    for (const setting of this.find("fieldset:is(.stage, .block, .head)")) setting.disabled = !this.asked;
    this.find("fieldset.class")[0].hidden = kind !== "class";
    this.drawQuery(image, rows.local, row, key);
    this.drawMap(row, kind, key, image);
    this.find(".readout")[0].innerHTML = this.explain(row, kind, key, order);
    this.find(".query figcaption")[0].innerHTML = this.pictureWords();
    const [picker] = this.find(".query canvas");
    picker.tabIndex = this.asked ? 0 : -1;
    picker.setAttribute("aria-disabled", !this.asked);
    setSlider(picker, query, [0, stage.map[1] - 1], "token");
    this.speak(row, order);
  }

  /** The cells over the grey picture. */
  draw(canvas, row, kind, image, numbers = false) {
    const drawing = new Drawing(canvas, this.part(row, kind), this.maps.header.image);
    drawing.picture(image, true);
    drawing.cells(row, this.largest(row, kind), numbers);
    return drawing;
  }

  /**
   * The end of the colour scale. What stays at the query would darken a composed map, so it is left out there; a few
   * places at the border would darken whole maps, so there the largest hundredth is beyond the end, as in figures.
   */
  largest(row, kind) {
    const hundredth = Math.ceil(0.99 * row.values.length) - 1;
    const end = row.whole ? Float64Array.from(row.values).sort()[hundredth] : 0;
    if (end) return end;
    const own = kind === "composed" ? this.query[0] * row.columns + this.query[1] : -1;
    const values = row.values.filter((_, key) => key !== own);
    return largestOf(values) || 1;
  }

  queryBox() {
    const { stride } = this.stage;
    return [this.query[0] * stride, this.query[1] * stride, stride, stride];
  }

  drawQuery(image, window, row, key) {
    const { header } = this.maps;
    const drawing = new Drawing(this.find(".query canvas")[0], [0, 0, ...header.image], header.image);
    drawing.picture(image, false);
    if (this.asked && window) drawing.outline(this.part(window, "local"), "window");
    drawing.outline(boxOf(row, key), "key");
    if (this.asked) drawing.outline(this.queryBox(), "query");
  }

  drawMap(row, kind, key, image) {
    const [canvas] = this.find(".map canvas"), { stage } = this;
    const drawing = this.draw(canvas, row, kind, image, true);
    if (this.asked) {
      const window = stage.window && kind !== "local" && windowAt(stage, ...this.query);
      if (window) drawing.outline(this.part(window, "local"), "window");
      drawing.outline(this.queryBox(), "query");
    }
    drawing.outline(boxOf(row, key), "key");
    const most = this.largest(row, kind), even = 1 / ranked(row).length, at = (100 * even) / most;
    const [tick] = this.find(".ramp i"), [word] = this.find(".even");
    tick.style.left = `${at}%`;
    tick.hidden = word.hidden = at > 100 || kind === "class"; // whose sum has no meaning
    word.style.left = `${Math.min(Math.max(at, 26), 66)}%`;
    word.textContent = `equal ${digits(even)}`;
    const beyond = row.whole && largestOf(row.values) > most;
    this.find(".most")[0].textContent = `${beyond ? "≥ " : ""}${entryDigits(row, most)}`;
    this.find(".map figcaption")[0].innerHTML = mapWords(kind, stage, row);
    const map = `the ${kind} map`, keyWord = row.side > 1 ? "cell" : "token";
    canvas.setAttribute("aria-label", this.asked ? `Key of ${map}` : `Token of ${map}, whole network`);
    const ends = [row.left, largestOf(ranked(row).map((key) => placeOf(row, key)[1]))];
    setSlider(canvas, placeOf(row, key), ends, keyWord, `, ${entryDigits(row, row.values[key])}`);
  }

  /** The weight of one key, in words and as a formula with its numbers. */
  explain(row, kind, key, order) {
    const { stage, query } = this, value = row.values[key];
    const rank = 1 + order.filter((other) => row.values[other] > value).length;
    const far = stage.window ? "its global attention" : "its attention";
    const what = { local: "its local attention", global: far }[kind];
    const number = escape(entryDigits(row, value));
    if (row.whole) return wholeWords(row, key, rank, order.length);
    const said = what
      ? `Token <var>i</var> = ${place(query)} gives <b>${number}</b> of ${what} to ${keyWords(row, key, true)}:`
      : `<b>${number}</b> of what token <var>i</var> = ${place(query)} becomes comes from
        ${keyWords(row, key, true)}, if every way through the block counts the same:`;
    return `<p class="finding">${said} rank ${rank} of ${whole.format(order.length)},
      ${value ? "" : "less than "}${times((value || SMALLEST) * order.length)} times an equal share.</p>
      ${what ? this.softmax(row, kind, key) : this.composition(row, key)}`;
  }

  softmax(row, kind, key) {
    const { stage, block, query, head } = this, { headDim } = this.maps.header;
    const rowOf = kind === "local" ? localRow : globalRow;
    const heads = chosen(stage, head).map((one) => rowOf(stage, block, one, query).values[key]);
    const [letter, index] = kind === "local" ? ["L", "j"] : stage.window ? ["G", "m"] : ["A", "j"];
    const lines = softmaxLines(letter, index, headDim, heads, largestOf(row.values), sum(row.values));
    return lines + (index === "m" ? shareLine(row, key) : "");
  }

  /** Every way to the token on its own, then their sum. */
  composition(row, token) {
    const { stage, block, head, query } = this, { header } = this.maps;
    const found = ways(stage, block, head, query), counts = stage.window ? header.ways : header.plainWays;
    const all = sum(Object.values(counts)), value = row.values[token];
    const names = Object.keys(found), each = names.map((name) => found[name][token]);
    const terms = names.map((name) => (counts[name] > 1 ? mn(counts[name]) : "") + WAYS[name].term);
    const inWindow = stage.window && keyAt(windowAt(stage, ...query), placeOf(row, token)) >= 0;
    const words = {
      residual: digits, // zero is zero
      window: inWindow ? weightDigits : digits,
      cells: weightDigits,
      tokens: weightDigits,
      "windows then cells": sumDigits,
    };
    const numbers = names.map((name, index) => words[name](each[index]));
    const filled = names.map((name, index) =>
      (counts[name] > 1 ? mn(counts[name]) + mo("·") : "") + mn(numbers[index]));
    const parts = names.map((name, index) => {
      const share = value ? (counts[name] * each[index]) / all / value : 0;
      return `<tr><th scope="row"><math>${WAYS[name].term}</math></th><td>${WAYS[name].words}</td>
        <td>${counts[name]} ×</td><td>${escape(numbers[index])}</td>
        <td class="bar"><i class="${WAYS[name].kind}" style="width: ${100 * share}%"></i></td></tr>`;
    });
    const C = sub(mi("C"), "ij");
    return `<table><caption class="spoken">Ways from token j to token i</caption>
      <tbody>${parts.join("")}</tbody></table>`
      + line([C, mo("="), frac(joined(terms, "+"), mn(all))],
        [mo("="), frac(joined(filled, "+"), mn(all)), equalsSum(value)],
        [total("j"), C, mo("="), mn(sum(row.values).toFixed(3))])
      + (stage.window ? this.cellLines(token) : "");
  }

  /** Where the two ways through the cells come from: softmax entries. */
  cellLines(token) {
    const { stage, block, head, query } = this, row = globalRow(stage, block, head, query);
    const own = Array.from(row.values.keys()).find((key) => tokensOf(row, key).includes(token));
    const direct = shareLine(row, own);
    if (head === null) {
      return `${direct}<p class="hint">The last way is a mean over heads: choose one to see its terms.</p>`;
    }
    const terms = windowTerms(stage, block, head, query, token);
    const shown = terms.slice(0, 4).map(({ weight, mean }) =>
      mn(weightDigits(weight)) + mo("·") + mn(weightDigits(mean)));
    const rest = terms.length > 4 ? `${mo("+")}<mi>…</mi>` : "";
    const within = `<munder><mo>∑</mo><mrow>${mi("n")}${mo("∈")}${mi("m")}</mrow></munder>`;
    const mean = frac(mn(1), size("m")) + within + sub(mi("L"), "nj");
    return direct + line([WAYS["windows then cells"].term, mo("="), total("m"), sub(mi("G"), "im"), mean],
      [mo("="), joined(shown, "+"), rest, equalsSum(sum(terms.map(({ weight, mean }) => weight * mean)))]);
  }

  /** What the network said of the picture, under it. */
  pictureWords() {
    const { name, label, predictions } = this.maps.header.pictures[this.choice.picture];
    const said = Object.entries(predictions).map(([name, share]) => `${escape(name)} ${(100 * share).toFixed(0)} %`);
    const swatch = (kind, words) => `<span><i style="border-color: ${LINES[kind]}"></i>${words}</span>`;
    const lines = this.asked ? [swatch("query", `query ${place(this.query)}`)] : [];
    if (this.asked && this.stage.window) lines.push(swatch("window", "its window"));
    lines.push(swatch("key", this.asked ? "chosen key" : "chosen token"));
    return `<span class="legend">${lines.join("")}</span>
      <b>${escape(name)}</b>${label && label !== name ? `, in truth ${escape(label)}` : ""}${said.length
        ? `. The network says ${said.join(", ")}` : ""}.
      ${this.asked ? "Point, tap or use the arrow keys; a click keeps the token."
        : "This map is of the whole network: no query, stage, block or head. Point at a token here or on the map."}`;
  }

  /**
   * Screen readers hear the row once the query rests, not at every step; and nothing before a reader has changed
   * something, as a page may hold several explorers.
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

/** What a map of the whole network gives to a token of the first stage, and how it is made. */
function wholeWords(row, token, rank, count) {
  const { kind, name, role } = row.whole, value = row.values[token], number = `<b>${entryDigits(row, value)}</b>`;
  const ranked = `rank ${rank} of ${whole.format(count)}`, j = `${keyWords(row, token, true)} of the first stage`;
  if (kind === "rollout") {
    const R = sub(mi("R"), "j"), N = mi("N");
    const product = `${sub(mi("C"), "B")}${mo("⋯")}<msub>${mi("C")}${mn(2)}</msub><msub>${mi("C")}${mn(1)}</msub>`;
    const mean = `${frac(mn(1), N)}<munder><mo>∑</mo>${mi("i")}</munder>`;
    return `<p class="finding">${number} of what the classifier is given comes from ${j}, if every way through every
      block counts the same: ${ranked}, ${times(value * count)} times an equal share.</p>
      ${line([R, mo("="), mean, `<msub>${group(product)}${indices("ij")}</msub>`, mo("="), mn(entryDigits(row, value))],
        [total("j"), R, mo("="), mn(sum(row.values).toFixed(3))])}
      <p class="hint">The composed maps C of all B blocks, the last first, with downsampling between stages. The mean of
      the N tokens of the last stage is what the classifier is given.</p>`;
  }
  const share = row.whole.largest ? `, ${(100 * value / row.whole.largest).toFixed(0)} % of the largest` : "";
  return `<p class="finding">${number} is the relevance of ${j} for the class <b>${escape(name)}</b>${role
    ? `, ${escape(role)}` : ""}: ${ranked}${share}.</p>
    <p class="hint">Every weight times the gradient of the class's logit, where positive, rolled out through all blocks.
    It is no share: its sum has no meaning.</p>`;
}

/** (G P)_ij with its numbers: the share of one token of a cell. */
function shareLine(row, cell) {
  const count = tokensOf(row, cell).length, value = row.values[cell], at = value || SMALLEST;
  return line([WAYS.cells.term, mo("="), frac(sub(mi("G"), "im"), size("m")), mo(value ? "=" : "&lt;"),
    frac(mn(digits(at)), mn(count)), mo("="), mn(digits(at / count))]);
}

/**
 * The terms of (G P L)_ij: for each cell m that the window of j touches, the weight of the cell and the mean, over its
 * tokens, of what they give to j.
 */
export function windowTerms(stage, block, head, query, token) {
  const [, W] = stage.map, row = globalRow(stage, block, head, query);
  const window = windowAt(stage, Math.floor(token / W), token % W);
  const column = keyAt(window, [Math.floor(token / W), token % W]), given = new Map();
  const keys = stage.window[0] * stage.window[1];
  eachToken(window, (_, from) => {
    given.set(from, block.local[(head * stage.map[0] * W + from) * keys + column]);
  });
  return Array.from(row.values, (weight, cell) => {
    const tokens = tokensOf(row, cell), touched = tokens.filter((token) => given.has(token));
    return { weight, touched: touched.length, mean: sum(touched.map((token) => given.get(token))) / tokens.length };
  }).filter(({ touched }) => touched);
}

/**
 * Pointer over a canvas: `over(spot)` in fractions of it, null when it has left; `keep` when it is pressed.
 * A finger or a pen on it may be about to scroll the page, so these keep nothing until they are lifted; where the
 * browser does scroll, it cancels the pointer instead, and everything is as before.
 */
function follow(canvas, over, keep, show) {
  const share = (at, length) => Math.min(Math.max(at / length, 0), 1); // a finger may slide beyond the border
  const spot = ({ offsetX, offsetY }) => [share(offsetX, canvas.clientWidth), share(offsetY, canvas.clientHeight)];
  const isMouse = ({ pointerType }) => pointerType === "mouse";
  const isMain = ({ button }) => button === 0; // the others open menus, and scroll
  const choose = (event) => { over(spot(event)); keep(); };
  const leave = () => { over(null); show(); };
  canvas.addEventListener("pointerdown", (event) => { if (isMouse(event) && isMain(event)) choose(event); });
  canvas.addEventListener("pointermove", (event) => {
    over(spot(event));
    (isMouse(event) && event.buttons & 1 ? keep : show)();
  });
  canvas.addEventListener("pointerup", (event) => { if (!isMouse(event) && isMain(event)) choose(event); });
  canvas.addEventListener("pointerleave", leave);
  canvas.addEventListener("pointercancel", leave);
}

async function decoded(source) {
  const image = new Image();
  image.src = source;
  await image.decode();
  return image;
}

/** Radio buttons side by side: the browser moves among them with the arrow keys. */
function choices(name, legend, options) {
  const radios = options.map(([value, content, title]) =>
    `<label title="${title}"><input type="radio" name="${name}" value="${value}" aria-label="${title}">
      <span>${content}</span></label>`);
  return `<fieldset class="choice ${name}"><legend>${legend}</legend><div>${radios.join("")}</div></fieldset>`;
}

/**
 * What a screen reader is told of a place. ARIA knows sliders of one dimension alone, so as a slider it is that of the
 * columns: right and End raise its number, left and Home lower it, as they have to. What is spoken, at every step of
 * either dimension, is the text, which names both.
 */
function setSlider(canvas, [row, column], [first, last], word, value = "") {
  canvas.setAttribute("aria-valuemin", first);
  canvas.setAttribute("aria-valuemax", last);
  canvas.setAttribute("aria-valuenow", column);
  canvas.setAttribute("aria-valuetext", `${word} in row ${row}, column ${column}${value}`);
}

/** "token (3, 4)", "cell (0, 1)"; as HTML with the letter that formulas have for it. */
function keyWords(row, key, letter = false) {
  const [word, name] = row.side > 1 ? ["cell", "m"] : ["token", "j"];
  return `${word} ${letter ? `<var>${name}</var> = ` : ""}${place(placeOf(row, key))}`;
}

function rowWords(row, order) {
  const most = `${entryDigits(row, row.values[order[0]])} at ${keyWords(row, order[0])}`;
  const all = row.whole?.kind === "class" ? "" : `; they sum to ${sum(row.values).toFixed(3)}`;
  return `${whole.format(order.length)} ${row.whole ? "numbers" : "weights"}, the largest ${most}${all}.`;
}

/** The name of a map and how many keys a row of it has. */
function kindWords(kind, row, stage) {
  if (!row) return `<b>${KINDS[kind]}</b><small>${isWhole(kind) ? "none stored" : "no windows here"}</small>`;
  if (row.whole) return `<b>${KINDS[kind]}</b><small>${escape(row.whole.name ?? "whole network")}</small>`;
  const keys = row.side > 1 ? "cells" : "tokens", name = stage.window || kind !== "global" ? KINDS[kind] : "All tokens";
  return `<b>${name}</b><small>${whole.format(ranked(row).length)} ${keys}</small>`;
}

function mapWords(kind, stage, row) {
  const words = {
    local: "The window of the query, enlarged.",
    global: stage.window
      ? `Merged cells, each the mean of ${stage.pool} × ${stage.pool} tokens.` : "Every token of the map.",
    composed: "All ways through the block. The colours end at the largest weight beside the query's own.",
    rollout: "Rollout of the whole network: all ways through all blocks, from the mean of the last stage's tokens to "
      + "those of the first. The rollout in a figure is that of its query.",
    class: `What speaks for the class <b>${escape(row.whole?.name)}</b>, over the tokens of the first stage.`,
  };
  if (row.whole) words[kind] += " The colours end where the largest hundredth begins.";
  return `${words[kind]} ${row.whole ? "The map" : "The row"} has ${rowWords(row, ranked(row))}`;
}

function sizeWords({ bytes: length, pictures, numbers, dense }) {
  const many = pictures.length;
  return `The data have ${bytes(length)}${many > 1 ? ` for ${many} pictures` : ""}. ${many > 1 ? "Each has" : "That is"}
    ${whole.format(numbers)} weights: for every token of every block and head its window and the merged cells. If every
    token attended to every other, there would be ${whole.format(dense)}, ${times(dense / numbers)} times as many.`;
}

const STYLE = `
:host {
  --ink: var(--md-default-fg-color, CanvasText);
  --quiet: color-mix(in srgb, var(--ink) 72%, transparent);
  --rule: color-mix(in srgb, var(--ink) 16%, transparent);
  --near: var(--hat-near, #0072b2);
  --far: var(--hat-far, #d55e00);
  --accent: var(--md-typeset-a-color, var(--near));
  display: block;
  container-type: inline-size;
  margin: 1.2em 0;
  color: var(--ink);
  line-height: 1.45;
}
@supports (color: light-dark(red, red)) {
  :host {
    --near: var(--hat-near, light-dark(#0072b2, #56b4e9));
    --far: var(--hat-far, light-dark(#d55e00, #f0883e));
  }
}
* { box-sizing: border-box; }
p, figure, fieldset, legend { margin: 0; padding: 0; border: 0; min-width: 0; }
.provenance {
  margin-bottom: 0.9em;
  padding: 0.35em 0.8em;
  border-left: 3px solid var(--far);
  background: color-mix(in srgb, var(--far) 9%, transparent);
  font-size: 0.82em;
}
.spoken {
  position: absolute;
  width: 1px;
  height: 1px;
  overflow: hidden;
  clip-path: inset(50%);
}

/* Choices: radio buttons that look like a row of keys. */
.settings, .of-stage, .of-picture { display: flex; flex-wrap: wrap; gap: 0.4em 1.4em; }
.settings { margin-bottom: 0.9em; }
.choice { display: flex; align-items: center; font-size: 0.8em; }
.choice:disabled { opacity: 0.45; }
.choice:disabled span { cursor: default; }
.choice[hidden] { display: none; }
.choice legend { float: left; flex: none; margin-right: 0.6em; color: var(--quiet); }
.choice > div { display: flex; flex-wrap: wrap; gap: 0.25em; }
.choice input, .kinds input { position: absolute; opacity: 0; pointer-events: none; }
.choice span {
  display: block;
  min-width: 2.1em;
  padding: 0.2em 0.6em;
  border: 1px solid var(--rule);
  border-radius: 0.3em;
  text-align: center;
  font-variant-numeric: tabular-nums;
  cursor: pointer;
}
.choice label:hover span { border-color: var(--quiet); }
.choice :checked + span { background: var(--ink); border-color: var(--ink); color: var(--md-default-bg-color, Canvas); }
.choice :focus-visible + span, .kinds .focused, canvas:focus-visible {
  outline: 2px solid var(--accent);
  outline-offset: 2px;
}
.choice.picture { margin-bottom: 0.9em; }
.choice.picture > div { gap: 0.4em; }
.choice.picture span { min-width: 0; padding: 2px; }
.choice.picture img { display: block; width: 2.9em; height: 2.9em; object-fit: cover; border-radius: 0.15em; }

/* The query, the three maps of its row, and one of them large. */
.panels { display: grid; grid-template-columns: minmax(0, 1fr) 5.3em minmax(0, 1fr); gap: 1em; align-items: start; }
canvas {
  display: block;
  width: 100%;
  border-radius: 3px;
  background: repeating-linear-gradient(135deg, transparent 0 5px, var(--rule) 5px 6px);
}
.query canvas, .map canvas { cursor: crosshair; touch-action: pan-y pinch-zoom; }
figcaption { margin-top: 0.5em; color: var(--quiet); font-size: 0.78em; }
figcaption b { color: var(--ink); }
.legend { display: flex; flex-wrap: wrap; gap: 0 1em; }
.legend span { display: flex; align-items: center; gap: 0.4em; }
.legend i { width: 0.85em; height: 0.85em; border: 2px solid; outline: 1px solid rgb(0 0 0 / 0.75); }
.kinds { display: flex; flex-direction: column; gap: 0.5em; }
.kinds label {
  display: block;
  padding: 0.3em;
  border: 1px solid var(--rule);
  border-radius: 0.35em;
  cursor: pointer;
}
.kinds label:hover { border-color: var(--quiet); }
.kinds .chosen { border-color: var(--ink); box-shadow: inset 0 0 0 1px var(--ink); }
.kinds .missing { cursor: default; border-style: dashed; }
.kinds .missing canvas { display: none; }
.kinds span { display: block; margin-top: 0.3em; font-size: 0.75em; line-height: 1.25; }
.kinds b { display: block; font-weight: 600; }
.kinds small { color: var(--quiet); font-size: 0.95em; }
.bar { margin-top: 0.6em; font-size: 0.74em; font-variant-numeric: tabular-nums; }
.ramp { position: relative; height: 0.7em; border-radius: 2px; }
.ramp i { position: absolute; top: -3px; bottom: -3px; width: 2px; margin-left: -1px; background: var(--ink); }
.numbers { position: relative; display: flex; justify-content: space-between; margin-top: 0.15em; }
.even { position: absolute; transform: translateX(-50%); white-space: nowrap; }

.readout { margin-top: 1em; padding-top: 0.8em; border-top: 1px solid var(--rule); min-height: 9em; }
.finding { font-size: 0.92em; }
.hint, .size { color: var(--quiet); font-size: 0.78em; }
.line {
  display: flex;
  flex-wrap: wrap;
  align-items: center;
  gap: 0.5em 2em;
  overflow: auto hidden;
  padding: 0.25em 0;
}
math { font-family: "STIX Two Math", "Latin Modern Math", "Cambria Math", math; font-size: 1.1em; }
.line math { flex: none; width: max-content; margin: 0; }
table { width: 100%; margin: 0.5em 0; border-collapse: collapse; font-size: 0.8em; font-variant-numeric: tabular-nums; }
table :is(th, td) { padding: 0.2em 1em 0.2em 0; text-align: left; font-weight: 400; white-space: nowrap; }
table td:nth-child(n + 3) { text-align: right; }
table .bar { width: 99%; padding: 0.2em 0; }
table i { display: block; height: 0.9em; min-width: 1px; background: var(--quiet); }
table .near { background: var(--near); }
table .far { background: var(--far); }
table .both { background: repeating-linear-gradient(135deg, var(--near) 0 3px, var(--far) 3px 6px); }
.size { margin-top: 0.8em; max-width: 80ch; }

@container (max-width: 540px) {
  .panels { grid-template-columns: minmax(0, 1fr); gap: 0.8em; }
  .kinds { display: grid; grid-template-columns: repeat(5, minmax(0, 1fr)); gap: 0.3em; }
  .kinds label { padding: 0.2em; }
  .kinds span { font-size: 0.64em; overflow-wrap: anywhere; }
  .readout { min-height: 13em; }
  table td:nth-child(2) { white-space: normal; }
  table .bar { width: 20%; }
  math { font-size: 1em; }
}
@media print {
  .settings, .choice.picture { display: none; }
  canvas, .ramp, table i { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}
@media (forced-colors: active) {
  .choice :checked + span { forced-color-adjust: none; background: Highlight; color: HighlightText; }
  .kinds .chosen { outline: 3px solid Highlight; outline-offset: 1px; }
  .kinds .focused { outline: 5px double Highlight; }
  .legend i, .ramp, table i { forced-color-adjust: none; }
}
`;

customElements.define("attention-explorer", AttentionExplorer);
