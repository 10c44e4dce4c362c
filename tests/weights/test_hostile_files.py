"""Files that pretend to be weights: nothing in them runs, and nothing that they claim takes memory."""

import base64
import io
import json
import marshal
import pickle
import zipfile

import h5py
import keras
import numpy as np
import pytest
from safetensors.numpy import save_file

from keras_det import models
from keras_det.weights import metadata
from keras_det.weights.safetensors_file import KEY


@pytest.fixture(scope="module")
def model():
    return models.SSD300(backbone="tiny", sources=("stage5",), classes=["cat"])


@pytest.fixture
def saved(model, tmp_path):
    model.save_weights(tmp_path / "a.weights.h5")
    return tmp_path / "a.weights.h5"


def arrays(path):
    """The names of a file's arrays."""
    names = []
    with h5py.File(path) as file:
        file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
    return names


def huge(file, name):
    del file[name]
    file.create_dataset(name, (2**31, 64), "f4", chunks=(1, 64))  # 512 GB, of which none is in the file


def external(file, name):
    shape = file[name].shape
    del file[name]
    file.create_dataset(name, shape, "u1", external=[("/etc/passwd", 0, h5py.h5f.UNLIMITED)])


def virtual(file, name):
    shape = file[name].shape
    del file[name]
    layout = h5py.VirtualLayout(shape, "f4")
    layout[...] = h5py.VirtualSource("/tmp/other.h5", "x", shape)
    file.create_virtual_dataset(name, layout)


def outer_link(file, name):
    del file[name]
    file[name] = h5py.ExternalLink("/tmp/other.h5", "/x")


def soft_link(file, name):
    del file[name]
    file[name] = h5py.SoftLink("/elsewhere")


def linked_group(file, name):
    group = name.rpartition("/")[0]
    del file[group]
    file[group] = h5py.ExternalLink("/tmp/other.h5", "/x")


def wide_chunks(file, name):
    shape = file[name].shape
    del file[name]
    nms_options = (None,) * len(shape)
    file.create_dataset(name, shape, "f4", maxshape=nms_options, chunks=(2**24,) + (1,) * (len(shape) - 1))


def text(file, name):
    shape = file[name].shape
    del file[name]
    file.create_dataset(name, shape, h5py.string_dtype())


def further(file, name):
    file.create_dataset("features/further/vars/0", (10**9, 10), "f4", chunks=(1, 10))


CLAIMS = {
    huge: "has the shape",
    external: "lies in other files",
    virtual: "lies in other files",
    outer_link: "is a link",
    soft_link: "is a link",
    linked_group: "is a link",
    wide_chunks: "lies in chunks",
    text: "expected numbers",
    further: "has the shape",
}


@pytest.mark.parametrize(("change", "words"), CLAIMS.items(), ids=lambda value: getattr(value, "__name__", ""))
@pytest.mark.parametrize("form", [".weights.h5", ".keras"])
def test_claims_are_refused_before_they_take_memory(model, saved, tmp_path, change, words, form):
    with h5py.File(saved, "a") as file:
        change(file, next(name for name in arrays(saved) if len(file[name].shape) == 4))
    path = saved
    if form == ".keras":
        path = tmp_path / "a.keras"
        model.save(path)
        replace(path, "model.weights.h5", saved.read_bytes())
    for load in (model.load_weights, lambda p: models.SSD300(weights=p)):
        with pytest.raises(ValueError, match=words):
            load(path)
    if words == "has the shape":
        with pytest.raises(ValueError, match="claims"):
            model.load_weights(path, skip_mismatch=True)


def replace(path, name, content):
    """Another content of a file in an archive."""
    with zipfile.ZipFile(path) as archive:
        files = {info.filename: archive.read(info) for info in archive.infolist()} | {name: content}
    with zipfile.ZipFile(path, "w") as archive:
        for key, value in files.items():
            archive.writestr(key, value)


def test_a_group_that_holds_itself_ends(model, saved):
    with h5py.File(saved, "a") as file:
        file["features/again"] = file["features"]
    model.load_weights(saved)


def test_a_state_that_is_not_read_may_have_any_shape(model, saved):
    with h5py.File(saved, "a") as file:
        file.create_dataset("optimizer/vars/0", (3, 5, 7), "f4")
    model.load_weights(saved)


