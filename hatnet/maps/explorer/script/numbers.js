/* Numbers as text. */

const HTML = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" };
const escape = (text) => String(text).replace(/[&<>"]/g, (letter) => HTML[letter]);
const integer = new Intl.NumberFormat("en");
const place = ([row, column]) => `(${row},\u2009${column})`;

/**
 * How many digits of a weight float16 holds, three at most. Below 6.1 × 10⁻⁵ its values are 6 × 10⁻⁸ apart, so the
 * seventh decimal is the last: three digits of 1.20 × 10⁻⁵, two of 1.2 × 10⁻⁶, one of 1 × 10⁻⁷.
 */
const held = (weight) => Math.min(Math.max(Math.floor(Math.log10(Math.abs(weight))) + 8, 1), 3);

/** A weight below this is zero in float16. No softmax gives exactly zero to a key that exists. */
const SMALLEST = 3e-8;

/** 0.0312, 1.20 × 10⁻⁵, 6 × 10⁻⁸. */
export function digits(value, count = held(value)) {
  if (value === 0) return "0";
  if (Math.abs(value) >= 1e-4) return value.toPrecision(count).replace("-", "−");
  const [number, power] = value.toExponential(count - 1).split("e");
  const superscript = String(Math.abs(power)).replace(/./g, (digit) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[digit]);
  return `${number.replace("-", "−")} × 10⁻${superscript}`;
}

/** A softmax entry; a bound for it if float16 rounds it to zero. */
export const weightDigits = (weight) => (weight ? digits(weight) : `< ${digits(SMALLEST)}`);

/** A sum of softmax entries. It is never zero either, but may be several times as large as `SMALLEST`. */
const sumDigits = (value) => (value ? digits(value) : "≈ 0");

/** An entry of a row. Maps of the whole network are stored as shares of their largest number. */
function entryDigits(row, value) {
  if (row.whole && value) return digits(value, held(value / row.whole.largest));
  return (row.summed ? sumDigits : weightDigits)(value);
}

/** Short enough for a cell of a map: .031 */
const brief = (value) => (value >= 0.9995 ? "1.00" : value.toFixed(3).slice(1));

const times = (value) => (value < 10 ? digits(value, Math.min(held(value), 2)) : integer.format(Math.round(value)));

const bytes = (count) => (count < 1e6 ? `${Math.round(count / 1e3)} kB` : `${(count / 1e6).toFixed(1)} MB`);
