"""Training schedules as data: what is trained on what, how long, with which optimizer."""

import dataclasses
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np


@dataclass(frozen=True)
class Recipe:
    """One training run.

    Attributes:
        model: name of the detector, such as `"ssd300"`.
        data: data specification for `keras_det.data.load`.
        about: cost, expected score and where the schedule comes from.
        split: split to train on; `None` where the data has none.
        val_split: split that is evaluated during training.
        arguments: constructor arguments of the model.
        data_options: options of `keras_det.data.load` for training.
        val_options: the same for evaluation.
        optimizer: Keras optimizer configuration, with `class_name`.
        learning_rate: highest learning rate.
        schedule: `"cosine"`, or `"step"` with `drops`.
        drops: steps after which the learning rate falls.
        drop: what the learning rate is multiplied with at each of them.
        warmup: steps of linear warm-up.
        batch_size: pictures in a step.
        steps: steps in all.
        steps_per_epoch: steps between two checkpoints; `None` is once through the data.
        evaluate_every: epochs between two evaluations.
        augment: whether training pictures are augmented as the paper does.
        hold_out: share of the training pictures, drawn at random, that is evaluated on instead of trained on.
    """

    model: str
    data: str
    about: str
    split: str | None = None
    val_split: str | None = None
    arguments: dict[str, Any] = field(default_factory=dict)
    data_options: dict[str, Any] = field(default_factory=dict)
    val_options: dict[str, Any] = field(default_factory=dict)
    optimizer: dict[str, Any] = field(default_factory=lambda: {"class_name": "AdamW", "weight_decay": 5e-4})
    learning_rate: float = 1e-3
    schedule: str = "cosine"
    drops: tuple[int, ...] = ()
    drop: float = 0.1
    warmup: int = 100
    batch_size: int = 32
    steps: int = 2000
    steps_per_epoch: int | None = None
    evaluate_every: int = 1
    augment: bool = True
    hold_out: float = 0.0

    def replace(self, **changes):
        """The recipe with some fields changed; `None` leaves a field as it is.

        >>> RECIPES["ssd300-shapes"].replace(batch_size=8, steps=None).batch_size
        8
        """
        return dataclasses.replace(self, **{k: v for k, v in changes.items() if v is not None})

    def build_optimizer(self):
        """The Keras optimizer with its learning rate schedule."""
        config = dict(self.optimizer)
        name = config.pop("class_name")
        return keras.optimizers.get({"class_name": name, "config": config | {"learning_rate": self._schedule()}})

    def _schedule(self):
        schedules = keras.optimizers.schedules
        if self.schedule == "cosine":
            decay = max(self.steps - self.warmup, 1)
            if not self.warmup:
                return schedules.CosineDecay(self.learning_rate, decay, alpha=0.01)
            return schedules.CosineDecay(
                0.0, decay, alpha=0.01, warmup_target=self.learning_rate, warmup_steps=self.warmup
            )
        if self.schedule == "step":
            rates = [self.learning_rate * self.drop**k for k in range(len(self.drops) + 1)]
            return schedules.PiecewiseConstantDecay(list(self.drops), rates)
        raise ValueError(f"`schedule` must be 'cosine' or 'step'; got {self.schedule!r}.")


# Caffe adds weight decay to the gradient, where momentum 0.9 multiplies it by 10; Keras subtracts it directly.
_SGD = {"class_name": "SGD", "momentum": 0.9, "weight_decay": 5e-3}

_VOC0712 = Recipe(
    model="ssd300",
    data="voc:VOCdevkit",
    split="2007_trainval+2012_trainval",
    val_split="2007_test",
    about="SSD300* of the paper's Table 6 (77.2 mAP on VOC2007 test): 120k steps, since expansion "
    "doubles section 3.1's.",
    optimizer=_SGD,
    schedule="step",
    drops=(80_000, 100_000),
    warmup=0,
    steps=120_000,
    steps_per_epoch=1000,
    evaluate_every=10,
)

_EPOCH = 1_281_167 // 128  # steps of once through ILSVRC12's training pictures

