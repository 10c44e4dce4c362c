"""What every trainable network of the package shares: its objective, the training step, batches, saving."""

from __future__ import annotations

import contextlib
import functools
import inspect
import os
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any

import keras
from keras import ops

from keras_det import _compat
from keras_det.models.config import Config, check_values, config_class, given_arguments
from keras_det.models.pretrained import (
    Checkpoint,
    check_weights,
    find_checkpoint,
    load_trained_backbone,
    save_weights,
)
from keras_det.types import Dataset, Tensor

if TYPE_CHECKING:
    from keras_det.data.source import Source
    from keras_det.models.config import Config
    from keras_det.models.pretrained import Checkpoint

RANDOM = "random weights"
RESIZE = ("stretch", "letterbox")


class Network(_compat.OptimizerBuild, keras.Model):
    """A network with its objective and its sampling.

    A subclass gives `call`, `encode_targets` and `compute_losses`, and `augmentation` if its paper samples images in
    a way of its own. The arguments of its constructor, but for `weights` and `backbone_weights`, are its configuration:
    `config` holds what was given, else what the weights say, else the defaults. None of them changes afterwards.

    Args:
        weights: `None`, a registered name, or a file saved by this package; the constructor ends with
            `load_checkpoint()`, which fills the network with them.
        **kwargs: of `keras.Model`.

    Attributes:
        classes: names, in label order.
        image_size: `(height, width)` of the input of `call`, in pixels: of a square with the side `image_size` of the
            configuration, unless `input_size` is defined anew.

    Raises:
        ValueError: an argument of another type; no classes, or the same name twice.
    """

    class_predictors: tuple[str, ...] = ()  # names of the layers whose meaning depends on the classes
    loss_terms: tuple[str, ...] = ()  # keys of `compute_losses`
    counters: tuple[str, ...] = ()  # keys of `count_targets`
    supervisions: tuple[str, ...] = ()  # kinds of labels between which `batches` lets choose
    detects = False  # whether it is a detector, which gives boxes
    class_agnostic = False  # whether all classes of the data are one, "object"
    choices: dict[str, Collection] = {}  # fields of the configuration, and the values that they may have
    counts: tuple[str, ...] = ()  # fields that are at least 1
    fractions: tuple[str, ...] = ()  # fields in 0 .. 1
    from_zero: tuple[str, ...] = ()  # fields that are at least 0
    starts_from_classifier = False  # whether a file of a `Classifier` fills the layers that both have

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        cls.Config = config_class(cls, Network)

    def __new__(cls, *args, **kwargs):
        """A network that remembers what it was given: the rest may come from the weights."""
        network: Any = super().__new__(cls, *args, **kwargs)
        vars(network)["_given"] = given_arguments(cls, *args, **kwargs)
        return network

    def __init__(self, weights: str | os.PathLike | None = None, **kwargs: Any):
        checkpoint = find_checkpoint(type(self).__name__, weights, self.starts_from_classifier)
        stored = {k: v for k, v in checkpoint.config.items() if k in self.Config.__dataclass_fields__}
        backbone, wanted = stored.get("backbone"), self._given.get("backbone")
        if backbone is not None and wanted not in (None, backbone):
            raise ValueError(f"`backbone` must be {backbone}, which weights {checkpoint.name} are for; got {wanted!r}.")
        config = self.Config(**stored | self._given)
        self.check_config(config)
        super().__init__(**kwargs)
        self.config = config
        self._checkpoint: Checkpoint | None = checkpoint  # until it is loaded
        self.starts_from = f"weights {checkpoint.name}" if checkpoint.name else RANDOM
        self.classes = ("object",) if self.class_agnostic else check_classes(self.class_list())
        height, width = self.input_size()
        self.image_size = height, width
        self.term_metrics = [_Mean(name=term) for term in self.loss_terms + self.counters]
        self.skipped_steps = _Sum(name="skipped_steps")

    @property
    def resize(self) -> str:
        """How images become the network's input: `"stretch"`, or `"letterbox"`, which keeps their aspect ratio."""
        return getattr(self.config, "resize", RESIZE[0])

    def check_config(self, config: Config) -> None:
        """Refuse a configuration that no network or procedure is for; types are checked before.

        Raises:
            ValueError: a field's value is out of range.
        """
        check_values(config, self.choices, self.counts, self.fractions, self.from_zero)

    def class_list(self) -> Sequence[str]:
        """The names of the classes."""
        return self.config.classes

    def input_size(self) -> tuple[int, int]:
        """Height and width of the input of `call`."""
        return self.config.image_size, self.config.image_size

    def load_trained_backbone(
        self, networks: Sequence[keras.Model], backbone: str, weights: str | None, **options: Any
    ) -> None:
        """Start the backbone from a network trained on ImageNet, where `weights` asks for it.

        Args:
            networks: Keras models that hold the backbone's layers, each its own.
            backbone: a name of `keras_det.backbones.BACKBONES`.
            weights: `"imagenet"` or `None`.
            **options: of the backbone's parameters, such as VGG16's `atrous`.

        Raises:
            ValueError: other weights, or a backbone that has none.
        """
        if weights is not None:
            load_trained_backbone(networks, backbone, weights, **options)
            self.starts_from = f"backbone {backbone} trained on ImageNet, the rest random"

    def load_checkpoint(self) -> None:
        """Copy the weights that the constructor was given into the network, which is built."""
        checkpoint, self._checkpoint = self._checkpoint, None
        self.start_from(checkpoint)

    def start_from(self, checkpoint: Checkpoint) -> None:
        """Copy the weights of a checkpoint, which may be those of another task or of a part."""
        checkpoint.load_into(self)

    def class_entries(self, layer: str) -> tuple[int, int]:
        """A class predictor's outputs at each place: entries of background before the classes, values of each entry."""
        return 0, 1

    def class_networks(self) -> list[list[Any]]:
        """The variables of each class's own networks, class after class; none where the classes share a network."""
        return []

    # Training

    def encode_targets(self, labels: dict[str, Tensor]) -> Any:
        """What the loss compares the outputs with, from a padded labels dict."""
        raise NotImplementedError(f"{type(self).__name__} does not define encode_targets.")

    def compute_losses(self, targets: Any, outputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """The terms of the objective, a dict of scalars that add up to the loss."""
        raise NotImplementedError(f"{type(self).__name__} does not define compute_losses.")

    def count_targets(self, targets: Any) -> dict[str, Tensor]:
        """Numbers worth watching in training, such as matched boxes: a dict of scalars for `counters`."""
        return {}

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Tensor:
        """Sum of `compute_losses` and of the layers' own losses; Keras's step calls it on every backend."""
        if sample_weight is not None:
            raise ValueError(_NO_WEIGHTS.format("a sample weight"))
        return self._total(self.compute_losses(self.encode_targets(y), y_pred))

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> dict[str, Any]:
        """Each term of the loss as a metric; in a compiled step the compiler merges it with `compute_loss`."""
        targets = self.encode_targets(y)
        self._update_means(self.compute_losses(targets, y_pred) | self.count_targets(targets))
        return self.get_metrics_result()

    def _total(self, terms):
        replicas = self._replicas()
        return sum(terms.values()) + sum(ops.cast(loss, "float32") / replicas for loss in self.losses)

    def _update_means(self, values, weight=1.0):
        """Update the metrics that `values` names with the sums over the replicas; a value of weight 0 may be a NaN."""
        for metric in self.metrics:
            if metric.name in values:
                value = ops.cast(self.sum_over_replicas(values[metric.name]), "float32")
                metric.update_state(ops.where(weight > 0, value, 0.0), sample_weight=weight)

    def _replicas(self):
        """How many replicas of the model take part in a step."""
        if keras.backend.backend() != "tensorflow":
            return 1
        import tensorflow as tf

        return tf.distribute.get_strategy().num_replicas_in_sync

    def sum_over_replicas(self, value: Tensor) -> Tensor:
        """Sum of `value` over the replicas of a `tf.distribute` strategy; `value` itself without one."""
        if self._replicas() == 1:
            return value
        import tensorflow as tf

        context = tf.distribute.get_replica_context()
        return value if context is None else context.all_reduce("SUM", value)

    if keras.backend.backend() == "tensorflow":

        def train_step(self, data: tuple[Tensor, dict[str, Tensor]]) -> dict[str, Any]:
            """One step of gradient descent; a step whose loss is not finite changes nothing and is counted.

            Under a strategy with several replicas the optimizer cannot be skipped, so it gets zero gradients: momentum
            still moves the weights, but no bad value reaches them.

            Args:
                data: `(images [B, H, W, 3], labels dict)`.

            Returns:
                Dict of `loss`, each of `loss_terms` and `counters`, `skipped_steps`.
            """
            import tensorflow as tf

            x, y = _unweighted(data)
            targets = self.encode_targets(y)
            state = [(v, tf.identity(v.value)) for v in self.non_trainable_weights]
            with tf.GradientTape() as tape:
                outputs = self(x, training=True)
                terms = self.compute_losses(targets, outputs)
                loss = self._total(terms)
                scaled = self.optimizer.scale_loss(loss)
            gradients = self._sum_gradients(tape.gradient(scaled, self.trainable_variables))
            finite = tf.math.is_finite(self.sum_over_replicas(loss))
            for variable, before in state:
                variable.assign(tf.where(finite, variable.value, before))
            if self._replicas() > 1:
                gradients = [None if g is None else tf.where(finite, g, tf.zeros_like(g)) for g in gradients]
                self.optimizer.apply(gradients, self.trainable_variables)
            else:
                tf.cond(finite, lambda: self._apply(gradients), lambda: None)
            done = tf.cast(finite, "float32")  # values of a skipped step are left out of the means
            self._update_means({"loss": loss} | terms | self.count_targets(targets), weight=done)
            self.skipped_steps.update_state(1 - done)
            return self._step_results()

        def test_step(self, data: tuple[Tensor, dict[str, Tensor]]) -> dict[str, Any]:
            """Losses of a batch, each batch weighted by its images; arguments and results as in `train_step`."""
            import tensorflow as tf

            x, y = _unweighted(data)
            with tf.control_dependencies([x]):  # the step that finds no more data updates nothing
                targets = self.encode_targets(y)
                terms = self.compute_losses(targets, self(x, training=False))
                images = self.sum_over_replicas(tf.cast(tf.shape(x)[0], "float32"))
                values = {"loss": self._total(terms)} | terms | self.count_targets(targets)
                self._update_means(values, weight=images)
            return self._step_results()

        def _sum_gradients(self, gradients):
            """Gradients of the global batch, from which the optimizer clips and accumulates on every replica alike."""
            if self._replicas() == 1:
                return gradients
            summed = iter(self.sum_over_replicas([g for g in gradients if g is not None]))
            return [None if g is None else next(summed) for g in gradients]

        def _step_results(self):
            """The metrics; Keras takes their mean over the machines and for that needs an axis."""
            import tensorflow as tf

            results = self.get_metrics_result()
            if place_among_workers(self.distribute_strategy)[1] == 1:
                return results
            return {name: tf.reshape(value, [1]) for name, value in results.items()}

    def _apply(self, gradients):
        self.optimizer.apply(gradients, self.trainable_variables)

    def compile(
        self,
        optimizer: str | keras.optimizers.Optimizer = "adam",
        loss: None = None,
        *,
        jit_compile: bool | str | None = None,
        **kwargs: Any,
    ) -> None:
        """As Keras's `compile`, without a loss: the objective is the paper's.

        On several replicas batch normalization uses the statistics of the global batch, and the optimizer gets the
        gradients of the global batch, so that clipping is the same as on one.

        Args:
            optimizer: Keras optimizer.
            loss: must stay `None`.
            jit_compile: compile the step with XLA. By default only where there is no other way, on JAX, since XLA's
                convolutions on CPUs are much slower than TensorFlow's own.
            **kwargs: further arguments of `keras.Model.compile`.

        Raises:
            ValueError: `loss`, `loss_weights`, `metrics` or `weighted_metrics`, which would not be used; or the
                optimizer accumulates gradients and there are several replicas.
        """
        for name, value in ({"loss": loss} | kwargs).items():
            if name in ("loss", "loss_weights", "metrics", "weighted_metrics") and value is not None:
                raise ValueError(
                    f"`{name}` is not taken: {type(self).__name__} trains on its paper's objective and reports its "
                    "terms; `keras_det.training.EvaluateDetections` adds a detector's metrics to `fit`."
                )
        if jit_compile is None:
            jit_compile = "auto" if keras.backend.backend() == "jax" else False
        super().compile(optimizer=optimizer, jit_compile=jit_compile, **kwargs)
        with self._scope():
            _compat.set_loss_metric(self, _Mean(name="loss"))
        if keras.backend.backend() == "tensorflow" and self.distribute_strategy.num_replicas_in_sync > 1:
            self._join_replicas()

    @functools.wraps(keras.Model.fit)
    def fit(self, *args: Any, **kwargs: Any) -> keras.callbacks.History:
        """As Keras's `fit`; datasets keep their order. Raises ValueError for `class_weight` and `sample_weight`."""
        given = _without_weights(keras.Model.fit, self, *args, **kwargs)
        if hasattr(given.get("x"), "element_spec") and "shuffle" not in given:  # else Keras warns that it cannot
            kwargs["shuffle"] = False
        return super().fit(*args, **kwargs)

    @functools.wraps(keras.Model.train_on_batch)
    def train_on_batch(self, *args: Any, **kwargs: Any) -> Any:
        """As Keras's `train_on_batch`. Raises ValueError for `class_weight` and `sample_weight`."""
        _without_weights(keras.Model.train_on_batch, self, *args, **kwargs)
        return super().train_on_batch(*args, **kwargs)

    def _join_replicas(self):
        """Make the layers and the optimizer work on the global batch."""
        optimizer = getattr(self.optimizer, "inner_optimizer", self.optimizer)  # inside loss scaling
        if optimizer.gradient_accumulation_steps:
            raise ValueError("`gradient_accumulation_steps` works on one replica; use a larger batch on several.")
        # The step has summed the gradients; Keras would do it after clipping, and scale losses by one replica's.
        _compat.leave_gradients(optimizer)
        for layer in _compat.layers_within(self):
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.synchronized = True

    def _scope(self):
        """The strategy's scope, in which variables are made; nothing on other backends than TensorFlow."""
        on_tensorflow = keras.backend.backend() == "tensorflow"
        return self.distribute_strategy.scope() if on_tensorflow else contextlib.nullcontext()

    def build_optimizer(self) -> None:
        """Make the optimizer's variables, where it has none yet."""
        if not self.optimizer.built:
            with self._scope():
                self.optimizer.build(self.trainable_variables)

    def get_compile_config(self) -> dict[str, Any] | None:
        """What `compile` was given, for a saved model."""
        if not self.compiled:
            return None
        return {"optimizer": keras.saving.serialize_keras_object(self.optimizer), "jit_compile": self.jit_compile}

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compile as the saved model was; the optimizer's state is loaded with the weights."""
        optimizer = keras.saving.deserialize_keras_object(config["optimizer"])
        self.compile(optimizer=optimizer, jit_compile=config["jit_compile"])
        optimizer.build(self.trainable_variables)

    # Data

    @classmethod
    def fit_config(cls, config: dict[str, Any], source: Source, augment: Any = True, seed: int = 0) -> dict[str, Any]:
        """Constructor arguments for training from scratch on a source, with those that are taken from the data.

        Args:
            config: constructor arguments so far; what they name stays.
            source: a `keras_det.data.Source`.
            augment: whether training samples are augmented.
            seed: of what is drawn.
        """
        return dict(config)

    def augmentation(self) -> Callable | None:
        """How this paper samples a training image: a function for `keras_det.data.batches`, or `None`."""
        return None

    def batches(
        self, source: Source, batch_size: int, training: bool, seed: int = 0, augment: Any = True, **options: Any
    ) -> Dataset:
        """Batches of a data source as this model takes them.

        Args:
            source: a `keras_det.data.Source`.
            batch_size: images in a batch.
            training: sample and shuffle as the paper does; else every image once, in order, only resized.
            seed: seed of order and augmentation.
            augment: whether training images are augmented as the paper does; false only resizes them. Or by what in the
                paper's place, as `keras_det.data.batches` takes it: a function, Keras's preprocessing layers, or an
                `albumentations.Compose`.
            **options: further arguments of `keras_det.data.batches`.

        Returns:
            `tf.data.Dataset` of `(images [B, H, W, 3] float32, labels dict)`. On several machines the training batches
            of each hold its own images alone; `fit` divides them.

        Raises:
            ValueError: the source's classes are not the model's; without `training` it may have fewer, in any order.
                Or a training batch cannot be divided among the machines.
        """
        from keras_det.data import batches

        self.check_classes_of(source, training)
        sample = (self.augmentation() if augment is True else augment or None) if training else None
        if training:
            options = self._shard(batch_size) | options
        return batches(
            source,
            batch_size,
            self.image_size,
            training,
            augment=sample,
            seed=seed,
            class_agnostic=self.class_agnostic,
            resize=self.resize,
            **options,
        )

    def check_classes_of(self, source: Source, training: bool = False) -> None:
        """Refuse a source whose classes are not the model's.

        Args:
            source: a `keras_det.data.Source`.
            training: the classes must be the same in the same order; else one in common is enough. Objects of classes
                that the model lacks are missed then, and detections of classes that the source lacks do not count.

        Raises:
            ValueError: they are not.
        """
        known = set(source.classes) & set(self.classes) and not training
        if tuple(source.classes) != self.classes and not known and not self.class_agnostic:
            text = f"the source's classes {tuple(source.classes)} are not the model's {self.classes}"
            advice = "build the model with `classes=source.classes`" if training else "one in common is needed"
            raise ValueError(f"{text}: {advice}.")

    def label_names(self, source: Source) -> Sequence[str]:
        """Names of the labels in training batches of a source."""
        return self.classes

    def _shard(self, batch_size):
        """The option of `keras_det.data.batches` by which this machine reads its own part of every global batch."""
        if keras.backend.backend() != "tensorflow":
            return {}
        index, workers = place_among_workers(self.distribute_strategy)
        replicas = self.distribute_strategy.num_replicas_in_sync
        if workers > 1 and batch_size % replicas:
            raise ValueError(f"`batch_size` must be a multiple of the {replicas} replicas; got {batch_size}.")
        return {"shard": (index, workers)} if workers > 1 else {}

    def save_weights(
        self, filepath: str | os.PathLike, overwrite: bool = True, optimizer: bool = True, dtype: str = "float32"
    ) -> None:
        """As Keras's, and the file remembers the model's constructor arguments; it appears whole or not at all.

        Args:
            filepath: a path that ends in `.weights.h5` or `.safetensors`.
            overwrite: replace an existing file.
            optimizer: whether the optimizer's state goes along, as Keras has it; it makes a file three times as large.
            dtype: of the numbers in the file, `"float32"`, or `"float16"` for half the bytes; networks load either.

        Raises:
            FileExistsError: the file exists and `overwrite` is false.
            ValueError: another `dtype`, or a weight that float16 cannot hold.
        """
        if not overwrite and os.path.exists(filepath):
            raise FileExistsError(f"{filepath} exists; pass `overwrite=True` to replace it.")
        save_weights(self, filepath, optimizer, dtype=dtype)

    def load_weights(self, filepath: str | os.PathLike, skip_mismatch: bool = False, **kwargs: Any) -> None:
        """As Keras's. Raises ValueError for a file that claims arrays which no variable is for, before any is read."""
        path = os.fspath(filepath)
        if path.endswith((".weights.h5", ".keras")) and os.path.isfile(path):
            check_weights(self, path, fitting=not (skip_mismatch or kwargs))
        super().load_weights(filepath, skip_mismatch=skip_mismatch, **kwargs)

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments that rebuild the network; weights are saved apart."""
        return {"name": self.name} | self.config.to_dict()


_NO_WEIGHTS = "{} is not taken: the objectives are normalized by the objects of a whole batch, as their papers have it."


def _without_weights(method, *args, **kwargs):
    """The arguments that a method of Keras's is called with, by name, refused where they weigh samples or classes."""
    given = inspect.signature(method).bind(*args, **kwargs).arguments
    for name in ("class_weight", "sample_weight"):
        if given.get(name) is not None:
            raise ValueError(_NO_WEIGHTS.format(f"`{name}`"))
    return given


def _unweighted(data):
    """Images and labels of a batch; raises ValueError where it has sample weights, too."""
    x, y, weight = keras.utils.unpack_x_y_sample_weight(data)
    if weight is not None:
        raise ValueError(_NO_WEIGHTS.format("a sample weight"))
    return x, y


class _SameOnAllReplicas(keras.metrics.Metric):
    """Metric of values that are sums over the replicas already: one replica's state is the metric's.

    Keras's own adds up the replicas' states, and before version 3.13 did so anew in every step.
    """

    def add_variable(self, shape, initializer, dtype=None, aggregation=None, name=None):
        return super().add_variable(shape, initializer, dtype, aggregation="only_first_replica", name=name)


class _Mean(_SameOnAllReplicas, keras.metrics.Mean):
    pass


class _Sum(_SameOnAllReplicas, keras.metrics.Sum):
    pass


def place_among_workers(strategy: Any) -> tuple[int, int]:
    """The number of this process among those that train together, the chief being 0, and how many they are.

    Args:
        strategy: a `tf.distribute.Strategy`.

    Returns:
        `(index, count)`, `(0, 1)` unless the strategy is of several machines.
    """
    import tensorflow as tf

    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return 0, 1
    resolver = strategy.cluster_resolver
    cluster = resolver.cluster_spec().as_dict()
    chiefs = len(cluster.get("chief", ()))
    index = (resolver.task_id or 0) + (0 if resolver.task_type == "chief" else chiefs)
    return index, max(chiefs + len(cluster.get("worker", ())), 1)


def is_object(labels: dict[str, Tensor]) -> Tensor:
    """`[B, M]` bool, which rows of padded labels are objects: not padding, and no crowd regions; difficult ones are."""
    valid = ops.cast(labels["labels"], "int32") >= 0
    if "is_crowd" in labels:
        valid = ops.logical_and(valid, ops.logical_not(ops.cast(labels["is_crowd"], "bool")))
    return valid


def objects_of(labels: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """The rows of padded labels, at least one of each image, since nothing can be gathered from no rows.

    Args:
        labels: padded labels dict; M may be 0 or unknown until the graph runs.

    Returns:
        Boxes `[B, M, 4]` float32, classes `[B, M]` int32, and `[B, M]` bool of `is_object`. An added row is padding.
    """
    boxes, classes = ops.cast(labels["boxes"], "float32"), ops.cast(labels["labels"], "int32")
    valid = is_object(labels)
    if not classes.shape[1]:
        boxes, valid = ops.pad(boxes, ((0, 0), (0, 1), (0, 0))), ops.pad(valid, ((0, 0), (0, 1)))
        classes = ops.pad(classes, ((0, 0), (0, 1)), constant_values=-1)
    return boxes, classes, valid


def check_classes(classes: Sequence[str]) -> tuple[str, ...]:
    """The class names as a tuple, or an error that says what is wrong with them."""
    if isinstance(classes, str) or not all(isinstance(name, str) and name for name in classes):
        raise ValueError(f"`classes` must be a list of names; got {classes!r}.")
    classes = tuple(classes)
    if not classes:
        raise ValueError("`classes` must name at least one class.")
    twice = sorted({name for name in classes if classes.count(name) > 1})
    if twice:
        raise ValueError(f"`classes` names {', '.join(twice)} more than once.")
    return classes
