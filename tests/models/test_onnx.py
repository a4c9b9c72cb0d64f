import hashlib
import sys

import numpy as np
import pytest
import torch

from augmix.errors import RunError
from augmix.evaluation.predictor import Predictor, check_gradient
from augmix.models.open_model import open_model
from augmix.models.preprocessing import PRESETS
from augmix.results import CellKey

IMAGES = torch.rand(5, 3, 4, 6, generator=torch.Generator().manual_seed(0))
WEIGHT = np.array([[1.0, 2.0], [0.0, -1.0], [3.0, 0.5]], np.float32)  # channel class


def write(path, *, shape=("n", 3, "h", "w"), kind="FLOAT", outputs=("logits",)):
    """A file that averages every channel and multiplies by `WEIGHT`."""
    onnx = pytest.importorskip("onnx", reason="writes the files of these tests")
    helper, kinds = onnx.helper, onnx.TensorProto
    element = getattr(kinds, kind)
    is_last = shape[3] == 3
    nodes = [
        helper.make_node("GlobalAveragePool", ["turned" if is_last else "images"], ["means"]),
        helper.make_node("Flatten", ["means"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weight"], ["logits"]),
    ]
    if is_last:
        nodes.insert(0, helper.make_node("Transpose", ["images"], ["turned"], perm=[0, 3, 1, 2]))
    shapes = {"logits": [shape[0], 2], "means": [shape[0], 3, 1, 1], "flat": [shape[0], 3]}
    graph = helper.make_graph(
        nodes,
        "toy",
        [helper.make_tensor_value_info("images", element, list(shape))],
        [helper.make_tensor_value_info(name, element, shapes[name]) for name in outputs],
        [helper.make_tensor("weight", element, WEIGHT.shape, WEIGHT.flatten().tolist())],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())
    return path


@pytest.fixture(autouse=True)
def runtime():
    pytest.importorskip("onnxruntime", reason="extra onnx is not installed")


def expected(images: torch.Tensor) -> np.ndarray:
    return images.double().numpy().mean(axis=(2, 3)) @ WEIGHT.astype(np.float64)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"shape": (2, 3, 4, 6)},
        {"shape": (8, 3, "h", "w")},
        {"shape": (1, 3, 4, 6)},
        {"shape": ("n", "h", "w", 3)},
        {"shape": (2, 4, 6, 3)},
        {"kind": "FLOAT16"},
        {"outputs": ("means", "logits")},
    ],
    ids=["open", "batch-2", "batch-8", "batch-1", "last", "last-2", "half", "two-outputs"],
)
def test_logits_are_those_of_the_file(tmp_path, options):
    path = write(tmp_path / "toy.onnx", **options)
    model = open_model(f"onnx:{path}")
    atol = 1e-2 if options.get("kind") == "FLOAT16" else 1e-5
    for images in (IMAGES, IMAGES[:1]):
        np.testing.assert_allclose(model(images).numpy(), expected(images), atol=atol)
    assert model(IMAGES).dtype == torch.float32
    assert (model.name, model.num_classes) == ("onnx:toy.onnx", 2)
    assert model.fingerprint == hashlib.sha256(path.read_bytes()).hexdigest()


def test_normalization_comes_first(tmp_path):
    path = write(tmp_path / "toy.onnx")
    model = open_model(f"onnx:{path}", preprocessing=PRESETS["efficientnet-lite"])
    wanted = expected((255 * IMAGES.double() - 127) / 128)
    np.testing.assert_allclose(model(IMAGES).numpy(), wanted, atol=1e-4)


def test_one_of_two_outputs(tmp_path):
    path = write(tmp_path / "toy.onnx", outputs=("flat", "logits"))
    np.testing.assert_allclose(open_model(f"onnx:{path}")(IMAGES), expected(IMAGES), atol=1e-5)
    flat = open_model(f"onnx:{path}@flat")
    np.testing.assert_allclose(flat(IMAGES), IMAGES.mean((2, 3)), atol=1e-6)


