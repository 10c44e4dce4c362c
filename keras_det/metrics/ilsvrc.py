"""ILSVRC's measures: classification and localization error, detection@5, and the mAP of its DET task.

The readers take the challenge's own files: annotations in VOC's XML whose names are WordNet ids, and lists of synsets.
"""

import os
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from keras_det.data.voc import read_xml
from keras_det.metrics import voc
from keras_det.metrics.columns import GroundTruth, Predictions
from keras_det.metrics.files import read_text
from keras_det.metrics.matching import ious_in_images, one_to_one, paired_iou, pairs


def top_k_error(ranked: np.ndarray, labels: np.ndarray, k: int = 5) -> float:
    """Fraction of images of which the label is not among the first k guesses.

    Args:
        ranked: `[I, K]` int, guessed labels from the best down; -1 for no guess.
        labels: `[I]` int, the image's label.
        k: Guesses allowed, at most K.

    Returns:
        In 0 .. 1; NaN for no image.

    Raises:
        ValueError: The shapes do not fit or k exceeds K.

    >>> top_k_error(np.array([[3, 1], [2, 0]]), np.array([1, 1]), k=2)
    0.5
    """
    ranked, labels = _check_guesses(ranked, labels, k)
    return _share(~(ranked[:, :k] == labels[:, None]).any(1))


def localization_error(
    ranked: np.ndarray, boxes: np.ndarray, truth: GroundTruth, labels: np.ndarray | None = None, k: int = 5
) -> float:
    """ILSVRC's localization error: no guess among the first k has the image's label and a box on one of its objects.

    Args:
        ranked: `[I, K]` int, guessed labels from the best down; -1 for no guess.
        boxes: `[I, K, 4]`, `xyxy` in original pixels, the box of each guess.
        truth: The objects; I is its number of images.
        labels: `[I]` int, the image's label; when left out the one label of the image's objects.
        k: Guesses allowed, 5 in the challenge.

    Returns:
        In 0 .. 1; NaN for no image. A box is right from an overlap of 0.5 on, as in the challenge's code.

    Raises:
        ValueError: The shapes do not fit, or `labels` is left out and an image has objects of no or of several classes.

    >>> truth = GroundTruth(("cat", "dog"), ("a",), [[50, 50]], [0], [[0, 0, 20, 20]], [1])
    >>> localization_error(np.array([[0, 1]]), np.array([[[0, 0, 20, 20], [0, 0, 20, 10]]]), truth, k=2)
    0.0
    """
    labels = _image_labels(truth) if labels is None else labels
    ranked, labels = _check_guesses(ranked, labels, k)
    boxes = np.asarray(boxes, np.float64)
    if len(labels) != len(truth.image_ids) or boxes.shape != (*ranked.shape, 4):
        raise ValueError(
            f"ranked and boxes must be [I, K] and [I, K, 4] with I = {len(truth.image_ids)} images, "
            f"got {ranked.shape} and {boxes.shape}."
        )
    image, guess = np.nonzero(ranked[:, :k] == labels[:, None])
    of_label = np.flatnonzero(truth.labels == labels[truth.image])
    row, column = pairs(image, truth.image[of_label])
    close = paired_iou(boxes[image[row], guess[row]], truth.boxes[of_label[column]]) >= 0.5
    found = np.zeros(len(labels), bool)
    found[image[row[close]]] = True
    return _share(~found)


def detection_at_k(
    ranked: np.ndarray, boxes: np.ndarray, truth: GroundTruth, labels: np.ndarray | None = None, k: int = 5
) -> float:
    """Detection@k (DeepMultiBox, section 4.4): 1 minus `localization_error`, one box for each of k labels."""
    return 1.0 - localization_error(ranked, boxes, truth, labels, k)


