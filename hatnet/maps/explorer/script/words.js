/* Sentences about rows, maps and pictures. */

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
  if (!row) return `<b>${KINDS[kind]}</b><small>${isWhole(kind) ? "not stored" : "no windows here"}</small>`;
  if (row.whole) return `<b>${KINDS[kind]}</b><small>${escape(row.whole.name ?? "whole network")}</small>`;
  const keys = row.side > 1 ? "cells" : "tokens", name = stage.window || kind !== "global" ? KINDS[kind] : "All tokens";
  return `<b>${name}</b><small>${integer.format(ranked(row).length)} ${keys}</small>`;
}

function mapWords(kind, stage, row) {
  const words = {
    local: "The window of the query, enlarged.",
    global: stage.window
      ? `Merged cells, each the mean of ${stage.pool} × ${stage.pool} tokens.` : "Every token of the map.",
    composed: "All paths through the block. Colours are capped at the largest weight beside the query's own.",
    rollout: "Rollout of the whole network: all paths through all blocks, from the mean of the last stage's tokens back "
      + "to the tokens of the first stage. (A figure shows the rollout of its query instead.)",
    class: `Relevance for the class <b>${escape(row.whole?.name)}</b>, over the tokens of the first stage.`,
  };
  if (row.whole) words[kind] += " Colours are capped at the 99th percentile.";
  return `${words[kind]} ${row.whole ? "The map" : "The row"} has ${rowWords(row, ranked(row))}`;
}

/** The legend and the prediction, below the picture. */
function pictureWords(state) {
  const { name, label, predictions } = state.maps.header.pictures[state.choice.picture];
  const predicted = Object.entries(predictions)
    .map(([name, share]) => `${escape(name)} ${(100 * share).toFixed(0)} %`);
  const swatch = (kind, words) => `<span><i style="border-color: ${LINES[kind]}"></i>${words}</span>`;
  const legend = state.hasQuery ? [swatch("query", `query ${place(state.query)}`)] : [];
  if (state.hasQuery && state.stage.window) legend.push(swatch("window", "its window"));
  legend.push(swatch("key", state.hasQuery ? "chosen key" : "chosen token"));
  return `<span class="legend">${legend.join("")}</span>
    <b>${escape(name)}</b>${label && label !== name ? `, true class ${escape(label)}` : ""}${predicted.length
      ? `. Prediction: ${predicted.join(", ")}` : ""}.
    ${state.hasQuery ? "Point, tap or use the arrow keys; a click keeps the token."
      : "This map covers the whole network: no query, stage, block or head. Point at a token here or on the map."}`;
}

function sizeWords({ bytes: length, pictures, numbers, dense }) {
  const many = pictures.length;
  return `The data take ${bytes(length)}${many > 1 ? ` for ${many} pictures` : ""}. ${many > 1 ? "Each has" : "That is"}
    ${integer.format(numbers)} weights: those of every token in every block and head over its window and over the merged
    cells. If every token attended to every other, there would be ${integer.format(dense)}, ${times(dense / numbers)}
    times as many.`;
}