_OVERFEAT = Recipe(
    model="overfeat",
    data="folder:ILSVRC",
    split="train",
    about="The classifier of OverFeat's section 3.1: 90 epochs of crops whose pictures have a shorter side of 256 "
    "pixels. Each epoch draws one crop or its mirror image of a picture; the paper draws five and their mirror images.",
    arguments={"variant": "accurate", "task": "classification", "initial_stddev": 0.01},
    # Weight decay in the gradient, where momentum 0.6 multiplies it by 2.5; Keras subtracts it directly.
    optimizer={"class_name": "SGD", "momentum": 0.6, "weight_decay": 2.5e-5},
    learning_rate=5e-2,
    schedule="step",
    drops=tuple(epoch * _EPOCH for epoch in (30, 50, 60, 70, 80)),
    drop=0.5,
    warmup=0,
    batch_size=128,
    steps=90 * _EPOCH,
    steps_per_epoch=_EPOCH,
    evaluate_every=90,
)

# The papers name Adagrad, batches of 128 and the 10 % held out, no learning rate and no number of steps; ten million
# samples, a third of them positive, were made for the classifier, thirty for the localiser.
_MULTIBOX = Recipe(
    model="multibox",
    data="voc:VOCdevkit",
    split="2012_trainval",
    hold_out=0.1,
    about="The localiser of DeepMultiBox (sections 4.1 and 4.2), K = 100 on VOC2012: 45.3 % of VOC2007 test's objects "
    "with 10 boxes from one crop. 30 million samples; several weeks of a GPU's time, not run by this project.",
    optimizer={"class_name": "Adagrad"},
    learning_rate=1e-2,
    warmup=0,
    batch_size=128,
    steps=235_000,
    steps_per_epoch=1000,
    evaluate_every=10,
)

