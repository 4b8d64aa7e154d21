/* Scale: the place of a weight between the two ends of the colours. Maps side by side share one scale, so that equal
 * weights have equal colours in all of them. */

export class Scale {
  /** From 0 to `high`; or, if `low` is given, logarithmic from `low` to `high`. */
  constructor(high, low = 0) {
    Object.assign(this, { low, high });
  }

  /** From 0 to 1. */
  share(value) {
    const { low, high } = this;
    const share = low ? Math.log(Math.max(value, low) / low) / Math.log(high / low) : value / high;
    return Math.min(Math.max(share, 0), 1);
  }
}

/** A logarithmic scale covers three powers of ten at most. */
const SPAN = 1000;

/**
 * The scale of each row. Relevances for a class are no shares, so each class map has a scale of its own.
 * @param {string} kind @param {Row[]} rows of the networks side by side @param {number} own the query's key
 * @returns {Scale[]}
 */
export function scalesOf(kind, rows, own) {
  if (kind === "class") return rows.map((row) => new Scale(hundredth(row.values)));
  const scale = kind === "composed" ? composedScale(rows, own)
    : new Scale(largestOf(rows.map(({ whole, values }) => (whole ? hundredth : largestOf)(values))) || 1);
  return rows.map(() => scale);
}

/**
 * In a composed map the residuals leave at least two fifths at the query itself, a token of the window has some hundredths and
 * the others a thousandth: only a logarithmic scale shows all. The query is left out, and beyond its end.
 */
function composedScale(rows, own) {
  const others = rows.flatMap(({ values }) => [...values].filter((value, key) => value && key !== own));
  const high = largestOf(others) || 1, low = others.reduce((least, value) => Math.min(least, value), high);
  return new Scale(high, low < high ? Math.max(low, high / SPAN) : high / SPAN);
}

/**
 * The number that one place in a hundred exceeds. A few places at the border would darken a map of the whole network, so
 * its colours end here, as in figures.
 */
function hundredth(values) {
  const order = Float64Array.from(values).sort();
  return order[Math.ceil(0.99 * order.length) - 1] || largestOf(order) || 1;
}
