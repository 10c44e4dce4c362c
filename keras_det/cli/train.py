"""`keras-det train`."""

import dataclasses
import json
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from keras_det.cli import zoo
from keras_det.cli.checks import check_folder, check_network, model_of
from keras_det.cli.networks import load_network, load_tensorflow
from keras_det.cli.options import SOURCES, Backbone, Json, Split, reads_data
from keras_det.cli.printing import error_console, print_columns, print_issues, print_json
from keras_det.cli.sources import class_names, load_source
from keras_det.cli.wording import naming
from keras_det.suggestions import did_you_mean


@reads_data
def train(
    model: Annotated[
        str | None, typer.Option("--model", help="Detector; default: the recipe's, of `finetune` that of the weights.")
    ] = None,
    data: Annotated[str | None, typer.Option("--data", help=f"{SOURCES}. Default: the recipe's.")] = None,
    split: Split = None,
    val_data: Annotated[str | None, typer.Option("--val-data", help="Data to evaluate on; default: --data.")] = None,
    val_split: Annotated[str | None, typer.Option("--val-split", help="Split to evaluate on.")] = None,
    validation_fraction: Annotated[
        float | None,
        typer.Option(
            "--validation-fraction",
            min=0.0,
            max=1.0,
            help="Fraction of the training images, drawn at random, to evaluate on instead of training on.",
        ),
    ] = None,
    recipe: Annotated[str, typer.Option("--recipe", help="Named recipe, see --list-recipes.")] = "finetune",
    weights: Annotated[str | None, typer.Option("--weights", help="Start from these weights.")] = None,
    backbone: Backbone = None,
    backbone_weights: Annotated[
        Literal["imagenet"] | None,
        typer.Option("--backbone-weights", help="Start the backbone from a network trained on ImageNet."),
    ] = None,
    augment: Annotated[
        Literal["none", "flip", "ssd"] | None,
        typer.Option("--augment", help="Augmentation of the training images; default: the recipe's, as the paper's."),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="Constructor argument of the model, such as boxes=200 or matching=predictions; may be repeated.",
        ),
    ] = None,
    strategy: Annotated[
        Literal["none", "mirrored", "multiworker", "tpu"],
        typer.Option("--strategy", help="What trains together; mirrored: all GPUs of the machine."),
    ] = "none",
    precision: Annotated[
        Literal["float32", "mixed_bfloat16", "mixed_float16"] | None,
        typer.Option("--precision", help="Precision of the layers' arithmetic; default: the recipe's."),
    ] = None,
    jit_compile: Annotated[bool | None, typer.Option("--jit-compile", help="Compile the step with XLA.")] = None,
    accumulate: Annotated[
        int | None, typer.Option("--accumulate", min=1, help="Gradient accumulation: steps per update.")
    ] = None,
    clip_norm: Annotated[
        float | None, typer.Option("--clip-norm", min=0.0, help="Clip the gradient's global norm.")
    ] = None,
    ema: Annotated[
        float | None,
        typer.Option("--ema", min=0.0, max=1.0, help="Momentum of the weights' moving average, such as 0.999."),
    ] = None,
    schedule: Annotated[
        Literal["cosine", "step", "constant"] | None,
        typer.Option("--schedule", help="Learning rate schedule; default: the recipe's."),
    ] = None,
    warmup: Annotated[int | None, typer.Option("--warmup", min=0, help="Steps of linear warm-up.")] = None,
    scale_learning_rate: Annotated[
        bool | None, typer.Option("--scale-learning-rate", help="Multiply the learning rate by the replicas.")
    ] = None,
    by_class: Annotated[
        bool | None, typer.Option("--by-class", help="Train detectornet class by class, a run in --out for each.")
    ] = None,
    mining_rounds: Annotated[
        int | None, typer.Option("--mining-rounds", min=1, help="Rounds of hard negative mining of sliding_windows.")
    ] = None,
    supervision: Annotated[
        Literal["boxes", "classes", "both"] | None,
        typer.Option("--supervision", help="Labels that train class_generic."),
    ] = None,
    without_classes: Annotated[
        str | None,
        typer.Option(
            "--without-classes",
            help="Leave out training images that show these classes: names with commas, or how many at random.",
        ),
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="Folder of the run.")] = Path("runs/train"),
    resume: Annotated[bool, typer.Option("--resume", help="Resume the run in --out.")] = False,
    save_every: Annotated[
        int | None, typer.Option("--save-every", min=1, help="Steps between checkpoints within an epoch.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check data, shapes, weights and memory, print the plan, train nothing.")
    ] = False,
    steps: Annotated[
        int | None, typer.Option("--steps", min=1, help="Total training steps; the learning rate's milestones scale.")
    ] = None,
    epochs: Annotated[
        int | None, typer.Option("--epochs", min=1, help="In place of --steps: times through the training images.")
    ] = None,
    patience: Annotated[
        int | None,
        typer.Option("--patience", min=1, help="End after so many evaluations in a row that bring nothing better."),
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option("--batch-size", min=1, help="Global batch size: images per step, over all replicas.")
    ] = None,
    learning_rate: Annotated[float | None, typer.Option("--learning-rate", min=0.0, help="Peak learning rate.")] = None,
    images: Annotated[int | None, typer.Option("--images", min=1, help="Train on the first N images.")] = None,
    seed: Annotated[int | None, typer.Option("--seed", min=0, help="Random seed; default: the recipe's.")] = None,
    list_recipes: Annotated[
        bool, typer.Option("--list-recipes", help="Print the recipes to begin with, or with --all every one, and stop.")
    ] = False,
    all_recipes: Annotated[
        bool, typer.Option("--all", help="With --list-recipes: all of the papers, with score, cost and command.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Train a detector; the run's folder gets metrics, curves, images and weights."""
    from keras_det import data as sources
    from keras_det import training

    if list_recipes:
        _print_recipes(training.RECIPES) if all_recipes else _print_starts()
        return
    if recipe not in training.RECIPES:
        raise ValueError(
            "--recipe must be one of those that `keras-det train --list-recipes --all` names; "
            f"got {recipe!r}{did_you_mean(recipe, training.RECIPES)}"
        )
    plan = training.RECIPES[recipe]
    if model is None and recipe == "finetune":
        model = model_of(None, weights, plan.model)
    same_data = data is None or data == plan.data
    if not same_data:  # the splits of a recipe are those of its own data
        plan = dataclasses.replace(plan, split=None, val_split=None)
    plan = plan.with_steps(steps).replace(
        model=model,
        data=data,
        split=split,
        val_split=val_split,
        validation_split=validation_fraction,
        augment=augment,
        patience=patience,
        batch_size=batch_size,
        learning_rate=learning_rate,
        save_every=save_every,
        precision=precision,
        jit_compile=jit_compile,
        accumulate=accumulate,
        clip_norm=clip_norm,
        ema=ema,
        schedule=schedule,
        warmup=warmup,
        scale_learning_rate=scale_learning_rate,
        by_class=by_class,
        mining_rounds=mining_rounds,
        supervision=supervision,
        without_classes=class_names(without_classes),
    )
    if plan.by_class and plan.model != "detectornet":
        raise ValueError(f"--by-class trains detectornet, whose classes have networks of their own; not {plan.model}.")
    if plan.mining_rounds and plan.model != "sliding_windows":
        raise ValueError(f"--mining-rounds trains the classifier of sliding_windows; not {plan.model}.")
    several = plan.by_class or plan.mining_rounds  # trainings, of which those to come start from it, too
    if plan.init_from and weights is None and (several or not resume):
        raise ValueError(f"--recipe {recipe} starts from a trained network: {plan.command(recipe)}")
    check_network(plan.model, weights)
    if backbone is not None and backbone not in zoo.BACKBONES:
        hint = did_you_mean(backbone, zoo.BACKBONES)
        raise ValueError(f"--backbone must be one of {', '.join(zoo.BACKBONES)}; got {backbone!r}{hint}")
    own_settings = _settings(settings or (), zoo.get(plan.model))
    if backbone_weights is not None:
        if weights is not None:
            raise ValueError("--backbone-weights starts a network that has no weights yet: leave out --weights, or it.")
        if "backbone_weights" not in zoo.get(plan.model).arguments:
            raise ValueError(f"--backbone-weights: {plan.model} has no backbone that was trained on ImageNet.")
        own_settings |= {"backbone_weights": backbone_weights}
    if epochs is not None and steps is not None:
        raise ValueError("--epochs and --steps both say how long to train: leave out one.")
    if validation_fraction is not None and not 0 < validation_fraction < 1:
        raise ValueError(f"--validation-fraction must be between 0 and 1; got {validation_fraction:g}.")
    if validation_fraction is not None and (val_data or val_split):
        raise ValueError(
            "--validation-fraction is of the training images: leave out --val-data and --val-split, or it."
        )
    if not dry_run and strategy != "multiworker":  # whose other machines write elsewhere
        _check_run(out, resume, plan)
    seed = plan.seed if seed is None else seed
    source = load_source(plan.data, plan.split, None, images, plan.data_options if same_data else {})
    if not source.classes:
        raise ValueError(f"--data must have classes of objects to train on; {source.name} has none.")
    source, val_source = _sources(plan, val_data, same_data, source, seed)
    if epochs is not None:
        plan = plan.with_steps(epochs * max(len(source) // plan.batch_size, 1))
    for each in (source, val_source) if val_source else (source,):
        print_issues(each)
    if plan.without_classes:
        with naming(classes="--without-classes"):
            source = sources.images_without(source, plan.without_classes)
    load_tensorflow()
    import keras

    from keras_det import models
    from keras_det.models import pretrained
    from keras_det.training import detectornet, mining, strategies

    keras.utils.set_random_seed(seed)
    options_of = {name: f"--set {name}" for name in own_settings}
    options_of |= {"backbone": "--backbone", "backbone_weights": "--backbone-weights"}
    with plan.policy(), strategies.scope(strategy), naming(**options_of):
        arguments = plan.config if weights is None or plan.init_from else {}
        if left_out := plan.config.keys() - arguments.keys() - {"backbone", "backbone_weights"}:
            error_console.print(
                f"--weights bring their own arguments; of the recipe's {', '.join(sorted(left_out))} are left out",
                highlight=False,
            )
        if weights is not None or backbone == "tiny":  # which has none
            arguments = {name: value for name, value in arguments.items() if name != "backbone_weights"}
        if backbone is not None:
            arguments = arguments | {"backbone": backbone}
        arguments = arguments | own_settings
        if weights is None or pretrained.holds_classifier(weights):
            arguments = models.get(plan.model).fit_config(arguments, source, plan.augment, seed)

        def build(*classes):
            return load_network(plan.model, weights, classes=classes, **arguments)

        if dry_run:
            network = build(*source.classes[:1] if plan.by_class else source.classes)
            own = _of_first_class(source, plan, network)
            _print_plan(training.plan(network, plan, own, val_source, seed, measure=True), as_json)
            return
        options = {"seed": seed, "resume": resume, "verbose": 0 if as_json else "auto"}
        if plan.by_class:
            rows = detectornet.train_by_class(build, plan, source, out, val_source, **options)
        else:
            network = build(*source.classes)
            plan.batch_options(network)  # refused before a word is said
            if not resume:
                _print_start(network, plan, source, val_source)
            run = mining.train_in_rounds if plan.mining_rounds else training.train
            rows = run(network, plan, source, out, val_source, **options)
    if as_json:
        print_json({"out": str(out), "epochs": rows})
    elif plan.by_class:
        Console(soft_wrap=True).print(
            f"Trained {len(rows)} classes. `keras-det detectornet assemble {out} --out {out}.weights.h5` joins them."
        )
    elif plan.mining_rounds:
        Console(soft_wrap=True).print(f"Each round is a run in [bold]{out}[/bold], beside the windows that were mined.")
    else:
        _print_end(rows, plan, out, val_data)


def _print_start(network, plan, source, val_source):
    """Where the training starts and what it sees, on stderr."""
    from keras_det.backbones import BACKBONES
    from keras_det.models.network import RANDOM

    val = f"{len(val_source)} images of {val_source.name}" if val_source is not None else "none"
    seen = f"{len(source)} images of {source.name}, {plan.steps:,} steps of {plan.batch_size}; validation: {val}"
    error_console.print(escape(f"{plan.model} from {network.starts_from}: {seen}"), highlight=False)
    entry = BACKBONES.get(network.config.to_dict().get("backbone"))
    if network.starts_from == RANDOM and entry is not None and entry.imagenet is not None:
        error_console.print(
            f"[yellow]{network.config.backbone} starts at random;[/yellow] "
            "--backbone-weights imagenet starts it from a network trained on ImageNet, --weights from a detector",
            highlight=False,
        )


def _print_end(rows, plan, out, val_data):
    """The best epoch, its file, and the commands that come next."""
    from keras_det.training.run import best_row

    console, file = Console(soft_wrap=True, highlight=False), out / "best.weights.h5"
    if rows:
        name, row = best_row(rows, plan)
        kept = "last" if plan.keep == "last" else "best"
        console.print(escape(f"{kept} {name} {row[name]:.4g}, epoch {row['epoch']} of {rows[-1]['epoch']}: {file}"))
    console.print(escape(f"curves.png, samples.png, detections.png and results.csv are in {out}"))
    split = f" --split {plan.val_split}" if plan.val_split else ""
    if zoo.get(plan.model).is_detector and plan.data != "shapes":
        data = "IMAGES_NOT_TRAINED_ON" if plan.validation_split else val_data or plan.data
        console.print(escape(f"  keras-det evaluate --weights {file} --data {data}{split} --report {out / 'report'}"))
    if zoo.get(plan.model).is_detector:
        console.print(escape(f"  keras-det detect IMAGES --weights {file} --out {out / 'drawn'}"))


def _settings(texts, model):
    """Constructor arguments of `--set NAME=VALUE`: values are JSON, or text where they are not."""
    found = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise ValueError(f"--set must be NAME=VALUE, such as boxes=200; got {text!r}.")
        if name not in model.arguments:
            hint = did_you_mean(name, model.arguments)
            raise ValueError(
                f"--set {name}: {model.name} has no such argument, only {', '.join(model.arguments)}{hint}"
            )
        try:
            found[name] = json.loads(value)
        except json.JSONDecodeError:
            found[name] = value
    return found


def _sources(plan, val_data, same_data, source, seed):
    """What is trained on, and what is evaluated on, if anything: no image is in both."""
    from keras_det import training

    val_source = _val_source(plan, val_data, same_data)
    if val_source is None and plan.validation_split:
        return training.validation_split(source, plan.validation_split, seed)
    if val_source is None:
        error_console.print(
            "no validation: --val-split, --val-data or --validation-fraction choose the best weights by other images",
            highlight=False,
        )
        return source, None
    others = source.without(val_source)
    if not len(others):
        raise ValueError(
            "--val-split must not name all images of --split; --validation-fraction 0.2 holds a fifth of them out."
        )
    if len(others) < len(source):
        left_out = f"{len(source) - len(others)} images that are evaluated on are left out of training"
        error_console.print(escape(f"{left_out}: {len(others)} remain"), highlight=False)
    return others, val_source


def _val_source(plan, val_data, same_data):
    """What training evaluates on, if anything."""
    if val_data is None and plan.val_split is None and plan.data != "shapes":
        return None
    options = plan.val_options if same_data else {}
    if plan.data == "shapes" and not options:
        options = {"images": 100, "seed": 1_000_000}
    names = "--val-data", "--val-split"
    return load_source(val_data or plan.data, plan.val_split, None, None, options, names)


def _check_run(out, resume, plan):
    """Refuse a folder whose run another would replace, or one without the run to resume."""
    from keras_det.training.recipe import LAST

    check_folder(out)
    if plan.by_class or plan.mining_rounds:  # their runs are in folders of their own
        return
    there = (out / LAST).exists()
    if there and not resume:
        raise FileExistsError(f"--out: {out} holds a run already; pass --resume to resume it, or name another folder.")
    if resume and not there:
        raise FileNotFoundError(f"--resume: there is no run to resume in {out}, {LAST} is missing.")


def _of_first_class(source, plan, network):
    """What the first training sees: where classes have trainings of their own, the first one's images."""
    if not plan.by_class:
        return source
    from keras_det.training import detectornet

    return detectornet.of_one_class(source, network.classes[0], network.config.negative_fraction)


def _print_starts():
    """The recipes to begin with, one a line."""
    from keras_det.training.recipes import RECIPES, STARTS

    print_columns([(name, purpose) for name, purpose in STARTS.items()])
    print(f"\nAll {len(RECIPES)}, with score, cost and command: keras-det train --list-recipes --all")


def _print_recipes(recipes):
    console = Console(highlight=False, soft_wrap=True)
    for name, recipe in recipes.items():
        console.print(f"[bold]{name}[/bold]: {recipe.model} on {recipe.data}, {recipe.steps:,} steps", end="")
        console.print(f" of {recipe.batch_size} images. {escape(recipe.description)}")
        if recipe.expected:
            console.print(f"  to expect, by the paper: {escape(recipe.expected)}")
        if recipe.gpu_hours is not None:
            console.print(f"  about {recipe.gpu_hours:.0f} GPU hours, by its operations at 40e12 a second")
        console.print(f"  {recipe.command(name)}")


def _print_plan(plan, as_json):
    """What `--dry-run` found, in lines or as JSON."""
    if as_json:
        print_json(plan)
        return
    table = Table("", "", show_header=False, title="plan; nothing was trained")
    if "process_memory" in plan:
        plan["memory of this process in MB, measured"] = plan.pop("process_memory")
    rates, memory = plan.pop("learning_rates"), plan.pop("memory")
    for name, value in plan.items():
        shown = ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else value
        table.add_row(name, escape(f"{shown:,.3g}" if isinstance(shown, float) else f"{shown}"))
    table.add_row("learning rates", ", ".join(f"{rate:.3g} at step {step:,}" for step, rate in rates))
    table.add_row(
        "memory of a step in MB, counted", ", ".join(f"{name} {value:,.0f}" for name, value in memory.items())
    )
    Console().print(table)
