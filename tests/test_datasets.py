"""Data specs: what is read, and what is refused in one line."""

import gzip
import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from PIL import Image
from torchvision import transforms

import mpq_onnx
from mpq_onnx.datasets import InMemory, drawn, open_dataset
from mpq_onnx.datasets.class_names import label_notes
from mpq_onnx.datasets.content_digest import dataset_digest
from mpq_onnx.datasets.lines import Lines
from mpq_onnx.datasets.preprocessing import Preprocessing, parse_preprocessing
from mpq_onnx.datasets.spec import parse_spec
from mpq_onnx.errors import DataError, UsageError
from mpq_onnx.graph.metadata import METADATA_LABELS, METADATA_PREPROCESSING
from mpq_onnx.graph.model_inputs import ModelInput
from tests.conftest import make_model

IMAGE = (ModelInput("images", np.dtype(np.float32), (None, 3, 8, 6)),)
PIXELS = (ModelInput("pixels", np.dtype(np.float32), (None, 1, 8, 8)),)


@pytest.fixture
def npz(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    path = tmp_path / "data.npz"
    np.savez(path, images=rng.integers(0, 256, (20, 8, 6, 3), dtype=np.uint8), labels=np.arange(20) % 4)
    return path


def test_images_are_scaled_normalised_and_transposed(npz: Path) -> None:
    spec = f"npz:{npz}?layout=nhwc&mean=0.5,0.4,0.3&std=0.2,0.2,0.1"
    (batch,) = open_dataset(spec, IMAGE).batches(20)
    raw = np.load(npz)["images"]
    wanted = (raw.astype(np.float64) / 255 - [0.5, 0.4, 0.3]) / [0.2, 0.2, 0.1]
    np.testing.assert_allclose(batch.inputs["images"], wanted.transpose(0, 3, 1, 2), atol=1e-5)
    assert batch.labels is not None and batch.labels.tolist() == [index % 4 for index in range(20)]


def test_the_models_preprocessing_applies_unless_overridden(npz: Path) -> None:
    facts = {METADATA_PREPROCESSING: "layout=nhwc&mean=0.5&std=0.25"}
    own = open_dataset(f"npz:{npz}", IMAGE, facts).read([0]).inputs["images"]
    other = open_dataset(f"npz:{npz}?mean=0", IMAGE, facts).read([0]).inputs["images"]
    np.testing.assert_allclose(other, own + 2.0, atol=1e-5)


def test_start_and_count_choose_a_part(npz: Path) -> None:
    part = open_dataset(f"npz:{npz}?layout=nhwc&start=5&count=3", IMAGE)
    assert len(part) == 3
    (batch,) = part.batches(10)
    assert batch.labels is not None and batch.labels.tolist() == [1, 2, 3]


def test_arrays_by_input_name(tmp_path: Path) -> None:
    inputs = (
        ModelInput("tokens", np.dtype(np.int64), (None, 4)),
        ModelInput("mask", np.dtype(np.float32), (None, 4)),
    )
    path = tmp_path / "text.npz"
    np.savez(path, tokens=np.ones((5, 4), np.int32), mask=np.zeros((5, 4)))
    (batch,) = open_dataset(f"npz:{path}", inputs).batches(8)
    assert {name: array.dtype.name for name, array in batch.inputs.items()} == {
        "tokens": "int64",
        "mask": "float32",
    }
    assert batch.labels is None


def test_image_folder(tmp_path: Path) -> None:
    for label, colour in (("cat", (255, 0, 0)), ("dog", (0, 0, 255))):
        (tmp_path / label).mkdir()
        for index in range(2):
            Image.new("RGB", (12 + index, 16), colour).save(tmp_path / label / f"{index}.png")
    inputs = (ModelInput("images", np.dtype(np.float32), (None, 3, 8, 8)),)
    (batch,) = open_dataset(f"imagefolder:{tmp_path}?resize=8&crop=8", inputs).batches(4)
    assert batch.inputs["images"].shape == (4, 3, 8, 8)
    assert batch.labels is not None and batch.labels.tolist() == [0, 0, 1, 1]
    np.testing.assert_allclose(batch.inputs["images"][0, :, 0, 0], [1, 0, 0])


def test_digits_are_all_there() -> None:
    digits = open_dataset("digits", PIXELS)
    assert len(digits) == 1797
    batch = digits.read(range(100))
    assert batch.inputs["pixels"].max() == 1.0
    assert set(np.asarray(batch.labels)) == set(range(10))


def test_random_is_seeded_and_has_the_models_shape() -> None:
    first = open_dataset("random?count=3&seed=1", PIXELS).read([0, 2]).inputs["pixels"]
    again = open_dataset("random?count=3&seed=1", PIXELS).read([0, 2]).inputs["pixels"]
    other = open_dataset("random?count=3&seed=2", PIXELS).read([0, 2]).inputs["pixels"]
    assert first.shape == (2, 1, 8, 8)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_python_factory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_data.py").write_text(
        "import numpy as np\ndef make():\n    return {'pixels': np.ones((7, 1, 8, 8)), 'labels': np.arange(7)}\n"
    )
    monkeypatch.chdir(tmp_path)
    assert len(open_dataset("python:my_data:make", PIXELS)) == 7
    with pytest.raises(UsageError, match="my_data:absent"):
        open_dataset("python:my_data:absent", PIXELS)