RECIPES = {
    "finetune": Recipe(
        model="ssd300",
        data="folder:.",
        about="A default for one's own pictures, from weights: AdamW with a cosine, augmentation as in the paper.",
        steps=1000,
        batch_size=16,
    ),
    "ssd300-shapes": Recipe(
        model="ssd300",
        data="shapes",
        about="The embedded network. See benchmarks/results/ssd_shapes.json for its cost and its score.",
        arguments={"backbone": "tiny"},
        data_options={"images": 64_000, "seed": 0, "objects": (2, 9)},  # fuller scenes teach more a picture
        val_options={"images": 200, "seed": 1_000_000},
        learning_rate=3e-3,
        warmup=200,
        steps=2000,
        steps_per_epoch=100,
        evaluate_every=5,
        augment=False,
    ),
    "ssd300-bccd": Recipe(
        model="ssd300",
        data="folder:bccd",
        split="train",
        val_split="val",
        about="Blood cells from scratch. See benchmarks/results/ssd_bccd.json for its cost and its score.",
        arguments={"backbone": "tiny", "box_scales": "coco"},
        learning_rate=2e-3,
        warmup=200,
        steps=2400,
        steps_per_epoch=100,
        evaluate_every=4,
    ),
    "ssd300-voc0712": _VOC0712,
    "ssd512-voc0712": _VOC0712.replace(
        model="ssd512", about="SSD512* of the paper's Table 6 (79.8 mAP on VOC2007 test)."
    ),
    "ssd300-coco": Recipe(
        model="ssd300",
        data="coco:coco",
        split="train2017",
        val_split="val2017",
        about="SSD300* of the paper's Table 6 (25.1 AP on test-dev): 400k steps, drops at 280k and 360k (section 3.4, "
        "lengthened for expansion as the authors' code does).",
        arguments={"box_scales": "coco"},
        optimizer=_SGD,
        schedule="step",
        drops=(280_000, 360_000),
        warmup=0,
        steps=400_000,
        steps_per_epoch=1000,
        evaluate_every=20,
    ),
    "multibox-voc12": _MULTIBOX,
    "multibox-classifier-voc12": _MULTIBOX.replace(
        model="classifier",
        about="The classifier of DeepMultiBox (section 4.2): crops of 20 classes and of background, 1:2; with it mAP "
        "0.29 on VOC2007 test from 10 windows. 30 million samples, not run by this project.",
        arguments={"background": True},
    ),
    "multibox-one-box-voc12": _MULTIBOX.replace(
        model="one_box_per_class",
        about="The baseline of DeepMultiBox's Table 2 and Figure 5: one box for each class. Not run by this project.",
    ),
    "multibox-shapes": Recipe(
        model="multibox",
        data="shapes",
        about="The embedded localiser. alpha is 60, not 0.3: squared distances in shares of the image are small beside "
        "100 confidences, and the paper's balance needs its thirty million samples. See "
        "benchmarks/results/multibox_shapes.json for its cost and its score.",
        arguments={"backbone": "tiny", "image_size": 128, "alpha": 60.0},
        data_options={"images": 320_000, "seed": 0, "objects": (2, 9), "size": 128},
        val_options={"images": 200, "seed": 1_000_000},
        learning_rate=3e-3,
        batch_size=64,
        steps=5000,
        steps_per_epoch=100,
        evaluate_every=5,
        augment=False,
    ),
    "detectornet-voc12": Recipe(
        model="detectornet",
        data="voc:VOCdevkit",
        split="2012_trainval",
        about="The mask generator of DetectorNet (section 6), one network for each class and mask: mAP 0.305 on "
        "VOC2007 test. Ten million samples a class; not run by this project.",
        arguments={"form": "mask"},
        optimizer={"class_name": "Adagrad"},
        learning_rate=1e-2,
        warmup=0,
        batch_size=128,
        steps=78_000,
        steps_per_epoch=1000,
        evaluate_every=10_000,
    ),
    "detectornet-classifier-voc12": Recipe(
        model="classifier",
        data="voc:VOCdevkit",
        split="2012_trainval",
        about="The classifier whose layers DetectorNet starts from, and which prunes (section 6). Not run by this "
        "project.",
        arguments={
            "background": True,
            "image_size": 225,
            "positive_iou": 0.6,
            "positive_share": 0.4,
        },
        optimizer={"class_name": "Adagrad"},
        learning_rate=1e-2,
        warmup=0,
        batch_size=128,
        steps=78_000,
        steps_per_epoch=1000,
        evaluate_every=10,
    ),
    "detectornet-shapes": Recipe(
        model="detectornet",
        data="shapes",
        about="The embedded network: all masks of all classes by one network, from a feature map. See "
        "benchmarks/results/detectornet_shapes.json for its cost and its score.",
        arguments={"backbone": "tiny", "image_size": 128, "negative_share": 0.2},
        data_options={"images": 128_000, "seed": 0, "objects": (2, 9), "size": 192},
        learning_rate=3e-3,
        batch_size=32,
        steps=4000,
        steps_per_epoch=100,
        evaluate_every=10_000,
    ),
    "overfeat-shapes": Recipe(
        model="overfeat",
        data="shapes",
        about="A narrow network that fits the CPU, all three tasks at once. Batch normalisation, which is folded "
        "into the convolutions afterwards, crops around objects and Adam save most of the time. See "
        "benchmarks/results/overfeat_shapes.json for its cost and its score.",
        arguments={
            "variant": "fast",
            "width": 1 / 8,
            "dense_width": 1 / 48,
            "image_size": (263, 263),
            "scales": ((247, 247), (343, 343), (487, 487), (695, 695), (983, 983)),
            "batch_norm": True,
            "dropout": 0.0,
            "fixed_trunk": False,
            "smallest_object": 0.35,
            "largest_offset": 0.3,
            "border": 48,
            "around": 0.7,
        },
        data_options={"images": 64_000, "seed": 0, "objects": (1, 6)},
        val_options={"images": 64, "seed": 1_000_000},
        optimizer={"class_name": "Adam", "clipnorm": 10.0},
        learning_rate=2e-3,
        warmup=200,
        batch_size=16,
        steps=15_000,
        steps_per_epoch=500,
        evaluate_every=10,
    ),
    "overfeat-classification": _OVERFEAT,
    "overfeat-localization": _OVERFEAT.replace(
        about="The regressor of OverFeat's section 4.2 at all six scales, on the fixed trunk of a trained classifier: "
        "pass its --weights.",
        arguments={"variant": "accurate", "task": "localization"},
    ),
    "overfeat-detection": _OVERFEAT.replace(
        about="Detection as of OverFeat's section 5, from a trained classifier: pass its --weights.",
        arguments={"variant": "accurate", "task": "detection"},
        learning_rate=5e-3,
        drops=(10 * _EPOCH,),
        steps=20 * _EPOCH,
    ),
}


def hold_out(source, share, seed=0):
    """Part a source at random: `(the rest, the share held out)`, each at least one picture.

    Raises:
        ValueError: the source has fewer than two pictures, or `share` is not between 0 and 1.
    """
    if not 0 < share < 1 or len(source) < 2:
        raise ValueError(f"`share` must be between 0 and 1, of at least 2 pictures; got {share} of {len(source)}.")
    order = np.random.default_rng(seed).permutation(len(source))
    count = min(max(round(share * len(source)), 1), len(source) - 1)
    return source.subset(np.sort(order[count:])), source.subset(np.sort(order[:count]))
