/* The cost of attention, for every figure that shows it. The formulas are those of hatnet.complexity, in the same order
 * and under the same names; tests/site/test_attention_cost.py checks that both give the same counts. Every count is a
 * whole number below 2^53, so a JavaScript number is exact. */

/** Multiply-accumulates of plain attention: Eq. 5, plus W^p, which Eq. 5 leaves out. */
export function mhsa({ H, W, C }) {
  const N = H * W;
  return { "Wq Wk Wv": 3 * N * C ** 2, "Q K^T": N ** 2 * C, "softmax V": N ** 2 * C, Wp: N * C ** 2 };
}

/** Multiply-accumulates of H-MHSA: Eq. 15, plus W^p. Windows and cells at the border may be smaller. */
export function hMhsa({ H, W, C, G1, G2 }) {
  const N = H * W;
  const pairs = squares(H, G1) * squares(W, G1); // queries times keys, over all windows
  const merged = Math.ceil(H / G2) * Math.ceil(W / G2);
  return {
    "W1q W1k W1v": 3 * N * C ** 2,
    "Q1 K1^T": pairs * C,
    "softmax V1": pairs * C,
    W2q: N * C ** 2,
    "W2k W2v": 2 * merged * C ** 2,
    "Q2 K2^T": N * merged * C,
    "softmax V2": N * merged * C,
    Wp: N * C ** 2,
  };
}

/** The sum of the squared window sides along one axis. */
function squares(length, G1) {
  return Math.floor(length / G1) * G1 ** 2 + (length % G1) ** 2;
}

/** Keys of the query at a row and a column: near, far, and all tokens, which are the keys of plain attention. */
export function keys({ H, W, G1, G2, row, column }) {
  const side = (place, length) => Math.min(G1, length - Math.floor(place / G1) * G1); // the border cuts windows
  return {
    near: side(row, H) * side(column, W),
    far: Math.ceil(H / G2) * Math.ceil(W / G2),
    plain: H * W,
  };
}

/** The size of the token map, and the settings that the formulas need. */
export function map({ height, width, stride, C, G1, G2 }) {
  return { H: Math.ceil(height / stride), W: Math.ceil(width / stride), C, G1, G2 };
}

export const sum = (macs) => Object.values(macs).reduce((total, term) => total + term, 0);

export const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const UNITS = [[1e15, "P"], [1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"], [1, ""]];

/** 1,310,000,000 -> "1.31 G". */
export function short(macs) {
  const [unit, name] = UNITS.find(([unit]) => macs >= unit);
  return `${(macs / unit).toPrecision(3)} ${name}`.trim();
}

/** A ratio with as many digits as it needs to differ from 1. */
export function ratio(value) {
  if (Math.abs(value - 1) < 0.005 && value !== 1) return value.toFixed(4);
  return value < 10 ? value.toFixed(2) : value < 100 ? value.toFixed(1) : whole.format(value);
}
