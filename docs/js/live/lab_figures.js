/* The figures of the bug lab, as SVG text. */

import { power } from "./editor.js";

/** A map of tokens: at each place, the number of the token whose result is there, coloured by its own window. */
export function tokens(H, W, G1, landing, side = 26) {
  const columns = Math.ceil(W / G1);
  const window_ = (token) => Math.floor(Math.floor(token / W) / G1) * columns + Math.floor((token % W) / G1);
  const alternate = (token) => (Math.floor(Math.floor(token / W) / G1) + Math.floor((token % W) / G1)) % 2;
  const cells = landing.map((token, place) => {
    const x = (place % W) * side, y = Math.floor(place / W) * side;
    const kind = token < 0 ? "wrong" : token !== place ? "moved" : "own";
    const fill = token < 0 ? "" : ` style="fill-opacity: ${0.12 + 0.16 * alternate(token) + 0.03 * (window_(token) % 5)}"`;
    const label = side < 20 ? "" : `<text x="${x + side / 2}" y="${y + side / 2}">${token < 0 ? "×" : token}</text>`;
    return `<g class="${kind}"><rect x="${x + 0.5}" y="${y + 0.5}" width="${side - 1}" height="${side - 1}"${fill}/>${label}</g>`;
  });
  const rule = (from, to, along) => Array.from({ length: Math.floor((to - 1) / G1) }, (_, i) => (i + 1) * G1 * side)
    .map((at) => (along === "x" ? `M${at} 0V${from * side}` : `M0 ${at}H${from * side}`)).join("");
  return `<svg class="tokens" viewBox="0 0 ${W * side} ${H * side}" width="${W * side}" height="${H * side}" role="img"
    aria-label="${H} × ${W} tokens in windows of ${G1} × ${G1}: ${landing.map((token) => (token < 0 ? "wrong" : token)).join(" ")}">
    ${cells.join("")}<path d="${rule(H, W, "x")}${rule(W, H, "y")}"/></svg>`;
}

/** A logarithmic scale from 10^-17 to 1 with the noise of both precisions, both tolerances, and the bug. */
export function scale({ departure, float32, float64 }, loose, sharp) {
  const wide = 460, at = (value) => 20 + ((Math.log10(Math.max(value, 1e-17)) + 17) / 17) * (wide - 40);
  const ticks = [-16, -12, -8, -4, 0].map((e) => `<path class="tick" d="M${at(10 ** e)} 66v5"/>
    <text class="tick" x="${at(10 ** e)}" y="84">${power(10 ** e).replace(/^1.0 · /, "").replace(/^10⁰$/, "1")}</text>`);
  const noise = (value, name, x, anchor) => `<rect class="noise" x="20" y="58" width="${Math.max(at(value) - 20, 2)}" height="8"/>
    <text class="name" x="${x}" y="52" text-anchor="${anchor}">noise of ${name}</text>`;
  const limit = (value, name) => `<path class="limit" d="M${at(value)} 22V66"/><text class="name" x="${at(value)}" y="16">${name}</text>`;
  const bug = departure === 0 ? "" : `<circle class="bug" cx="${at(departure)}" cy="62" r="7"/>
    <text class="bug" x="${Math.min(at(departure), wide - 28)}" y="36">the bug</text>`;
  return `<svg class="axis" viewBox="0 0 ${wide} 90" role="img" aria-label="Noise of float64 ${power(float64)}, tolerance of the
    float64 test ${power(sharp)}, noise of float32 ${power(float32)}, tolerance of the float32 test ${power(loose)}, the bug
    ${power(departure)}"><path class="line" d="M20 66H${wide - 20}"/>${noise(float32, "float32", at(float32), "end")}${
    noise(float64, "float64", 20, "start")}
    ${limit(sharp, "float64 test")}${limit(loose, "float32 test")}${bug}${ticks.join("")}</svg>`;
}