METADATA = {
    "a list": [1, 2],
    "another form": {"model": 3, "config": {}},
    "no arguments": {"model": "SSD300"},
    "a huge number": {"model": "SSD300", "config": {"classes": ["a"], "max_detections": 10**12}},
    "infinite": {"model": "SSD300", "config": {"classes": ["a"], "aspect_ratios": [[[float("inf")]]]}},
}


@pytest.mark.parametrize("content", METADATA.values(), ids=METADATA)
def test_what_a_file_says_of_its_network_is_believed_within_bounds(saved, content):
    with h5py.File(saved, "a") as file:
        file.attrs[metadata.ATTRIBUTE] = json.dumps(content)
    with pytest.raises(ValueError, match=r"a\.weights\.h5 is not a readable weights file: what it says"):
        models.SSD300(weights=saved)


def test_deep_and_long_texts_are_refused(saved, tmp_path):
    with h5py.File(saved, "a") as file:
        file.attrs[metadata.ATTRIBUTE] = '{"a":' * 10_000
    with pytest.raises(ValueError, match="is not a readable weights file"):
        models.SSD300(weights=saved)
    with zipfile.ZipFile(tmp_path / "bomb.keras", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", b" " * (metadata.MAX_CONFIG_BYTES + 1))
    with pytest.raises(ValueError, match=r"config\.json has over"):
        models.SSD300(weights=tmp_path / "bomb.keras")


def ways_to_run(marker):
    """Configurations by which saved Keras models have run code, each to write a file."""
    code = compile(f"open({str(marker)!r}, 'w')", "x", "exec")
    encoded = base64.b64encode(marshal.dumps(code)).decode()
    source = {"class_name": "__lambda__", "config": {"code": encoded, "defaults": None, "closure": None}}
    lambda_layer = {"class_name": "Lambda", "module": "keras.layers", "config": {"name": "l", "function": source}}
    command = f"touch {marker}"
    system = {"class_name": "function", "module": "os", "registered_name": "function", "config": "system"}
    functional = {"name": "m", "layers": [lambda_layer | {"name": "l", "inbound_nodes": []}]}
    functional |= {"input_layers": [], "output_layers": []}
    pickled = base64.b64encode(pickle.dumps(Run(command))).decode()

    def top(**config):
        return {"module": "keras", "class_name": "Sequential", "registered_name": None} | config

    return {
        "a lambda layer": top(config={"name": "s", "layers": [lambda_layer]}),
        "a lambda in a functional model": top(class_name="Functional", module="keras.src.models", config=functional),
        "a function of os": top(config={"name": "s", "layers": [{**system, "args": [command]}]}),
        "a class of subprocess": {
            "module": "subprocess",
            "class_name": "Popen",
            "config": {"args": ["touch", str(marker)]},
        },
        "os.system as the model": {"module": "os", "class_name": "system", "config": command},
        "unsafe mode switched on": top(
            config={
                "name": "s",
                "layers": [
                    {"module": "keras.config", "class_name": "function", "config": "enable_unsafe_deserialization"},
                    lambda_layer,
                ],
            }
        ),
        "a download": {
            "module": "keras.utils",
            "class_name": "get_file",
            "registered_name": None,
            "config": {"fname": str(marker), "origin": "file:///etc/passwd"},
        },
        "a pickled torch module": top(
            config={
                "name": "s",
                "layers": [
                    {
                        "module": "keras.layers",
                        "class_name": "TorchModuleWrapper",
                        "config": {"module": {"class_name": "__bytes__", "config": {"value": pickled}}},
                    }
                ],
            }
        ),
        "a table of another file": top(
            config={
                "name": "s",
                "layers": [
                    {"module": "keras.layers", "class_name": "StringLookup", "config": {"vocabulary": "/etc/passwd"}}
                ],
            }
        ),
    }


class Run:
    """Unpickled, it runs a command."""

    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        import os

        return os.system, (self.command,)


@pytest.mark.parametrize("way", ways_to_run("x"))
def test_no_known_way_to_make_a_saved_model_run_code_works(model, tmp_path, way):
    """Under the model's own name, too, and with its own weights; nor in Keras's safe mode, which is the default."""
    marker = tmp_path / "it-ran"
    config = ways_to_run(marker)[way]
    nested = {"module": "keras_det.models.ssd", "class_name": "SSD300", "registered_name": "keras_det>SSD300"}
    nested |= {"config": model.get_config() | {"freeze": config}}
    for number, content in enumerate((config, nested)):
        path = tmp_path / f"{number}.keras"
        model.save(path)
        replace(path, "config.json", json.dumps(content).encode())
        for load in (lambda p: models.SSD300(weights=p), keras.saving.load_model):
            try:
                load(path)
            except Exception:  # whatever is refused, in whatever words
                pass
            assert not marker.exists(), way
    try:
        model.load_weights(tmp_path / "0.keras")  # the arrays are looked at alone
    except ValueError:
        pytest.fail("the weights beside a hostile configuration are the model's own")


def test_a_whole_model_in_the_old_format_is_no_weights_file(tmp_path, model):
    """Keras's legacy HDF5 holds a configuration, whose lambdas no safe mode keeps from running."""
    marker = tmp_path / "it-ran"
    encoded = base64.b64encode(marshal.dumps(compile(f"open({str(marker)!r}, 'w')", "x", "exec"))).decode()
    layer = {
        "class_name": "Lambda",
        "config": {"name": "l", "function": [encoded, None, None], "function_type": "lambda"},
    }
    with h5py.File(tmp_path / "m.weights.h5", "w") as file:
        file.attrs["keras_version"] = "2.15.0"
        file.attrs["model_config"] = json.dumps(
            {"class_name": "Sequential", "config": {"name": "s", "layers": [layer]}}
        )
        file.create_group("model_weights")
    with pytest.raises(ValueError):
        models.SSD300(weights=tmp_path / "m.weights.h5", backbone="tiny", sources=("stage5",), classes=["cat"])
    assert not marker.exists()


def test_pickles_in_an_archive_stay_closed(model, tmp_path):
    marker = tmp_path / "it-ran"
    path = tmp_path / "a.keras"
    model.save(path)
    file = io.BytesIO()
    np.save(file, np.array(Run(f"touch {marker}"), object), allow_pickle=True)
    replace(path, "assets/../../x.npy", file.getvalue())
    replace(path, "model.weights.npz", file.getvalue())
    model.load_weights(path)
    assert not marker.exists() and not (tmp_path.parent / "x.npy").exists()


@pytest.mark.parametrize("length", [0, 8, 2**63, 2**64 - 24])
@pytest.mark.parametrize("number", [0, 1])
def test_a_collection_of_texts_that_leads_in_circles_is_refused(saved, length, number):
    """HDF5 goes from object to object by their lengths, and would never come back."""
    content = bytearray(saved.read_bytes())
    place = content.index(b"GCOL\x01") + 16
    content[place : place + 2] = number.to_bytes(2, "little")
    content[place + 8 : place + 16] = length.to_bytes(8, "little")
    saved.write_bytes(content)
    if number and length in (0, 8):  # an empty text is one
        return
    with pytest.raises(ValueError, match="collection of texts"):
        models.SSD300(weights=saved)


@pytest.mark.parametrize(
    "content",
    [
        [1],
        5,
        {"model": ["SSD300"], "config": {}},
        {"model": "SSD300", "config": []},
        {"model": "SSD300", "config": {"max_detections": 10**6}},
        {"model": "SSD300", "config": {"localizer": {"max_per_class": 10**6}}},
        {"model": "SSD300", "config": {"iou_threshold": 10**15}},
        {"model": "SSD300", "config": {"classes": ["a"] * 30_000}},
    ],
    ids=str,
)
def test_what_safetensors_say_of_a_network_is_believed_no_more_than_what_others_do(content, tmp_path):
    save_file({"a": np.zeros(1, "f4")}, tmp_path / "m.safetensors", metadata={KEY: json.dumps(content)})
    with pytest.raises(ValueError, match="m.safetensors is not a readable weights file: what it says of its network"):
        models.SSD300(weights=tmp_path / "m.safetensors")


def test_weights_that_are_no_numbers_are_warned_of(tmp_path, caplog):
    network = models.Classifier(classes=["a", "b"], backbone="tiny", image_size=32)
    network.head.kernel.assign(np.full(network.head.kernel.shape, np.nan))
    network.save_weights(tmp_path / "m.weights.h5")
    models.Classifier(weights=tmp_path / "m.weights.h5")
    assert "1 of" in caplog.text and "arrays hold numbers that are not finite" in caplog.text
