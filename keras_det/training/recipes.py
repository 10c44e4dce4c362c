"""The recipes: the tables of the papers that train something, the embedded networks, and one for one's own data.

`keras-det train --list-recipes --all` prints each with its command, the score to expect and an estimate of its GPU
hours. The schedules for VOC, COCO and ILSVRC have not been run by this project.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from keras_det.training.recipe import Recipe

if TYPE_CHECKING:
    from keras_det.data.source import Source

_CAFFE = {"class_name": "CaffeSGD", "momentum": 0.9, "decay": 5e-4}

_SSD = Recipe(
    model="ssd300",
    data="voc:VOCdevkit",
    split="2007_trainval+2012_trainval",
    val_split="2007_test",
    description="SSD with the settings of section 3.1 of its paper.",
    config={"backbone_weights": "imagenet"},
    optimizer=_CAFFE,
    schedule="step",
    lr_milestones=(40_000, 50_000),
    warmup=0,
    steps=60_000,
    steps_per_epoch=1000,
    # The test set is looked at once, at the end, with the last weights.
    metrics=("voc2007_11point", "area"),
    evaluate_every=None,
    keep="last",
)
_VOC12 = dataclasses.replace(
    _SSD,
    split="2007_trainval+2007_test+2012_trainval",
    val_split=None,
    description="SSD of section 3.3.",
    lr_milestones=(60_000,),
    steps=80_000,
)
_COCO = _SSD.with_steps(240_000).replace(
    data="coco:coco",
    split="train2017",  # the images of trainval35k
    val_split="val2017",
    description="SSD of section 3.4.",
    lr_milestones=(160_000, 200_000),
    config=_SSD.config | {"box_scales": "coco"},
    metrics=("coco",),
    evaluate_every=20,  # val2017 is not what is reported, so it may choose
    keep="best",
)

# Data: its recipe and the scores of SSD300, SSD512, SSD300* and SSD512* (Tables 1, 4, 5 and 6). VOC2012 test has no
# public annotations, so nothing is evaluated there in training.
_SSD_TABLES = {
    "voc07": (_SSD.replace(split="2007_trainval"), "mAP on VOC2007 test", 68.0, 71.6),
    "voc0712": (_SSD, "mAP on VOC2007 test", 74.3, 76.8, 77.2, 79.8),
    "voc0712-coco": (_SSD, "mAP on VOC2007 test", 79.6, 81.6, 81.2, 83.2),
    "voc07plus12": (_VOC12, "mAP on VOC2012 test", 72.4, 74.9, 75.8, 78.5),
    "voc07plus12-coco": (_VOC12, "mAP on VOC2012 test", 77.5, 80.0, 79.3, 82.2),
    "coco": (_COCO, "AP on COCO test-dev2015", 23.2, 26.8, 25.1, 28.8),
}
_SSD_ILSVRC = _COCO.replace(
    data="ilsvrc:ILSVRC",
    split="DET/train+DET/val1",
    val_split="DET/val2",
    description="SSD of section 3.5: the network for COCO on ILSVRC2014 DET. The lists val1 and val2 are those of "
    "R-CNN's authors, to be put into ImageSets/DET.",
    expected="43.4 mAP on val2",
    steps=440_000,
    lr_milestones=(320_000, 400_000),
    metrics=("area",),
    keep="last",
    gflops=40.33,
)
_SSD_GFLOPS = {"ssd300": {"voc": 31.374, "coco": 34.36}, "ssd512": {"voc": 90.208, "coco": 98.63}}


def _ssd(name, data, column):
    """A cell of SSD's tables: columns 0 and 1 are SSD300 and SSD512, 2 and 3 the same with expansion."""
    base, measure, *scores = _SSD_TABLES[data]
    expand, init_from = column >= 2, data.endswith("-coco")
    recipe = base.replace(model="ssd512" if column % 2 else "ssd300", expected=f"{scores[column]} {measure}")
    description = "Expansion doubles the steps (section 3.6)." if expand else "Without expansion."
    if init_from:  # the paper gives no schedule of its own for it
        description += " It begins with the weights trained on COCO."
        recipe = recipe.replace(init_from=name.replace(data, "coco"), config=recipe.config | {"box_scales": "coco"})
    if expand and base is _COCO:  # as the authors' code does
        recipe = recipe.replace(steps=400_000, lr_milestones=(280_000, 360_000))
    elif expand:
        recipe = recipe.with_steps(2 * recipe.steps)
    return recipe.replace(
        description=f"{recipe.description} {description}",
        config=recipe.config | ({} if expand else {"expand": False}),
        gflops=_SSD_GFLOPS[recipe.model]["coco" if base is _COCO else "voc"],
    )


