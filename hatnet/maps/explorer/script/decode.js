/* Decode: the file of hatnet.maps.explorer.file_format, safetensors in gzip. */

/**
 * @typedef {[number, number]} Pair rows and columns, or row and column
 * @typedef {{local: ?Float32Array, global: Float32Array}} Block weights, (heads, N, keys) each
 * @typedef {Object} Stage
 * @property {number} stride pixels from one token to the next
 * @property {Pair} map in tokens
 * @property {number} depth
 * @property {number} heads
 * @property {?Pair} window in tokens; null where attention is plain
 * @property {?number} pool side of a cell, in tokens
 * @property {?Pair} merged rows and columns of cells
 * @typedef {Object} WholeMap a map of the whole network, without a query
 * @property {string} kind "rollout" or "class"
 * @property {string} [name] of the class
 * @property {string} [role] why this class has a map
 * @property {number} largest
 * @property {Float64Array} values over the tokens of stage 0
 * @typedef {{header: Object, weights: Block[][][], whole: WholeMap[][]}} Maps weights[picture][stage][block],
 *   whole[picture]
 */

/** The value of each pattern of bits in float16, from 0 to 1: all that weights need. */
const HALF = Float32Array.from({ length: 0x3c01 }, (_, bits) => {
  const exponent = bits >> 10, fraction = (bits & 0x3ff) / 1024;
  return exponent ? 2 ** (exponent - 15) * (1 + fraction) : 2 ** -14 * fraction;
});

/**
 * Unpack the bytes of hatnet.maps.explorer.encode.
 * @param {Uint8Array} file gzip; or already unpacked, as some servers do
 * @returns {Promise<Maps>}
 */
export async function read(file) {
  const bytes = file[0] === 0x1f && file[1] === 0x8b ? await unzip(file) : file;
  const { header, take } = open(bytes);
  const weights = header.pictures.map((_, picture) => header.stages.map(({ window, depth }, stage) =>
    Array.from({ length: depth }, (_, block) => {
      const name = `${picture}.stages.${stage}.blocks.${block}`;
      return { local: window && take(`${name}.local`), global: take(`${name}.global`) };
    })));
  const whole = header.pictures.map(({ maps }, picture) => maps.map((about) => {
    const shares = take(`${picture}.${about.array}`);
    return { of: "class", ...about, values: Float64Array.from(shares, (share) => share * about.largest) };
  }));
  return { header: { ...header, bytes: file.length }, weights, whole };
}

/** The explorer's header of a safetensors file, and a function that reads one of its arrays. */
function open(bytes) {
  try {
    const start = 8 + Number(new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true));
    const arrays = JSON.parse(new TextDecoder().decode(bytes.subarray(8, start)));
    const take = (name) => {
      const [from, to] = arrays[name].data_offsets, count = (to - from) / 2; // all high bytes, then all low bytes
      const high = start + from, low = high + count, numbers = new Float32Array(count);
      for (let index = 0; index < count; index++) {
        numbers[index] = HALF[(bytes[high + index] << 8) | bytes[low + index]];
      }
      return numbers;
    };
    return { header: JSON.parse(arrays.__metadata__.explorer), take };
  } catch {
    throw new Error("these are not the data of an attention explorer");
  }
}

/** With an index loop: for megabytes, `Uint8Array.from` with a function takes many times the time and memory. */
function fromBase64(text) {
  const letters = atob(text), bytes = new Uint8Array(letters.length);
  for (let index = 0; index < bytes.length; index++) bytes[index] = letters.charCodeAt(index);
  return bytes;
}

async function unzip(bytes) {
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}
