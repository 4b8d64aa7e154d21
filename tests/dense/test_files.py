"""Files of dense models: every output returns bit by bit, and what does not fit is refused with the right call."""

import json
from dataclasses import replace
from itertools import permutations

import pytest
import torch
from safetensors.torch import load as read_tensors

import hatnet
from hatnet.training.recipes import RECIPES
from hatnet.training.resuming import State, load_state, save_state
from hatnet.weights.checkpoints import CheckpointError, about, holds_task, write
from hatnet.weights.source import find_source
from hatnet.weights.tensor_file import to_parts
from tests.comparing import assert_equal, assert_same
from tests.damage import answers
from tests.dense.networks import DETECTORS, MODELS, THIN, filled, thin
from tests.dense.test_equal_reference import normalised, pixels, reference_features, seen_maps

FACTS = {"data": "scenes", "classes": ["top", "shoe", "bag"], "recipe": {"task": "x"}, "test_iou": 0.5}


def small(task, **settings):
    """A narrow model with counters, statistics and scores that differ from those of a new model."""
    model = filled(thin(task, width=16, **settings)).float()
    for number, (name, buffer) in enumerate(model.named_buffers()):
        if name.endswith("num_batches_tracked"):
            buffer.fill_(2**40 + number)
    return model


def outputs(model, images):
    """Logits, or the tables of a detector as tensors by name."""
    with torch.inference_mode():
        found = model(images if model.task == "segmentation" else list(images))
    tables = [{"logits": found}] if model.task == "segmentation" else found
    return {f"{place} {name}": tensor for place, table in enumerate(tables) for name, tensor in table.items()}


def header(path):
    content = path.read_bytes()
    metadata = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])["__metadata__"]
    return json.loads(metadata["hatnet"])


SIZES = {"min_size": (48, 56), "max_size": 80}
SETTINGS = [
    *((task, {}) for task in MODELS),
    ("detection", SIZES | {"score_thresh": 0.6}),
    ("instances", SIZES | {"box_score_thresh": 0.2, "box_detections_per_img": 3}),
]


@pytest.mark.parametrize(("task", "settings"), SETTINGS)
def test_a_loaded_model_computes_the_same_bits(tmp_path, task, settings):
    """Logits, or boxes, labels, scores and masks, for random weights and an image that no window divides."""
    model = small(task, **settings)
    path = tmp_path / "mine.safetensors"
    hatnet.save(model, path, FACTS)
    again = hatnet.load(path, task=task)
    assert (type(again), again.training, again.config, again.width) == (MODELS[task], False, THIN, 16)
    assert_equal(again.state_dict(), model.state_dict())
    assert {name: p.requires_grad for name, p in again.named_parameters()} == {
        name: p.requires_grad for name, p in model.named_parameters()
    }
    images = torch.rand(2, 3, 70, 93, generator=torch.Generator().manual_seed(0))
    want = outputs(model, images)
    assert task == "segmentation" or len(want["0 scores"]) > 0
    assert_equal(outputs(again, images), want)
    assert (about(path), holds_task(path)) == (FACTS, task)
    hatnet.save(again, tmp_path / "again.safetensors", FACTS)
    assert (tmp_path / "again.safetensors").read_bytes() == path.read_bytes()


def test_the_normalisation_is_in_the_file(tmp_path):
    model = thin("segmentation", replace(THIN, in_channels=1), image_mean=[0.25], image_std=[2.0], width=16)
    hatnet.save(model, tmp_path / "m.safetensors")
    again = hatnet.load(tmp_path / "m.safetensors", task="segmentation")
    assert (again.transform.image_mean, again.transform.image_std, about(tmp_path / "m.safetensors")) == (
        [0.25], [2.0], {},
    )  # fmt: skip
    with pytest.raises(CheckpointError, match=r"mean in about is \[0.5\], but the model normalises with \[0.25\]"):
        hatnet.save(model, tmp_path / "x.safetensors", {"mean": [0.5]})