@pytest.mark.parametrize(
    ("spec", "complaint"),
    [
        ("video:x", "unknown kind 'video'"),
        ("video.mp4", "no such file or folder; write kind:path"),
        ("npz:absent.npz", "no such file"),
        ("digits?colour=red", "unknown option colour"),
        ("digits?count=many", "not a whole number"),
        ("digits?start=5000", "no examples left"),
        ("digits?count", "key=value"),
        ("imagefolder:/nonexistent", "no such folder"),
    ],
)
def test_wrong_specs_are_refused(spec: str, complaint: str) -> None:
    with pytest.raises(DataError, match=complaint) as caught:
        open_dataset(spec, PIXELS)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["digits", "random"])
@pytest.mark.parametrize("option", ["count=-4", "count=0", "start=-1", "start=-1&count=2"])
def test_numbers_of_examples_that_make_no_sense_are_usage(kind: str, option: str) -> None:
    with pytest.raises(UsageError, match=r"must be at least [01]"):
        open_dataset(f"{kind}?{option}", PIXELS)


@pytest.mark.parametrize("option", ["seed=-1", "size=0", "size=-2"])
def test_random_inputs_have_a_seed_and_a_size(option: str) -> None:
    with pytest.raises(UsageError, match=option):
        open_dataset(f"random?{option}", PIXELS)


def test_wrong_shape_and_nan_are_refused(npz: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"do not fit model input images"):
        open_dataset(f"npz:{npz}", IMAGE).read([0])
    path = tmp_path / "nan.npz"
    images = np.zeros((6, 3, 8, 6), np.float32)
    images[4, 0, 0, 0] = np.nan
    np.savez(path, images=images)
    with pytest.raises(DataError, match="NaN or infinity in example 4 of the data"):
        list(open_dataset(f"npz:{path}", IMAGE).batches(6))


@pytest.mark.parametrize(
    ("shape", "examples", "advice"),
    [
        ((6,), (6,), r"\(6\) .* need one of their own: export the network again with input \(batch, 6\)"),
        ((3, 8, 6), (3, 8, 6), r"whose axis 0 of length 3 is taken .* with input \(batch, 3, 8, 6\)"),
        ((5, None), (5, 7), r"with input \(batch, 5, 7\)"),
        ((None, 6), (1, 6), "convert the data"),  # these have an axis of examples
        ((1, 6), (1, 6), "convert the data"),
        ((5, 6), (6, 5), "convert the data"),
    ],
)
def test_an_input_without_an_axis_of_examples_is_told_so(
    shape: tuple[int | None, ...], examples: tuple[int, ...], advice: str, tmp_path: Path
) -> None:
    np.savez(tmp_path / "x.npz", x=np.zeros((9, *examples), np.float32))
    wanted = (ModelInput("x", np.dtype(np.float32), shape),)
    with pytest.raises(DataError, match=advice):
        open_dataset(f"npz:{tmp_path / 'x.npz'}", wanted).read([0])


