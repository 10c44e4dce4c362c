"""`keras-det demo`: the main job on embedded defaults, from a first detection to an exported model."""

import shutil
import time
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.rule import Rule

from keras_det import visualize
from keras_det.data import load
from keras_det.data.relabeling import relabel
from keras_det.files import write_image, write_text
from keras_det.models import SSD300
from keras_det.training.evaluation import evaluate
from keras_det.training.recipes import RECIPES
from keras_det.training.run import train

SCENES = 100  # evaluated; none of them is in the data that the embedded network was trained on
SHOWN = 8
NEW_CLASSES = {"ellipse": "round", "ring": "round", "rectangle": "angular", "triangle": "angular"} | {
    "star": "spiky",
    "cross": "spiky",
}
FINE_TUNING_STEPS = 90


def run_demo(folder: Path) -> None:
    """Detect, evaluate, fine-tune, export; images and a `report.md` go into `folder`.

    Args:
        folder: a `pathlib.Path`; what an earlier demo left in it is replaced.
    """
    start, console = time.perf_counter(), Console()
    folder.mkdir(parents=True, exist_ok=True)
    model, scenes = SSD300(weights="shapes"), load("shapes", images=SCENES, seed=1)

    console.print(Rule("1. Detect"))
    found = model.detect([scenes.image(i) for i in range(SHOWN)])
    for i, detections in enumerate(found):
        names = ", ".join(f"{n} {s:.2f}" for n, s in zip(detections.names, detections.scores))
        console.print(f"scene {i}: {names}", highlight=False)
    write_image(folder / "detections.png", visualize.grid([detections.plot() for detections in found], columns=4))

    console.print(Rule(f"2. Evaluate on {SCENES} scenes"))
    metrics, _ = evaluate(model, scenes, progress=True)
    console.print(_summary(metrics))

    console.print(Rule("3. Fine-tune on other classes: " + ", ".join(dict.fromkeys(NEW_CLASSES.values()))))
    tuned, rows = _fine_tune(folder / "fine-tuning")

    console.print(Rule("4. Export"))
    agreement = _export(model, scenes, folder / "saved_model")
    console.print(f"the exported model agrees with the model: scores differ by at most {agreement:.1e}")

    seconds = time.perf_counter() - start
    _write_report(folder, found, metrics, tuned, rows, agreement, seconds)
    console.print(Rule(f"done in {seconds:.0f} s"))
    console.print(f"images, curves and the report are in [bold]{folder}[/bold]: report.md, detections.png")


def _fine_tune(folder):
    """Train the embedded network for a short while on scenes whose objects have other names; metrics and rows."""
    shutil.rmtree(folder, ignore_errors=True)
    classes = list(dict.fromkeys(NEW_CLASSES.values()))
    source, scenes = (relabel(load("shapes", images=n, seed=s), NEW_CLASSES) for n, s in ((2000, 2), (60, 3)))
    model = SSD300(weights="shapes", classes=classes)
    recipe = RECIPES["finetune"].replace(steps=FINE_TUNING_STEPS, steps_per_epoch=30, warmup=10, augment=False)
    rows = train(model, recipe, source, folder, val_source=scenes)
    return evaluate(model, scenes)[0], rows


def _export(model, scenes, folder):
    """Export the model, load it again and return the largest difference of a score."""
    import tensorflow as tf

    from keras_det.export import saved_model

    shutil.rmtree(folder, ignore_errors=True)
    saved_model(model, folder)
    images = np.stack([scenes.image(i) for i in range(4)])
    served = tf.saved_model.load(str(folder / "1")).signatures["serving_default"](tf.constant(images))
    return float(np.abs(served["detection_scores"] - model.detections(images)["scores"]).max())


def _summary(metrics):
    return (
        f"mAP@0.5 VOC {metrics['map50']:.3f} (2007's 11 points: {metrics['map50_voc07']:.3f}), "
        f"COCO AP {metrics['AP']:.3f}, AP50 {metrics['AP50']:.3f}, AP75 {metrics['AP75']:.3f}"
    )


def _write_report(folder, found, metrics, tuned, rows, agreement, seconds):
    classes = found[0].classes
    per_class = "\n".join(f"| {name} | {metrics[f'ap50/{name}']:.3f} |" for name in classes)
    losses = "\n".join(f"| {row['epoch']} | {row['loss']:.3f} | {row['val_map50']:.3f} |" for row in rows)
    objects = sum(len(detections) for detections in found)
    write_text(
        folder / "report.md",
        f"""# keras_det demo

SSD300 on the tiny backbone with the embedded weights `shapes`. Took {seconds:.0f} s.

## Detection

{objects} objects in {len(found)} scenes.

![detections](detections.png)

## Evaluation

{SCENES} scenes, none of them seen in training: {_summary(metrics)}.

| class | AP at IoU 0.5 |
| --- | --- |
{per_class}

## Fine-tuning

The same network on other classes ({", ".join(dict.fromkeys(NEW_CLASSES.values()))}): everything but the class
predictors starts from the embedded weights. After {FINE_TUNING_STEPS} steps: {_summary(tuned)}.

| epoch | loss | mAP@0.5 |
| --- | --- | --- |
{losses}

![curves](fine-tuning/curves.png)

Training images as the network sees them, and detections (truth dashed):

![samples](fine-tuning/samples.png)

![fine-tuned detections](fine-tuning/detections.png)

## Export

`saved_model/1` is a SavedModel with preprocessing and suppression inside; TensorFlow alone runs it. Its scores differ
from the model's by at most {agreement:.1e}.
""",
    )