@pytest.mark.long
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("task", MODELS)
def test_half_precision_keeps_counters_and_computes_in_float32_after_float(tmp_path, task, dtype):
    """Weights and statistics are rounded to half precision, nothing else."""
    model = small(task)
    want = {name: t.to(dtype).float() if t.is_floating_point() else t for name, t in model.state_dict().items()}
    hatnet.save(model.to(dtype), tmp_path / "half.safetensors")
    half = hatnet.load(tmp_path / "half.safetensors", task=task)
    assert {tensor.dtype for tensor in half.parameters()} == {dtype}
    assert_equal(half.float().state_dict(), want)


def test_variances_that_float16_rounds_to_0_change_outputs_by_less_than_a_percent(tmp_path):
    """A variance below 6e-8 becomes 0 in float16; batch normalisation adds 1e-5 to it."""
    model = small("segmentation")
    for name, buffer in model.named_buffers():
        if name.endswith("running_var"):
            buffer[::2] = 2e-8
    image = torch.rand(1, 3, 64, 64)
    rounded = hatnet.load(_saved(model.half(), tmp_path), task="segmentation").float()
    assert rounded.head.levels[0][0][1].running_var[0] == 0
    got = outputs(rounded, image)["0 logits"]
    for name, buffer in rounded.named_buffers():
        if name.endswith("running_var"):
            buffer[::2] = 2e-8
    want = outputs(rounded, image)["0 logits"]
    assert 0 < (got - want).abs().max() < 1e-2 * want.abs().max()


def _saved(model, folder):
    hatnet.save(model, folder / "m.safetensors")
    return folder / "m.safetensors"


@pytest.mark.parametrize(("held", "asked"), list(permutations(["classification", *MODELS], 2)))
def test_a_file_of_another_task_is_refused_with_the_right_call(tmp_path, held, asked):
    path = _saved(hatnet.create_model("micro") if held == "classification" else small(held), tmp_path)
    call = f"hatnet.load('{path}'" + (")" if held == "classification" else f", task='{held}')")
    with pytest.raises(CheckpointError) as error:
        hatnet.load(path, task=asked)
    assert f"holds a model for {held}, not for {asked}: load it with {call}" in str(error.value)
    namespace = {"hatnet": hatnet}
    assert eval(call, namespace).config  # the advice works
    if held != "classification" and asked != "classification":
        with pytest.raises(CheckpointError, match=f"for {held}, not for {asked}"):
            hatnet.create_model("micro", path, task=asked)


@pytest.mark.parametrize("task", MODELS)
def test_older_packages_are_asked_for_an_update_and_read_what_they_wrote(tmp_path, task):
    """They refuse version 3 in words; files without a dense model or counters keep version 2."""
    assert header(_saved(small(task), tmp_path))["version"] == "3"
    assert header(_saved(hatnet.create_model("micro"), tmp_path))["version"] == "2"


def test_commands_for_classification_refuse_a_dense_file(tmp_path):
    path = _saved(small("detection"), tmp_path)
    with pytest.raises(CheckpointError, match="holds a model for detection, not for classification"):
        find_source(path)


def test_training_states_keep_counters(tmp_path):
    tensors = {f"model.{name}": tensor for name, tensor in small("segmentation").state_dict().items()}
    save_state(tmp_path / "state", State(3, tensors), RECIPES["fashion"])
    state, _ = load_state(tmp_path / "state")
    assert_equal(state.tensors, tensors)
    assert {t.dtype for name, t in state.tensors.items() if "tracked" in name} == {torch.int64}


def test_the_features_below_a_loaded_model_equal_the_reference(tmp_path):
    """In float64; the windows are those in the file."""
    for task in MODELS:
        config = replace(THIN, grid_sizes=(3, 5, 8), pool_sizes=(4, 2, 4))
        sizes = {} if task == "segmentation" else {"min_size": 64, "max_size": 96}
        loaded = hatnet.load(_saved(filled(thin(task, config, width=8, **sizes)), tmp_path), task=task)
        image = pixels(1, 3, 64, 96)
        seen = seen_maps(loaded)
        tensor = torch.from_numpy(image)
        loaded(tensor[None] if task == "segmentation" else [tensor])
        maps = reference_features(normalised(image), loaded.backbone.body)
        for got, want in zip(reversed(seen.values()), reversed(maps), strict=False):
            assert_same(got[0].permute(1, 2, 0), want, task)