@pytest.mark.parametrize(
    ("shape", "advice"),
    [
        ((4, 8, 6, 3), "set layout=nhwc"),
        ((4, 3, 10, 6), "resize the images to 8 x 6 pixels before they are stored"),
        ((4, 10, 12, 3), "set layout=nhwc and resize the images to 8 x 6 pixels"),
        ((4, 20, 30, 40), "convert the data"),
    ],
)
def test_images_that_do_not_fit_get_the_advice_that_helps(
    shape: tuple[int, ...], advice: str, tmp_path: Path
) -> None:
    np.savez(tmp_path / "images.npz", images=np.zeros(shape, np.uint8))
    with pytest.raises(DataError, match=rf"\(3, 8, 6\); {advice}") as caught:
        open_dataset(f"npz:{tmp_path / 'images.npz'}", IMAGE).read([0])
    assert "layout" in advice or "layout" not in str(caught.value)


def test_image_files_that_do_not_fit_are_to_be_resized(colours: Path) -> None:
    square = (ModelInput("images", np.dtype(np.float32), (None, 3, 16, 16)),)
    with pytest.raises(DataError, match="set resize=16&crop=16") as caught:
        open_dataset(f"imagefolder:{colours}/images", square).read([0])
    assert "layout" not in str(caught.value)
    assert open_dataset(f"imagefolder:{colours}/images?resize=16&crop=16", square).read([0]).examples == 1
    with pytest.raises(DataError, match="set resize=16&crop=16"):
        open_dataset(f"imagefolder:{colours}/images?resize=20", square).read([0])
    with pytest.raises(DataError, match="resize the files to 9 x 7 pixels"):
        inputs = (ModelInput("images", np.dtype(np.float32), (None, 3, 9, 7)),)
        open_dataset(f"imagefolder:{colours}/images", inputs).read([0])


def test_a_seed_of_an_order_is_no_negative_number() -> None:
    with pytest.raises(UsageError, match="shuffle=-1: must be at least 0"):
        open_dataset("digits?shuffle=-1", PIXELS)


def test_a_damaged_npz_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bad.npz"
    path.write_bytes(b"PK\x03\x04 nothing of the kind")
    with pytest.raises(DataError, match="cannot be read as npz"):
        open_dataset(f"npz:{path}", IMAGE)


def test_random_inputs_of_one_example_are_independent() -> None:
    inputs = tuple(ModelInput(name, np.dtype(np.int64), (None, 64)) for name in ("ids", "mask"))
    batch = open_dataset("random?count=2", inputs).read([0, 1])
    assert (batch.inputs["ids"] != batch.inputs["mask"]).any()


@pytest.fixture
def colours(tmp_path: Path) -> Path:
    """One image of one colour a class, in folders whose order is not the classes'."""
    for name, colour in COLOURS.items():
        folder = tmp_path / "images" / name
        folder.mkdir(parents=True)
        Image.new("RGB", (8, 8), colour).save(folder / "a picture.png")
    (tmp_path / "images" / ".hidden").mkdir()
    (tmp_path / "classes.txt").write_text("n3 blue sky\nn9 nothing\nn1 red\nn2 green\n\n")
    return tmp_path


COLOURS = {"n1": (255, 0, 0), "n2": (0, 255, 0), "n3": (0, 0, 255)}
WANTED = {(1.0, 0.0, 0.0): 2, (0.0, 1.0, 0.0): 3, (0.0, 0.0, 1.0): 0}
SQUARE = (ModelInput("images", np.dtype(np.float32), (None, 3, 8, 8)),)


def labels_by_colour(spec: str, facts: dict[str, str] | None = None) -> dict[tuple[float, ...], int]:
    dataset = open_dataset(spec, SQUARE, facts)
    batch = dataset.read(range(len(dataset)))
    assert batch.labels is not None
    return {
        tuple(float(value) for value in image[:, 0, 0]): int(label)
        for image, label in zip(batch.inputs["images"], batch.labels, strict=True)
    }


