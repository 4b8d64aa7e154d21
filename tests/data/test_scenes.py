"""Scenes: exact masks, no object or texture in both parts, and the same scenes from the same seed."""

import re
from hashlib import blake2b

import numpy as np
import pytest
from PIL import Image

from hatnet.data.image_file import ASSETS
from hatnet.data.scenes import compose as compose_module
from hatnet.data.scenes.compose import PARTS, compose
from hatnet.data.scenes.cutouts import GARMENTS, LARGEST_HOLE, Garments, garment_mask
from hatnet.data.scenes.pictures import Pictures, _read
from hatnet.data.scenes.textures import background, photos
from tests.data.dense_files import write_cutouts

README = (ASSETS / "README.md").read_text(encoding="utf-8")
GREEN = (20, 250, 20)


class Discs:
    """Opaque green discs, a stand-in for objects: no background is so green."""

    classes = ("disc",)
    note = ""

    def draw(self, part, label, side, rng):
        y, x = np.mgrid[:side, :side] + 0.5 - side / 2
        pixels = np.zeros((side, side, 4), np.uint8)
        pixels[..., :3] = GREEN
        pixels[..., 3] = 255 * (y**2 + x**2 < (side / 2) ** 2)
        return Image.fromarray(pixels)


@pytest.fixture(scope="module")
def garments():
    return Garments()


def areas(scene):
    return np.bincount(scene.owner.ravel(), minlength=len(scene.labels) + 1)[1:]


def test_a_pixel_is_an_objects_if_it_shows_the_object(monkeypatch):
    """The picture itself says which pixels are green; noise and uneven light leave them so."""
    monkeypatch.setattr(compose_module, "background", lambda _, size, *__: np.full((size, size, 3), 120, np.float32))
    for index in range(12):
        scene = compose(Discs(), "val", index, 96, 0)
        red, green, blue = scene.pixels.astype(int).transpose(2, 0, 1)
        assert np.mean((green - (red + blue) / 2 > 100) == (scene.owner > 0)) > 0.995
        assert len(scene.labels) == scene.owner.max() == len(set(scene.owner.ravel()) - {0})


def test_later_objects_hide_earlier_ones_by_half_at_most(garments, monkeypatch):
    whole = []
    place = compose_module._place

    def noted(cutout, owner, areas_, rng):
        placed = place(cutout, owner, areas_, rng)
        if placed is not None:
            assert placed[1].sum() >= compose_module.INSIDE * (np.asarray(cutout)[..., 3] >= 128).sum()
            whole.append(placed[1])
        return placed

    monkeypatch.setattr(compose_module, "_place", noted)
    hidden = 0
    for index in range(20):
        whole.clear()
        scene = compose(garments, "train", index, 96, 1)
        assert len(whole) == len(scene.labels)
        owner = np.zeros((96, 96), int)
        for number, mask in enumerate(whole, start=1):
            owner[mask] = number
        assert np.array_equal(owner, scene.owner), "the last one pasted is in front"
        fractions = areas(scene) / [mask.sum() for mask in whole]
        assert (fractions >= compose_module.VISIBLE).all()
        assert (areas(scene) >= compose_module.SMALLEST * 96 * 96).all()
        hidden += (fractions < 1).sum()
    assert hidden > 10, "some are partly hidden"


def test_a_scene_depends_on_its_seed_part_number_and_size_alone(garments):
    first = compose(garments, "val", 3, 96, 5)
    compose(garments, "val", 2, 96, 5)
    again = compose(Garments(), "val", 3, 96, 5)
    assert np.array_equal(first.pixels, again.pixels)
    assert np.array_equal(first.owner, again.owner)
    assert first.labels == again.labels
    others = [compose(garments, *other) for other in (("val", 4, 96, 5), ("train", 3, 96, 5), ("val", 3, 96, 6))]
    assert all(not np.array_equal(first.pixels, other.pixels) for other in others)


@pytest.mark.parametrize("size", [64, 128, 512])
def test_sizes(size, garments):
    scene = compose(garments, "train", 0, size, 0)
    assert scene.pixels.shape == (size, size, 3)
    assert scene.owner.shape == (size, size)