def best_per_class(results: Predictions, image_count: int, k: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """A detector's answer to the localization task: the best box of each of the k best scored classes.

    Args:
        results: The detections.
        image_count: I.
        k: Guesses per image.

    Returns:
        Labels `[I, k]` int64, -1 where an image has fewer, and boxes `[I, k, 4]` float64, to pass to
        `localization_error`.
    """
    order = np.argsort(-results.scores, kind="stable")
    keys = np.stack([results.image, results.labels], axis=1)[order]
    _, first = np.unique(keys, axis=0, return_index=True)
    order = order[np.sort(first)]
    order = order[np.argsort(results.image[order], kind="stable")]
    images = results.image[order]
    place = np.arange(len(order)) - np.searchsorted(images, images)
    order, images, place = order[place < k], images[place < k], place[place < k]
    ranked, boxes = np.full((image_count, k), -1), np.zeros((image_count, k, 4))
    ranked[images, place], boxes[images, place] = results.labels[order], results.boxes[order]
    return ranked, boxes


def det_ap(truth: GroundTruth, results: Predictions) -> np.ndarray:
    """Average precision of each class by the rules of ILSVRC's detection task.

    An object of w by h pixels is found from an overlap of min(0.5, wh / ((w + 10)(h + 10))) on, so that small ones
    may be off by some pixels (Russakovsky et al. 2015, section 4.3); a detection takes the free object that it
    overlaps most. The area form of `voc.average_precision`.

    Args:
        truth: The objects; detections left over that lie on difficult ones or crowds are ignored.
        results: The detections.

    Returns:
        `[C]` float64, NaN for a class without objects; `np.nanmean` gives the mAP.
    """
    results.check_against(truth)
    detection, target, values = ious_in_images(truth, results)
    near = (results.labels[detection] == truth.labels[target]) & (values >= det_thresholds(truth)[target])
    detection, target, values = detection[near], target[near], values[near]
    ignored = truth.ignored[target]
    taken = one_to_one(detection[~ignored], target[~ignored], values[~ignored], results.scores)
    outcome = np.full(len(results), voc.FALSE, np.int8)
    outcome[detection[ignored]] = voc.IGNORED
    outcome[taken >= 0] = voc.TRUE
    matches = voc.Matches(outcome, taken, np.zeros(len(results)))
    return np.array([voc.ap_of_curve(curve) for curve in voc.curves(truth, results, matches=matches)])


def det_thresholds(truth: GroundTruth) -> np.ndarray:
    """Overlap from which each object counts as found in the detection task: `[N]` float64, at most 0.5."""
    extent = truth.boxes[:, 2:] - truth.boxes[:, :2]
    return np.minimum(0.5, extent.prod(axis=1) / (extent + 10).prod(axis=1))


def read_synsets(path: str | os.PathLike) -> dict[str, str]:
    """Read a list of synsets: WordNet ids with their names, in label order.

    A line is `n02084071 dog, domestic dog`, as in `synset_words.txt` and `LOC_synset_mapping.txt`, or
    `n02084071 58 dog` with a number that is left out, as in `map_det.txt` and `map_clsloc.txt`.

    Returns:
        Name by id; the first of several names.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: A line begins with no WordNet id or names none, or an id occurs twice; names file and line.
    """
    synsets: dict[str, str] = {}
    for number, line in enumerate(read_text(path).splitlines(), 1):
        fields = line.split()
        if not fields:
            continue
        words = fields[2:] if len(fields) > 2 and fields[1].isdecimal() else fields[1:]
        if not (fields[0][0] == "n" and fields[0][1:].isdecimal()) or not words:
            raise ValueError(f"{path}, line {number}: expected a WordNet id and a name, got {line!r}")
        if fields[0] in synsets:
            raise ValueError(f"{path}, line {number}: {fields[0]} occurs twice")
        synsets[fields[0]] = " ".join(words).split(",")[0].replace("_", " ").strip()
    return synsets


def read_image_list(path: str | os.PathLike) -> list[str]:
    """Read an `ImageSets` list: the image's name, then a number or nothing on each line.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: A line has more, or a name would lead out of the folder; names file and line.
    """
    names = []
    for number, line in enumerate(read_text(path).splitlines(), 1):
        fields = line.split()
        if not fields:
            continue
        plain = not pathlib.PurePosixPath(fields[0]).is_absolute() and ".." not in fields[0].split("/")
        if len(fields) > 2 or not plain or (len(fields) == 2 and not fields[1].lstrip("-").isdecimal()):
            raise ValueError(f"{path}, line {number}: expected an image's name and a number, got {line!r}")
        names.append(fields[0])
    return names


def read_truth(folder: str | os.PathLike, image_ids: Sequence[str], synsets: Mapping[str, str]) -> GroundTruth:
    """Read ILSVRC's annotations, `<folder>/<image id>.xml` each.

    Args:
        folder: Of the XML files.
        image_ids: The images, in order.
        synsets: Of `read_synsets`; its order is that of the labels.

    Returns:
        The truth, its classes the WordNet ids (names are not unique: two synsets are called "crane").

    Raises:
        FileNotFoundError: An annotation is missing.
        ValueError: A file is no annotation, says no size, or an object has an unknown id or a box without area; names
            file and object.
    """
    label_of = {name: label for label, name in enumerate(synsets)}
    sizes, images, boxes, labels = [], [], [], []
    for index, image_id in enumerate(image_ids):
        file = os.path.join(os.fspath(folder), f"{image_id}.xml")
        xml = read_xml(file)
        if xml.size is None:
            raise ValueError(f"{file}: expected the image's <size>, got none")
        sizes.append(xml.size)
        for issue in xml.issues:
            if issue.action == "dropped":
                raise ValueError(str(issue))
        for number, (name, (ymin, xmin, ymax, xmax)) in enumerate(zip(xml.names, xml.corners.tolist())):
            if name not in label_of:
                raise ValueError(f"{file}, object {number}: {name!r} is none of the {len(synsets)} synsets")
            if not (xmax >= xmin and ymax >= ymin):
                raise ValueError(f"{file}, object {number}: the box {(xmin, ymin, xmax, ymax)} is inverted")
            images.append(index)
            boxes.append((xmin - 1, ymin - 1, xmax, ymax))
            labels.append(label_of[name])
    return GroundTruth(tuple(synsets), tuple(image_ids), sizes, images, boxes, labels)


def _check_guesses(ranked, labels, k: int) -> tuple[np.ndarray, np.ndarray]:
    ranked, labels = np.asarray(ranked), np.asarray(labels)
    if ranked.ndim != 2 or labels.shape != ranked.shape[:1] or not 1 <= k <= ranked.shape[1]:
        raise ValueError(
            f"ranked must be [I, K] with K of at least k = {k} and labels [I], got {ranked.shape} and {labels.shape}."
        )
    if (labels < 0).any():
        raise ValueError(f"labels must not be negative, image {int(np.argmax(labels < 0))} has {labels.min()}.")
    return ranked, labels


def _image_labels(truth: GroundTruth) -> np.ndarray:
    """The one label of each image's objects."""
    count = len(truth.image_ids)
    low, high = np.full(count, len(truth.classes)), np.full(count, -1)
    np.minimum.at(low, truth.image, truth.labels)
    np.maximum.at(high, truth.image, truth.labels)
    several = np.flatnonzero(low != high)
    if several.size:
        name = truth.image_ids[several[0]]
        raise ValueError(f"image {name!r} has objects of no or of several classes: pass labels, one for each image.")
    return low


def _share(values: np.ndarray) -> float:
    return float(values.mean()) if values.size else float("nan")
