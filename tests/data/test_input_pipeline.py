"""SSD's augmentation and the batches: properties over many draws, and the pixels themselves."""

import io
import time

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_det.data import HorizontalFlip, SSDAugmentation, batches, batching, image_files, load, relabel
from keras_det.data.augment import (
    DRAWS,
    MIN_OVERLAPS,
    TRIALS,
    choose_patch,
    crop_objects,
    distort_colors,
    expansion,
    finish,
    ious,
    patches,
    place,
)
from keras_det.data.batching import OriginalImage
from keras_det.data.resize import resize

BOXES = np.array([[0.1, 0.1, 0.4, 0.5], [0.5, 0.3, 0.95, 0.9]], "float32")


def drawn(shape, seed):
    """Uniform numbers of one seed."""
    return np.random.default_rng(seed).random(shape).astype("float32")


@tf.function(reduce_retracing=True)
def chosen_patches(boxes, trials, kinds):
    """`choose_patch` among patches of many draws."""
    choose = lambda each: choose_patch(boxes, patches(each[0]), each[1])  # noqa: E731
    return tf.map_fn(choose, (trials, kinds), fn_output_signature=tf.float32)


def many_patches(boxes, count):
    """Chosen patches of many samples."""
    return chosen_patches(boxes, drawn((count, TRIALS, 4), 1), drawn((count, len(MIN_OVERLAPS) + 2), 2)).numpy()


def test_patches_keep_their_scale_and_aspect():
    found = patches(drawn((2000, 4), 0)).numpy()
    height, width = found[:, 2] - found[:, 0], found[:, 3] - found[:, 1]
    assert found.min() >= 0 and found.max() <= 1 + 1e-6
    scale, aspect = np.sqrt(height * width), width / height
    assert 0.299 < scale.min() < 0.31 and 0.95 < scale.max() <= 1  # the authors' min_scale is of sides
    assert aspect.min() >= 0.5 - 1e-3 and aspect.max() <= 2 + 1e-3
    assert (aspect < 0.7).mean() > 0.05 and (aspect > 1.4).mean() > 0.05


def test_chosen_patches_are_of_all_kinds_and_hold_their_overlap():
    found = many_patches(BOXES, 2000)
    whole = (found == [0, 0, 1, 1]).all(1)
    candidates = patches(drawn((2000, TRIALS, 4), 1).reshape(-1, 4))
    best = ious(candidates, tf.constant(BOXES)).numpy().reshape(2000, -1).max(1)
    succeeded = (best[:, None] >= MIN_OVERLAPS).sum(1) + 2  # one of them is the whole image
    assert abs(whole.mean() - (1 / succeeded).mean()) < 0.03
    best = ious(tf.constant(found), tf.constant(BOXES)).numpy().max(1)[~whole]
    for least in MIN_OVERLAPS[1:4]:
        assert (best >= least).mean() > 0.05
    assert (best < 0.1).any()  # the free patch


def test_every_minimum_overlap_is_held():
    candidates = patches(drawn((TRIALS, 4), 3))
    for one, kinds in ((candidates[30:31], 5), (tf.constant([[0.25, 0.25, 0.75, 0.75]]), 3)):
        best = ious(candidates, one).numpy().max(1)
        assert (best.max() >= MIN_OVERLAPS).sum() == kinds
        first = [candidates[int(np.argmax(best >= least))] for least in MIN_OVERLAPS[:kinds]]
        for kind, patch in enumerate([*first, *first[:1] * (5 - kinds), candidates[0], [0.0, 0.0, 1.0, 1.0]]):
            chosen = choose_patch(one, candidates, tf.one_hot(kind, len(MIN_OVERLAPS) + 2))  # the number's kind first
            np.testing.assert_array_equal(chosen, patch)


def test_without_objects_only_the_free_patch_and_the_whole_image_are_left():
    found = many_patches(np.zeros((0, 4), "float32"), 400)
    whole = (found == [0, 0, 1, 1]).all(1).mean()
    assert 0.4 < whole < 0.6


