"""What the documentation takes from the repository: tables from registry and measurements, notebooks as pages, links.

Pages are Markdown with two additions. A line `<!-- table: NAME -->` becomes one of `TABLES`. Links may lead out of
`docs`, to files of the repository: the site gets a copy. Pure functions; `hooks.py` gives them to MkDocs.
"""

import base64
import json
import posixpath
import re
from pathlib import Path

from keras_det.weights import zoo_table

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
RESULTS = ROOT / "benchmarks/results"
LINK = re.compile(r"(?<=\]\()(?!https?:|mailto:|#)([^)\s#]+)(#[^)\s]*)?(?=\))")
CODE = re.compile(r"(^```.*?^```$|`[^`\n]+`)", flags=re.S | re.M)

# What each result file shows: the claim, where its figure stands in the file, and how it is written.
MEASURED = (
    ("SSD300 on rendered scenes, mAP@0.5", "ssd_shapes", "held_out/map50", "{:.3f}"),
    ("SSD300 on rendered scenes, COCO's AP", "ssd_shapes", "held_out/AP", "{:.3f}"),
    ("SSD300 on blood cells, from scratch on 205 images, mAP@0.5", "ssd_bccd", "test/map50", "{:.3f}"),
    ("Fine-tuning on scenes for 100 steps, mAP@0.5", "finetune", "shapes/from_weights_shapes", "{:.3f}"),
    ("The same 100 steps from scratch", "finetune", "shapes/from_scratch", "{:.3f}"),
    ("DetectorNet on rendered scenes, mAP@0.5", "detectornet_shapes", "refined/map50", "{:.3f}"),
    ("The same without refinement", "detectornet_shapes", "first_stage/map50", "{:.3f}"),
    ("Touching objects both found, five masks", "detectornet_shapes", "touching_pairs/five masks/both_found", "{:.2f}"),
    ("The same with the full mask alone", "detectornet_shapes", "touching_pairs/full mask alone/both_found", "{:.2f}"),
    (
        "DetectorNet's baseline after two rounds of hard negatives, mAP@0.5",
        "sliding_windows",
        "rows/sliding windows, 2 rounds of hard negatives/map50",
        "{:.3f}",
    ),
    ("OverFeat on rendered scenes, mAP@0.5 with the greedy merge", "overfeat_shapes", "held_out/map50_merge", "{:.3f}"),
    ("The same with suppression", "overfeat_shapes", "held_out/map50_nms", "{:.3f}"),
    ("OverFeat, top-1 on scenes of one object", "overfeat_shapes", "held_out/top1", "{:.3f}"),
    ("MultiBox, objects found with 10 boxes", "multibox_shapes", "held_out/detection_rate@10", "{:.3f}"),
    ("Its priors alone, objects found with 10 boxes", "multibox_shapes", "detection_rate/its priors/@10", "{:.3f}"),
    (
        "ClassGeneric, area under the class-agnostic curve",
        "class_generic_shapes",
        "embedded/all scenes/pr_auc",
        "{:.3f}",
    ),
    ("Whole path beside the bare network, batch 1", "inference", "batch 1/whole path/ratio", "{:.3f} times"),
    ("Decoding and suppression at 8732 boxes", "inference", "decode and suppression/ms", "{:.1f} ms"),
    ("Assignment beside the network's passes", "matching", "fraction/prior matching", "{:.2%}"),
    ("DetectorNet's box search beside direct sums", "box_search", "times_faster_than_direct", "{:.0f} times faster"),
    ("OverFeat dense beside a crop a window", "dense", "accurate/time_ratio", "{:.0f} times faster"),
    ("COCO engine beside pycocotools", "metrics", "times_faster", "{:.1f} times faster"),
    ("A real detector on the whole of VOC2007 test", "voc2007_analysis", "seconds_in_all", "{:.1f} s"),
)


def figure(name, place):
    """A figure of a result file: keys with slashes between them, `~` for a slash within a key; a list's is its mean."""
    value = read(name).get("metrics") or read(name)
    for key in place.replace(" ~ ", "\0").split("/"):
        value = value[key.replace("\0", " / ")]
    return sum(value) / len(value) if isinstance(value, list) else value


