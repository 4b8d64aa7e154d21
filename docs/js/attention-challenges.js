/* <attention-challenges src="uniform-attention.json">: three questions about the <attention-explorer> of the same page.
 * Every number in an answer is read from the explorer's maps, or from `src`, which the builder computes. */

const EVEN = 1.5; // a row is even if no weight exceeds an equal share so many times
const TRAINED = 0, UNTRAINED = 1, UNIFORM = 2; // the networks of docs/builder/maps.py
const GUESSES = ["on fewer than a fifth", "on about half", "on more than four fifths"];

/** The largest weight of a row, as a multiple of an equal share. @param {number[]} weights */
export const selectivity = (weights) => Math.max(...weights) * weights.length;

/** Which of the guesses is right. */
export const rightGuess = ({ images, "same answer": same }) => (same < images / 5 ? 0 : same > (4 * images) / 5 ? 2 : 1);

const times = (value) => `${value < 10 ? value.toFixed(1) : Math.round(value)} times an equal share`;

const card = (name, title, text, buttons) => `<section class="${name}"><h3>${title}</h3><p>${text}</p>
  <p class="buttons">${buttons.map((words) => `<button type="button" disabled>${words}</button>`).join("")}</p>
  <p class="feedback" role="status"></p></section>`;

class AttentionChallenges extends HTMLElement {
  connectedCallback() {
    if (this.explorer) return;
    this.explorer = document.querySelector("attention-explorer");
    const source = new URL(this.getAttribute("src"), this.baseURI);
    this.innerHTML = card("trained", "Which one is trained?",
      "Hide the names: the two networks come in a random order, on a random picture. Which one has learned?",
      ["Hide the names", "A is trained", "B is trained"])
      + card("even", "Find a token that ignores its window",
        `If all weights of a window are about equal, the query ignores what is there: it takes the plain mean. Find such a
        query in the trained network: no near weight above ${EVEN} times an equal share.`,
        ["Show near weights", "Check this query"])
      + card("uniform", "Make all attention uniform",
        `Set every query of the trained network to zero: all scores are equal, and so are all weights. On how many test
        images does its answer stay the same?`, GUESSES);
    this.parts = Object.fromEntries([...this.children].map((section) => [section.className, {
      buttons: [...section.querySelectorAll("button")], say: (words) => { section.querySelector(".feedback").textContent = words; },
    }]));
    const { trained, even, uniform } = this.parts;
    const [hide, ...answers] = trained.buttons, [start, check] = even.buttons;
    hide.addEventListener("click", () => this.hide());
    answers.forEach((button, position) => button.addEventListener("click", () => this.answer(position)));
    start.addEventListener("click", () => this.explorer.choose({ kind: "local", stage: 0, block: 1 }));
    check.addEventListener("click", () => this.check());
    uniform.buttons.forEach((button, guess) => button.addEventListener("click", () => this.makeUniform(source, guess)));
    const enable = () => this.playing(false);
    if (this.explorer.views) enable();
    else this.explorer.addEventListener("ready", enable);
  }

  /** While names are hidden, only the answer to the first question can be given. */
  playing(hidden) {
    const { trained, even, uniform } = this.parts, [hide, ...answers] = trained.buttons;
    for (const button of answers) button.disabled = !hidden;
    for (const button of [hide, ...even.buttons, ...uniform.buttons]) button.disabled = hidden;
  }

  async hide() {
    const { explorer } = this, order = Math.random() < 0.5 ? [TRAINED, UNTRAINED] : [UNTRAINED, TRAINED];
    this.playing(true);
    this.parts.trained.say("Look at near and far, at any stage and query, and then answer.");
    await explorer.choose({
      picture: Math.floor(Math.random() * explorer.library.pictures.length), kind: "global", stage: 0, block: 1,
      beside: UNTRAINED,
    });
    await explorer.hideNames(order);
    this.order = order;
  }

  async answer(position) {
    const { explorer, order } = this, right = order.indexOf(TRAINED);
    await explorer.showNames();
    await explorer.choose({ kind: "local", stage: 1, block: 1 });
    const [ours, other] = explorer.rows("local").map(({ weights }) => times(selectivity(weights)));
    this.playing(false);
    this.parts.trained.say(`${position === right ? "Yes" : "No"}: ${"AB"[right]} is the trained network. The map now shows the
      near weights of stage 1, block 1, where training shows: the largest one is ${ours} when trained, ${other} before. In
      stage 0, far, both follow the garment, so a map that looks sensible does not tell you that anything was learned.`);
  }

  check() {
    const { explorer, parts: { even: { say } } } = this, { state } = explorer;
    if (!state.stage.window) return say(`Stage ${state.choice.stage} has no windows. Choose stage 0 or 1.`);
    const { weights } = explorer.rows("local")[explorer.networks.indexOf(TRAINED)], most = selectivity(weights);
    const where = `Token (${state.query.join(", ")}) of stage ${state.choice.stage}, block ${state.choice.block}`;
    return say(most <= EVEN ? `Found. ${where}: its largest near weight is only ${times(most)}. Now look at its window in
      the picture. Where all tokens of a window look alike, their keys are alike, and no query can choose among them.
      Its map has about one colour, but the token still takes the mean of its window.`
      : `Not yet. ${where}: its largest near weight is ${times(most)}, so it chooses. Try a query whose window shows
      only background, and stage 0.`);
  }

  async makeUniform(source, guess) {
    const { explorer, parts: { uniform: { say } } } = this;
    try {
      this.found ??= await (await fetch(source)).json();
    } catch (error) {
      return say(`The counts cannot be read: ${error.message}. Try again.`);
    }
    await explorer.choose({ beside: UNIFORM, kind: "global" });
    const { images, right, "right with uniform attention": rightEven, "same answer": same } = this.found;
    const [before, after] = explorer.views.map(({ picture }) => Object.entries(picture.predictions)[0])
      .map(([name, share]) => `${name} (${Math.round(100 * share)} %)`);
    return say(`${guess === rightGuess(this.found) ? "Yes" : "No"}: the answer stays the same on ${same} of ${images} test
      images, and ${rightEven} are right instead of ${right}. For the picture that is shown, the answer was ${before} and is
      now ${after}. So in this network the choice that the maps show decides few answers. Convolutions and MLPs do most of
      the work, and no attention map shows that.`);
  }
}

customElements.define("attention-challenges", AttentionChallenges);
