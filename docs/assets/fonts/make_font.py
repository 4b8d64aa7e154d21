"""Make stix-two-math.woff2 from STIX Two Math Regular 2.11: `python make_font.py STIXTwoMath-Regular.ttf`.

Needs fonttools and brotli. The original comes with the package ziamath, among others; licence: OFL.txt.
"""

import sys
from pathlib import Path

from fontTools.subset import Options, Subsetter, parse_unicodes
from fontTools.ttLib import TTFont

PRIME = 0x2032
UNICODES = (
    "20-7E,A0,AC,B1,B7,D7,F7,131,237,2C6,2DC,302-305,307,338,391-3A9,3B1-3C9,3D1,3D5,3F5,2013,2016,2026,2032,2033,203E,"
    "2061-2064,2102,2115,211D,2124,2190-2193,21A6,21D0-21D4,2200-220B,220F-2213,2217-221E,2223-222B,2236,223C,2243,2245,"
    "2248,2254,2260,2261,2264,2265,226A,226B,2282-2287,2295-2299,22A4,22A5,22C5,22EE-22F1,2308-230B,23B4,23B5,23DE,23DF,"
    "27E8,27E9,27F5-27F8,1D400-1D467,1D49C-1D4CF,1D538-1D56B,1D6A4-1D71B,1D7CE-1D7D7"
)


def narrow_roots(font: TTFont) -> None:
    """Give all root signs the width of the smallest: Chromium reserves that of the widest for every root."""
    variants, root = font["MATH"].table.MathVariants, font.getBestCmap()[ord("√")]
    construction = variants.VertGlyphConstruction[variants.VertGlyphCoverage.glyphs.index(root)]
    names = {record.VariantGlyph for record in construction.MathGlyphVariantRecord}
    names |= {part.glyph for part in construction.GlyphAssembly.PartRecords}
    width = font["hmtx"][root][0]
    for name in names - {root}:
        glyph = font["glyf"][name]
        glyph.coordinates.scale((width / font["hmtx"][name][0], 1))
        glyph.coordinates.toInt()
        glyph.recalcBounds(font["glyf"])
        glyph.removeHinting()
        font["hmtx"][name] = (width, glyph.xMin)


def enlarge_primes(font: TTFont) -> None:
    """Use the superscript form of the prime, which Chromium does not choose by itself; our primes are superscripts."""
    for table in font["cmap"].tables:
        if PRIME in table.cmap:
            table.cmap[PRIME] = "minute.ssty"


def main(original: Path) -> None:
    """Write the font beside this file."""
    font = TTFont(original)
    narrow_roots(font)
    enlarge_primes(font)
    options = Options(flavor="woff2", layout_features=["ssty", "dtls", "flac", "kern"])
    subsetter = Subsetter(options)
    subsetter.populate(unicodes=parse_unicodes(UNICODES))
    subsetter.subset(font)
    font.flavor = "woff2"
    font.save(Path(__file__).with_name("stix-two-math.woff2"))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
