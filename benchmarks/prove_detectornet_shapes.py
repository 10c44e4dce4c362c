"""Train the embedded DetectorNet from scratch on rendered scenes and measure it on scenes never trained on.

Cost: about 20 minutes on 2 cores, half of it evaluation. Expected: mAP@0.5 of at least 0.60 with refinement. Writes
`results/detectornet_shapes.json`, images as the paper's Figures 3 and 4, and the weights
`keras_det/weights/embedded/detectornet_shapes.weights.h5`.

    python benchmarks/prove_detectornet_shapes.py [--resume]
"""

import shutil
import sys
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from results import FOLDER, of_training, write_result, write_weights

from keras_det import visualize
from keras_det.boxes.integral import search
from keras_det.data import load
from keras_det.files import write_image
from keras_det.metrics import voc
from keras_det.metrics.matching import paired_iou, pairs
from keras_det.models import DetectorNet
from keras_det.training import RECIPES, evaluate, train
from keras_det.training.detectornet import precision_recall
from keras_det.training.evaluation import collect, evaluator_of

SEED = 0
HELD_OUT = {"images": 300, "seed": 1}
CROWDED = {"images": 200, "seed": 2, "objects": (6, 9)}
RUN = Path("runs/prove/detectornet_shapes")


def main():
    recipe = RECIPES["detectornet-shapes"]
    source, held_out = load(recipe.data, **recipe.data_options), load(recipe.data, **HELD_OUT)
    keras.utils.set_random_seed(SEED)
    model = DetectorNet(classes=source.classes, **DetectorNet.fit_config(recipe.config, source, seed=SEED))
    if "--resume" not in sys.argv:
        shutil.rmtree(RUN, ignore_errors=True)
    resume = (RUN / "last.weights.h5").exists()
    rows = train(model, recipe, source, RUN, seed=SEED, resume=resume, verbose=2)
    minutes = sum(row["seconds"] for row in rows) / 60
    path = write_weights(model, "detectornet_shapes")
    shutil.copy(RUN / "curves.png", FOLDER / "detectornet_shapes_curves.png")
    refined, evaluator = evaluate(model, held_out, batch_size=4, metrics=("area",))
    first, results = first_stage(model, held_out)
    draw_figure_4(evaluator.truth, {"after refinement": evaluator.results(), "first stage": results})
    draw_figure_3(model, held_out)
    print(f"{'':18}{'first stage':>12}{'refined':>12}")
    for name in first:
        print(f"{name:18}{first[name]:12.3f}{refined[name]:12.3f}")
    result = of_training(model, recipe, minutes, path) | {
        "held_out": HELD_OUT,
        "refined": {name: refined[name] for name in first},
        "first_stage": first,
        "touching_pairs": touching(model, load(recipe.data, **CROWDED)),
    }
    write_result("detectornet_shapes", result, SEED)


def first_stage(model, source):
    """Metrics and detections without refinement."""
    evaluator = evaluator_of(model, source)
    collect(model, source, evaluator, 4, detections=model.first_stage_detections)
    return evaluator.result(("area",)), evaluator.results()


def touching(model, source):
    """Pairs of objects of one class whose boxes touch: how often both are found, with five masks and with one."""
    fractions, whole = {}, model._all_boxes
    for name, count in (("five masks", 5), ("full mask alone", 1)):
        kept = (np.arange(5) < count).astype("float32").reshape(1, 5, 1, 1)
        model._all_boxes = lambda masks, kept=kept: search(masks * kept, model.sizes)
        model._quick_search = model._compiled_first_stage = None
        evaluator = evaluator_of(model, source)
        collect(model, source, evaluator, 4, detections=model.first_stage_detections)
        fractions[name] = both_found(evaluator.truth, evaluator.results())
    model._all_boxes, model._quick_search, model._compiled_first_stage = whole, None, None
    print(fractions)
    return fractions


def both_found(truth, results):
    """Fraction found whole of the pairs of one class in one image whose boxes overlap or are less than 2 % apart."""
    first, second = pairs(truth.image, truth.image)
    grown = truth.boxes + 0.02 * truth.sizes[truth.image][:, [1, 0, 1, 0]] * [-1, -1, 1, 1]
    near = paired_iou(grown[first], truth.boxes[second]) > 0
    near &= (first < second) & (truth.labels[first] == truth.labels[second])
    found = voc.match(truth, results)
    hit = np.zeros(len(truth.labels), bool)
    row, detection = pairs(truth.image, results.image)
    good = (paired_iou(results.boxes[detection], truth.boxes[row]) > 0.5) & (
        truth.labels[row] == results.labels[detection]
    )
    hit[row[good & (found.outcome[detection] == voc.TRUE)]] = True
    both = hit[first[near]] & hit[second[near]]
    return {"pairs": int(near.sum()), "both_found": round(float(both.mean()), 4)}


def draw_figure_4(truth, runs):
    """Precision and recall over all classes, after the first stage and after refinement."""
    lines = {name: precision_recall(truth, results) for name, results in runs.items()}
    visualize.plot_precision_recall(lines, FOLDER / "detectornet_shapes_figure_4.png")


def draw_figure_3(model, source, scenes=4):
    """Heat maps of the most frequent class of a few scenes."""
    shown = []
    for i in range(scenes):
        image, label = source.image(i), np.bincount(source.annotation(i).labels).argmax()
        masks = np.asarray(model(tf.image.resize(image[None], model.image_size))["masks"])[0, label]
        found = model.detections(image[None])
        kept = (found["labels"][0] == label) & (found["scores"][0] > 0.3)
        shown += [image, *visualize.draw_masks(image, masks, found["boxes"][0][kept])]
    write_image(FOLDER / "detectornet_shapes_figure_3.png", visualize.grid(shown, columns=3))


if __name__ == "__main__":
    main()
