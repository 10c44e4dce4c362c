"""What is trained on what, how long, with which optimizer; Keras is imported where it is used: lists do without."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import keras

    from keras_det.models.network import Network

LAST = "last.weights.h5"  # in a run's folder: what it resumes from
PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")
AUGMENTATIONS = ("none", "flip", "ssd")
SUSTAINED = 40e12  # operations a second for `gpu_hours`: 13 % of an A100's bfloat16 peak of 312e12 (its data sheet)


@dataclass(frozen=True)
class Recipe:
    """One training run.

    Attributes:
        model: name of the detector, such as `"ssd300"`.
        data: data specification for `keras_det.data.load`.
        description: cost, expected score and where the schedule comes from.
        split: split to train on; `None` where the data has none.
        val_split: split that is evaluated during training.
        config: constructor arguments of the model.
        data_options: options of `keras_det.data.load` for training.
        val_options: the same for evaluation.
        optimizer: Keras optimizer configuration, with `class_name`.
        learning_rate: highest learning rate.
        schedule: `"cosine"`, `"step"` with `lr_milestones`, or `"constant"`, for optimizers that let the rate decay
            themselves, such as Adagrad.
        lr_milestones: steps after which the learning rate falls.
        lr_gamma: what the learning rate is multiplied with at each of them.
        warmup: steps of linear warm-up.
        batch_size: images in a step, of all replicas together.
        steps: steps in all.
        steps_per_epoch: steps of an epoch, after which there is a checkpoint; `None` is once through the data.
        save_every: steps between two checkpoints within an epoch; `None` is none.
        evaluate_every: epochs between two evaluations, the last epoch being one; `None` evaluates at the end alone.
        metrics: what is computed then, as `keras_det.metrics.Evaluator.result` takes it; the first is watched.
        patience: evaluations in a row that may bring nothing better before the run ends; 0 is any number.
        keep: which weights become `best.weights.h5`: `"best"`, those of the highest watched figure, or `"last"`, which
            a split that is reported on does not choose.
        augment: whether training images are augmented as the paper does; or `"flip"`, `"ssd"` or `"none"`.
        by_class: train a network of each class, one after the other, see `keras_det.training.detectornet`.
        mining_rounds: rounds of hard negative mining, each of `steps`, see `keras_det.training.mining`.
        mined: hard negatives of an image at most, in each round.
        mined_fraction: of each batch of such a round.
        supervision: labels that train, one of the model's `supervisions`, such as `"boxes"`; `None` is its default.
        without_classes: training images that show one of these classes are left out: names, or how many, drawn as
            `keras_det.data.by_class.chosen_classes` does.
        validation_split: fraction of the training images, drawn at random, that is evaluated on instead of trained on.
        precision: Keras's dtype policy, in which the model is built: `"float32"`, `"mixed_bfloat16"` or
            `"mixed_float16"`, which scales the loss.
        jit_compile: compile the step with XLA.
        accumulate: steps whose mean gradient makes one update; the learning rate's schedule keeps its length in steps.
            More than 1 works on one replica only.
        clip_norm: largest norm of all gradients together; `None` does not clip.
        ema: momentum, in each step, of the averages of the weights that are evaluated and kept as the best; 0 is none.
        scale_learning_rate: multiply the learning rate by the number of replicas.
        init_from: name of the recipe whose best weights it starts from.
        seed: of the first weights, the order and the augmentation, unless another is asked for.
        expected: score and where it was published.
        gflops: multiply-adds of one sample's forward pass in 10^9, for `gpu_hours`.
    """

    model: str
    data: str
    description: str
    split: str | None = None
    val_split: str | None = None
    config: dict[str, Any] = field(default_factory=dict)
    data_options: dict[str, Any] = field(default_factory=dict)
    val_options: dict[str, Any] = field(default_factory=dict)
    optimizer: dict[str, Any] = field(default_factory=lambda: {"class_name": "AdamW", "weight_decay": 5e-4})
    learning_rate: float = 1e-3
    schedule: str = "cosine"
    lr_milestones: tuple[int, ...] = ()
    lr_gamma: float = 0.1
    warmup: int = 100
    batch_size: int = 32
    steps: int = 2000
    steps_per_epoch: int | None = None
    save_every: int | None = None
    evaluate_every: int | None = 1
    metrics: tuple[str, ...] = ("area",)
    patience: int = 0
    keep: str = "best"
    augment: bool | str = True
    by_class: bool = False
    mining_rounds: int = 0
    mined: int = 20
    mined_fraction: float = 0.25
    supervision: str | None = None
    without_classes: tuple[str, ...] | int = ()
    validation_split: float = 0.0
    precision: str = "float32"
    jit_compile: bool = False
    accumulate: int = 1
    clip_norm: float | None = None
    ema: float = 0.0
    scale_learning_rate: bool = False
    init_from: str | None = None
    seed: int = 0
    expected: str = ""
    gflops: float | None = None

    def replace(self, **changes: Any) -> Recipe:
        """The recipe with some fields changed; `None` leaves a field as it is.

        >>> from keras_det.training import RECIPES
        >>> RECIPES["ssd300-shapes"].replace(batch_size=8, steps=None).batch_size
        8
        """
        return dataclasses.replace(self, **{k: v for k, v in changes.items() if v is not None})

    def with_steps(self, steps: int | None) -> Recipe:
        """The recipe with another number of steps, its drops at the same fractions of them; `None` changes nothing.

        >>> from keras_det.training import RECIPES
        >>> RECIPES["ssd300-voc0712"].with_steps(1200).lr_milestones
        (800, 1000)
        """
        if steps is None:
            return self
        return self.replace(
            steps=steps, lr_milestones=tuple(lr_gamma * steps // self.steps for lr_gamma in self.lr_milestones)
        )

    def batch_options(self, model: Network) -> dict[str, Any]:
        """Arguments of `model.batches` for training.

        Raises:
            ValueError: a `supervision` or an `augment` that the model does not have.
        """
        options = {"augment": self._augmentation(model)}
        if self.supervision is None:
            return options
        if self.supervision not in model.supervisions:
            known = f"must be one of {', '.join(model.supervisions)}" if model.supervisions else "means nothing"
            raise ValueError(f"`supervision` {known} for {type(model).__name__}; got {self.supervision!r}.")
        return options | {"supervision": self.supervision}

    def _augmentation(self, model):
        """What `model.batches` takes as `augment`."""
        if not isinstance(self.augment, str):
            return self.augment
        if self.augment not in AUGMENTATIONS:
            raise ValueError(f"`augment` must be a bool or one of {', '.join(AUGMENTATIONS)}; got {self.augment!r}.")
        if self.augment == "none":
            return False
        from keras_det.data import HorizontalFlip, SSDAugmentation

        if not isinstance(model.augmentation(), HorizontalFlip | SSDAugmentation):
            raise ValueError(f"`augment` must be none for {type(model).__name__}, whose samples are crops of its own.")
        return {"flip": HorizontalFlip, "ssd": SSDAugmentation}[self.augment](model.image_size, resize=model.resize)

    def command(self, name: str) -> str:
        """The command that trains the recipe of this name, of this package's recipes."""
        weights = f" --weights runs/{self.init_from}/best.weights.h5" if self.init_from else ""
        return f"keras-det train --recipe {name}{weights} --out runs/{name}"

    @property
    def gpu_hours(self) -> float | None:
        """An estimate of the hours on one GPU, or `None` where `gflops` is not known.

        Three forward passes' operations for each sample, two for a multiply-add, at `SUSTAINED` operations a second.
        """
        if self.gflops is None:
            return None
        return 3 * 2 * self.gflops * 1e9 * self.batch_size * self.steps / SUSTAINED / 3600

    @contextlib.contextmanager
    def policy(self) -> Iterator[None]:
        """The context in which the recipe's model is to be built: layers take Keras's dtype policy from it.

        Raises:
            ValueError: a `precision` that is none of the three.
        """
        if self.precision not in PRECISIONS:
            raise ValueError(f"`precision` must be one of {', '.join(PRECISIONS)}; got {self.precision!r}.")
        import keras

        before = keras.config.dtype_policy()
        keras.config.set_dtype_policy(self.precision)
        try:
            yield
        finally:
            keras.config.set_dtype_policy(before)

    def build_optimizer(self, replicas: int = 1) -> keras.optimizers.Optimizer:
        """The Keras optimizer with its learning rate schedule, for a number of replicas."""
        import keras

        from keras_det.optimizers import CaffeSGD

        config = dict(self.optimizer)
        name = config.pop("class_name")
        rate = self.learning_rate * (replicas if self.scale_learning_rate else 1)
        config["learning_rate"] = self.build_schedule(rate)
        if self.accumulate > 1:
            config["gradient_accumulation_steps"] = self.accumulate
        if self.clip_norm is not None:  # Keras takes one way of clipping
            config = {k: v for k, v in config.items() if k not in ("clipnorm", "clipvalue")}
            config["global_clipnorm"] = self.clip_norm
        if self.ema:
            config |= {"use_ema": True, "ema_momentum": self.ema}
        own = {CaffeSGD.__name__: CaffeSGD}
        return keras.optimizers.deserialize({"class_name": name, "config": config}, custom_objects=own)

    def build_schedule(self, rate: float) -> float | keras.optimizers.schedules.LearningRateSchedule:
        """Learning rate against the number of updates: of steps, where no gradients are accumulated; or the rate alone.

        Args:
            rate: highest learning rate.

        Raises:
            ValueError: a `schedule` that is none of the three.
        """
        from keras.optimizers import schedules

        from keras_det.optimizers import WarmUp

        steps, warmup, *lr_milestones = (
            count // self.accumulate for count in (self.steps, self.warmup, *self._milestones())
        )
        if self.schedule == "cosine":
            decay = max(steps - warmup, 1)
            if not warmup:
                return schedules.CosineDecay(rate, decay, alpha=0.01)
            return schedules.CosineDecay(0.0, decay, alpha=0.01, warmup_target=rate, warmup_steps=warmup)
        if self.schedule == "step":
            decay = schedules.PiecewiseConstantDecay(
                lr_milestones, [rate * self.lr_gamma**k for k in range(len(lr_milestones) + 1)]
            )
            return WarmUp(decay, warmup) if warmup else decay
        if self.schedule == "constant":
            return WarmUp(rate, warmup) if warmup else rate
        raise ValueError(f"`schedule` must be 'cosine', 'step' or 'constant'; got {self.schedule!r}.")

    def _milestones(self):
        """The drops, or where none are given, those of SSD's section 3.1 relative to the steps."""
        return self.lr_milestones or (self.steps * 2 // 3, self.steps * 5 // 6)