def test_create_model_loads_a_file_of_its_task_whole(tmp_path):
    model = filled(hatnet.create_model("micro", task="segmentation", num_classes=3, width=8, pool_sizes=(4, 2))).float()
    path, image = _saved(model, tmp_path), torch.rand(1, 3, 50, 61)
    again = hatnet.create_model("micro", path, task="segmentation")
    assert (again.training, again.config, again.width) == (False, model.config, 8)
    assert_equal(outputs(again, image), outputs(model, image))
    other = hatnet.create_model("micro", str(path), task="segmentation", width=8, pool_sizes=(2, 2), num_classes=3)
    assert other.config == replace(model.config, pool_sizes=(2, 2))
    assert other.backbone.body.stages[0].blocks[0].attention.pool_size == 2
    assert_equal(other.state_dict(), model.state_dict())
    for changes, words in (
        ({"width": 16}, "holds a model of width 8, not 16"),
        ({"num_classes": 4}, "cannot be given num_classes=4"),
        ({"channels": (1, 2, 3)}, "head_dim"),
        ({"grid_size": 3}, "unknown field 'grid_size'"),
    ):
        with pytest.raises((ValueError, TypeError), match=words):
            hatnet.create_model("micro", path, task="segmentation", **changes)
    with pytest.raises(ValueError, match="holds weights of 'micro', not of 'tiny'"):
        hatnet.create_model("tiny", path, task="segmentation")
    with pytest.raises(CheckpointError, match="for segmentation, not for classification"):
        hatnet.dense.load_backbone(model, path)


@pytest.mark.long
def test_a_compiled_model_is_saved_as_the_model_itself(tmp_path):
    model = small("segmentation")
    hatnet.save(torch.compile(model), tmp_path / "compiled.safetensors")
    assert (tmp_path / "compiled.safetensors").read_bytes() == _saved(model, tmp_path).read_bytes()


def broken(task, change):
    model = small(task)
    change(model)
    return model


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (lambda: broken("detection", lambda m: setattr(m, "score_thresh", 0.9)), "score_thresh=0.9 was changed"),
        (lambda: broken("instances", lambda m: setattr(m.roi_heads, "nms_thresh", 0.9)), "roi_heads.nms_thresh=0.9"),
        (lambda: broken("detection", lambda m: setattr(m.anchor_generator, "sizes", ((4,),) * 5)), "anchor_generator"),
        (lambda: broken("segmentation", lambda m: setattr(m.head, "classifier", torch.nn.Conv2d(8, 9, 1))), "classif"),
        (lambda: broken("instances", lambda m: setattr(m.transform, "max_size", 0)), "max_size=0 must be a whole"),
        (lambda: broken("segmentation", lambda m: m.head.levels[0][0][1].running_var.fill_(-1)), "below 0"),
        (lambda: broken("segmentation", lambda m: m.head.classifier.bias.data.fill_(torch.nan)), "NaN or infinity"),
        (lambda: broken("segmentation", lambda m: m.head.double()), "several dtypes"),
        (lambda: small("detection", anchor_generator=thin("detection").anchor_generator), "anchor_generator=.* number"),
        (lambda: torch.nn.Linear(2, 2), "must be a HATNet"),
    ],
)
def test_a_model_that_could_not_be_rebuilt_is_not_saved(tmp_path, model, words):
    with pytest.raises((CheckpointError, TypeError), match=words):
        hatnet.save(model(), tmp_path / "x.safetensors")
    assert not list(tmp_path.iterdir())