def test_folders_are_labelled_by_a_file_of_classes(colours: Path) -> None:
    spec = f"imagefolder:{colours / 'images'}"
    classes = f"classes={colours / 'classes.txt'}"
    assert labels_by_colour(f"{spec}?{classes}") == WANTED
    assert sorted(labels_by_colour(spec).values()) == [0, 1, 2]
    (colours / "val").symlink_to(colours / "images")
    assert labels_by_colour(f"imagenet:{colours}?{classes}") == WANTED


@pytest.mark.parametrize(
    "text", ["n3\nx\nn1\nn2", "N3, blue\nx\nN1, red\nN2, green", "n3\tblue\nn3x\nn1\tred\nn2\tred"]
)
def test_a_class_goes_by_its_line_or_its_first_word(colours: Path, text: str) -> None:
    (colours / "classes.txt").write_text(text)
    assert labels_by_colour(f"imagefolder:{colours / 'images'}?classes={colours / 'classes.txt'}") == WANTED


def test_folders_are_labelled_by_the_models_own_names(colours: Path) -> None:
    facts = {METADATA_LABELS: json.dumps(["n3", "n9", "N1", "n2"])}
    assert labels_by_colour(f"imagefolder:{colours / 'images'}", facts) == WANTED
    other = {METADATA_LABELS: json.dumps(["cat", "dog"])}
    assert sorted(labels_by_colour(f"imagefolder:{colours / 'images'}", other).values()) == [0, 1, 2]


@pytest.mark.parametrize("separator", [" ", "\t", ",", "  ", ", "])
@pytest.mark.parametrize("named", [False, True])
def test_a_list_of_images(colours: Path, separator: str, named: bool) -> None:
    label = {"n1": 2, "n2": 3, "n3": 0} if not named else {name: name for name in COLOURS}
    lines = [f"{name}/a picture.png{separator}{label[name]}" for name in ("n3", "n1", "n2")]
    (colours / "images" / "list.txt").write_text("# images\n" + "\n".join(lines) + "\n\n")
    classes = f"classes={colours / 'classes.txt'}"
    spec = f"imagelist:{colours / 'images' / 'list.txt'}"
    assert labels_by_colour(f"{spec}?{classes}") == WANTED
    if not named:
        assert labels_by_colour(spec) == WANTED
    (colours / "images" / "list.txt").rename(colours / "list.csv")
    root = f"root={colours / 'images'}"
    assert labels_by_colour(f"imagelist:{colours / 'list.csv'}?{root}&{classes}") == WANTED


@pytest.mark.parametrize(
    ("kind", "text", "classes", "complaint"),
    [
        ("imagefolder", "", "n1\nn2\n", "n3 is not among the classes"),
        ("imagefolder", "", "n1\nn2\nn3\nn3\n", "n3 is not among the classes"),
        ("imagefolder", "", "\n", "is empty"),
        ("imagefolder", "", None, "cannot be read"),
        ("imagelist", "n1/a picture.png two", "n1\nn2\n", "label two"),
        ("imagelist", "n1/a picture.png 2", "n1\nn2\n", "label 2, and classes= ends at 1"),
        ("imagelist", "n1/a picture.png -1", "n1\n", "label -1"),
        ("imagelist", "n1/absent.png 0", "n1\n", "no such file .*root="),
        ("imagelist", "n1/picture.png", "n1\n", "line 1: 'n1/picture.png' has no path and label"),
        ("imagelist", "\n", "n1\n", "has no lines"),
    ],
)
def test_wrong_lists_and_classes_are_refused(
    colours: Path, kind: str, text: str, classes: str | None, complaint: str
) -> None:
    file = colours / "own.txt"
    if classes is not None:
        file.write_text(classes)
    (colours / "images" / "list.txt").write_text(text)
    place = colours / "images" if kind == "imagefolder" else colours / "images" / "list.txt"
    with pytest.raises(DataError, match=complaint) as caught:
        open_dataset(f"{kind}:{place}?classes={file}", SQUARE)
    assert "\n" not in str(caught.value)


