/* Formulas in MathML, with their numbers. */

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
/** Formulas side by side, or below each other on a narrow screen. */
const line = (...formulas) =>
  `<div class="line">${formulas.map((parts) => `<math display="block">${parts.join("")}</math>`).join("")}</div>`;

const IDENTITY = sub(mi("I"), "ij");
const PATHS = {
  residual: { term: IDENTITY, words: "stays in place: the residuals, Eq. 9 and 14", kind: "stays" },
  window: { term: sub(mi("L"), "ij"), words: "through the window", kind: "near" },
  cells: { term: sub(group(mi("G"), mi("P")), "ij"), words: "through the merged cells", kind: "far" },
  "windows then cells": {
    term: sub(group(mi("G"), mi("P"), mi("L")), "ij"), words: "through a window, then the cells", kind: "far both",
  },
  tokens: { term: sub(mi("A"), "ij"), words: "through attention", kind: "far" },
};

/**
 * A softmax with its numbers. For one head also how far its score is below the largest; for several heads their mean.
 * @param {string} letter of the matrix
 * @param {string} key "j" for a token, "m" for a merged one
 * @param {number} d channels of a head
 * @param {number[]} heads the weight in each of the heads to average
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
  const at = value || SMALLEST, exact = Math.min(held(at) + 1, 3); // a small weight has few digits, and so has its logarithm
  return softmax + line([frac(difference, root(d)), mo(value ? "=" : "&lt;"), mi("ln"),
    frac(mn(digits(at)), mn(digits(largest))), mo("="), mn(digits(Math.log(at / largest), exact))]);
}

/** (G P)_ij with its numbers: the share of one token of a cell. */
function shareLine(row, cell) {
  const count = tokensOf(row, cell).length, value = row.values[cell], at = value || SMALLEST;
  return line([PATHS.cells.term, mo("="), frac(sub(mi("G"), "im"), size("m")), mo(value ? "=" : "&lt;"),
    frac(mn(digits(at)), mn(count)), mo("="), mn(digits(at / count))]);
}