def rewritten(path, facts=None, tensors=None):
    """The file with other facts of the dense model and other tensors; None removes one."""
    found = header(path)
    kind = found.pop("kind")
    dense = {k: v for k, v in (found["dense"] | (facts or {})).items() if v is not None}
    held = {k: v for k, v in (read_tensors(path.read_bytes()) | (tensors or {})).items() if v is not None}
    kept = {"config": found["config"], "dense": dense}
    path.write_bytes(b"".join(to_parts(kind, kept, held)))
    return path


COUNTER, VARIANCE = "head.levels.0.0.1.num_batches_tracked", "head.levels.0.0.1.running_var"


@pytest.mark.parametrize(
    ("task", "facts", "tensors", "words"),
    [
        ("segmentation", {"task": "depth"}, None, "unknown task, 'depth'"),
        ("segmentation", {"task": "classification"}, None, "unknown task, 'classification'"),
        ("segmentation", {"task": ["detection"]}, None, "unknown task"),
        ("segmentation", {"task": None}, None, "unknown task, None"),
        ("segmentation", {"width": 32}, None, "of another shape"),
        ("segmentation", {"width": 7}, None, "width=7 must be even"),
        ("segmentation", {"width": 1e1}, None, "must be of the type int"),
        ("segmentation", {"width": None}, None, "holds the facts"),
        ("segmentation", {"extra": 1}, None, "holds the facts"),
        ("segmentation", {"mean": [0.5]}, None, r"image_mean=\[0.5\] must be 3 numbers"),
        ("segmentation", {"std": [0.0] * 3}, None, "image_std"),
        ("segmentation", {"settings": {"min_size": 3}}, None, "min_size"),
        ("detection", {"settings": {"min_size": 10**9, "max_size": 10}}, None, "min_size=1000000000 must be"),
        ("detection", {"settings": {"score_tresh": 0.5}}, None, "unknown setting 'score_tresh'"),
        ("detection", {"settings": {"anchor_generator": "x"}}, None, "anchor_generator='x' is no number"),
        ("detection", {"settings": {"score_thresh": float("nan")}}, None, "score_thresh=nan"),
        ("segmentation", None, {COUNTER: torch.tensor(1.0)}, f"not whole numbers .1.: {COUNTER}"),
        ("segmentation", None, {COUNTER: torch.tensor(-1)}, f"below 0: {COUNTER}"),
        ("segmentation", None, {COUNTER: None}, f"missing .1.: {COUNTER}"),
        ("segmentation", None, {VARIANCE: torch.ones(8, dtype=torch.int64)}, f"not floating .1.: {VARIANCE}"),
        ("segmentation", None, {VARIANCE: -torch.ones(8)}, f"below 0: {VARIANCE}"),
        ("segmentation", None, {"more.num_batches_tracked": torch.tensor(1)}, "unexpected .1.: more"),
    ],
)
def test_facts_and_tensors_that_do_not_fit_are_refused(tmp_path, task, facts, tensors, words):
    path = rewritten(_saved(small(task), tmp_path), facts, tensors)
    with pytest.raises(CheckpointError, match=words):
        hatnet.load(path, task=task)


def test_every_damage_of_a_dense_file_is_refused(tmp_path):
    path = _saved(small("segmentation"), tmp_path)
    found = answers(lambda file: hatnet.load(file, task="segmentation"), path, path.read_bytes(), 30)
    assert len(found) > 25
    assert [words for words, answer in found.items() if answer == "accepted"] == []


def test_write_does_not_check_and_load_does(tmp_path):
    model = broken("segmentation", lambda m: m.head.classifier.weight.data.fill_(torch.inf))
    write(model, tmp_path / "bad.safetensors")
    with pytest.raises(CheckpointError, match="NaN or infinity in head.classifier.weight"):
        hatnet.load(tmp_path / "bad.safetensors", task="segmentation")


def test_the_sizes_of_images_may_change_after_building(tmp_path):
    """Training sets them per image size; the file has those of the model as it is."""
    for task in DETECTORS:
        model = small(task)
        model.transform.min_size, model.transform.max_size = (40, 44), 70
        again = hatnet.load(_saved(model, tmp_path), task=task)
        assert (tuple(again.transform.min_size), again.transform.max_size) == ((40, 44), 70)
