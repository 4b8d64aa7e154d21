"""Recipes from and to files: every recipe survives, a run is repeated from its folder, and bad files are refused."""

import json

import pytest

from hatnet.training.recipe_file import read_recipe, recipe_text
from hatnet.training.recipes import RECIPES, get_recipe, to_json
from tests.training.runs import SMALL, outcome
from tests.training.small_command import small_options


def test_every_recipe_survives_a_file(tmp_path):
    for recipe in (*RECIPES.values(), SMALL):
        (tmp_path / "recipe.json").write_text(recipe_text(recipe))
        assert read_recipe(tmp_path / "recipe.json") == (recipe, None)


def test_the_recipe_of_a_run_is_read_from_its_folder(whole):
    assert read_recipe(whole) == read_recipe(whole / "run.json") == (SMALL, 1)


def content(**changes):
    return json.dumps({"format": "hatnet recipe", "version": 1, "recipe": to_json(SMALL) | changes})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not a JSON file"),
        ("\xff\xfe", "holds no recipe|is not a JSON file"),
        ("[" * 5000, "nested too deeply|is not a JSON file"),
        ("[1, 2]", 'holds no recipe: it must be a JSON object with the key "recipe"'),
        ('{"recipe": []}', "holds no recipe"),
        ('{"recipe": {"data": "cifar10"}}', "a recipe needs the keys variant, image_size, epochs, too"),
        (content(epoch=3), "unknown key 'epoch' in a recipe, did you mean 'epochs'"),
        (content(lr="0.1"), "lr='0.1' must be of the type float"),
        (content(lr=float("nan")), "lr=nan must be from"),
        (content(epochs=2.0), "epochs=2.0 must be of the type int"),
        (content(epochs=None), "epochs=None must be of the type int"),
        (content(flip=1), "flip=1 must be of the type bool"),
        (content(clip=True), "clip=True must be of the type float"),
        (content(data=7), "data=7 must be of the type str"),
        (content(precision="float8"), "precision='float8' must be of the type Literal"),
        (content(grid_sizes=[7, "4"]), r"grid_sizes=\(7, '4'\) must be of the type tuple\[int, ...\] | None"),
        (content(stem_strides=[1, 1, 1]), r"stem_strides=\(1, 1, 1\) must be of the type tuple\[int, int\]"),
        (content(weights={}), "weights={} must be of the type str | None"),
        (content().replace('"version": 1', '"version": 99'), "has version 99; this version of hatnet reads 1"),
    ],
)
def test_a_bad_recipe_file_is_refused_by_name(text, message, tmp_path):
    path = tmp_path / "mine.json"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(ValueError, match=f"mine.json.*({message})"):
        read_recipe(path)


def test_a_run_is_repeated_bit_for_bit_from_its_folder(hatnet, tmp_path):
    hatnet("train", "fashion-quick", *small_options(tmp_path), "--seed", 5, "--out", tmp_path / "first")
    options = ["--data-dir", tmp_path, "--workers", 0, "--device", "cpu"]
    hatnet("train", "--recipe", tmp_path / "first", *options, "--out", tmp_path / "second")
    assert outcome(tmp_path / "second") == outcome(tmp_path / "first")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--recipe", "{file}", "--lr", "-1"], "lr=-1.0 must be from"),
        (["--epochs", "2", "--recipe={file}", "--batch-size", "100"], "slice_size=64 must divide batch_size=100"),
        (["--recipe", "none.json"], "no recipe file at none.json"),
        (["--recipe"], "--recipe needs a file"),
        (["--recipe", "{file}", "--recipe", "{file}"], "give one recipe: either a name or --recipe FILE, once"),
        (["fashion", "--recipe", "{file}"], "give one recipe: either a name or --recipe FILE, once"),
        (["fashion", "--seed", "1", "--seeds", "1", "2"], "give --seed or --seeds, not both"),
        (["fashion-quick", "--seeds", "1", "2", "1"], "seeds: 1 must be given once"),
        (["fashion-quick", "--out", ""], "--out is the working folder itself"),
        (["fashion-quick", "--out", "{file}"], "is a file, so no run can be written to"),
        (["fashion-quick", "--out", "{file}/run"], "is a file, so no run can be written to"),
        (["fashion-quick", "--save-every", "nan"], "save_every=nan must be a number of seconds above 0"),
        (["fashion-quick", "--save-every", "inf"], "save_every=inf must be a number of seconds above 0"),
        (["fashion-quick", "--save-every", "0"], "save_every=0.0 must be a number of seconds above 0"),
        (["fashion-quick", "--threads", "1000000000"], "threads=1000000000 must be a whole number from 1 to 1024"),
        (["fashion-quick", "--workers", "1000000000"], "workers=1000000000 must be a whole number from 0 to 256"),
        (["fashion-quick", "--device", "meta"], "device='meta' must be cpu, cuda or one GPU"),
    ],
)
def test_options_of_train_are_refused_before_work_starts(words, message, hatnet_command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "mine.json"
    file.write_text(recipe_text(get_recipe("fashion-quick")))
    status, _, error = hatnet_command("train", *(word.format(file=file) for word in words))
    assert (status, error.count("\n")) == (2, 1)
    assert message in error
    assert [*tmp_path.iterdir()] == [file]


def test_recipes_are_listed_and_written(hatnet_command, tmp_path, monkeypatch):
    _, table, _ = hatnet_command("recipes")
    assert all(f" {name} " in table for name in RECIPES)
    _, text, _ = hatnet_command("recipes", "fashion")
    assert text == recipe_text(get_recipe("fashion"))
    assert hatnet_command("recipes", "fashion", "--out", tmp_path / "mine.json")[0] == 0
    assert read_recipe(tmp_path / "mine.json")[0] == get_recipe("fashion")
    assert hatnet_command("recipes", tmp_path / "mine.json")[1] == text
    for words, message in ((["fashon"], "did you mean 'fashion'"), (["--out", "x"], "give its name, too")):
        status, _, error = hatnet_command("recipes", *words)
        assert status == 2
        assert message in error
