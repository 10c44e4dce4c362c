"""A really trained network of TensorFlow's Object Detection API beside its own graph, on persons in COCO's photographs.

`SSDLite300(weights="person")` and the frozen graph that its parameters come from, each on all images of two splits, by
COCO's rules: fed what the graph's own resize makes of them, which has no half-pixel centers, and as `detect` resizes.
Cost: three minutes on 2 cores. Writes `results/tfod_person.json`.

    python benchmarks/tfod_person.py ../shared/data/coco_tiny
"""

import sys

import numpy as np
import tensorflow as tf
from results import write_result

from keras_det.data import load, relabel
from keras_det.metrics import Evaluator
from keras_det.models import SSDLite300
from keras_det.weights import fetch, get

METRICS = ("AP", "AP50", "AP75")


def graph_detections():
    """The frozen graph as a function from one image of any size to its detections."""
    definition = tf.compat.v1.GraphDef.FromString(fetch(get("SSDLite300", "person")).read_bytes())
    whole = tf.compat.v1.wrap_function(lambda: tf.import_graph_def(definition, name=""), [])
    names = {"boxes": "detection_boxes:0", "scores": "detection_scores:0"}
    outputs = {key: whole.graph.as_graph_element(name) for key, name in names.items()}
    run = whole.prune(whole.graph.as_graph_element("image_tensor:0"), outputs)

    def detections(image):
        found = {key: value.numpy() for key, value in run(tf.constant(image)).items()}
        return found | {"labels": np.where(found["scores"] > 0, 0, -1)}

    return detections


def main(folder):
    model = SSDLite300(weights="person")

    def fed_alike(image):
        image = tf.compat.v1.image.resize_bilinear(image.astype("float32"), (300, 300))
        return {key: np.asarray(value) for key, value in model.decode(model(image, training=False)).items()}

    ways = {"the graph": graph_detections(), "the model, fed alike": fed_alike, "the model": model.detections}
    result = {}
    for split in ("val2017", "train2017"):
        persons = relabel(load(f"coco:{folder}", split), {"person": "person"})
        evaluators = {name: Evaluator(persons) for name in ways}
        for i in range(len(persons)):
            image = persons.image(i)[None]
            for name, detections in ways.items():
                evaluators[name].update([i], detections(image))
        result[split] = {"images": len(persons)} | {
            name: {key: round(value, 5) for key, value in evaluator.result(("coco",)).items() if key in METRICS}
            for name, evaluator in evaluators.items()
        }
        print(split, result[split], flush=True)
    write_result("tfod_person", result)


if __name__ == "__main__":
    main(sys.argv[1])
