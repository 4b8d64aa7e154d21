/* Controls: the parts that stay, the pointer, the keyboard, radio buttons, and the values for screen readers. */

/** Everything that stays on the page; `AttentionExplorer.show` fills in the rest at every change. */
function skeleton({ networks, pictures }, header, linked) {
  const stages = header.stages.map(({ map }, index) => [index, index, `Stage ${index}, ${map.join(" × ")} tokens`]);
  const images = pictures.map(({ name, image }, index) =>
    [index, `<img src="${escape(image)}" alt="">`, escape(name)]);
  const others = networks.slice(1).map(({ name }, index) => [index + 1, escape(name), escape(name)]);
  const shown = Math.min(networks.length, 2), provenances = networks.map(({ provenance }) => escape(provenance));
  return `${shown === 1 ? `<p class="provenance">${provenances[0]}</p>` : ""}
    ${pictures.length > 1 ? choices("picture", "Picture", images) : ""}
    <div class="settings">${others.length > 1 ? choices("beside", "Compare with", others) : ""}
      ${choices("stage", "Stage", stages)}<div class="of-stage"></div></div>
    <fieldset class="kinds"><legend class="spoken">Map</legend>${Object.keys(KINDS).map((kind) => `
      <label class="${kind}"><input type="radio" name="kind" value="${kind}"><span></span></label>`).join("")}
    </fieldset>
    <div class="of-picture"></div>
    <p class="meaning"></p>
    <div class="panels ${shown > 1 ? "pair" : ""}">
      <figure class="query"><canvas ${SLIDER} aria-label="Query token"></canvas><figcaption></figcaption></figure>
      ${mapPanel().repeat(shown)}
    </div>
    <div class="readouts ${shown > 1 ? "pair" : ""}">${'<div class="readout"></div>'.repeat(shown)}</div>
    ${linked ? `<p class="link"><button type="button">Copy a link to this view</button> <span role="status"></span></p>` : ""}
    ${shown > 1 ? `<p class="provenances">${provenances.join("<br>")}</p>` : ""}
    <p class="size"></p>
    <p class="spoken" id="keys">Left and right change the column, up and down the row. Home and End go to the first
      and the last, Escape goes back.</p>
    <p class="spoken said" role="status"></p>
    <p class="state" role="alert"></p>`;
}

const SLIDER = `tabindex="0" role="slider" aria-roledescription="two-dimensional slider" aria-describedby="keys"`;

const UPPER = 2 / 3; // where a stretched scale has one more number

/** A map below its name and between rulers, which mark the rows and columns of the query and of its window, and its colour scale. */
const mapPanel = () => `<figure class="map">
    <b class="name"></b>
    <div class="frame"><div class="ruler across"><i class="window"></i><i class="query"></i></div>
      <div class="ruler down"><i class="window"></i><i class="query"></i></div><canvas ${SLIDER}></canvas></div>
    <div class="bar" aria-hidden="true"><div class="ramp" style="background: ${RAMP}"><i></i><i class="upper"></i></div>
      <div class="numbers"><span class="least"></span><span class="even"></span><span class="upper"></span>
        <span class="most"></span></div></div>
    <figcaption></figcaption>
  </figure>`;

/** Place the marks of a box on the rulers of a map, or hide them. */
function setRulers(rulers, name, box, [top, left, height, width]) {
  for (const ruler of rulers) {
    const across = ruler.classList.contains("across"), mark = ruler.querySelector(`.${name}`);
    mark.hidden = !box;
    if (!box) continue;
    const [from, length, start, size] = across ? [box[1], box[3], left, width] : [box[0], box[2], top, height];
    const ends = [from, from + length].map((at) => Math.min(Math.max((100 * (at - start)) / size, 0), 100));
    mark.style.inset = across ? `0 ${100 - ends[1]}% 0 ${ends[0]}%` : `${ends[0]}% 0 ${100 - ends[1]}% 0`;
  }
}

