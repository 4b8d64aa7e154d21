/* The button that loads Python, its progress in bytes and words, and the button that stops it. */

import { Engine, size } from "./engine.js";

const mega = (bytes) => `${(bytes / 1e6).toFixed(1)} MB`;
const OTHERS = 3.5e6; // weights, kept figures and sources, about

/** Put the controls into `place`, and return the engine; its event `ready` fires when it can be called. */
export async function loading(place) {
  const total = await size();
  const engine = new Engine();
  if (!total) {
    place.innerHTML = `<p class="note">This copy of the site was built without Python for browsers (16 MB), so nothing runs
      here. Build it with <code>HATNET_PYODIDE=fetch mkdocs build --strict</code>, or run the same files in a checkout.</p>`;
    return engine;
  }
  place.innerHTML = `<div class="loading">
    <button type="button" class="main load">Load Python and NumPy (${mega(total + OTHERS)})</button>
    <button type="button" class="stop" hidden>Stop</button>
    <progress max="${total + OTHERS}" value="0" hidden aria-label="Loading"></progress>
    <p class="status" role="status">Nothing is loaded before you click.</p></div>`;
  const load = place.querySelector(".load"), stop = place.querySelector(".stop");
  const bar = place.querySelector("progress"), status = place.querySelector(".status");
  let stage = "";
  const busy = (is) => {
    stop.hidden = !is;
    bar.hidden = !is || engine.ready;
  };
  engine.addEventListener("progress", ({ detail }) => {
    if (engine.ready) return;
    stage = detail.stage ?? stage;
    bar.value = detail.loaded;
    bar.setAttribute("aria-valuetext", mega(detail.loaded));
    status.textContent = `${stage}: ${mega(detail.loaded)} loaded.`;
  });
  engine.busy = busy;
  engine.start = async () => {
    load.hidden = true;
    busy(true);
    const begin = performance.now();
    try {
      const { version } = await engine.load();
      const seconds = ((performance.now() - begin) / 1000).toFixed(1);
      status.textContent = `Python and NumPy run in this page (Pyodide ${version}, loaded in ${seconds} s).`;
      engine.dispatchEvent(new Event("ready"));
    } catch (error) {
      load.hidden = false;
      status.textContent = `Not loaded: ${error.message}.`;
      engine.dispatchEvent(new Event("stopped"));
    }
    busy(false);
  };
  load.onclick = () => engine.start();
  stop.onclick = () => {
    engine.stop();
    load.hidden = false;
    busy(false);
    status.textContent = "Stopped. Load Python again to continue.";
    engine.dispatchEvent(new Event("stopped"));
  };
  return engine;
}
