/* Rows: the weights of one query over its keys, and the composed map of a block, from the decoded arrays. */

/**
 * The weights of one query over its keys. Keys are cells of `side` x `side` tokens, laid in `rows` and `columns` from the
 * token (top, left).
 * @typedef {Object} Row
 * @property {Float64Array} values
 * @property {number} rows
 * @property {number} columns
 * @property {number} side
 * @property {number} top
 * @property {number} left
 * @property {Pair} map
 * @property {number} stride pixels from one token of the map to the next
 * @property {boolean} [summed] whether values are sums of softmax entries, not entries themselves
 * @property {WholeMap} [whole] the map of the whole network, if this is one
 */

/** The heads to average: one, or all for null. */
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
 * Every path from the tokens of a block's input to one token of its output: rows over all tokens, each summing to one.
 * The residuals, I; then L, G P and G P L, computed in each head and then averaged. P is the merging of Eq. 10.
 * Plain attention has the residual and A.
 * @returns {Object<string, Float64Array>} by the names in the header's `paths` and `plainPaths`
 */
export function paths(stage, block, head, query) {
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

/** A row r taken back through the windows: r L / share, added to `result`. */
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

/** @returns {Row} F: the weighted mean of all paths, a row that sums to one. */
export function composedRow(header, stage, block, head, query) {
  const found = paths(stage, block, head, query), counts = stage.window ? header.paths : header.plainPaths;
  const values = new Float64Array(stage.map[0] * stage.map[1]), total = sum(Object.values(counts));
  for (const [name, path] of Object.entries(found)) {
    path.forEach((value, token) => { values[token] += (counts[name] * value) / total; });
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

/**
 * The terms of (G P L)_ij: for each cell m that the window of j touches, the weight of the cell, and the mean over its
 * tokens of their weights for j.
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

