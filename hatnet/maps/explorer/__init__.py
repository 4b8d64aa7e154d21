"""The attention explorer: softmax rows of a network under the pointer, on the site and in one HTML file.

`pictures` holds images with their maps, `arrays` lists the arrays of a picture, `file_format` packs them, and `page`
puts them on a page that needs nothing else. The files in `script/` are the custom element that unpacks and draws them;
the site uses it too.
"""

from hatnet.maps.explorer.arrays import require_openable, stored_numbers
from hatnet.maps.explorer.file_format import decode, encode
from hatnet.maps.explorer.page import explorer_script, write_explorer, write_maps
from hatnet.maps.explorer.pictures import ClassMap, Picture, Start, picture_from_maps, picture_from_model

__all__ = [
    "ClassMap",
    "Picture",
    "Start",
    "decode",
    "encode",
    "explorer_script",
    "picture_from_maps",
    "picture_from_model",
    "require_openable",
    "stored_numbers",
    "write_explorer",
    "write_maps",
]
