/* Library: where the maps come from. One file holds every picture of one network. An index names several networks and
 * pictures, with one file for each pair of them, which is read when it is first shown. */

/**
 * One picture, as one network sees it.
 * @typedef {{header: Object, picture: Object, weights: Block[][], whole: WholeMap[]}} View weights[stage][block]
 *
 * @typedef {Object} Library
 * @property {{name: string, provenance: string}[]} networks
 * @property {{name: string, image: string}[]} pictures `image` is a data address
 * @property {(network: number, picture: number) => Promise<View>} view
 */

const viewOf = ({ header, weights, whole }, index) =>
  ({ header, picture: header.pictures[index], weights: weights[index], whole: whole[index] });

/** @param {Maps} maps @returns {Library} */
function libraryOf(maps) {
  const { provenance, pictures } = maps.header;
  return { networks: [{ name: "", provenance }], pictures, view: async (_, picture) => viewOf(maps, picture) };
}

/**
 * @param {Object} index what docs/builder/maps.py writes: networks, each with a list of `files`, and pictures
 * @param {string} address of the index, to which those of its files are relative
 * @returns {Library}
 */
function libraryFrom({ networks, pictures }, address) {
  const known = new Map();
  const view = (network, picture) => {
    const file = new URL(networks[network].files[picture], address).href;
    if (!known.has(file)) {
      const found = fetchBytes(file).then(read).then((maps) => viewOf(maps, 0));
      found.catch(() => known.delete(file)); // so that the next choice tries again
      known.set(file, found);
    }
    return known.get(file);
  };
  return { networks, pictures, view };
}

async function fetchBytes(address) {
  const answer = await fetch(address);
  if (!answer.ok) throw new Error(`${answer.url} answered ${answer.status}`);
  return new Uint8Array(await answer.arrayBuffer());
}
