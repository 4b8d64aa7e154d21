"""Images with labels: what there is, how it is opened, and how an image becomes what a network takes."""

from hatnet.data.image_folder import ImageFolder, leave_out, left_out
from hatnet.data.images import DataError, Images, ImageTensor, Split, fingerprint
from hatnet.data.sources import SOURCES, open_data

__all__ = [
    "SOURCES",
    "DataError",
    "ImageFolder",
    "ImageTensor",
    "Images",
    "Split",
    "fingerprint",
    "leave_out",
    "left_out",
    "open_data",
]