def test_all_classes_and_one_to_seven_objects_occur(garments):
    scenes = [compose(garments, "train", index, 64, 0) for index in range(60)]
    labels = np.bincount([label for scene in scenes for label in scene.labels])
    assert len(labels) == len(GARMENTS) == 5
    assert labels.min() > 0.5 * labels.mean()
    counts = {len(scene.labels) for scene in scenes}
    assert max(counts) >= 6
    assert counts <= set(range(8))


def digests(arrays):
    return {blake2b(np.ascontiguousarray(array).tobytes(), digest_size=16).digest() for array in arrays}


def test_parts_share_no_garment(garments):
    found = {part: set() for part in PARTS}
    for part in PARTS:
        for label in range(len(GARMENTS)):
            found[part] |= digests(garments.of(part, label))
    assert (len(found["train"]), len(found["val"])) == (12_000, 2_500), "no garment is there twice"
    assert not found["train"] & found["val"]


def test_garments_are_drawn_from_their_part_only(garments, monkeypatch):
    """Whatever is drawn for `val` comes from the test images of Fashion-MNIST."""
    with np.load(ASSETS / "fashion-mnist-subset.npz") as file:
        known = {"train": digests(file["train_images"]), "val": digests(file["test_images"])}
    drawn = {part: [] for part in PARTS}
    for part in PARTS:
        monkeypatch.setattr(
            "hatnet.data.scenes.cutouts.garment_mask",
            lambda garment, hole, part=part: drawn[part].append(garment) or garment_mask(garment, hole),
        )
        for index in range(15):
            compose(garments, part, index, 64, 0)
        assert len(drawn[part]) > 30
        assert digests(drawn[part]) <= known[part]


def test_parts_share_no_texture():
    """By content, and by name: each file is made from another photo, as `hatnet/assets/README.md` lists."""
    contents = {part: digests(np.asarray(Image.open(path).convert("RGB")) for path in photos(part)) for part in PARTS}
    assert {part: len(found) for part, found in contents.items()} == {"train": 8, "val": 4}
    assert not contents["train"] & contents["val"]
    rows = re.findall(r"^\| `(train|val)/(.+)` \| `(.+?)` .* (CC0|public domain) \|$", README, re.MULTILINE)
    sources = {part: {source for of, _, source, _ in rows if of == part} for part in PARTS}
    assert not sources["train"] & (sources["val"] | {"chelsea.png"})
    listed = {(part, file) for part, file, _, _ in rows} | {("val", "chelsea.png")}
    assert listed == {(part, path.name) for part in PARTS for path in photos(part)}
    assert sum(path.stat().st_size for path in (ASSETS / "textures").rglob("*.jpg")) < 300_000


@pytest.mark.parametrize("plain", [0.0, 1.0])
def test_backgrounds_are_drawn_from_photos_of_their_part_only(plain, monkeypatch):
    opened = []
    read = Image.open
    monkeypatch.setattr("PIL.Image.open", lambda path: opened.append(path) or read(path))
    from hatnet.data.scenes.textures import _photo
    from hatnet.data.scenes.varied import _reduced

    for part in PARTS:
        _photo.cache_clear()
        _reduced.cache_clear()
        opened.clear()
        for seed in range(40):
            pixels = background(part, 32, np.random.default_rng(seed), plain)
            assert pixels.shape == (32, 32, 3)
            assert 0 <= pixels.min() <= pixels.max() <= 255
        assert set(opened) == set(photos(part))
    _photo.cache_clear()
    _reduced.cache_clear()


def test_a_garments_mask_by_hand():
    garment = np.zeros((28, 28), np.uint8)
    garment[4:20, 6:18] = 200
    garment[6:9, 8:11] = 0  # a hole of 9 pixels
    garment[12:16, 8:14] = 12  # a hole of 24 pixels, just too dark
    garment[2:4, 10] = 13  # just bright enough
    expected = np.zeros((28, 28), bool)
    expected[4:20, 6:18] = expected[2:4, 10] = True
    assert np.array_equal(garment_mask(garment), expected)
    expected[12:16, 8:14] = False
    assert np.array_equal(garment_mask(garment, 12), expected)
    garment[14, 0:9] = 0  # opens the larger hole to the left
    expected[14, 6:8] = False
    assert np.array_equal(garment_mask(garment), expected)