def test_expansion_is_of_1_to_4_sides_and_holds_the_image():
    canvas = np.stack([expansion(draw) for draw in drawn((500, 3), 0)])
    side = canvas[:, 2] - canvas[:, 0]
    np.testing.assert_allclose(side, canvas[:, 3] - canvas[:, 1], atol=1e-5)
    assert 1 <= side.min() < 1.1 and 3.9 < side.max() <= 4
    assert canvas[:, :2].max() <= 0 and canvas[:, 2:].min() >= 1 - 1e-5


def test_objects_are_kept_by_their_center_and_clipped():
    rng = np.random.default_rng(0)
    corner = rng.random((200, 2)) * 0.8
    boxes = np.concatenate([corner, np.minimum(corner + 0.02 + rng.random((200, 2)) * 0.4, 1)], -1).astype("float32")
    window = np.array([0.2, -0.3, 0.7, 0.6], "float32")
    kept = crop_objects({"boxes": tf.constant(boxes), "labels": tf.range(200)}, tf.constant(window))
    center = (boxes[:, :2] + boxes[:, 2:]) / 2
    inside = ((center > window[:2]) & (center < window[2:])).all(1)
    np.testing.assert_array_equal(kept["labels"], np.flatnonzero(inside))
    size = window[2:] - window[:2]
    expected = np.clip((boxes[inside] - np.tile(window[:2], 2)) / np.tile(size, 2), 0, 1)
    np.testing.assert_allclose(kept["boxes"], expected, atol=1e-6)


def planted(height=240, width=320):
    """A gray image with a bright rectangle, and its box."""
    image = np.full((height, width, 3), 40, "uint8")
    image[60:150, 100:260] = (250, 250, 250)
    return image, np.array([[60 / height, 100 / width, 150 / height, 260 / width]], "float32")


@pytest.mark.parametrize("encoded", [False, True])
def test_boxes_still_enclose_what_they_enclosed(encoded):
    image, boxes = planted()
    jpeg = tf.io.encode_jpeg(image, quality=100, chroma_downsampling=False) if encoded else tf.constant("")
    pixels = np.zeros((0, 0, 3), "uint8") if encoded else image
    augment = SSDAugmentation((200, 200))
    rows = {"labels": [0], "difficult": [False], "is_crowd": [False]}

    @tf.function
    def sample(seed):
        original = OriginalImage(jpeg, tf.constant(pixels), tf.constant([240, 320]))
        objects = {"boxes": tf.constant(boxes)} | {k: tf.constant(v) for k, v in rows.items()}
        draw = tf.random.stateless_uniform([sum(DRAWS)], seed)
        source, target, kept = augment.geometry(original, objects, draw)
        unchanged = tf.concat([draw[: -DRAWS[-1]], tf.ones(DRAWS[-1])], 0)  # its colors left alone
        plain = finish(original.paste(source, target, (200, 200)), target, unchanged, augment.mean)
        return plain, kept["boxes"], augment(original, objects, seed)

    compared = 0
    for seed in range(150):
        plain, kept, (final, objects) = sample(tf.constant([seed, seed + 1], tf.int64))
        assert final.shape == (200, 200, 3) and 0 <= final.numpy().min() and final.numpy().max() <= 255
        np.testing.assert_array_equal(objects["boxes"], kept)
        assert all(len(value) == len(kept) for value in objects.values())
        assert 0 <= kept.numpy().min(initial=0) and kept.numpy().max(initial=1) <= 1
        if len(kept):
            ys, xs = np.nonzero(plain.numpy()[..., 0] > 145)  # the surroundings have 123
            corners = np.array([ys.min(), xs.min(), ys.max() + 1, xs.max() + 1])
            np.testing.assert_allclose(kept.numpy()[0] * 200, corners, atol=1.6)
            compared += 1
    assert compared > 60


def test_the_surroundings_are_filled_with_the_mean():
    image, boxes = planted()
    original = OriginalImage(tf.constant(""), tf.constant(image), tf.constant([240, 320]))
    _, inside = original.sample(tf.constant([-1.0, -1.0, 2.0, 2.0]), (30, 30))
    expected = np.zeros((30, 30), bool)
    expected[10:20, 10:20] = True
    np.testing.assert_array_equal(inside[..., 0], expected)
    augment, mean = SSDAugmentation((60, 60)), np.array([123, 117, 104], "float32")
    objects = {"boxes": boxes, "labels": [0], "difficult": [False], "is_crowd": [False]}
    filled = 0
    for seed in range(20):
        sample, _ = augment(original, {k: tf.constant(v) for k, v in objects.items()}, tf.constant([seed, 0], tf.int64))
        filled += (sample.numpy() == mean).all(-1).any()
    assert 4 <= filled <= 16  # half of the samples are expanded, and most patches of those show some of the canvas


