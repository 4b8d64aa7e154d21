"""Scenes: real cut-outs with exact masks on photo textures, written and read in COCO's format."""
