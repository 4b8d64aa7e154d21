"""Draw the four panels of the landing page from the photo: `python docs/assets/hierarchy/draw.py`. Needs pillow."""

import base64
import io
from pathlib import Path

from PIL import Image

HERE = Path(__file__).parent
PHOTO = HERE.parents[2] / "hatnet/assets/chelsea.png"
TOKENS, G = 16, 4  # tokens per side; windows and cells are G x G tokens
QUERY = (6, 6)  # row and column of the marked token
TOKEN, GAP = 12, 5  # sizes in the drawing
PART = G * TOKEN  # a window or a cell
SIDE = TOKENS * TOKEN + (TOKENS // G - 1) * GAP
BLUE, ORANGE = "#0072b2", "#d55e00"  # Okabe and Ito: near, far


def at(token: float) -> float:
    """The position where the row or column of a token starts, with gaps between windows."""
    return token * TOKEN + int(token // G) * GAP


def embed(image: Image.Image, kind: str, **options: object) -> str:
    """An image as a data address."""
    buffer = io.BytesIO()
    image.save(buffer, kind, optimize=True, **options)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def frame(x: float, y: float, side: float, colour: str) -> str:
    """A square outline around a part."""
    return f'<rect x="{x - 2}" y="{y - 2}" width="{side + 4}" height="{side + 4}" rx="1.5" {stroke(colour, 2.5)}/>'


def stroke(colour: str, width: float) -> str:
    """Attributes of an outline."""
    return f'fill="none" stroke="{colour}" stroke-width="{width}" stroke-linecap="round"'


def mark(x: float, y: float, side: float) -> str:
    """The marked token: black on white, visible on any colour."""
    box = f'<rect x="{x:g}" y="{y:g}" width="{side:g}" height="{side:g}" '
    return f"{box}{stroke('#fff', 4)}/>{box}{stroke('#000', 1.6)}/>"


def rays(ends: list[tuple[float, float]], colour: str, width: float) -> str:
    """Lines from the marked token, with white edges."""
    y, x = (at(place) + TOKEN / 2 for place in QUERY)
    path = "".join(f"M{x:g} {y:g}L{end_x:g} {end_y:g}" for end_x, end_y in ends)
    return f'<path d="{path}" {stroke("#fff", width * 1.8)}/><path d="{path}" {stroke(colour, width)}/>'


def window(row: int, column: int, attributes: str = "") -> str:
    """One window of the token map."""
    place = f'x="{at(column * G)}" y="{at(row * G)}" width="{PART}" height="{PART}"'
    return f'<svg {place} viewBox="{column * G} {row * G} {G} {G}" {attributes}><use href="#map"/></svg>'


def draw_tokens(photo: Image.Image) -> None:
    """The photo under a grid of tokens."""
    step = SIDE / TOKENS
    grid = "".join(f"M{i * step:.2f} 0V{SIDE}M0 {i * step:.2f}H{SIDE}" for i in range(TOKENS + 1))
    write(
        "1-tokens",
        f'<image href="{embed(photo.resize((SIDE, SIDE)), "JPEG", quality=80)}" width="{SIDE}" height="{SIDE}"/>',
        f'<path d="{grid}" {stroke("#fff", 0.7)} opacity=".45"/>',
        mark(QUERY[1] * step, QUERY[0] * step, step),
    )


def draw_windows(token_map: str) -> None:
    """Rays to the tokens of the marked token's window; the other windows are pale."""
    neighbours = [(row, column) for row in range(TOKENS) for column in range(TOKENS) if (row // G, column // G) == OWN]
    write(
        "2-windows",
        token_map,
        *(window(*place, "" if place == OWN else 'opacity=".38"') for place in PARTS),
        rays([(at(column) + TOKEN / 2, at(row) + TOKEN / 2) for row, column in neighbours], BLUE, 1),
        NEAR,
        HERE_MARK,
    )


def draw_merged(merged: list[str], colour: object) -> None:
    """Rays to all merged tokens.

    Args:
        merged: the merged tokens as SVG.
        colour: of the marked token.
    """
    middles = [(at(column * G) + PART / 2, at(row * G) + PART / 2) for row, column in PARTS]
    dots = [f'<circle cx="{x:g}" cy="{y:g}" r="3.2" fill="{ORANGE}" stroke="#fff"/>' for x, y in middles]
    token = f'<rect x="{at(QUERY[1])}" y="{at(QUERY[0])}" width="{TOKEN}" height="{TOKEN}" fill="rgb{colour}"/>'
    write("3-merged", *merged, rays(middles, ORANGE, 1.5), *dots, token, HERE_MARK)


def draw_both(token_map: str, merged: list[str]) -> None:
    """The marked token's window in detail, everything else merged."""
    lines = "".join(
        f"M{at(OWN[1] * G) + i * TOKEN} {at(OWN[0] * G)}v{PART}M{at(OWN[1] * G)} {at(OWN[0] * G) + i * TOKEN}h{PART}"
        for i in range(1, G)
    )
    fine = [window(*OWN), f'<path d="{lines}" {stroke("#fff", 0.7)} opacity=".55"/>']
    write("4-both", token_map, *merged, *fine, frame(0, 0, SIDE, ORANGE), NEAR, HERE_MARK)


def write(name: str, *parts: str) -> None:
    """Write one panel. The home page has the alt texts."""
    opening = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="-4 -4 {SIDE + 8} {SIDE + 8}">'
    (HERE / f"{name}.svg").write_text("\n".join([opening, *parts, "</svg>", ""]))


PARTS = [(row, column) for row in range(TOKENS // G) for column in range(TOKENS // G)]  # windows, and cells
OWN = (QUERY[0] // G, QUERY[1] // G)  # those of the marked token
HERE_MARK = mark(at(QUERY[1]), at(QUERY[0]), TOKEN)
NEAR = frame(at(OWN[1] * G), at(OWN[0] * G), PART, BLUE)


def main() -> None:
    """Write the four files."""
    left = 55  # the cat's face
    photo = Image.open(PHOTO).convert("RGB").crop((left, 0, left + 300, 300))
    tokens, cells = (photo.resize((n, n), Image.Resampling.BOX) for n in (TOKENS, TOKENS // G))
    token_map = (
        f'<defs><image id="map" href="{embed(tokens, "PNG")}" width="{TOKENS}" height="{TOKENS}" '
        'style="image-rendering: pixelated"/></defs>'
    )
    merged = [
        f'<rect x="{at(column * G)}" y="{at(row * G)}" width="{PART}" height="{PART}" '
        f'fill="rgb{cells.getpixel((column, row))}"/>'
        for row, column in PARTS
    ]
    draw_tokens(photo)
    draw_windows(token_map)
    draw_merged(merged, tokens.getpixel(QUERY[::-1]))
    draw_both(token_map, merged)


if __name__ == "__main__":
    main()
