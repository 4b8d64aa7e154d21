"""The picture that other sites show beside a link to this one: the cat with one window, and the promise of the site."""

import io
from pathlib import Path

import matplotlib
from PIL import Image, ImageDraw, ImageFont

WIDTH, HEIGHT = 1200, 630
MAP, LEFT, TOP = 476, 664, 77  # side and place of the map, in pixels
TOKENS, G1, G2, WINDOW = 56, 8, 4, (2, 2)  # of the map; the window, in rows and columns of windows, has the eye
INK, QUIET, NEAR, FAR = "#1c1c1a", "#5d5d58", "#0072b2", "#d55e00"


def social_picture(photo: Path, title: str, promise: str) -> bytes:
    """A PNG of 1200 x 630 pixels.

    Args:
        photo: the cat.
        title: of the site.
        promise: one sentence of it.
    """
    card = Image.new("RGB", (WIDTH, HEIGHT), "#fff")
    draw = ImageDraw.Draw(card)
    _map(card, draw, Image.open(photo).convert("RGB").crop((55, 0, 355, 300)))  # the cat's face
    draw.text((70, 120), title, INK, font("DejaVuSerif-Bold", 76))
    _scale(draw, 72, 232)
    draw.multiline_text(
        (70, 275), wrap(promise, font("DejaVuSerif", 33), 540), INK, font("DejaVuSerif", 33), spacing=14
    )
    draw.text((70, 510), "near", NEAR, font("DejaVuSans-Bold", 26))
    draw.text((150, 510), "+", QUIET, font("DejaVuSans", 26))
    draw.text((185, 510), "far", FAR, font("DejaVuSans-Bold", 26))
    buffer = io.BytesIO()
    card.quantize(256).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _map(card: Image.Image, draw: ImageDraw.ImageDraw, cat: Image.Image) -> None:
    """Merged cells over the whole map, and one window in tokens."""
    tokens, cells = (cat.resize((n, n), Image.Resampling.BOX) for n in (TOKENS, TOKENS // G2))
    card.paste(cells.resize((MAP, MAP), Image.Resampling.NEAREST), (LEFT, TOP))
    for i in range(1, TOKENS // G2):
        at = i * MAP * G2 // TOKENS
        draw.rectangle((LEFT + at - 1, TOP, LEFT + at + 1, TOP + MAP), "#fff")
        draw.rectangle((LEFT, TOP + at - 1, LEFT + MAP, TOP + at + 1), "#fff")
    row, column = (place * G1 for place in WINDOW)
    x, y, part = LEFT + column * MAP // TOKENS, TOP + row * MAP // TOKENS, G1 * MAP // TOKENS
    window = tokens.crop((column, row, column + G1, row + G1)).resize((part, part), Image.Resampling.NEAREST)
    card.paste(window, (x, y))
    draw.rectangle((LEFT - 8, TOP - 8, LEFT + MAP + 7, TOP + MAP + 7), outline=FAR, width=5)
    draw.rectangle((x - 6, y - 6, x + part + 5, y + part + 5), outline=NEAR, width=6)


def _scale(draw: ImageDraw.ImageDraw, x: int, y: int) -> None:
    """The mark of the site: fine strokes, then coarse ones."""
    for i in range(16):
        draw.rectangle((x + 6 * i, y, x + 6 * i + 1, y + 10), NEAR)
    for i in range(8):
        draw.rectangle((x + 100 + 26 * i, y, x + 104 + 26 * i, y + 10), FAR)


def font(name: str, size: int) -> ImageFont.FreeTypeFont:
    """A font that comes with matplotlib, the same on every machine."""
    return ImageFont.truetype(Path(matplotlib.get_data_path()) / f"fonts/ttf/{name}.ttf", size)


def wrap(text: str, type_: ImageFont.FreeTypeFont, width: int) -> str:
    """Break a sentence into lines of at most `width` pixels."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if type_.getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return "\n".join(lines)
