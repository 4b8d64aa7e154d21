/* Scale: the place of a weight between the two ends of the colours. Maps side by side share one scale, so that equal
 * weights have equal colours in all of them. */

export class Scale {
  /** From 0 to `high`, by a power of the weight; or, if `low` is given, logarithmic from `low` to `high`. */
  constructor(high, low = 0, power = 1) {
    Object.assign(this, { low, high, power });
  }

  /** From 0 to 1. */
  share(value) {
    const { low, high, power } = this;
    const share = low ? Math.log(Math.max(value, low) / low) / Math.log(high / low) : (value / high) ** power;
    return Math.min(Math.max(share, 0), 1);
  }

  /** Whether small weights have more than their share of the colours, without a logarithm. */
  get stretched() {
    return this.power < 1;
  }

  /** The weight at a share of a scale that starts from 0. */
  at(share) {
    return this.high * share ** (1 / this.power);
  }
}

/** A logarithmic scale covers three powers of ten at most. */
const SPAN = 1000;

/** Where a row's equal share stands at least. */
const EQUAL = 1 / 3;

/**
 * The scale of each row. Relevances for a class are no shares, so each class map has a scale of its own.
 * @param {string} kind @param {Row[]} rows of the networks side by side @param {number} own the query's key
 * @returns {Scale[]}
 */
export function scalesOf(kind, rows, own) {
  if (kind === "class") return rows.map((row) => new Scale(hundredth(row.values)));
  const scale = kind === "composed" ? composedScale(rows, own)
    : kind === "rollout" ? new Scale(largestOf(rows.map(({ values }) => hundredth(values)))) : softmaxScale(rows);
  return rows.map(() => scale);
}

/**
 * If one weight is 48 times an equal share, all others have the darkest colours of a linear scale. A power of the
 * weight lifts them, and an even row too, while 0 stays 0. A logarithm would need an end, and spread what is next to
 * nothing.
 */
function softmaxScale(rows) {
  const high = largestOf(rows.map(({ values }) => largestOf(values))) || 1, linear = 1 / ranked(rows[0]).length / high;
  return new Scale(high, 0, linear < EQUAL ? Math.log(EQUAL) / Math.log(linear) : 1);
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