def test_without_sampling_images_are_the_original_or_its_mirror_image():
    image, boxes = planted()
    original = OriginalImage(tf.constant(""), tf.constant(image), tf.constant([240, 320]))
    whole = resize(tf.constant(image), (60, 60)).numpy()
    kinds = {True: (whole[:, ::-1], np.stack([boxes[:, 0], 1 - boxes[:, 3], boxes[:, 2], 1 - boxes[:, 1]], 1))}
    kinds[False] = (whole, boxes)
    seen = []
    for seed in range(20):
        sample, objects = HorizontalFlip((60, 60))(
            original, {"boxes": tf.constant(boxes)}, tf.constant([seed, 0], tf.int64)
        )
        seen.append(bool((sample.numpy() == kinds[True][0]).all()))
        for found, expected in zip((sample, objects["boxes"]), kinds[seen[-1]]):
            np.testing.assert_allclose(found, expected, atol=1e-6)
    assert 4 <= sum(seen) <= 16


def test_one_seed_gives_one_sample():
    image, boxes = planted()
    original = OriginalImage(tf.constant(""), tf.constant(image), tf.constant([240, 320]))
    objects = {"boxes": tf.constant(boxes), "labels": [0], "difficult": [False], "is_crowd": [False]}
    augment = SSDAugmentation((50, 50))
    draw = lambda seed: augment(original, dict(objects), tf.constant([seed, 9], tf.int64))[0].numpy()  # noqa: E731
    np.testing.assert_array_equal(draw(1), draw(1))
    assert (draw(1) != draw(2)).any()


def test_a_sample_has_its_objects_first_in_their_order_and_those_alone():
    """The compiled geometry pads its rows: nothing of them is left, and it is compiled once for all samples."""
    rng = np.random.default_rng(3)
    low = rng.random((40, 2)) * 0.7
    boxes = np.concatenate([low, low + 0.05 + rng.random((40, 2)) * 0.2], 1).astype("float32")
    original = OriginalImage(tf.constant(""), tf.zeros([240, 320, 3], tf.uint8), tf.constant([240, 320]))
    seconds, kept = [], []
    for seed in range(30):
        count = (40, 0, 1)[seed % 3] if seed else 40
        objects = {"boxes": boxes[:count], "labels": np.arange(count, dtype="int32")}
        objects |= {name: np.arange(count) % 2 == odd for odd, name in enumerate(("difficult", "is_crowd"))}
        draw = tf.constant(drawn(sum(DRAWS), seed))
        start = time.perf_counter()
        *_, found = SSDAugmentation((30, 40)).geometry(original, {k: tf.constant(v) for k, v in objects.items()}, draw)
        seconds.append(time.perf_counter() - start)
        labels = found["labels"].numpy()
        assert (labels >= 0).all() and (np.diff(labels) > 0).all() and len(labels) <= count
        np.testing.assert_array_equal(found["difficult"], labels % 2 == 0)
        np.testing.assert_array_equal(found["is_crowd"], labels % 2 == 1)
        assert ((found["boxes"][:, 2:] > found["boxes"][:, :2]).numpy()).all()
        kept.append(len(labels))
    assert max(kept[1::3]) == 0 and min(kept[::3]) < 40 and max(kept) > 20
    assert sum(seconds[3:]) < seconds[0]  # 48 rows and 16, compiled with the first two samples


def distorted(image, draw):
    """`distort_colors` of interleaved pixels."""
    return tf.stack(distort_colors(tf.unstack(image, axis=-1), draw), axis=-1)