def read(name):
    """A result file."""
    return json.loads((RESULTS / f"{name}.json").read_text())


def measured_table():
    """Claims with their metrics as they stand in the result files; what has no file yet is left out."""
    rows = ["| what | measured | file |", "| --- | --- | --- |"]
    for what, name, place, template in MEASURED:
        if (RESULTS / f"{name}.json").is_file():
            rows.append(f"| {what} | {template.format(figure(name, place))} | {_result(name)} |")
    return "\n".join(rows)


def files_table():
    """Every result file with the command that writes it."""
    rows = ["| file | command | TensorFlow | Keras |", "| --- | --- | --- | --- |"]
    for path in sorted(RESULTS.glob("*.json")):
        content = read(path.stem)
        versions = content.get("versions", {})
        cells = _result(path.stem), f"`{content['command'].strip()}`", versions.get("tensorflow"), versions.get("keras")
        rows.append(f"| {' | '.join(cell or '' for cell in cells)} |")
    return "\n".join(rows)


def _result(name):
    return f"[{name}.json](../benchmarks/results/{name}.json)"


def site_zoo_table():
    """`zoo_table`, whose links are relative to the repository, for a page in `docs`."""
    return zoo_table().replace("](benchmarks/", "](../benchmarks/")


TABLES = {"zoo": site_zoo_table, "measured": measured_table, "files": files_table}


def expand(text):
    """The page with its tables."""
    return re.sub(r"^<!-- table: (\w+) -->$", lambda match: TABLES[match[1]]().rstrip(), text, flags=re.M)


def notebook_page(path):
    """A notebook as Markdown, and its images: a dict from file name to bytes."""
    parts, images = [], {}
    for cell in json.loads(path.read_text())["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
            continue
        parts.append(f"```python\n{source}\n```")
        for output in cell["outputs"]:
            data = output.get("data", {})
            kind = next((k for k in ("image/jpeg", "image/png") if k in data), None)
            if kind:
                name = f"{path.stem}-{len(images)}.{kind.removeprefix('image/')}"
                images[name] = base64.b64decode("".join(data[kind]))
                parts.append(f"![output]({name})")
            elif "text" in output and output.get("name") == "stdout":
                parts.append(f"```text\n{''.join(output['text']).rstrip()}\n```")
    return "\n\n".join(parts) + "\n", images


def repository_links(text):
    """Relative links of a page, without their anchors; code is not looked at."""
    return [match[1] for match in LINK.finditer(CODE.sub("", text))]


def broken_links(text, path):
    """Relative links of a file's text that lead nowhere."""
    return [link for link in repository_links(text) if not (path.parent / link).resolve().exists()]


def rewrite_links(text, source, page):
    """Links out of `docs` as links within the site.

    Args:
        text: Markdown.
        source: the file that it comes from, to which its links are relative.
        page: place of the page in the site, such as `notebooks/01_detect.md`.

    Returns:
        The text, and the files that the site needs: a dict from the place in the site to the path.
    """
    needed = {}

    def place(match):
        target, anchor = (source.parent / match[1]).resolve(), match[2] or ""
        if not target.exists():  # an image of a notebook's output, which the site has beside the page
            return match[0]
        if target.suffix == ".ipynb":
            inside = f"notebooks/{target.stem}.md"
        elif target.is_relative_to(DOCS):
            inside = target.relative_to(DOCS).as_posix()
        else:
            target = target / "README.md" if target.is_dir() else target
            ending = ".txt" if target.suffix in (".md", ".py") else ""  # shown as it is, not rendered
            inside = f"files/{target.relative_to(ROOT).as_posix()}{ending}"
            needed[inside], anchor = target, ""
        return posixpath.relpath(inside, posixpath.dirname(page) or ".") + anchor

    parts = CODE.split(text)  # code, at the odd places, stays as it is
    return "".join(part if i % 2 else LINK.sub(place, part) for i, part in enumerate(parts)), needed
