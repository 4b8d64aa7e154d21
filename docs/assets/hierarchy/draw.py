"""Draw the four panels of the landing page, and crop the photo of its living figure.

Run `python docs/assets/hierarchy/draw.py`; it requires Pillow.
"""

import base64
import io
from pathlib import Path

from PIL import Image

HERE = Path(__file__).parent
PHOTO = HERE.parents[2] / "hatnet/assets/chelsea.png"
TOKENS, G = 16, 4  # tokens per side of the map; windows and cells have G x G tokens
QUERY = (6, 6)  # row and column of the query token
TOKEN, GAP = 12, 5  # side of a token and gap between windows, in SVG units
PART = G * TOKEN  # side of a window or cell
SIDE = TOKENS * TOKEN + (TOKENS // G - 1) * GAP
QUERY_WINDOW = (QUERY[0] // G, QUERY[1] // G)
WINDOWS = [(row, column) for row in range(TOKENS // G) for column in range(TOKENS // G)]
BLUE, ORANGE = "#0072b2", "#d55e00"  # colours of Okabe and Ito for near and far


def at(token: float) -> float:
    """Coordinate at which a row or column of tokens starts, including the gaps between windows."""
    return token * TOKEN + int(token // G) * GAP


def embed(image: Image.Image, kind: str, **options: object) -> str:
    """Encode an image as a data URL."""
    buffer = io.BytesIO()
    image.save(buffer, kind, optimize=True, **options)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def frame(x: float, y: float, side: float, colour: str) -> str:
    """Square outline around a window or cell."""
    return f'<rect x="{x - 2}" y="{y - 2}" width="{side + 4}" height="{side + 4}" rx="1.5" {stroke(colour, 2.5)}/>'


def stroke(colour: str, width: float) -> str:
    """SVG attributes of an outline."""
    return f'fill="none" stroke="{colour}" stroke-width="{width}" stroke-linecap="round"'


def mark(x: float, y: float, side: float) -> str:
    """Outline of the query token: black on white, visible on any colour."""
    box = f'<rect x="{x:g}" y="{y:g}" width="{side:g}" height="{side:g}" '
    return f"{box}{stroke('#fff', 4)}/>{box}{stroke('#000', 1.6)}/>"


def rays(ends: list[tuple[float, float]], colour: str, width: float) -> str:
    """Lines from the query token to `ends`, with white edges."""
    y, x = (at(place) + TOKEN / 2 for place in QUERY)
    path = "".join(f"M{x:g} {y:g}L{end_x:g} {end_y:g}" for end_x, end_y in ends)
    return f'<path d="{path}" {stroke("#fff", width * 1.8)}/><path d="{path}" {stroke(colour, width)}/>'


def window(row: int, column: int, attributes: str = "") -> str:
    """Draw one window of the token map."""
    place = f'x="{at(column * G)}" y="{at(row * G)}" width="{PART}" height="{PART}"'
    return f'<svg {place} viewBox="{column * G} {row * G} {G} {G}" {attributes}><use href="#map"/></svg>'


def mark_query() -> str:
    """Outline of the query token on a map with gaps."""
    return mark(at(QUERY[1]), at(QUERY[0]), TOKEN)


def frame_query_window() -> str:
    """Outline of the window that contains the query."""
    row, column = QUERY_WINDOW
    return frame(at(column * G), at(row * G), PART, BLUE)


def embed_map(tokens: Image.Image) -> str:
    """Define the token map, one pixel per token, for `window` to use."""
    image = f'<image id="map" href="{embed(tokens, "PNG")}" width="{TOKENS}" height="{TOKENS}" '
    return f'<defs>{image}style="image-rendering: pixelated"/></defs>'


def draw_cells(cells: Image.Image) -> list[str]:
    """Draw one square per merged token."""
    return [
        f'<rect x="{at(column * G)}" y="{at(row * G)}" width="{PART}" height="{PART}" '
        f'fill="rgb{cells.getpixel((column, row))}"/>'
        for row, column in WINDOWS
    ]


def draw_tokens_panel(photo: Image.Image) -> None:
    """Draw the photo, cut into tokens."""
    step = SIDE / TOKENS
    grid = "".join(f"M{i * step:.2f} 0V{SIDE}M0 {i * step:.2f}H{SIDE}" for i in range(TOKENS + 1))
    write(
        "1-tokens",
        f'<image href="{embed(photo.resize((SIDE, SIDE)), "JPEG", quality=80)}" width="{SIDE}" height="{SIDE}"/>',
        f'<path d="{grid}" {stroke("#fff", 0.7)} opacity=".45"/>',
        mark(QUERY[1] * step, QUERY[0] * step, step),
    )


def draw_windows_panel(tokens: Image.Image) -> None:
    """Draw local attention: lines from the query to the tokens of its window."""
    top, left = (place * G for place in QUERY_WINDOW)
    keys = [(row, column) for row in range(top, top + G) for column in range(left, left + G)]
    write(
        "2-windows",
        embed_map(tokens),
        *(window(*place, "" if place == QUERY_WINDOW else 'opacity=".38"') for place in WINDOWS),
        rays([(at(column) + TOKEN / 2, at(row) + TOKEN / 2) for row, column in keys], BLUE, 1),
        frame_query_window(),
        mark_query(),
    )


def draw_merged_panel(tokens: Image.Image, cells: Image.Image) -> None:
    """Draw global attention: lines from the query to all merged tokens."""
    centres = [(at(column * G) + PART / 2, at(row * G) + PART / 2) for row, column in WINDOWS]
    dots = [f'<circle cx="{x:g}" cy="{y:g}" r="3.2" fill="{ORANGE}" stroke="#fff"/>' for x, y in centres]
    query = f'<rect x="{at(QUERY[1])}" y="{at(QUERY[0])}" width="{TOKEN}" height="{TOKEN}" '
    query += f'fill="rgb{tokens.getpixel(QUERY[::-1])}"/>'
    write("3-merged", *draw_cells(cells), rays(centres, ORANGE, 1.5), *dots, query, mark_query())


def draw_both_panel(tokens: Image.Image, cells: Image.Image) -> None:
    """Draw both: the window of the query in tokens, and the rest of the map in merged tokens."""
    y, x = (at(place * G) for place in QUERY_WINDOW)
    lines = "".join(f"M{x + i * TOKEN} {y}v{PART}M{x} {y + i * TOKEN}h{PART}" for i in range(1, G))
    fine = [window(*QUERY_WINDOW), f'<path d="{lines}" {stroke("#fff", 0.7)} opacity=".55"/>']
    everything = frame(0, 0, SIDE, ORANGE)
    write("4-both", embed_map(tokens), *draw_cells(cells), *fine, everything, frame_query_window(), mark_query())


def write(name: str, *parts: str) -> None:
    """Write one panel. The page that shows it has the alt text."""
    opening = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="-4 -4 {SIDE + 8} {SIDE + 8}">'
    (HERE / f"{name}.svg").write_text("\n".join([opening, *parts, "</svg>", ""]))


def main() -> None:
    """Write the four SVG files and the photo."""
    left = 55  # the cat's face
    photo = Image.open(PHOTO).convert("RGB").crop((left, 0, left + 300, 300))
    tokens, cells = (photo.resize((n, n), Image.Resampling.BOX) for n in (TOKENS, TOKENS // G))
    draw_tokens_panel(photo)
    draw_windows_panel(tokens)
    draw_merged_panel(tokens, cells)
    draw_both_panel(tokens, cells)
    photo.save(HERE / "photo.jpg", quality=85, optimize=True)


if __name__ == "__main__":
    main()