def test_colors_stay_in_range_and_are_left_alone_half_of_the_time():
    image = tf.random.uniform([20, 20, 3], 0, 255, seed=1)
    same = 0
    for seed in range(60):
        draw = tf.constant(drawn(9, seed))
        changed = distorted(image, draw).numpy()
        assert 0 <= changed.min() and changed.max() <= 255
        same += np.allclose(changed, image, atol=1e-3)
    assert same <= 15  # all four left out: 1 in 16
    bright = tf.constant([0.0, 1, 1, 1, 1, 0, 0, 0, 0])
    np.testing.assert_allclose(distorted(image, bright), np.clip(image + 32, 0, 255), atol=1e-3)


def test_colors_are_those_of_tensorflows_distortions():
    image = tf.random.uniform([20, 20, 3], 0, 255, seed=2)
    draws = drawn((24, 9), 0)
    draws[:8, :4] = 0  # all four
    for draw in draws:
        brightness, contrast, saturation, hue = draw[:4] < 0.5
        scaled = lambda x: np.clip(x * (0.5 + draw[5]), 0, 255) if contrast else x  # noqa: B023, E731
        expected = np.clip(image + (draw[4] * 2 - 1) * 32, 0, 255) if brightness else image
        expected = scaled(expected) if draw[8] < 0.5 else expected
        expected = tf.image.adjust_saturation(expected, 0.5 + draw[6]) if saturation else expected
        # A tenth of the circle, 36 degrees: the authors' 18 is of OpenCV's two degrees.
        expected = np.clip(tf.image.adjust_hue(expected, (draw[7] * 2 - 1) * 0.1), 0, 255) if hue else expected
        expected = expected if draw[8] < 0.5 else scaled(expected)
        np.testing.assert_allclose(distorted(image, tf.constant(draw)), expected, atol=0.01)


def test_the_pasted_window_is_the_placed_window():
    image, _ = planted()
    original = OriginalImage(tf.constant(""), tf.constant(image), tf.constant([240, 320]))
    for window in np.random.default_rng(0).uniform([-1.5, -1.5, 0.5, 0.5], [0.4, 0.4, 2.5, 2.5], (30, 4)):
        window = tf.constant(window, tf.float32)
        placed, source, target = place(window, original.shape, (90, 80))
        step = 0.5 * (window[2:] - window[:2]) / [90, 80]
        np.testing.assert_array_less(abs(placed - window), np.tile(step, 2) * 4 + 0.01)  # a pixel of either, magnified
        exact, inside = original.sample(placed, (90, 80))
        top, left, height, width = target.numpy()
        assert inside.numpy().sum() == height * width
        assert inside.numpy()[top : top + height, left : left + width].all()
        pasted = original.paste(source, target, (90, 80))
        np.testing.assert_allclose(np.where(inside, pasted, 0), np.where(inside, exact, 0), atol=0.05)


def test_a_window_beside_the_image_shows_nothing_of_it():
    original = OriginalImage(tf.constant(""), tf.zeros([20, 20, 3], tf.uint8), tf.constant([20, 20]))
    window, source, target = place(tf.constant([1.5, 0.0, 2.5, 1.0]), original.shape, (30, 30))
    np.testing.assert_allclose(window, [1.5, 0, 2.5, 1])
    assert target.numpy()[2] == 0 and original.paste(source, target, (30, 30)).shape == (30, 30, 3)


@pytest.fixture(scope="module")
def scenes():
    return load("shapes", images=10, seed=4, size=64)


@pytest.fixture
def folder(tmp_path):
    """Eight images with VOC XML, in the formats people have."""
    scenes = load("shapes", images=8, seed=6, size=96)
    for i in range(8):
        image = Image.fromarray(scenes.image(i))
        if i == 5:
            image = image.convert("CMYK")
        if i == 6:
            image = image.convert("L")
        name = f"{i}.png" if i == 7 else f"{i}.jpg"
        image.save(tmp_path / name)
        boxes = "".join(
            f"<object><name>{scenes.classes[label]}</name><bndbox><xmin>{x0 * 96 + 1}</xmin><ymin>{y0 * 96 + 1}</ymin>"
            f"<xmax>{x1 * 96}</xmax><ymax>{y1 * 96}</ymax></bndbox></object>"
            for label, (y0, x0, y1, x1) in zip(scenes.annotation(i).labels, scenes.annotation(i).boxes)
        )
        size = "<size><width>96</width><height>96</height><depth>3</depth></size>"
        (tmp_path / f"{i}.xml").write_text(f"<annotation><filename>{name}</filename>{size}{boxes}</annotation>")
    return tmp_path


