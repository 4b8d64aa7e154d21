/* Attention of one query over a few keys: Eq. 2 for one row of Q and one head, in the steps that the page shows.
 * tests/site/test_attention_by_hand.py compares it with reference.attention over a grid of positions. */

const dot = (a, b) => a.reduce((sum, value, channel) => sum + value * b[channel], 0);

/** Weights that are positive and sum to one. The shift cancels out, and prevents overflow. */
export function softmax(scores) {
  const largest = Math.max(...scores);
  const powers = scores.map((score) => Math.exp(score - largest));
  const sum = powers.reduce((total, power) => total + power, 0);
  return powers.map((power) => power / sum);
}

/** Every step for one query: lists with one entry per key, and the result, one number per channel. */
export function attention({ query, keys, values, temperature = 1 }) {
  const products = keys.map((key) => dot(query, key)); // q . k
  const scores = products.map((product) => product / Math.sqrt(query.length)); // divided by the root of d
  const weights = softmax(scores.map((score) => score / temperature));
  const parts = values.map((value, token) => value.map((channel) => weights[token] * channel)); // weight times value
  const result = values[0].map((_, channel) => parts.reduce((sum, part) => sum + part[channel], 0)); // a row of A
  return { products, scores, weights, parts, result };
}

/** Where the end of a key falls on the line of the query, at a right angle: q . k is |q| times its distance from 0. */
export function shadow(query, key) {
  const square = dot(query, query);
  return square ? query.map((value) => (value * dot(query, key)) / square) : query.map(() => 0);
}
