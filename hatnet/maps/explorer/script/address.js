/* Address: what is shown as the part of a page's address behind the #, to be shared, reloaded and gone back to. */

const MARK = "#explore?";

/** The address of a state, such as "#explore?picture=1&kind=global&query=10,15". */
export function toAddress({ choice, kept }) {
  const query = [...kept.pixel].reverse().map(Math.floor); // x,y, as in `hatnet attention --query`
  const named = { ...choice, head: choice.head ?? "mean", query, key: kept.key };
  const given = Object.entries(named).filter(([, value]) => value !== null);
  return MARK + given.map(([name, value]) => `${name}=${value}`).join("&");
}

/**
 * The choices in an address. Whatever is unknown, malformed or out of range is left out.
 * @param {string} hash @param {Library} library @param {Object} header of one of its files
 * @returns {?Object} null for another address
 */
export function fromAddress(hash, { pictures, networks }, { stages, image: [height, width] }) {
  if (!hash.startsWith(MARK)) return null;
  const given = new URLSearchParams(hash.slice(MARK.length)), found = {};
  const whole = (text, end) => (/^\d{1,4}$/.test(text) && Number(text) < end ? Number(text) : undefined);
  const keep = (name, value) => { if (value !== undefined) found[name] = value; };
  const take = (name, end) => keep(name, whole(given.get(name), end));
  take("picture", pictures.length);
  take("beside", networks.length);
  if (found.beside === 0) delete found.beside; // the first network is always shown
  if (Object.keys(KINDS).includes(given.get("kind"))) keep("kind", given.get("kind"));
  take("stage", stages.length);
  const { depth, heads } = stages[found.stage ?? 0];
  take("block", depth);
  if (given.get("class") === BOTH) keep("class", BOTH);
  else take("class", 3);
  if (given.get("head") === "mean") keep("head", "mean");
  else take("head", heads);
  const pair = (name, ends) => {
    const [first, second, ...more] = (given.get(name) ?? "").split(",");
    const place = [whole(first, ends[0]), whole(second, ends[1])];
    if (!more.length && !place.includes(undefined)) keep(name, place);
  };
  pair("query", [width, height]);
  pair("key", [height, width]); // row and column of a token or cell: never more than pixels
  return found;
}