def test_folders_that_cannot_be_the_models_classes_are_said(colours: Path) -> None:
    def model(classes: int) -> ir.Model:
        graph = [helper.make_node("Flatten", ["images"], ["y"], "flatten")]
        inputs = [("images", TensorProto.FLOAT, ["n", 3, 8, 8])]
        return ir.from_proto(make_model(graph, inputs, [("y", ["n", classes])], {}))

    by_order = open_dataset(f"imagefolder:{colours / 'images'}", SQUARE)
    (note,) = label_notes(by_order, model(1000))
    assert "3 folders" in note and "1000 classes" in note and "classes=FILE" in note and "\n" not in note
    assert label_notes(by_order, model(3)) == ()
    by_name = open_dataset(f"imagefolder:{colours / 'images'}?classes={colours / 'classes.txt'}", SQUARE)
    assert label_notes(by_name, model(1000)) == ()


def test_the_digest_follows_content_and_setup_and_not_the_place(
    npz: Path, tmp_path: Path, colours: Path
) -> None:
    def digest(spec: str, inputs: tuple[ModelInput, ...] = IMAGE) -> str:
        return dataset_digest(open_dataset(spec, inputs))

    plain = digest(f"npz:{npz}")
    shutil.copy(npz, tmp_path / "copy.npz")
    assert digest(f"npz:{tmp_path / 'copy.npz'}") == plain
    assert len({plain, digest(f"npz:{npz}?mean=0.5"), digest(f"npz:{npz}?count=19")}) == 3
    arrays = dict(np.load(npz))
    for name in arrays:
        changed = {**arrays, name: arrays[name] + (arrays[name] == arrays[name].max())}
        np.savez(npz, **changed)
        assert digest(f"npz:{npz}") != plain, name
    folder = f"imagefolder:{colours / 'images'}"
    before = digest(folder, SQUARE)
    assert digest(folder, SQUARE) == before
    Image.new("RGB", (8, 8), (9, 9, 9)).save(colours / "images" / "n1" / "a picture.png")
    assert digest(folder, SQUARE) != before


def test_a_broken_example_is_named_by_its_place_in_the_data(tmp_path: Path) -> None:
    """Whatever order it is read in, and whichever part of the data is taken."""
    wanted = (ModelInput("x", np.dtype(np.float32), (None, 4)),)
    x = np.arange(400, dtype=np.float32).reshape(100, 4)
    x[37, 2] = np.nan
    np.savez(tmp_path / "x.npz", x=x)
    for options in ("", "?shuffle=1", "?start=30", "?shuffle=3&count=100"):
        with pytest.raises(DataError, match="NaN or infinity in example 37 of the data, counted from 0"):
            list(drawn(open_dataset(f"npz:{tmp_path / 'x.npz'}{options}", wanted), 0).batches(16))


def test_numbers_beyond_the_type_of_the_model_are_no_infinities(tmp_path: Path) -> None:
    x = np.ones((30, 4))
    x[21, 3], x[25, 0] = -1e300, 1e301
    for dtype, value in ((np.float32, x), (np.float16, np.where(x == 1, 1, 70000).astype(np.int64))):
        np.savez(tmp_path / "x.npz", x=value)
        dataset = open_dataset(f"npz:{tmp_path / 'x.npz'}", (ModelInput("x", np.dtype(dtype), (None, 4)),))
        wanted = rf"example 21 of the data, .* holds {value[21, 3]:g}, which {np.dtype(dtype)} of model input x has no room"
        with pytest.raises(DataError, match=wanted.replace("+", r"\+")):
            dataset.read(range(30)[::-1])


@pytest.mark.parametrize("finds", ["Imputer", "IsNaN"])
def test_a_network_that_fills_in_nan_is_told_what_data_to_give(finds: str, tmp_path: Path) -> None:
    impute = [
        helper.make_node("IsNaN", ["part"], ["gone"], "gone"),
        helper.make_node("Where", ["gone", "mean", "part"], ["filled"], "fill"),
    ]
    if finds == "Imputer":
        nan = {"imputed_value_floats": [1.0] * 4, "replaced_value_float": float("nan")}
        impute = [helper.make_node("Imputer", ["part"], ["filled"], "fill", domain="ai.onnx.ml", **nan)]
    nodes = [
        helper.make_node("Reshape", ["x", "shape"], ["part"], "view"),
        *impute,
        helper.make_node("MatMul", ["filled", "w"], ["y"], "dense"),
    ]
    tensors = {"shape": np.array([-1, 4]), "mean": np.ones(4, np.float32), "w": np.ones((4, 2), np.float32)}
    read = {name for node in nodes for name in node.input}
    model = make_model(
        nodes, [("x", TensorProto.FLOAT, ["n", 4])], [("y", ["n", 2])],
        {name: each for name, each in tensors.items() if name in read},
    )  # fmt: skip
    model.opset_import.append(helper.make_opsetid("ai.onnx.ml", 3))
    onnx.save(model, tmp_path / "m.onnx")
    data = np.ones((10, 4), np.float32)
    data[3, 1] = np.nan
    with pytest.raises(DataError, match=r"example 3 of the data.*; .* without NaN.* behind its Imputer"):
        mpq_onnx.evaluate(tmp_path / "m.onnx", {"x": data})