def test_outlines_follow_the_mask_at_every_size(garments):
    """Enlarged, a garment covers the pixels of its mask, up to its outline."""
    from hatnet.data.scenes.cutouts import _enlarged

    for index in range(0, 40, 4):
        garment = garments.of("train", 0)[index]
        mask = garment_mask(garment)
        for scale in (1, 3, 6):
            rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
            inside = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
            picture = np.asarray(_enlarged(garment, mask, scale * max(inside.shape), np.random.default_rng(0)))
            expected = np.pad(np.kron(inside, np.ones((scale, scale))), 2 * scale) > 0
            opaque = picture[..., 3] >= 128
            assert opaque.shape == expected.shape
            assert (opaque & expected).sum() / (opaque | expected).sum() > 0.85


def test_pictures_are_split_by_content(tmp_path):
    """A fifth of each class is for validation, whatever the names of the files are.

    Copies do not count, nor do their mirror images, since scenes show objects mirrored, too.
    """
    root = write_cutouts(tmp_path, count=10)
    for number in range(10):
        copy = (root / "fish" / f"{number}.png").read_bytes()
        (root / "fish" / f"copy-{number}.png").write_bytes(copy)
        (root / "kite" / f"fish-{number}.png").write_bytes(copy)
    pictures = Pictures(root)
    assert pictures.classes == ("fish", "kite")
    assert pictures.note.startswith("20 pictures look like another one, or its mirror image, and are not used, such as")
    seen = {}
    for label, paths in enumerate(pictures.paths):
        assert {part: len(files) for part, files in paths.items()} == {"train": 8, "val": 2}
        for part, files in paths.items():
            for path in files:
                digest = blake2b(np.asarray(Image.open(path)).tobytes()).digest()
                assert digest not in seen, f"{seen.get(digest)} is shown in {part} {label} too"
                seen[digest] = part, label
    assert [paths["val"] for paths in Pictures(root).paths] == [paths["val"] for paths in pictures.paths]


@pytest.mark.parametrize("scale", [1, 25], ids=["as it is", "reduced"])
def test_mirror_images_are_the_same_object(scale, tmp_path):
    for number in range(5):
        pixels = np.zeros((40, 30, 4), np.uint8)
        pixels[5:35, 3 : 20 + number] = *(number, 50, 99), 255
        pixels[5:20, 3:9, 0] = 200
        pixels = pixels.repeat(scale, 0).repeat(scale, 1)
        (tmp_path / "cat").mkdir(exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / "cat" / f"{number}.png")
        Image.fromarray(pixels[:, ::-1]).save(tmp_path / "cat" / f"{number}-mirrored.png")
    (paths,) = Pictures(tmp_path).paths
    assert {part: len(files) for part, files in paths.items()} == {"train": 4, "val": 1}
    assert len({path.stem[0] for files in paths.values() for path in files}) == 5


def test_pictures_are_read_upright_and_with_the_brightness_of_the_file(tmp_path):
    """EXIF data may turn them. Grey of 16 bits may have a transparent value; Pillow alone would clip it to white."""
    pixels = np.zeros((40, 30, 4), np.uint8)
    pixels[5:35, 5:20] = 9, 99, 199, 255
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(tmp_path / "turned.png", exif=exif)
    assert _read(tmp_path / "turned.png").size == (30, 15)
    grey = np.zeros((40, 40), np.uint16)
    grey[8:30, 8:30] = 40000
    Image.fromarray(grey).save(tmp_path / "grey.png", transparency=0)
    assert np.asarray(_read(tmp_path / "grey.png"))[5, 5].tolist() == [156, 156, 156, 255]  # 255 / 65535 * 40000


def test_a_class_called_background_is_refused(tmp_path):
    """A segmenter calls everything else so, and would refuse the scenes."""
    write_cutouts(tmp_path, classes=("fish", "background"))
    with pytest.raises(ValueError, match="background: a class may not be called 'background'; rename the folder"):
        Pictures(tmp_path)