def test_evaluation_gives_every_image_once_in_order(scenes):
    got = list(batches(scenes, 4, (32, 32), training=False))
    assert [len(images) for images, _ in got] == [4, 4, 2]
    assert np.concatenate([labels["index"] for _, labels in got]).tolist() == list(range(10))
    images, labels = got[0]
    np.testing.assert_array_equal(images[1], resize(scenes.image(1), (32, 32)))
    assert labels["image_shape"].numpy().tolist() == [[64, 64]] * 4
    for i in range(4):
        truth = scenes.annotation(i)
        n = len(truth)
        np.testing.assert_array_equal(labels["boxes"][i, :n], truth.boxes)
        assert labels["labels"][i].numpy().tolist() == [*truth.labels, *[-1] * (6 - n)]


def epoch(dataset):
    return np.concatenate([images.numpy().reshape(len(images), -1)[:, :40] for images, _ in dataset])


def test_each_epoch_is_another_order_of_the_same_images(scenes):
    dataset = batches(scenes, 5, (32, 32), training=True, seed=1)
    first, second = epoch(dataset), epoch(dataset)
    assert (first != second).any()
    np.testing.assert_array_equal(np.sort(first.sum(1)), np.sort(second.sum(1)))
    np.testing.assert_array_equal(first, epoch(batches(scenes, 5, (32, 32), training=True, seed=1)))


@pytest.mark.parametrize("step", [1, 2, 3, 7])
def test_a_resumed_stream_is_the_rest_of_the_uninterrupted_one(scenes, step):
    def stream(first_step, steps):
        augment = SSDAugmentation((32, 32))
        options = {"augment": augment, "seed": 2, "repeat": True, "first_step": first_step}
        return epoch(batches(scenes, 4, (32, 32), training=True, **options).take(steps))

    np.testing.assert_array_equal(stream(0, 9)[step * 4 :], stream(step, 9 - step))


@pytest.mark.parametrize("augment", [None, HorizontalFlip((32, 24)), SSDAugmentation((32, 24))])
def test_all_axes_but_the_batchs_are_known_beforehand(scenes, augment):
    images, labels = batches(scenes, 4, (32, 24), training=True, augment=augment, max_objects=5).element_spec
    assert images.shape[1:] == (32, 24, 3)
    assert {name: spec.shape[1:].as_list() for name, spec in labels.items()} == {
        "boxes": [5, 4], "labels": [5], "difficult": [5], "is_crowd": [5],
    }  # fmt: skip


def test_a_source_smaller_than_a_batch_trains(scenes):
    images, _ = next(iter(batches(scenes.take(3), 8, (32, 32), training=True, repeat=True)))
    assert len(images) == 8


def test_images_of_every_format_and_max_objects(folder):
    source = load(f"folder:{folder}")
    images, labels = next(iter(batches(source, 8, (96, 96), training=False, max_objects=2)))
    assert labels["boxes"].shape == (8, 2, 4)
    for i in range(8):
        np.testing.assert_array_equal(images[i], source.image(i).astype("float32"))  # two JPEG decoders


def test_a_decoded_window_is_the_window_of_the_decoded_image():
    rng = np.random.default_rng(0)
    noise = Image.fromarray(rng.integers(0, 256, (30, 40, 3), dtype="uint8")).resize((160, 96))
    for subsampling in (0, 1, 2):
        file = io.BytesIO()
        noise.save(file, "JPEG", subsampling=subsampling)
        whole = image_files.read_image(file.getvalue())
        original = OriginalImage(tf.constant(file.getvalue()), tf.zeros((0, 0, 3), tf.uint8), tf.constant([96, 160]))
        for top, left in rng.integers(0, [90, 150], (20, 2)):
            height, width = rng.integers(1, [97 - top, 161 - left])
            found = original.crop(*map(tf.constant, map(int, (top, left, height, width))))
            np.testing.assert_array_equal(found, whole[top : top + height, left : left + width])


