"""Labelled images: opening data sets, checking them, and preparing images for a network."""

from hatnet.data.image_folder import ImageFolder, leave_out, left_out
from hatnet.data.images import DataError, Images, ImageTensor, Split, fingerprint
from hatnet.data.sources import SOURCES, absolute, open_data

__all__ = [
    "SOURCES",
    "DataError",
    "ImageFolder",
    "ImageTensor",
    "Images",
    "Split",
    "absolute",
    "fingerprint",
    "leave_out",
    "left_out",
    "open_data",
]
