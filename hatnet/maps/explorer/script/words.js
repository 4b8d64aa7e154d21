/* Sentences about rows, maps, pictures and networks. */

/** "token (3, 4)", "cell (0, 1)"; as HTML with the letter that formulas use for it. */
function keyWords(row, key, letter = false) {
  const [word, name] = row.side > 1 ? ["cell", "m"] : ["token", "j"];
  return `${word} ${letter ? `<var>${name}</var> = ` : ""}${place(placeOf(row, key))}`;
}

function rowWords(row, order) {
  const most = `${entryDigits(row, row.values[order[0]])} at ${keyWords(row, order[0])}`;
  const all = row.whole?.kind === "class" ? "" : `; they sum to ${sum(row.values).toFixed(3)}`;
  return `${integer.format(order.length)} ${row.whole ? "numbers" : "weights"}, the largest ${most}${all}.`;
}

/** The name of a map and how many keys a row of it has. */
function kindWords(kind, row, stage) {
  if (!row) return `<b>${KINDS[kind]}</b><small>${isWhole(kind) ? "not here" : "no windows here"}</small>`;
  if (row.whole?.of === "object") return "<b>Object</b><small>for its class</small>";
  if (row.whole) return `<b>${KINDS[kind]}</b><small>${kind === "class" ? "for an answer" : "whole network"}</small>`;
  const keys = row.side > 1 ? "cells" : "tokens", name = stage.window || kind !== "global" ? KINDS[kind] : "All tokens";
  return `<b>${name}</b><small>${integer.format(ranked(row).length)} ${keys}</small>`;
}

/** What a map of this kind shows, and how its colours do. */
function mapWords(kind, stage, { stretched, power }, whole) {
  const colours = isWhole(kind) ? " Colours are capped at the 99th percentile."
    : stretched ? ` Colours follow the weight to the power of ${digits(power, 2)}: an equal share is at a third of the scale.`
      : "";
  return {
    local: "How much the query takes from each token of its window, which is enlarged.",
    global: stage.window
      ? `How much the query takes from each merged cell, the mean of ${stage.pool} × ${stage.pool} tokens.`
      : "How much the query takes from each token of the map: the last stage has no windows.",
    composed: "How much of the block's output at the query comes from each token, through all paths. Colours follow the "
      + "logarithm and end at the largest weight beside the query's own.",
    rollout: "Rollout of the whole network: all paths through all blocks, from the mean of the last stage's tokens back "
      + "to the tokens of the first stage. (A figure shows the rollout of its query instead.)",
    class: whole?.of === "object" ? "What attention brings to the class of an object's pixels, over the tokens of the first stage. "
      + "What the residual connections carry is left out." : "What speaks for a class, over the tokens of the first stage.",
  }[kind] + colours;
}

/** The network's answer, unless it stands below the picture, and the map's numbers, below a map. */
function networkWords(state, row, alone) {
  const { whole } = row, about = whole?.kind === "class" ? `For the ${escape(whole.of)} <b>${escape(whole.name)}</b>: ` : "";
  const answer = alone || state.hidden ? "" : predictionWords(state.view.picture);
  return `${answer && `P${answer.slice(1)}<br>`}${about}${rowWords(row, ranked(row))}`;
}

function predictionWords({ predictions }) {
  const found = Object.entries(predictions).map(([name, share]) => `${escape(name)} ${(100 * share).toFixed(0)} %`);
  return found.length ? `prediction ${found.join(", ")}.` : "";
}

/** The legend and the name of the picture; its prediction, unless that stands below the maps. */
function pictureWords(state, alone) {
  const { picture } = state.view, { name, label } = picture, predicted = alone ? predictionWords(picture) : "";
  const swatch = (kind, words) => `<span><i style="border-color: ${LINES[kind]}"></i>${words}</span>`;
  const legend = state.hasQuery ? [swatch("query", `query ${place(state.query)}`)] : [];
  if (state.hasQuery && state.stage.window) legend.push(swatch("window", "its window"));
  legend.push(swatch("key", state.hasQuery ? "chosen key" : "chosen token"));
  return `<span class="legend">${legend.join("")}</span>
    <b>${escape(name)}</b>${label && label !== name ? `, true class ${escape(label)}` : ""}.${predicted
      ? ` P${predicted.slice(1)}` : ""}
    ${state.hasQuery ? "Point, tap or use the arrow keys; click to pin the token."
      : "This map covers the whole network: no query, stage, block or head. Point at a token here or on the map."}`;
}

/** @param {View[]} views */
function sizeWords(views) {
  const { pictures, numbers, dense } = views[0].header, many = pictures.length;
  const length = sum(views.map(({ header }) => header.bytes));
  const each = views.length > 1 ? `Each of the ${views.length} networks has` : many > 1 ? "Each has" : "That is";
  return `The data take ${bytes(length)}${many > 1 ? ` for ${many} pictures` : ""}. ${each}
    ${integer.format(numbers)} weights: those of every token in every block and head over its window and over the merged
    cells. If every token attended to every other, there would be ${integer.format(dense)}, ${times(dense / numbers)}
    times as many.`;
}