def training(source, **options):
    augment = SSDAugmentation((48, 48))
    options = {"augment": augment, "seed": 2, "repeat": True} | options
    one_at_a_time = tf.data.Options()  # or two threads may read the same image before either has kept it
    one_at_a_time.threading.private_threadpool_size = 1
    dataset = batches(source, 4, (48, 48), training=True, **options).with_options(one_at_a_time)
    return epoch(dataset.take(6))


def test_cached_images_give_the_same_samples_within_their_memory(folder, monkeypatch):
    one, decoded, source = 3 * 96 * 96, [], load(f"folder:{folder}")
    plain = training(source)
    jpeg, image = batching._jpeg, source.image

    def read_jpeg(path):
        found = jpeg(path)
        decoded.extend([path] if found and batching.plain_jpeg_size(found) else [])
        return found

    monkeypatch.setattr(batching, "_jpeg", read_jpeg)
    monkeypatch.setattr(source, "image", lambda i: decoded.append(source.path(i)) or image(i))
    for room in (3 * one, 8 * one):
        decoded.clear()
        np.testing.assert_array_equal(training(source, cache_bytes=room), plain)
        kept = room // one
        assert len(set(decoded)) == 8 and len(decoded) >= 8 + 2 * (8 - kept)
        assert sum(decoded.count(path) == 1 for path in set(decoded)) == kept
    np.testing.assert_array_equal(training(source, cache_bytes=8 * one, first_step=2)[:16], plain[8:])


def test_both_decoders_must_agree_for_a_jpeg_to_be_decoded_in_part(folder):
    def size(mode, damage=lambda content: content, **options):
        file = io.BytesIO()
        Image.new(mode, (50, 30)).save(file, "JPEG", **options)
        return batching.plain_jpeg_size(damage(file.getvalue()))

    comment, turned = Image.Exif(), Image.Exif()
    comment[270], turned[274] = "x" * 300, 3
    assert size("RGB") == size("L") == size("RGB", progressive=True) == size("RGB", exif=comment) == (30, 50)
    # Fill bytes before a marker are allowed, and are where a parser of one's own reads another place.
    assert size("RGB", lambda jpeg: jpeg.replace(b"\xff\xc0", b"\xff\xff\xff\xc0")) == (30, 50)
    assert size("CMYK") is size("RGB", exif=turned) is size("RGB", lambda jpeg: jpeg[:-30]) is None
    assert [batching.plain_jpeg_size(b) for b in (b"", b"\xff\xd8\xff", b"\xff\xd8\xff\xc0" + b"\0" * 20)] == [None] * 3


def crafted():
    """A JPEG of 64 x 48 whose fill bytes hide a second frame header, of 11585 x 11585, from the decoders."""
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype="uint8")).save(file, "JPEG")
    jpeg = file.getvalue()
    place = jpeg.index(b"\xff\xc0")
    length = int.from_bytes(jpeg[place + 2 : place + 4], "big")
    header = bytearray(jpeg[place : place + 2 + length])
    header[5:9] = (11585).to_bytes(2, "big") * 2
    comment = b"\xff\xff\xfe" + (2 + len(header)).to_bytes(2, "big") + bytes(header)
    return jpeg[:place] + comment + jpeg[place:]


def test_the_decoders_word_on_size_is_the_only_one(folder):
    for content in (crafted(), crafted().replace(b"\xff\xff\xfe", b"\xff\xff\xff\xfe")):
        (folder / "2.jpg").write_bytes(content)
        (folder / "2.xml").write_text("<annotation/>")
        source = load(f"folder:{folder}")
        assert (source.annotation(2).height, source.annotation(2).width) == (48, 64)
        (images, labels), *_ = batches(source, 8, (48, 64), training=False)
        assert labels["image_shape"][2].numpy().tolist() == [48, 64]
        np.testing.assert_array_equal(images[2], source.image(2))


@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_a_turned_image_is_upright_in_batches(folder, orientation):
    exif = Image.Exif()
    exif[274] = orientation
    Image.open(folder / "2.jpg").resize((96, 60)).save(folder / "2.jpg", exif=exif)
    (folder / "2.xml").write_text("<annotation/>")
    source = load(f"folder:{folder}")
    height, width = (96, 60) if orientation == 6 else (60, 96)
    (images, labels), *_ = batches(source, 8, (height, width), training=False)
    assert labels["image_shape"][2].numpy().tolist() == [height, width] == list(source.image(2).shape[:2])
    np.testing.assert_array_equal(images[2], source.image(2))


