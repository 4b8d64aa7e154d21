/* Controls: the parts that stay, the pointer, the keyboard, radio buttons, and the values for screen readers. */

/** Everything that stays on the page; `AttentionExplorer.show` fills in the rest at every change. */
function skeleton(header) {
  const stages = header.stages.map(({ map }, index) => [index, index, `Stage ${index}, ${map.join(" × ")} tokens`]);
  const pictures = header.pictures.map(({ name, image }, index) =>
    [index, `<img src="${escape(image)}" alt="">`, escape(name)]);
  const slider = `tabindex="0" role="slider" aria-roledescription="two-dimensional slider" aria-describedby="keys"`;
  return `<p class="provenance">${escape(header.provenance)}</p>
    ${pictures.length > 1 ? choices("picture", "Picture", pictures) : ""}
    <div class="settings">${choices("stage", "Stage", stages)}<div class="of-stage"></div>
      <div class="of-picture"></div></div>
    <div class="panels">
      <figure class="query"><canvas ${slider} aria-label="Query token"></canvas><figcaption></figcaption></figure>
      <fieldset class="kinds"><legend class="spoken">Map</legend>${Object.keys(KINDS).map((kind) => `
        <label><input type="radio" name="kind" value="${kind}"><canvas aria-hidden="true"></canvas>
          <span></span></label>`).join("")}
      </fieldset>
      <figure class="map">
        <canvas ${slider}></canvas>
        <div class="bar" aria-hidden="true"><div class="ramp" style="background: ${RAMP}"><i></i></div>
          <div class="numbers"><span>0</span><span class="even"></span><span class="most"></span></div></div>
        <figcaption></figcaption>
      </figure>
    </div>
    <div class="readout"></div>
    <p class="size">${sizeWords(header)}</p>
    <p class="spoken" id="keys">Left and right change the column, up and down the row. Home and End go to the first
      and the last, Escape goes back.</p>
    <p class="spoken" role="status"></p>`;
}

/** Radio buttons side by side: the browser moves among them with the arrow keys. */
function choices(name, legend, options) {
  const radios = options.map(([value, content, title]) =>
    `<label title="${title}"><input type="radio" name="${name}" value="${value}" aria-label="${title}">
      <span>${content}</span></label>`);
  return `<fieldset class="choice ${name}"><legend>${legend}</legend><div>${radios.join("")}</div></fieldset>`;
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
