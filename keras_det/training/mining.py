"""Hard negative mining in rounds: false detections of a detector become training samples of its classifier."""

import numpy as np
import tensorflow as tf
from rich.progress import track

from keras_det.boxes import crop_and_resize, iou
from keras_det.data import whole_images

NEGATIVE_IOU = 0.3  # a detection with less overlap with every object shows background


def hard_negatives(model, source, each=20, progress=False):
    """Crops of background that a detector takes for objects (DetectorNet, section 7).

    Args:
        model: a `Detector` whose boxes are classified crops, such as `SlidingWindows`.
        source: the pictures to search, a `keras_det.data.Source` with annotations.
        each: crops of a picture at most, those of the highest scores.
        progress: show a progress bar on the terminal.

    Returns:
        `[N, H, W, 3]` uint8 crops of the model's `image_size`.
    """
    crops = [np.zeros((0, *model.image_size, 3), "uint8")]
    for images, indexes in track(whole_images(source, 1), "mine", total=len(source), disable=not progress):
        found = model.detections(images)
        boxes = found["boxes"][0][: int(found["num_detections"][0])]
        objects = source.annotation(int(indexes[0])).boxes
        if len(objects):
            boxes = boxes[np.asarray(iou(boxes, objects)).max(axis=1) < NEGATIVE_IOU]
        if len(boxes):
            crops.append(np.asarray(crop_and_resize(images, boxes[None, :each], model.image_size))[0].round())
    return np.concatenate(crops).astype("uint8")


def with_negatives(batches, crops, share, seed=0):
    """Batches of which a share are mined crops, mirrored half of the time.

    Args:
        batches: `tf.data.Dataset` of `(images, labels)` with one size of batch.
        crops: `[N, H, W, 3]` uint8, N at least 1, as `hard_negatives` gives them.
        share: of each batch, in 0 .. 1.
        seed: of the crops' order.

    Returns:
        `tf.data.Dataset` as `batches`; the first rows of a batch are the crops, without objects.

    Raises:
        ValueError: no crops, or a share that is none.
    """
    if not len(crops) or not 0 <= share <= 1:
        raise ValueError(f"`crops` must hold some and `share` be in 0 .. 1; got {len(crops)} and {share}.")
    size = batches.element_spec[1]["labels"].shape[0]
    count = round(share * size)
    if not count:
        return batches
    mined = tf.data.Dataset.random(seed).map(lambda draw: _drawn(crops, draw)).batch(count)

    def mix(batch, negatives):
        images, labels = batch
        images = tf.concat([tf.cast(negatives, images.dtype), images[count:]], 0)
        empty = tf.fill([count, labels["labels"].shape[1]], tf.constant(-1, labels["labels"].dtype))
        return images, labels | {"labels": tf.concat([empty, labels["labels"][count:]], 0)}

    return tf.data.Dataset.zip(batches, mined).map(mix).prefetch(2)


def _drawn(crops, draw):
    """One crop, mirrored or not, by a random number."""
    picture = tf.convert_to_tensor(crops)[(draw // 2) % len(crops)]
    return tf.cond(draw % 2 == 0, lambda: picture, lambda: picture[:, ::-1])
