"""The whole of VOC2007 test with a real detector's results: `python benchmarks/voc2007_analysis.py FOLDER`.

FOLDER holds `test_ground_truth.json` (4952 images, boxes in 1-based inclusive pixels) and `results_tiny_yolo/` with the
detector's files `comp4_det_test_CLASS.txt` and the recorded metrics `expected_ap.json`. Prints both forms of AP beside
the record and the seconds they took, and writes benchmarks/results/voc2007_analysis.json and docs/voc2007_report.html,
the complete error analysis, without photographs.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
from results import write_result

from keras_det.metrics import GroundTruth, voc
from keras_det.metrics.report import write_report

REPORT = Path(__file__).resolve().parents[1] / "docs" / "voc2007_report.html"


def read_truth(path, classes):
    """The objects of all images."""
    images = json.loads(path.read_text())
    objects = [(i, o) for i, image in enumerate(images) for o in image["objects"]]
    return GroundTruth(
        classes,
        [image["id"] for image in images],
        [(image["height"], image["width"]) for image in images],
        [i for i, _ in objects],
        np.array([o["bbox"] for _, o in objects], float) - [1, 1, 0, 0],
        [classes.index(o["name"]) for _, o in objects],
        np.array([o["difficult"] for _, o in objects], bool),
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    recorded = json.loads((folder / "results_tiny_yolo" / "expected_ap.json").read_text())
    classes = [name for name in recorded["area"] if name != "mean"]
    truth = read_truth(folder / "test_ground_truth.json", classes)
    start = time.perf_counter()
    results = voc.read_results(folder / "results_tiny_yolo", truth)
    read = time.perf_counter() - start
    metrics = {"images": len(truth.image_ids), "objects": len(truth.labels), "detections": len(results)}
    for variant in ("voc2007_11point", "area"):
        metrics[variant] = float(np.mean(voc.voc_ap(truth, results, variant)))
    metrics |= {"seconds_reading": round(read, 2), "seconds_in_all": round(time.perf_counter() - start, 2)}
    print(f"{metrics['images']} images, {metrics['detections']} detections")
    print(f"mAP, 11 points {metrics['voc2007_11point']:.6f}, as an area {metrics['area']:.6f}")
    means = [row["mean"] for row in recorded.values() if "mean" in row]
    print(f"recorded by py-faster-rcnn's voc_eval: {means}")
    print(f"{metrics['seconds_in_all']} s, {metrics['seconds_reading']} s of them for reading the files")
    write_report(truth, results, REPORT, title="A real detector on VOC2007 test")
    print(f"written: {REPORT}, {REPORT.stat().st_size / 1e6:.2f} MB")
    write_result("voc2007_analysis", metrics)


if __name__ == "__main__":
    main()