/** The ends of the colour scale, with a tick where all weights would be equal, and a second one if it is stretched. */
function showScale(figure, row, scale, kind) {
  const even = 1 / ranked(row).length, at = 100 * scale.share(even), find = (name) => figure.querySelector(name);
  const tick = find(".ramp i"), word = find(".even");
  tick.style.left = `${at}%`;
  tick.hidden = word.hidden = even > scale.high || even < scale.low || kind === "class"; // a class map has no sum
  word.style.left = `${Math.min(Math.max(at, 26), 66)}%`;
  word.textContent = `equal ${digits(even)}`;
  const beyond = largestOf(row.values) > scale.high;
  find(".least").textContent = scale.low ? `≤ ${digits(scale.low)}` : "0";
  for (const upper of figure.querySelectorAll(".upper")) {
    upper.hidden = !scale.stretched;
    upper.style.left = `${100 * UPPER}%`;
  }
  find("span.upper").textContent = digits(scale.at(UPPER), 2);
  find(".most").textContent = `${beyond ? "≥ " : ""}${entryDigits(row, scale.high)}`;
}

/** Radio buttons side by side: the browser moves among them with the arrow keys. */
function choices(name, legend, options) {
  const radios = options.map(([value, content, title]) =>
    `<label title="${title}"><input type="radio" name="${name}" value="${value}" aria-label="${title}">
      <span>${content}</span></label>`);
  return `<fieldset class="choice ${name}"><legend>${legend}</legend><div>${radios.join("")}</div></fieldset>`;
}

const FILLED = new WeakMap();

/** Give an element this content, unless it has it: new radio buttons would take the focus from those under the fingers. */
function refill(element, html) {
  if (FILLED.get(element) !== html) element.innerHTML = html;
  FILLED.set(element, html);
}

/**
 * Follow the pointer over a canvas: call `over(spot)` with fractions of the canvas, or null when the pointer leaves, and
 * `keep` when it is pressed. A finger or a pen may be about to scroll the page, so it keeps a spot only when it is
 * lifted. If the browser does scroll, it cancels the pointer, and everything is as before.
 */
function follow(canvas, over, keep, show) {
  const share = (at, length) => Math.min(Math.max(at / length, 0), 1); // a finger may slide beyond the border
  const spot = ({ offsetX, offsetY }) => [share(offsetX, canvas.clientWidth), share(offsetY, canvas.clientHeight)];
  const isMouse = ({ pointerType }) => pointerType === "mouse";
  const isMain = ({ button }) => button === 0; // the other buttons open menus, and scroll
  const choose = (event) => { over(spot(event)); keep(); };
  const leave = () => { over(null); show(); };
  canvas.addEventListener("pointerdown", (event) => { if (isMouse(event) && isMain(event)) choose(event); });
  canvas.addEventListener("pointermove", (event) => {
    over(spot(event));
    (isMouse(event) && event.buttons & 1 ? keep : show)();
  });
  canvas.addEventListener("pointerup", (event) => { if (!isMouse(event) && isMain(event)) choose(event); });
  canvas.addEventListener("pointerleave", leave);
  canvas.addEventListener("pointercancel", leave);
}

const KEYS = {
  ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1],
  Home: "first", End: "last", Escape: "start",
};

/** Call `move` with a step, "first", "last" or "start" at the keys that move a slider, while it is enabled. */
function onKeys(canvas, enabled, move) {
  canvas.addEventListener("keydown", (event) => {
    if (!enabled() || !KEYS[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
    move(KEYS[event.key]);
    event.preventDefault();
  });
}

/**
 * Tell screen readers about a place. A slider in ARIA has one dimension, so this one is the slider of the columns: right
 * and End raise its number, left and Home lower it, as they must. The text, spoken at every step, names row and column.
 */
function setSlider(canvas, [row, column], [first, last], word, value = "") {
  canvas.setAttribute("aria-valuemin", first);
  canvas.setAttribute("aria-valuemax", last);
  canvas.setAttribute("aria-valuenow", column);
  canvas.setAttribute("aria-valuetext", `${word} in row ${row}, column ${column}${value}`);
}

async function loadImage(source) {
  const image = new Image();
  image.src = source;
  await image.decode();
  return image;
}
