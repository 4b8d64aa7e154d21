"""Scenes: real cut-outs with exact masks on photo textures, written and read in COCO's format."""

from hatnet.data.scenes.compose import Scene, compose
from hatnet.data.scenes.cutouts import Garments
from hatnet.data.scenes.named import open_scenes
from hatnet.data.scenes.pictures import Pictures
from hatnet.data.scenes.writer import Settings, write_scenes

__all__ = ["Garments", "Pictures", "Scene", "Settings", "compose", "open_scenes", "write_scenes"]
