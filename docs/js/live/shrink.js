/* Which sizes of the bug lab's record a test rejects, and how a counterexample shrinks. Draws nothing. */

export const SIDES = { H: [2, 8], W: [2, 8], G1: [1, 4] };
const LOW = Object.values(SIDES).map(([low]) => low);

/** What the record holds for one bug, one size and one kind of weights. */
export function look({ grid, bugs, noise }, bug, size, weights) {
  const at = grid.findIndex((each) => String(each) === String(size));
  return {
    departure: bugs[bug].departures[weights][at],
    landing: bugs[bug].landings[at] ?? Array.from({ length: size[0] * size[1] }, (_, token) => token),
    float32: noise[weights].float32[at],
    float64: noise[weights].float64[at],
  };
}

/** The sizes through which a counterexample shrinks, from the given one to one of which no side can be smaller alone.
 *
 * Like Hypothesis: try the smallest value of each side first, keep what still fails, until nothing changes. */
export function shrinkSteps(size, fails) {
  const steps = [size];
  for (let smaller = true; smaller; ) {
    smaller = false;
    for (const axis of LOW.keys()) {
      const now = steps.at(-1);
      for (let value = LOW[axis]; value < now[axis]; value++) {
        const next = now.with(axis, value);
        if (!fails(next)) continue;
        steps.push(next);
        smaller = true;
        break;
      }
    }
  }
  return steps;
}
