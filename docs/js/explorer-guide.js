/* <explorer-guide>: steps through an <attention-explorer> of the same page. Its list has one entry per step, with the
 * choices for the explorer in `data-look`, as in the page's address. Without JavaScript it is a list to read. */

class ExplorerGuide extends HTMLElement {
  connectedCallback() {
    if (this.steps) return;
    this.steps = [...this.querySelectorAll("li")];
    this.explorer = document.querySelector("attention-explorer");
    this.querySelector("ol").setAttribute("aria-live", "polite");
    this.insertAdjacentHTML("beforeend", `<nav aria-label="Steps"><button type="button">Back</button>
      <span></span><button type="button">Next</button></nav>`);
    [this.back, this.next] = this.querySelectorAll("button");
    this.back.addEventListener("click", () => this.go(this.at - 1));
    this.next.addEventListener("click", () => this.go(this.at + 1));
    this.classList.add("stepwise");
    this.show(0); // the explorer starts as step 1 has it, or as the address says
  }

  go(step) {
    this.show(step);
    if (this.back.disabled) this.next.focus(); // or the keyboard would lose its place
    if (this.next.disabled) this.back.focus();
    const look = () => this.explorer.look(this.steps[this.at].dataset.look);
    if (this.explorer.views) look();
    else this.explorer.addEventListener("ready", look, { once: true });
  }

  show(step) {
    this.at = step;
    this.steps.forEach((each, index) => { each.hidden = index !== step; });
    this.querySelector("nav span").textContent = `Step ${step + 1} of ${this.steps.length}`;
    this.back.disabled = step === 0;
    this.next.disabled = step === this.steps.length - 1;
  }
}

customElements.define("explorer-guide", ExplorerGuide);