def _ssd_tables():
    """Every network that Tables 1 and 4 to 6 train, with expansion under the plain name."""
    recipes = {}
    for data, (_, _, *scores) in _SSD_TABLES.items():
        for column in range(len(scores)):
            size, suffix = ("ssd512" if column % 2 else "ssd300"), ("" if column >= 2 else "-no-expansion")
            name = f"{size}-{data}{suffix}"
            recipes[name] = _ssd(name, data, column)
    return recipes


def _ablation(expected, description, **config):
    """SSD300 on 07+12 without expansion, with one thing changed."""
    recipe, expected = _ssd("", "voc0712", 0), f"{expected} mAP on VOC2007 test"
    return recipe.replace(
        expected=expected, description=f"{recipe.description} {description}", config=recipe.config | config
    )


# Table 3, networks with fewer sources: their scales are stacked on those that are left, "to keep a similar number of
# boxes" (8732). By source in use the pairs (s_k, s_k+1) in pixels of 300, then the ratios, then the mAP with and
# without the boxes that leave the image. The numbers of boxes, 8764, 8942, 9864, 8664 and 8664, are the paper's but for
# two sources: it has 9025 there, nine on each cell of fc7, which are no pairs.
_OWN = {"conv4_3": ((30, 60),), "fc7": ((60, 111),), "conv8_2": ((111, 162),), "conv9_2": ((162, 213),)}
_TABLE_3 = {
    "5-sources": (_OWN | {"conv10_2": ((213, 264), (264, 315))}, ((2,), (2, 3), (2, 3), (2, 3), (2,)), 74.6, 63.1),
    "4-sources": (
        _OWN | {"conv9_2": ((162, 200), (200, 238), (238, 276), (276, 315))},
        ((2,), (2, 3), (2, 3), (2,)),
        73.8,
        68.4,
    ),
    "3-sources": (
        {
            "conv4_3": ((30, 60),),
            "fc7": ((60, 111), (111, 162)),
            "conv8_2": ((162, 213), (213, 264), (264, 315)),
        },
        ((2,),) * 3,
        70.7,
        69.2,
    ),
    "2-sources": ({"conv4_3": ((30, 60),), "fc7": ((60, 150), (150, 375))}, ((2,),) * 2, 64.2, 64.4),
    "fc7": (
        {"fc7": ((30, 60), (60, 111), (111, 162), (162, 213), (213, 264), (264, 315))},
        ((2,),),
        62.4,
        64.0,
    ),
}
_TILING = "The scales of the sources left out stand on those in use."
_INSIDE = "Table 3: no boxes that leave the image in training."


def _table_3():
    """Table 3 but for its first number, which is `ssd300-voc0712-no-expansion`."""
    recipes = {"ssd300-table3-6-sources-inside": _ablation(63.4, _INSIDE, boundary_boxes=False)}
    for name, (pairs, ratios, every, inside) in _TABLE_3.items():
        scales = tuple(tuple((low / 300, high / 300) for low, high in of_map) for of_map in pairs.values())
        less = {"sources": tuple(pairs), "box_scales": scales, "aspect_ratios": ratios}
        name = f"ssd300-table3-{name}"
        recipes[name] = _ablation(every, f"Table 3. {_TILING}", **less)
        recipes[f"{name}-inside"] = _ablation(inside, f"{_INSIDE} {_TILING}", boundary_boxes=False, **less)
    return recipes


