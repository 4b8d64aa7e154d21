/* Pictures of 28 x 28 grey bytes: bundled, from a file, or drawn. */

export const SIDE = 28;

/** base64 -> numbers from 0 to 255. */
export const decode = (text) => [...atob(text)].map((letter) => letter.charCodeAt(0));

/** Paint grey bytes into a canvas of 28 x 28. */
export function paint(canvas, pixels) {
  const image = new ImageData(SIDE, SIDE);
  pixels.forEach((grey, index) => image.data.set([grey, grey, grey, 255], 4 * index));
  canvas.width = canvas.height = SIDE;
  canvas.getContext("2d").putImageData(image, 0, 0);
}

/** Grey bytes of a picture: the square at its centre, on white, averaged to 28 x 28 in steps of two. */
export function shrink(picture, width, height) {
  const square = Math.min(width, height);
  let side = SIDE;
  while (side * 2 <= square) side *= 2; // then halve: a browser averages four pixels into one, but not a hundred
  let canvas = new OffscreenCanvas(side, side), draw = canvas.getContext("2d");
  draw.fillStyle = "white";
  draw.fillRect(0, 0, side, side);
  draw.imageSmoothingQuality = "high";
  draw.drawImage(picture, (width - square) / 2, (height - square) / 2, square, square, 0, 0, side, side);
  while (side > SIDE) {
    const half = new OffscreenCanvas(side / 2, side / 2);
    half.getContext("2d").drawImage(canvas, 0, 0, side / 2, side / 2);
    [canvas, side] = [half, side / 2];
  }
  const { data } = canvas.getContext("2d").getImageData(0, 0, SIDE, SIDE);
  return Array.from({ length: SIDE ** 2 }, (_, index) => {
    const [red, green, blue] = data.subarray(4 * index, 4 * index + 3);
    return Math.round(0.299 * red + 0.587 * green + 0.114 * blue);
  });
}

export const invert = (pixels) => pixels.map((grey) => 255 - grey);

/** Whether the border is light, while the clothes of Fashion-MNIST lie on black. */
export function lightBorder(pixels) {
  const border = pixels.filter((_, i) => i < SIDE || i >= SIDE * (SIDE - 1) || i % SIDE === 0 || i % SIDE === SIDE - 1);
  return border.reduce((sum, grey) => sum + grey, 0) / border.length > 127;
}

/** Let somebody draw in white on black; `done` receives the bytes after each stroke. */
export function drawing(canvas, done) {
  const side = canvas.width, draw = canvas.getContext("2d", { willReadFrequently: true });
  const clear = () => {
    draw.fillStyle = "black";
    draw.fillRect(0, 0, side, side);
  };
  const at = ({ offsetX, offsetY }) => [(offsetX * side) / canvas.clientWidth, (offsetY * side) / canvas.clientHeight];
  const line = (from, to) => {
    Object.assign(draw, { strokeStyle: "#ddd", lineWidth: side / 9, lineCap: "round" });
    draw.beginPath();
    draw.moveTo(...from);
    draw.lineTo(...to);
    draw.stroke();
  };
  let last = null;
  canvas.onpointerdown = (event) => {
    canvas.setPointerCapture(event.pointerId);
    last = at(event);
    line(last, last);
  };
  canvas.onpointermove = (event) => {
    if (!last) return;
    const next = at(event);
    line(last, next);
    last = next;
  };
  canvas.onpointerup = canvas.onpointercancel = () => {
    if (last) done(shrink(canvas, side, side));
    last = null;
  };
  clear();
  return clear;
}