def test_a_damaged_sector_is_the_same_image_or_the_same_refusal_on_every_path(folder, monkeypatch):
    """Training's window, the whole image and `read_image`: 60 files with bytes overwritten or cut."""
    rng = np.random.default_rng(4)
    noise = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype="uint8")).resize((96, 72), 3)
    refused = 0
    for k in range(60):
        file = io.BytesIO()
        noise.save(
            file, "JPEG", progressive=k % 3 == 0, quality=80, **({"restart_marker_rows": 1} if k % 4 == 1 else {})
        )
        content = bytearray(file.getvalue())
        start, length = rng.integers(200, len(content)), rng.integers(1, 100)
        content[start : start + length] = b"" if k % 5 == 0 else rng.bytes(length)
        content = bytes(content)
        try:
            whole = image_files.read_image(content)
        except ValueError:
            whole, refused = None, refused + 1
        size = batching.plain_jpeg_size(content)
        if size is not None:
            assert whole is not None and whole.shape[:2] == size
            original = OriginalImage(tf.constant(content), tf.zeros((0, 0, 3), tf.uint8), tf.constant(size))
            window = original.crop(*map(tf.constant, (20, 30, 31, 41)))
            np.testing.assert_array_equal(window, whole[20:51, 30:71])
    assert 5 < refused < 55


@pytest.mark.parametrize("training", [True, False])
def test_groups_without_a_single_object(training):
    """Sixteen images read together, none with an object: an axis of 0 there crashed the process."""
    source = load("shapes", images=20, size=32, seed=1)
    empty = [i for i in range(20) if not len(source.annotation(i))] or [0]
    bare = _Bare(source.subset(empty * 40))
    got = list(batches(bare, 4, (32, 32), training=training, augment=HorizontalFlip((32, 32)) if training else None))
    assert len(got) == len(bare) // 4
    assert all(labels["labels"].numpy().max() == -1 for _, labels in got)


class _Bare:
    """Another source's images, without their objects."""

    def __init__(self, source):
        self.source, self.name, self.classes, self.issues = source, source.name, source.classes, []

    def __len__(self):
        return len(self.source)

    def __getattr__(self, name):
        return getattr(self.source, name)

    def annotation(self, i):
        one = self.source.annotation(i)
        none = np.zeros(0)
        return type(one)(one.image_id, one.height, one.width, np.zeros((0, 4)), none, none, none, none)


@pytest.mark.parametrize("damage", [b"", b"this is text", None])
def test_an_unreadable_image_is_skipped_and_recorded(folder, damage):
    path = folder / "2.jpg"
    path.write_bytes(path.read_bytes()[:400] if damage is None else damage)
    source, skipped = load(f"folder:{folder}"), []
    got = list(batches(source, 3, (32, 32), training=False, skipped=skipped))
    indexes = np.concatenate([labels["index"] for _, labels in got])
    assert 2 not in indexes and len(indexes) == 7
    assert [(issue.file, issue.action) for issue in skipped] == [(str(path), "skipped")]


@pytest.mark.parametrize("marker", [b"\xff\xc4", b"\xff\xdb", b"\xff\xda"])
def test_a_jpeg_with_a_faulty_table_is_skipped(folder, marker):
    """Huffman codes, quantization and the scan's components: the frame header before them is whole."""
    path = folder / "2.jpg"
    content = bytearray(path.read_bytes())
    place = content.index(marker)
    content[place + 4 : place + 8] = b"\xff" * 4
    path.write_bytes(content)
    for cache in (0, 10**6):
        source, skipped = load(f"folder:{folder}"), []
        options = {"skipped": skipped, "cache_bytes": cache}
        assert sum(len(images) for images, _ in batches(source, 3, (32, 32), training=False, **options)) == 7
        assert [issue.file for issue in skipped] == [str(path)] and str(skipped[0]).count(str(path)) == 1