_EPOCH = 1_281_167 // 128  # steps of once through ILSVRC12's training images

_OVERFEAT = Recipe(
    model="overfeat",
    data="ilsvrc:ILSVRC",
    split="CLS-LOC/train_cls",
    description="The classifier of OverFeat's section 3.1: 90 epochs of crops whose images have a shorter side of 256 "
    "pixels. Each epoch draws one crop or its horizontal flip of an image; the paper draws five and their horizontal "
    "flips.",
    expected="14.18 % top-5 error on ILSVRC12 validation, four scales (Table 2)",
    gflops=5.369,  # the paper's Table 4
    config={"variant": "accurate", "task": "classification", "initial_stddev": 0.01},
    # Weight decay in the gradient, where momentum 0.6 multiplies it by 2.5; Keras subtracts it directly.
    optimizer={"class_name": "SGD", "momentum": 0.6, "weight_decay": 2.5e-5},
    learning_rate=5e-2,
    schedule="step",
    lr_milestones=tuple(epoch * _EPOCH for epoch in (30, 50, 60, 70, 80)),
    lr_gamma=0.5,
    warmup=0,
    batch_size=128,
    steps=90 * _EPOCH,
    steps_per_epoch=_EPOCH,
    evaluate_every=90,
)

_ENSEMBLE = 7  # networks, "each trained with different initializations" (section 3.4)
_DET_EPOCH = 395_909 // 128  # of ILSVRC13's training images for detection


def _overfeat():
    """OverFeat's networks of Table 2 and of Figures 9 and 11."""
    accurate = _OVERFEAT.config
    fast = _OVERFEAT.replace(
        config=accurate | {"variant": "fast"},
        expected="16.39 % top-5 error on ILSVRC12 validation, four scales (Table 2)",
        gflops=2.802,
    )
    recipes = {"overfeat-classification": _OVERFEAT, "overfeat-fast-classification": fast}
    for name, recipe, error in (
        ("overfeat-classification", _OVERFEAT, 13.24),
        ("overfeat-fast-classification", fast, 13.86),
    ):
        for seed in range(1, _ENSEMBLE):
            recipes[f"{name}-{seed + 1}"] = recipe.replace(
                description=f"Network {seed + 1} of the ensemble of {_ENSEMBLE} (section 3.4), from other random "
                "weights.",
                expected=f"{error} % top-5 error of all {_ENSEMBLE} on ILSVRC12 validation, four scales (Table 2)",
                seed=seed,
            )
    config = {"variant": "accurate", "task": "localization"}
    localization = _OVERFEAT.replace(
        description="The regressor of OverFeat's section 4.2 at all six scales, on the fixed backbone of a trained "
        "classifier.",
        init_from="overfeat-classification",
        split="CLS-LOC/train_loc",
        expected="30.0 % localization error on ILSVRC12 validation, one regressor for all classes (Figure 9)",
        config=config,
        gflops=10.806,  # a third of a step's passes, as of all of OverFeat; the tests count them
    )
    detection = localization.replace(
        description="Detection as of OverFeat's section 5, from a trained classifier.",
        split="DET/train",
        expected="19.4 % mAP on ILSVRC13 detection (Figure 11)",
        config={"variant": "accurate", "task": "detection"},
        gflops=21.569,
        learning_rate=5e-3,
        lr_milestones=(30 * _DET_EPOCH,),
        steps=60 * _DET_EPOCH,
        steps_per_epoch=_DET_EPOCH,
        evaluate_every=60,
    )
    return recipes | {
        "overfeat-localization": localization,
        "overfeat-localization-per-class": localization.replace(
            description=f"{localization.description} Its last layer is each class's own (PCR in Figure 9).",
            expected="44.1 % localization error on ILSVRC12 validation (section 4.4)",
            config=config | {"per_class": True},
            gflops=11.006,
        ),
        "overfeat-localization-single-scale": localization.replace(
            description="The regressor trained at one scale (section 4.2), here the second: the paper does not say "
            "which.",
            expected="not given; worse at other scales than one trained at all",
            config=config | {"training_scales": ((281, 317),)},
        ),
        "overfeat-detection": detection,
        "overfeat-detection-context": detection.replace(
            description="Detection with context, each scale seeing the next lower one too, and twice as long (section "
            "5).",
            expected="24.3 % mAP on ILSVRC13 detection (Figure 11)",
            config=detection.config | {"context": True},
            gflops=38.557,
            lr_milestones=(60 * _DET_EPOCH,),
            steps=120 * _DET_EPOCH,
            evaluate_every=120,
        ),
    }