@pytest.mark.parametrize("scale", [1, 25], ids=["as it is", "reduced"])
def test_colours_that_nobody_sees_make_no_other_picture(scale, tmp_path):
    """Fully transparent pixels have colours, too. The split is that of pictures in which they are black."""
    root = write_cutouts(tmp_path / "black", count=10)
    for path in root.rglob("*.png"):
        pixels = np.asarray(Image.open(path)).repeat(scale, 0).repeat(scale, 1)
        Image.fromarray(pixels).save(path)
        hidden = np.where(pixels[..., 3:] == 0, np.uint8([250, 120, 3, 0]), pixels)
        for copy in (path.with_stem(f"copy-{path.stem}"), tmp_path / "coloured" / path.relative_to(root)):
            copy.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(hidden).save(copy)
    with_copies, coloured = Pictures(root), Pictures(tmp_path / "coloured")
    for label, paths in enumerate(coloured.paths):
        for part, files in paths.items():
            names = [path.name for path in files]
            assert [path.name.removeprefix("copy-") for path in with_copies.paths[label][part]] == names
            assert len(names) == {"train": 8, "val": 2}[part]


def test_a_picture_keeps_its_shape_and_colours(tmp_path):
    pictures = Pictures(write_cutouts(tmp_path, count=3))
    drawn = np.asarray(pictures.draw("train", 1, 40, np.random.default_rng(0)))
    assert drawn.shape == (40, 40, 4), "cut to the disc"
    y, x = np.mgrid[:40, :40] + 0.5 - 20
    assert np.mean((drawn[..., 3] >= 128) == (y**2 + x**2 < 400)) > 0.93
    colours = drawn[drawn[..., 3] >= 128][:, :3]
    assert colours.min() >= 90, "no dark fringe"
    assert np.median(colours) in {100, 110, 120}


def test_pictures_that_cannot_be_used_are_named(tmp_path):
    root = write_cutouts(tmp_path / "a")
    Image.new("RGB", (20, 20)).save(root / "fish" / "opaque.png")
    Image.new("RGBA", (20, 20), (1, 2, 3, 255)).save(root / "fish" / "alpha-opaque.png")
    Image.new("RGBA", (20, 20)).save(root / "fish" / "invisible.png")
    (root / "fish" / "broken.png").write_bytes(b"no image")
    (root / "fish" / "notes.txt").write_text("no image")
    (root / "alone").mkdir()
    for name in ("one.png", "its-copy.png"):
        Image.fromarray(255 - np.asarray(Image.open(root / "fish" / "1.png"))).save(root / "alone" / name)
    pictures = Pictures(root)
    assert pictures.classes == ("fish", "kite")
    assert "4 pictures in" in pictures.note
    assert "1 pictures look like another one" in pictures.note
    for words in ("opaque.png has no transparent", "invisible.png shows less than 8 x 8", "broken.png cannot be read"):
        assert words in pictures.note
    assert "fewer than two usable pictures are left out: alone" in pictures.note


def test_every_class_that_is_left_out_is_named(tmp_path):
    """Whatever is in its folder: photos, opaque pictures, pictures of another class, or nothing."""
    root = write_cutouts(tmp_path)
    for name in ("likewise", "empty", "opaque", "photos", "texts"):
        (root / name).mkdir()
    for number in range(3):
        picture = Image.new("RGB", (20, 20), (number, 0, 0))
        picture.save(root / "opaque" / f"{number}.png")
        picture.save(root / "photos" / f"{number}.jpg")
    for path in (root / "kite").iterdir():
        (root / "likewise" / path.name).write_bytes(path.read_bytes())
    (root / "texts" / "notes.txt").write_text("no image")
    pictures = Pictures(root)
    assert pictures.classes == ("fish", "kite")
    assert pictures.note.endswith(
        "fewer than two usable pictures are left out: empty, likewise, opaque, photos, texts."
    )


@pytest.mark.parametrize("made", [False, True])
def test_a_folder_without_objects_is_refused(made, tmp_path):
    message = f"no folder {tmp_path / 'a'}: objects are PNG files"
    if made:
        (tmp_path / "a" / "fish").mkdir(parents=True)
        Image.new("RGB", (20, 20)).save(tmp_path / "a" / "fish" / "opaque.png")
        message = "has 0 classes with at least two usable pictures. 1 pictures in .*opaque.png has no transparent"
    with pytest.raises(ValueError, match=message):
        Pictures(tmp_path / "a")


def test_shoes_and_bags_keep_their_large_holes():
    assert set(LARGEST_HOLE) == {"shoe", "bag"}
