/* <live-reference> and <bug-lab>: the elements are defined here, and their code is loaded where one of them stands.
 * Without JavaScript the page shows their content. */

const define = (name, module) => customElements.define(name, class extends HTMLElement {
  async connectedCallback() {
    if (this.started) return;
    this.started = true;
    const { start } = await import(new URL(module, import.meta.url));
    await start(this);
    this.dataset.state = "ready";
  }
});

define("live-reference", "live/page.js");
define("bug-lab", "live/lab.js");
