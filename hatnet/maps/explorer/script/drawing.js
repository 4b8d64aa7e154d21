/* Drawing: the picture, the cells of a map, and outlines, on a canvas. */

/** Viridis: its order stays visible to colour-blind readers and in print. */
const VIRIDIS = [
  [68, 1, 84], [72, 37, 118], [65, 68, 135], [53, 96, 141], [42, 120, 142], [33, 144, 140],
  [34, 168, 132], [67, 191, 113], [122, 209, 81], [187, 223, 39], [253, 231, 37],
];

/** The colour of a share of the scale, from 0 to 1, as three channels. */
export function colour(share) {
  const position = (Math.round(Math.min(Math.max(share, 0), 1) * 100) / 100) * (VIRIDIS.length - 1);
  const low = Math.min(Math.floor(position), VIRIDIS.length - 2);
  return VIRIDIS[low].map((value, channel) => value + (VIRIDIS[low + 1][channel] - value) * (position - low));
}

/** Black or white, whichever has more contrast on a colour, as WCAG defines it: on every colour one has 4.58. */
export function inkOn(channels) {
  const [r, g, b] = channels.map((channel) => Math.round(channel) / 255)
    .map((share) => (share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4));
  const light = 0.2126 * r + 0.7152 * g + 0.0722 * b;
  return 1.05 / (light + 0.05) > (light + 0.05) / 0.05 ? "#fff" : "#000";
}

const rgb = (channels) => `rgb(${channels.map(Math.round).join(" ")})`;
const RAMP = `linear-gradient(to right, ${VIRIDIS.map(rgb).join(", ")})`;

const LINES = { query: "#fff", window: "#56b4e9", key: "#e69f00" }; // each with a dark line around it

/** A rectangle in pixels of the picture: [top, left, height, width]. */
const boxOf = ({ side, top, left, columns, stride }, key) => {
  const row = top + Math.floor(key / columns) * side, column = left + (key % columns) * side;
  return [row, column, side, side].map((length) => length * stride);
};

/**
 * A drawing of one part of the picture on a canvas of any size; its unit is a pixel of the picture.
 * The edges of cells are rounded to those of the screen's pixels, so that they are sharp and leave no gap.
 */
class Drawing {
  /** @param {HTMLCanvasElement} canvas @param {number[]} part @param {Pair} size of the picture */
  constructor(canvas, part, size) {
    const ratio = window.devicePixelRatio || 1;
    canvas.style.aspectRatio = `${part[3]} / ${part[2]}`;
    canvas.width = Math.max(Math.round(canvas.clientWidth * ratio), 1);
    canvas.height = Math.max(Math.round((canvas.width * part[2]) / part[3]), 1);
    Object.assign(this, { part, size, ratio, scale: canvas.width / part[3], context: canvas.getContext("2d") });
  }

  /** Where a box lies on the canvas; with `cut`, the part of it that lies on the picture. */
  place([top, left, height, width], cut = false) {
    const [bottom, right] = cut
      ? [Math.min(top + height, this.size[0]), Math.min(left + width, this.size[1])] : [top + height, left + width];
    const [x, y, x2, y2] = [left - this.part[1], top - this.part[0], right - this.part[1], bottom - this.part[0]]
      .map((length) => Math.round(length * this.scale));
    return [x, y, x2 - x, y2 - y];
  }

  /** Small pictures keep their pixels. */
  picture(image) {
    const { context } = this, [H, W] = this.size;
    context.imageSmoothingEnabled = Math.max(H, W) > 100;
    context.drawImage(image, ...this.place([0, 0, H, W]));
  }

  /** The cells of a row in the colours of its scale, and nothing else: colour is weight. Numbers where there is room. */
  cells(row, scale) {
    const { context } = this;
    row.values.forEach((value, key) => {
      if (!exists(row, key)) return;
      const channels = colour(scale.share(value)), spot = this.place(boxOf(row, key), true);
      context.fillStyle = rgb(channels);
      context.fillRect(...spot);
      const width = spot[2] / this.ratio;
      if (row.whole || width < 30) return; // in maps of the whole network nearly all would be .000
      context.font = `${Math.min(width * 0.36, 14) * this.ratio}px system-ui, sans-serif`;
      context.textAlign = "center";
      context.textBaseline = "middle";
      context.fillStyle = inkOn(channels);
      context.fillText(brief(value), spot[0] + spot[2] / 2, spot[1] + spot[3] / 2);
    });
  }

  /** A line around a box, light on dark to be visible on every colour. */
  outline(box, kind) {
    const [x, y, width, height] = this.place(box), { context, ratio } = this, { canvas } = context;
    const inset = 1.5 * ratio;
    const left = Math.max(x, inset), top = Math.max(y, inset);
    const right = Math.min(x + width, canvas.width - inset), bottom = Math.min(y + height, canvas.height - inset);
    for (const [style, thick] of [["rgb(0 0 0 / 0.75)", 4.5], [LINES[kind], 2]]) {
      context.strokeStyle = style;
      context.lineWidth = thick * ratio;
      context.strokeRect(left, top, right - left, bottom - top);
    }
  }
}