_ALEXNET_SGD = {"class_name": "SGD", "momentum": 0.9, "weight_decay": 5e-3}

# The papers name Adagrad, batches of 128 and the 10 % held out, no learning rate and no number of steps; ten million
# samples, a third of them positive, were made for the classifier, thirty for the localizer.
_MULTIBOX = Recipe(
    model="multibox",
    data="voc:VOCdevkit",
    split="2012_trainval",
    validation_split=0.1,
    description="The localizer of DeepMultiBox (sections 4.1 and 4.2), K = 100, from 30 million samples.",
    expected="45.3 % of VOC2007 test's objects found with 10 boxes of one crop",
    gflops=1.007,
    optimizer={"class_name": "Adagrad"},
    learning_rate=1e-2,
    schedule="constant",  # Adagrad's own decay is the only one that the papers name
    warmup=0,
    batch_size=128,
    steps=235_000,
    steps_per_epoch=1000,
    evaluate_every=10,
)

_CLASSIFIER = _MULTIBOX.replace(
    model="classifier",
    description="The classifier of DeepMultiBox (section 4.2): crops of each class and of background, 1:2.",
    expected="0.29 mAP on VOC2007 test with the localizer, 10 windows (Table 1)",
    gflops=1.005,
    config={"background": True, "crops": "maximum"},
)
_ONE_BOX = _MULTIBOX.replace(
    model="one_box_per_class",
    description="The baseline of DeepMultiBox's Table 2 and Figure 5: one box for each class, from a classification "
    "network.",
    expected="not given for VOC",
    gflops=1.006,
    init_from="multibox-classifier-ilsvrc",
)
_ILSVRC = {"data": "ilsvrc:ILSVRC", "split": "CLS-LOC/train_loc"}


def _multibox():
    """DeepMultiBox's networks on VOC and on ILSVRC, with what the paper compares: K, and the two matchings."""
    ilsvrc = _MULTIBOX.replace(**_ILSVRC, config={"iou_threshold": 0.4})  # section 4.4
    recipes = {
        "multibox-voc12": _MULTIBOX,
        "multibox-classifier-voc12": _CLASSIFIER,
        "multibox-one-box-voc12": _ONE_BOX,
        "multibox-ilsvrc": ilsvrc.replace(expected="detection@5 with the classifier: Table 2"),
        "multibox-classifier-ilsvrc": _CLASSIFIER.replace(
            **_ILSVRC | {"split": "CLS-LOC/train_cls"},
            description="The recognition model of DeepMultiBox (section 4.4), a classification network as that of "
            "Krizhevsky et al., with whose schedule it is trained: random crops of whole images, no background.",
            expected="classification@5: Table 2",
            config={"crops": "images"},
            optimizer=_ALEXNET_SGD,
            schedule="step",
            lr_milestones=tuple(epoch * _EPOCH for epoch in (30, 60, 80)),
            steps=90 * _EPOCH,
            steps_per_epoch=_EPOCH,
        ),
        "multibox-one-box-ilsvrc": _ONE_BOX.replace(
            **_ILSVRC, config={"iou_threshold": 0.4}, expected="detection@5: Table 2"
        ),
    }
    compared = {
        "200-boxes": ("K = 200 instead of 100 (section 3).", {"boxes": 200}),
        "prediction-matching": (
            "Objects are matched to the predictions (equation 3), not to the priors.",
            {"matching": "predictions"},
        ),
    }
    for data in ("voc12", "ilsvrc"):
        base = recipes[f"multibox-{data}"]
        for name, (description, config) in compared.items():
            recipes[f"multibox-{data}-{name}"] = base.replace(
                description=f"{base.description} {description}", config=base.config | config, expected="not given"
            )
    return recipes


