"""The attention explorer: softmax rows of a network under the pointer, on the site and in one HTML file.

`binary` packs the rows of one or more pictures, `page` puts them into a page that needs nothing outside itself, and
`attention-explorer.js` is the custom element that unpacks and draws them, in the site too.
"""

from hatnet.maps.explorer.binary import ClassMap, Picture, Start, decode, encode, require_openable, stored_numbers
from hatnet.maps.explorer.page import SCRIPT, look, picture_of, write_explorer, write_maps

__all__ = [
    "SCRIPT",
    "ClassMap",
    "Picture",
    "Start",
    "decode",
    "encode",
    "look",
    "picture_of",
    "require_openable",
    "stored_numbers",
    "write_explorer",
    "write_maps",
]