@pytest.mark.parametrize("count", [1, 4])
def test_what_all_examples_share_may_be_written_to(tmp_path: Path, count: int) -> None:
    """torch warns of arrays that it could not write to."""
    wanted = (
        ModelInput("x", np.dtype(np.float32), (None, 4)),
        ModelInput("gain", np.dtype(np.float32), (3,), example_axis=None),
    )
    x, gain = np.ones((5, 4), np.float32), np.arange(3, dtype=np.float32)
    gain.flags.writeable = False
    np.savez(tmp_path / "x.npz", x=x, gain=gain)
    for source in (f"npz:{tmp_path / 'x.npz'}", InMemory({"x": x, "gain": gain})):
        batch = open_dataset(source, wanted).read(range(count))
        assert all(array.flags.writeable for array in batch.inputs.values())
        np.testing.assert_array_equal(batch.inputs["gain"], gain)
        batch.inputs["gain"][:] = 7  # nobody else's
        np.testing.assert_array_equal(open_dataset(source, wanted).read([0]).inputs["gain"], gain)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@given(
    sides=st.tuples(st.integers(3, 70), st.integers(3, 70)),
    resize=st.integers(1, 60),
    crop=st.integers(1, 70),
)
@settings(deadline=None, max_examples=60)
def test_images_are_resized_and_cropped_as_torchvision_does(
    interpolation: str, sides: tuple[int, int], resize: int, crop: int, tmp_path_factory
) -> None:
    path = tmp_path_factory.getbasetemp() / "pixels.png"
    pixels = np.random.default_rng(0).integers(0, 256, (*sides, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    mode = transforms.InterpolationMode(interpolation)
    wanted = transforms.CenterCrop(crop)(transforms.Resize(resize, mode)(Image.open(path)))
    found = Preprocessing(resize=resize, crop=crop, interpolation=interpolation).load_image(str(path))
    np.testing.assert_array_equal(found, np.asarray(wanted))


@pytest.mark.parametrize("option", ["resize=-3", "resize=0", "crop=0", "crop=-1"])
def test_sizes_of_images_are_positive(option: str) -> None:
    name, _, value = option.partition("=")
    with pytest.raises(DataError, match=f"{option}: must be at least 1"):
        parse_preprocessing({name: value}, "here")


def test_an_option_that_stands_twice_is_refused() -> None:
    with pytest.raises(DataError, match="count= stands there twice"):
        parse_spec("npz:train.npz?count=5&start=1&count=6")


def test_what_is_for_images_alone_is_refused_elsewhere(tmp_path: Path) -> None:
    np.savez(tmp_path / "rows.npz", x=np.zeros((4, 6), np.float32))
    wanted = (ModelInput("x", np.dtype(np.float32), (None, 6), 0),)
    assert len(open_dataset(f"npz:{tmp_path / 'rows.npz'}", wanted)) == 4
    with pytest.raises(DataError, match="mean= is for images"):
        open_dataset(f"npz:{tmp_path / 'rows.npz'}?mean=0.5&std=2", wanted)


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz"])
def test_a_file_may_begin_with_the_mark_of_its_encoding(suffix: str, tmp_path: Path) -> None:
    text = "\ufeffa;b\n1;2\n".encode()
    path = tmp_path / f"table{suffix}"
    path.write_bytes(gzip.compress(text) if suffix.endswith(".gz") else text)
    assert Lines(str(path), "table").read([1, 0]) == ["1;2", "a;b"]