# The paper names neither optimizer nor schedule; these are AlexNet's, whose network it is.
_CLASS_GENERIC = Recipe(
    model="class_generic",
    data="ilsvrc:ILSVRC",
    split="CLS-LOC/train_loc",
    val_split="CLS-LOC/val",
    evaluate_every=None,  # the metric is reported on this split, which therefore chooses nothing
    keep="last",
    description="ClassGeneric on all bounding boxes of ILSVRC12, from random weights, without class labels.",
    expected="AUC 0.498 on ILSVRC12 validation, 100 classes (Table 2)",
    supervision="boxes",
    gflops=1.1,
    optimizer=_ALEXNET_SGD,
    learning_rate=1e-2,
    schedule="step",
    lr_milestones=tuple(epoch * (592_000 // 128) for epoch in (30, 60, 80)),
    warmup=0,
    batch_size=128,
    steps=90 * (592_000 // 128),
    steps_per_epoch=592_000 // 128,
)

_HELD_OUT = 100  # classes whose boxes are held out


def _class_generic():
    """Every training of ClassGeneric's paper: pretraining, the cells of Tables 1 and 2, and the reverse transfer."""
    name, base = "class-generic-ilsvrc", _CLASS_GENERIC
    pretraining, epoch = f"{name}-pretraining", 1_281_167 // 128
    classes = base.replace(
        description="ClassGeneric's pretraining on class labels alone (section 3.3), all 1000 classes.",
        expected="not given; the network of Krizhevsky et al. 2012 has 40.7 % top-1 error",
        split="CLS-LOC/train_cls",
        supervision="classes",
        lr_milestones=tuple(n * epoch for n in (30, 60, 80)),
        steps=90 * epoch,
        steps_per_epoch=epoch,
    )
    held_out = base.replace(
        description=f"ClassGeneric on the bounding boxes of all but {_HELD_OUT} classes, from random weights.",
        expected=f"AUC 0.448 on ILSVRC12 validation, the {_HELD_OUT} held-out classes (Table 1)",
        without_classes=_HELD_OUT,
    )
    return {
        pretraining: classes,
        name: base,
        f"{name}-pretrained": base.replace(
            description="ClassGeneric on all bounding boxes of ILSVRC12, from the network pretrained on class labels.",
            expected="AUC 0.545 on ILSVRC12 validation, 100 classes (Table 2)",
            init_from=pretraining,
        ),
        f"{name}-held-out": held_out,
        f"{name}-held-out-pretrained": held_out.replace(
            description=held_out.description.replace("random weights", "the network pretrained on class labels"),
            expected=f"AUC 0.475 on ILSVRC12 validation, the {_HELD_OUT} held-out classes (Table 1)",
            init_from=pretraining,
        ),
        f"{name}-recognition": classes.replace(
            description="Recognition from the weights of the detector trained on boxes alone (section 4.2).",
            expected=f"1 % less top-5 error than {pretraining}",
            init_from=name,
        ),
    }


RECIPES = {
    "finetune": Recipe(
        model="ssd300",
        data="folder:.",
        description="A default for one's own images, from weights: AdamW with a cosine, augmentation as in the paper.",
        steps=1000,
        batch_size=16,
    ),
    "ssd300-shapes": Recipe(
        model="ssd300",
        data="shapes",
        description="The embedded network. See benchmarks/results/ssd_shapes.json for its cost and its score.",
        config={"backbone": "tiny"},
        data_options={"images": 64_000, "seed": 0, "objects": (2, 9)},  # fuller scenes teach more an image
        val_options={"images": 200, "seed": 1_000_000},
        learning_rate=3e-3,
        warmup=200,
        steps=2000,
        steps_per_epoch=100,
        evaluate_every=5,
        augment=False,
    ),
    "fcos-shapes": Recipe(
        model="fcos",
        data="shapes",
        description="A detector without default boxes, from scratch. See "
        "benchmarks/results/fcos_shapes.json for its cost and its score.",
        config={"backbone": "tiny", "image_size": 256, "channels": 32, "convolutions": 1},
        data_options={"images": 64_000, "seed": 0, "objects": (2, 9)},
        val_options={"images": 200, "seed": 1_000_000},
        learning_rate=4e-3,
        warmup=150,
        batch_size=16,
        steps=3000,
        steps_per_epoch=250,
        evaluate_every=None,
        augment=False,
        clip_norm=10.0,
    ),
    "ssd300-bccd": Recipe(
        model="ssd300",
        data="folder:bccd",
        split="train",
        val_split="val",
        description="Blood cells from scratch. See benchmarks/results/ssd_bccd.json for its cost and its score.",
        config={"backbone": "tiny", "box_scales": "coco"},
        learning_rate=2e-3,
        warmup=200,
        steps=2400,
        steps_per_epoch=100,
        evaluate_every=4,
    ),
    **_ssd_tables(),
    "ssd300-ilsvrc-det": dataclasses.replace(_SSD_ILSVRC, evaluate_every=None),
    "ssd300-table2-no-thirds": _ablation(73.7, "Table 2: no boxes of aspect ratio 1/3 and 3.", aspect_ratios=(2,)),
    "ssd300-table2-squares": _ablation(71.6, "Table 2: boxes of aspect ratio 1 alone.", aspect_ratios=()),
    "ssd300-table2-no-atrous": _ablation(74.2, "Table 2: the full VGG16.", atrous=False),
    "ssd300-table2-no-sampling": _ablation(65.5, "Table 2: no data augmentation but horizontal flips.", sampling=False),
    **_table_3(),
    **_multibox(),
    **_class_generic(),
    "multibox-shapes": Recipe(
        model="multibox",
        data="shapes",
        description="The embedded localizer. alpha is 60, not 0.3: squared distances relative to the image are small "
        "beside 100 confidences, and the paper's balance needs its thirty million samples. See "
        "benchmarks/results/multibox_shapes.json for its cost and its score.",
        config={"backbone": "tiny", "image_size": 128, "alpha": 60.0},
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
        description="The mask generators of DetectorNet (section 6), one network for each class and mask, from ten "
        "million samples a class; class by class, each from the classifier. Half of the images that a class's networks "
        "see show it, and of their samples a fifth does not: four samples of ten cover an object, as in the paper.",
        expected="0.305 mAP on VOC2007 test, pruned by the classifier (Table 1)",
        gflops=100.9,  # of a hundred networks
        init_from="detectornet-classifier-voc12",
        by_class=True,
        config={"mode": "mask", "negative_fraction": 0.2},
        optimizer={"class_name": "Adagrad"},
        learning_rate=1e-2,
        schedule="constant",
        warmup=0,
        batch_size=128,
        steps=78_000,
        steps_per_epoch=1000,
        evaluate_every=None,
    ),
    "detectornet-classifier-voc12": Recipe(
        model="classifier",
        data="voc:VOCdevkit",
        split="2012_trainval",
        description="The classifier whose layers DetectorNet starts from, and which prunes (section 6).",
        expected="not given",
        gflops=1.009,
        config={
            "background": True,
            "image_size": 225,
            "positive_iou": 0.6,
            "positive_fraction": 0.4,
        },
        optimizer={"class_name": "Adagrad"},
        learning_rate=1e-2,
        schedule="constant",
        warmup=0,
        batch_size=128,
        steps=78_000,
        steps_per_epoch=1000,
        evaluate_every=10,
    ),
    "sliding-windows-voc12": Recipe(
        model="sliding_windows",
        data="voc:VOCdevkit",
        split="2012_trainval",
        description="DetectorNet's baseline (section 7): two rounds of hard negative mining with the same classifier, "
        "each of a million windows, mixed into batches as two million are into ten. Searching 5 pixels apart takes "
        "most of it: some 150,000 windows an image.",
        expected="0.153 mAP on VOC2007 test (Table 1)",
        gflops=1.009,
        init_from="detectornet-classifier-voc12",
        mining_rounds=2,
        mined=87,
        mined_fraction=1 / 6,
        optimizer={"class_name": "Adagrad"},
        learning_rate=1e-2,
        schedule="constant",
        warmup=0,
        batch_size=128,
        steps=15_600,
        steps_per_epoch=1000,
        evaluate_every=None,
    ),
    "detectornet-shapes": Recipe(
        model="detectornet",
        data="shapes",
        description="The embedded network: all masks of all classes by one network, from a feature map. See "
        "benchmarks/results/detectornet_shapes.json for its cost and its score.",
        config={"backbone": "tiny", "image_size": 128, "negative_fraction": 0.2},
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
        description="A narrow network that fits the CPU, all three tasks at once. Batch normalization, which is folded "
        "into the convolutions afterwards, crops around objects and Adam save most of the time; crops of 121 windows "
        "hold hard negatives to choose from. See benchmarks/results/overfeat_shapes.json for its cost and its score.",
        config={
            "variant": "fast",
            "width": 1 / 8,
            "dense_width": 1 / 48,
            "image_size": (391, 391),
            "scales": ((247, 247), (343, 343), (487, 487), (695, 695), (983, 983), (1391, 1391)),
            "batch_norm": True,
            "dropout": 0.0,
            "frozen_backbone": False,
            "smallest_object": 0.35,
            "largest_offset": 0.3,
            "border": 48,
            "around": 0.5,
            "over_scales": "max",
            "max_per_class": 1000,  # a window more changes nothing on those scenes but the merge's time
            "detect_threshold": 82.0,  # of the greatest F1 on the scenes that are evaluated on
        },
        data_options={"images": 64_000, "seed": 0, "objects": (1, 6)},
        val_options={"images": 64, "seed": 1_000_000},
        optimizer={"class_name": "Adam", "clipnorm": 10.0},
        learning_rate=2e-3,
        warmup=200,
        batch_size=8,
        steps=13_000,
        steps_per_epoch=500,
        evaluate_every=13,
    ),
    **_overfeat(),
}

STARTS = {
    "finetune": "your own images, from weights",
    "ssd300-shapes": "SSD from scratch on rendered scenes; no files, minutes",
    "fcos-shapes": "FCOS from scratch on rendered scenes",
    "ssd300-bccd": "SSD from scratch on a few hundred images",
    "ssd300-voc0712": "SSD300 on Pascal VOC, as in its paper",
    "ssd512-voc0712": "SSD512 on Pascal VOC",
    "ssd300-coco": "SSD300 on COCO",
    "multibox-voc12": "MultiBox's localizer on Pascal VOC",
    "multibox-classifier-voc12": "its classifier",
    "detectornet-classifier-voc12": "the classifier that DetectorNet starts from, on Pascal VOC",
    "detectornet-voc12": "DetectorNet, class by class, from that classifier",
    "overfeat-classification": "OverFeat's classifier on ImageNet",
    "overfeat-detection": "OverFeat's detector, from that classifier",
    "class-generic-ilsvrc": "ClassGeneric on ImageNet's boxes",
}
"""Where to begin: names of recipes, and what each is for."""


def validation_split(source: Source, fraction: float, seed: int = 0) -> tuple[Source, Source]:
    """Part a source at random: `(the rest, the fraction held out)`, each at least one image.

    Raises:
        ValueError: the source has fewer than two images, or `fraction` is not between 0 and 1.
    """
    if not 0 < fraction < 1 or len(source) < 2:
        raise ValueError(f"`fraction` must be between 0 and 1, of at least 2 images; got {fraction} of {len(source)}.")
    order = np.random.default_rng(seed).permutation(len(source))
    count = min(max(round(fraction * len(source)), 1), len(source) - 1)
    return source.subset(np.sort(order[count:])), source.subset(np.sort(order[:count]))
