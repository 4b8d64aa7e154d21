/* The explanation of one weight: a sentence, and the formula with its numbers. */

/**
 * The sentence, and the formula below it.
 * @param {State} state @param {Row} row @param {number} key @param {number[]} order of the keys, largest first
 * @returns {{finding: string, formulas: string}} HTML
 */
function explain(state, row, key, order) {
  const value = row.values[key], rank = 1 + order.filter((other) => row.values[other] > value).length;
  const ranking = `rank ${rank} of ${integer.format(order.length)}`;
  if (row.whole) return (row.whole.kind === "rollout" ? explainRollout : explainRelevance)(row, key, ranking);
  return (state.kind === "composed" ? explainPaths : explainSoftmax)(state, row, key,
    `${ranking}, ${value ? "" : "less than "}${times((value || SMALLEST) * order.length)} times an equal share.`);
}

/** An entry of one softmax row. */
function explainSoftmax(state, row, key, rank) {
  const { stage, block, query, head, kind } = state, { headDim } = state.view.header;
  const rowOf = kind === "local" ? localRow : globalRow;
  const heads = chosen(stage, head).map((one) => rowOf(stage, block, one, query).values[key]);
  const [letter, index] = kind === "local" ? ["L", "j"] : stage.window ? ["G", "m"] : ["A", "j"];
  const what = kind === "local" ? "its near attention" : stage.window ? "its far attention" : "its attention";
  const finding = `<p class="finding">Token <var>i</var> = ${place(query)} gives
    <b>${escape(entryDigits(row, row.values[key]))}</b> of ${what} to ${keyWords(row, key, true)}: ${rank}</p>`;
  const formulas = softmaxLines(letter, index, headDim, heads, largestOf(row.values), sum(row.values))
    + (index === "m" ? shareLine(row, key) : "");
  return { finding, formulas };
}

/** An entry of the composed map: every path to the token on its own, then their sum. */
function explainPaths(state, row, token, rank) {
  const { stage, block, head, query } = state, { header } = state.view;
  const found = paths(stage, block, head, query), counts = stage.window ? header.paths : header.plainPaths;
  const all = sum(Object.values(counts)), value = row.values[token];
  const inWindow = stage.window && keyAt(windowAt(stage, ...query), placeOf(row, token)) >= 0;
  const each = Object.keys(found).map((name) => ({
    ...PATHS[name], count: counts[name], share: value ? (counts[name] * found[name][token]) / all / value : 0,
    number: pathDigits(name, inWindow)(found[name][token]),
  }));
  const F = sub(mi("F"), "ij");
  const terms = each.map(({ count, term }) => (count > 1 ? mn(count) : "") + term);
  const filled = each.map(({ count, number }) => (count > 1 ? mn(count) + mo("·") : "") + mn(number));
  const finding = `<p class="finding"><b>${escape(entryDigits(row, value))}</b> of the output at token <var>i</var> =
    ${place(query)} comes from ${keyWords(row, token, true)}, if every path through the block counts the same: ${rank}</p>`;
  const formulas = `<table><caption class="spoken">Paths from token j to token i</caption>
      <tbody>${each.map(pathRow).join("")}</tbody></table>`
    + line([F, mo("="), frac(joined(terms, "+"), mn(all))],
      [mo("="), frac(joined(filled, "+"), mn(all)), equalsSum(value)],
      [total("j"), F, mo("="), mn(sum(row.values).toFixed(3))])
    + (stage.window ? cellLines(state, token) : "");
  return { finding, formulas };
}

/** How to write the number of a path: the residual is exactly zero or one, softmax entries are never zero. */
const pathDigits = (name, inWindow) => ({
  residual: digits,
  window: inWindow ? weightDigits : digits,
  cells: weightDigits,
  tokens: weightDigits,
  "windows then cells": sumDigits,
}[name]);

const pathRow = ({ term, words, count, number, kind, share }) =>
  `<tr><th scope="row"><math>${term}</math></th><td>${words}</td><td>${count} ×</td><td>${escape(number)}</td>
    <td class="bar"><i class="${kind}" style="width: ${100 * share}%"></i></td></tr>`;

/** The two paths through the cells, traced to softmax entries. */
function cellLines({ stage, block, head, query }, token) {
  const row = globalRow(stage, block, head, query);
  const own = Array.from(row.values.keys()).find((key) => tokensOf(row, key).includes(token));
  const direct = shareLine(row, own);
  if (head === null) {
    return `${direct}<p class="hint">The last path is a mean over heads. Choose one head to see its terms.</p>`;
  }
  const terms = windowTerms(stage, block, head, query, token);
  const shown = terms.slice(0, 4).map(({ weight, mean }) =>
    mn(weightDigits(weight)) + mo("·") + mn(weightDigits(mean)));
  const rest = terms.length > 4 ? `${mo("+")}<mi>…</mi>` : "";
  const within = `<munder><mo>∑</mo><mrow>${mi("n")}${mo("∈")}${mi("m")}</mrow></munder>`;
  const mean = frac(mn(1), size("m")) + within + sub(mi("L"), "nj");
  return direct + line([PATHS["windows then cells"].term, mo("="), total("m"), sub(mi("G"), "im"), mean],
    [mo("="), joined(shown, "+"), rest, equalsSum(sum(terms.map(({ weight, mean }) => weight * mean)))]);
}

/** An entry of the rollout of the whole network. */
function explainRollout(row, token, rank) {
  const value = row.values[token], R = sub(mi("R"), "j"), N = mi("N");
  const product = `${sub(mi("F"), "B")}${mo("⋯")}<msub>${mi("F")}${mn(2)}</msub><msub>${mi("F")}${mn(1)}</msub>`;
  const mean = `${frac(mn(1), N)}<munder><mo>∑</mo>${mi("i")}</munder>`;
  const finding = `<p class="finding"><b>${entryDigits(row, value)}</b> of the classifier's input comes from
    ${keyWords(row, token, true)} of the first stage, if every path through every block counts the same: ${rank},
    ${times(value * row.values.length)} times an equal share.</p>`;
  const formulas = `${line([R, mo("="), mean, `<msub>${group(product)}${indices("ij")}</msub>`, mo("="), mn(entryDigits(row, value))],
      [total("j"), R, mo("="), mn(sum(row.values).toFixed(3))])}
    <p class="hint">The composed maps F of all B blocks, the last first, with downsampling between stages. The
    classifier's input is the mean of the N tokens of the last stage.</p>`;
  return { finding, formulas };
}

/** An entry of a class map. */
function explainRelevance(row, token, rank) {
  const { name, role, largest, of } = row.whole, value = row.values[token];
  const share = largest ? `, ${(100 * value / largest).toFixed(0)} % of the largest` : "";
  const finding = `<p class="finding"><b>${entryDigits(row, value)}</b> is the relevance of ${keyWords(row, token, true)} of
    the first stage for the ${escape(of)} <b>${escape(name)}</b>${role ? `, ${escape(role)}` : ""}: ${rank}${share}.</p>`;
  const read = of === "object" ? ", averaged over the object's pixels, where positive, rolled out from every stage that the pyramid reads"
    : ", where positive, rolled out through all blocks";
  const formulas = `<p class="hint">Every weight times the gradient of the class's logit${read}. Relevance is not a share: its sum
    has no meaning.</p>`;
  return { finding, formulas };
}