def test_a_file_that_is_too_large_is_not_read(folder, monkeypatch):
    sizes = sorted(path.stat().st_size for path in folder.glob("*.[jp]*g"))
    source, skipped = load(f"folder:{folder}"), []
    monkeypatch.setattr(image_files, "MAX_BYTES", sizes[3])
    source.max_unreadable = 1.0
    assert sum(len(images) for images, _ in batches(source, 3, (32, 32), training=False, skipped=skipped)) == 4
    assert len(skipped) == 4 and all("bytes, at most" in issue.message for issue in skipped)


@pytest.mark.parametrize("place", ["first", "last"])
def test_the_bound_on_unreadable_images_is_of_the_whole_source(folder, place):
    """One is allowed in any case; more, by their fraction, wherever they stand in the order."""
    order = range(8) if place == "first" else range(7, -1, -1)
    names = [path.name for path in sorted(folder.glob("*.*g"))]
    one, two = ([names[i] for i in order][:n] for n in (1, 2))
    (folder / one[0]).write_bytes(b"")
    source, skipped = load(f"folder:{folder}"), []
    assert sum(len(images) for images, _ in batches(source, 3, (32, 32), training=False, skipped=skipped)) == 7
    assert [issue.file for issue in skipped] == [str(folder / one[0])]
    path = folder / two[1]
    path.write_bytes(path.read_bytes()[:-400])  # its header is whole
    source = load(f"folder:{folder}")
    words = r"2 of the 8 images of folder .* cannot be read, more than 0.01 .*--max-unreadable"
    with pytest.raises(tf.errors.OpError, match=words):
        list(batches(source, 3, (32, 32), training=False))
    with pytest.raises(ValueError, match=words):
        list(batching.whole_images(source, 3))
    source.max_unreadable = 0.25
    assert sum(len(images) for images, _ in batches(source, 3, (32, 32), training=False)) == 6
    assert sum(len(images) for images, _ in batching.whole_images(source.take(8), 3)) == 6
    source.max_unreadable = 2
    with pytest.raises(ValueError, match="max_unreadable"):
        batches(source, 3, (32, 32), training=False)
    path.write_bytes(b"")  # already known beforehand
    with pytest.raises(ValueError, match=words):
        load(f"folder:{folder}").check()


def test_a_source_with_too_many_faulty_objects_is_refused(folder):
    for name in ("2.xml", "3.xml"):
        (folder / name).write_text((folder / name).read_text().replace("xmin>", "min>"))
    with pytest.raises(ValueError, match=r"objects are faulty, more than 10%; the first: .*2\.xml"):
        batches(load(f"folder:{folder}"), 3, (32, 32), training=True)


def test_the_models_resize_is_the_datas(scenes):
    image = scenes.image(0)
    mine = keras.ops.image.resize(keras.ops.cast(image, "float32"), (45, 30), interpolation="bilinear")
    np.testing.assert_array_equal(mine, resize(image, (45, 30)))


@pytest.mark.parametrize(
    ("arguments", "named"),
    [({"batch_size": 0}, "batch_size"), ({"first_step": -1}, "first_step"), ({"cache_bytes": -1}, "cache_bytes")],
)
def test_wrong_numbers_are_refused(scenes, arguments, named):
    with pytest.raises(ValueError, match=named):
        batches(scenes, **{"batch_size": 2, "image_size": (32, 32), "training": True} | arguments)


def test_an_empty_source_is_refused(scenes):
    with pytest.raises(ValueError, match="no images"):
        batches(scenes.take(0), 2, (32, 32), training=True)


def test_relabel_merges_and_leaves_out(scenes):
    view = relabel(scenes, {"ring": "round", "ellipse": "round", "star": "spiky"})
    assert view.classes == ("round", "spiky") and len(view) == 10
    for i in range(10):
        old, new = scenes.annotation(i), view.annotation(i)
        names = [scenes.classes[label] for label in old.labels]
        expected = [{"ring": 0, "ellipse": 0, "star": 1}[n] for n in names if n in ("ring", "ellipse", "star")]
        assert new.labels.tolist() == expected and len(new.boxes) == len(expected)
    np.testing.assert_array_equal(view.image(3), scenes.image(3))
    with pytest.raises(ValueError, match="no class square"):
        relabel(scenes, {"square": "x"})