def build(path, nodes, inputs, outputs, **metadata):
    """Write a file of some nodes and of the `WEIGHT`."""
    onnx = pytest.importorskip("onnx", reason="writes the files of these tests")
    helper, kinds = onnx.helper, onnx.TensorProto
    weight = helper.make_tensor("weight", kinds.FLOAT, WEIGHT.shape, WEIGHT.flatten().tolist())
    graph = helper.make_graph(
        [helper.make_node(*node[:3], **(node[3] if len(node) > 3 else {})) for node in nodes],
        "toy",
        [helper.make_tensor_value_info("images", getattr(kinds, inputs[0]), inputs[1])],
        [helper.make_tensor_value_info(name, kinds.FLOAT, shape) for name, shape in outputs],
        [weight],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    for key, value in metadata.items():
        model.metadata_props.add(key=key, value=value)
    path.write_bytes(model.SerializeToString())
    return path


HEAD = [
    ("GlobalAveragePool", ["pixels"], ["means"]),
    ("Flatten", ["means"], ["flat"]),
    ("MatMul", ["flat", "weight"], ["logits"]),
]
LOGITS = [("logits", ["n", 2])]


def test_bytes_are_pixels(tmp_path):
    cast = ("Cast", ["images"], ["pixels"], {"to": 1})
    path = build(tmp_path / "b.onnx", [cast, *HEAD], ("UINT8", ["n", 3, "h", "w"]), LOGITS)
    wanted = np.rint(IMAGES.numpy() * 255).mean((2, 3)) @ WEIGHT
    for preset in (None, PRESETS["none"], PRESETS["imagenet-none"]):
        model = open_model(f"onnx:{path}", preprocessing=preset)
        np.testing.assert_allclose(model(IMAGES), wanted, rtol=1e-5)
    with pytest.raises(RunError, match="takes pixels of 0..255 .uint8. and normalises them itself"):
        open_model(f"onnx:{path}", preprocessing=PRESETS["imagenet"])


@pytest.mark.parametrize("is_last", [False, True])
def test_a_layout_that_the_shape_leaves_open_is_tried(tmp_path, is_last):
    """A convolution of three channels takes one layout only."""
    turn = (
        "Transpose",
        ["images"],
        ["pixels"],
        {"perm": [0, 3, 1, 2] if is_last else [0, 1, 2, 3]},
    )
    onnx = pytest.importorskip("onnx", reason="writes the files of these tests")
    path = build(tmp_path / "o.onnx", [turn, *HEAD], ("FLOAT", ["n", "a", "b", "c"]), LOGITS)
    model = onnx.load(path)
    values = np.eye(3, dtype=np.float32)[..., None, None]
    kernel = onnx.numpy_helper.from_array(values, "kernel")
    model.graph.initializer.append(kernel)
    conv = onnx.helper.make_node("Conv", ["pixels", "kernel"], ["same"])
    model.graph.node.insert(1, conv)
    model.graph.node[2].input[0] = "same"
    onnx.save(model, path)
    found = open_model(f"onnx:{path}")
    np.testing.assert_allclose(found(IMAGES), expected(IMAGES), atol=1e-5)
    with pytest.raises(RunError, match="takes neither channels first .* nor channels last"):
        open_model(f"onnx:{path}")(IMAGES[:, :1])


def test_a_file_that_ends_in_softmax(tmp_path):
    nodes = [("Identity", ["images"], ["pixels"]), *HEAD, ("Softmax", ["logits"], ["odds"])]
    shapes = [("odds", ["n", 2])]
    path = build(tmp_path / "s.onnx", nodes, ("FLOAT", ["n", 3, "h", "w"]), shapes)
    with pytest.raises(RunError, match="onnx:s.onnx gives probabilities .*--outputs probabilities"):
        open_model(f"onnx:{path}")(IMAGES)
    found = open_model(f"onnx:{path}", outputs="probabilities")(IMAGES)
    wanted = torch.from_numpy(expected(IMAGES))
    np.testing.assert_allclose(found.log_softmax(1), wanted.log_softmax(1), atol=1e-5)


@pytest.mark.parametrize(
    ("metadata", "names"),
    [
        ({"names": "{0: 'ant', 1: 'bee'}"}, ("ant", "bee")),
        ({"names": '["ant", "bee"]'}, ("ant", "bee")),
        ({"classes": "ant,bee"}, ("ant", "bee")),
        ({"labels": "ant\nbee\n"}, ("ant", "bee")),
        ({"id2label": '{"1": "bee", "0": "ant"}'}, ("ant", "bee")),
        ({"augmix": '{"name": "small", "class_names": ["ant", "bee"]}'}, ("ant", "bee")),
        ({"names": "['a', 'b', 'c']"}, None),
        ({"names": "{0: 'a', 2: 'b'}"}, None),
        ({"names": "{'x': 1"}, None),
        ({"author": "me"}, None),
    ],
)
def test_names_of_classes_in_the_metadata(tmp_path, metadata, names):
    nodes = [("Identity", ["images"], ["pixels"]), *HEAD]
    path = build(tmp_path / "n.onnx", nodes, ("FLOAT", ["n", 3, "h", "w"]), LOGITS, **metadata)
    assert open_model(f"onnx:{path}").class_names == names


def test_weights_beside_the_file_are_part_of_it(tmp_path):
    path = write(tmp_path / "toy.onnx")
    before = open_model(f"onnx:{path}").fingerprint
    (tmp_path / "toy.onnx.data").write_bytes(b"weights")
    assert open_model(f"onnx:{path}").fingerprint != before


def test_images_of_another_size_are_refused(tmp_path):
    model = open_model(f"onnx:{write(tmp_path / 'toy.onnx', shape=(2, 3, 8, 8))}")
    message = r"takes images of 3 x 8 x 8 .channels, height, width., got 3 x 4 x 6; .*--crop"
    with pytest.raises(RunError, match=message):
        model(IMAGES)
    grey = open_model(f"onnx:{write(tmp_path / 'open.onnx')}")
    with pytest.raises(RunError, match="takes images of 3 x any x any .* got 1 x 4 x 6"):
        grey(IMAGES[:, :1])


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "toy.onnx"
    path.write_bytes(b"no protobuf")
    with pytest.raises(RunError, match="onnxruntime cannot use .*toy.onnx"):
        open_model(f"onnx:{path}")
    with pytest.raises(RunError, match="expected one output of logits .* got means"):
        open_model(f"onnx:{write(path, outputs=('means',))}")
    with pytest.raises(RunError, match="named 'means', got flat .*as onnx:.*toy.onnx@flat"):
        open_model(f"onnx:{write(path, outputs=('flat', 'logits'))}@means")
    with pytest.raises(RunError, match="nowhere.onnx does not exist"):
        open_model("onnx:nowhere.onnx")


def test_other_inputs_are_refused(tmp_path):
    onnx = pytest.importorskip("onnx", reason="writes the files of these tests")
    helper, element = onnx.helper, onnx.TensorProto.INT64
    graph = helper.make_graph(
        [helper.make_node("Identity", ["tokens"], ["logits"])],
        "toy",
        [helper.make_tensor_value_info("tokens", element, ["n", 5])],
        [helper.make_tensor_value_info("logits", element, ["n", 5])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    (tmp_path / "toy.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(RunError, match=r"one input of float images .* got tokens tensor.int64."):
        open_model(f"onnx:{tmp_path}/toy.onnx")


def test_a_missing_package_is_named_with_its_command(tmp_path, monkeypatch):
    path = write(tmp_path / "toy.onnx")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(RunError, match=r"needs onnxruntime, .* pip install 'onnx>=.*onnxruntime>="):
        open_model(f"onnx:{path}")


def test_a_file_gives_an_attack_no_gradient(tmp_path):
    model = open_model(f"onnx:{write(tmp_path / 'toy.onnx')}")
    predictor = Predictor(model=model, device=torch.device("cpu"), precision="fp32", num_classes=2)
    with pytest.raises(RunError, match=r"^onnx:toy\.onnx gives no gradient .*\(NAME@FILE"):
        check_gradient(predictor, IMAGES[:1].numpy(), CellKey("attack", "linf", 0), np.arange(1))
