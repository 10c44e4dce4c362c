"""Pascal VOC: a VOCdevkit folder, and the reader of its XML files that plain folders share."""

from __future__ import annotations

import codecs
import contextlib
import dataclasses
import math
import os
import re
from collections.abc import Sequence
from xml.etree.ElementTree import Element, ParseError

import numpy as np
from defusedxml import ElementTree

from keras_det.data.numbers import real
from keras_det.data.source import (
    AnnotatedFiles,
    Annotation,
    AnnotationIssue,
    check_missing,
    find_frame,
    pixel_areas,
    without_objects,
)
from keras_det.suggestions import did_you_mean
from keras_det.weights.registry import VOC_CLASSES

MAX_XML_BYTES = 4 * 2**20
"""The largest XML file that is read, in bytes."""

MAX_OBJECTS = 10_000
"""The most objects that one XML file may hold."""

_MAX_LIST_BYTES = 64 * 2**20
_SPLIT = re.compile(r"(\d{4})_([A-Za-z0-9][\w.-]*)")
_OF_CLASS = re.compile(r"\s(-1|\s[01])$")  # the lists of single classes have this behind each name
_WORDS = {"false": False, "no": False, "true": True, "yes": True}
_DECLARED = re.compile(rb"""<\?xml[^>]{0,100}encoding\s*=\s*["']([A-Za-z0-9._-]{1,40})["']""")
# Pairs of GBK, both bytes over ASCII: all of GB2312, but not Latin-1's accent with the letter behind it.
_PAIRS = re.compile(rb"(?:[\x00-\x7f]|[\x81-\xfe][\x80-\xfe])*")
_WIDE = ("gbk", "gb2312", "gb18030", "big5", "euc-jp", "shift_jis", "euc-kr", "cp949")  # that expat does not know


@dataclasses.dataclass(frozen=True)
class VocXml:
    """What one VOC XML file says.

    Attributes:
        size: Height and width in pixels, None where absent or no positive whole numbers.
        names: The class of each sound object.
        corners: `[n, 4]` float64 ymin, xmin, ymax, xmax: pixels counted from 1, the last ones inclusive.
        difficult: `[n]` bool.
        numbers: `[n]` int64, the objects' places in the file, from 0.
        issues: What is wrong with the text and with other objects.
    """

    size: tuple[int, int] | None
    names: tuple[str, ...]
    corners: np.ndarray
    difficult: np.ndarray
    numbers: np.ndarray
    issues: tuple[AnnotationIssue, ...]


def read_xml(file: str | os.PathLike) -> VocXml:
    """Reads a VOC XML file. Only `name`, `bndbox` and `difficult` of each object and the `size` are looked at.

    `difficult`, `size` and all other fields may be absent. File names in the file are not used at all. An object
    without a name or without four numbers as its box is left out, and a `difficult` of no known meaning counts as not
    difficult, with an `AnnotationIssue` each. Text that is not in the encoding that the file declares is read as UTF-8,
    GBK or Latin-1, the first that fits.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is no XML, declares entities, exceeds `MAX_XML_BYTES` or `MAX_OBJECTS`, or is no VOC
            annotation; names the file.
    """
    file = os.fspath(file)
    root, issues = _parse(file)
    if root.tag != "annotation":
        raise ValueError(f"{file}: expected the element <annotation>, got <{root.tag}>")
    objects = root.findall("object")
    if len(objects) > MAX_OBJECTS:
        raise ValueError(f"{file}: {len(objects)} objects, at most {MAX_OBJECTS} are read")
    rows = [(number, *_read_object(element)) for number, element in enumerate(objects)]
    issues += [AnnotationIssue(file, number, issue, "dropped") for number, *_, issue in rows if issue]
    rows = [row for row in rows if not row[-1]]
    unclear = "<difficult> is {!r}, which is taken as not difficult"
    issues += [
        AnnotationIssue(file, n, unclear.format(flag[:40]), "corrected")
        for n, _, _, flag, _ in rows
        if flag_of(flag) is None
    ]
    return VocXml(
        size=_read_size(root),
        names=tuple(row[1] for row in rows),
        corners=np.array([row[2] for row in rows], np.float64).reshape(-1, 4),
        difficult=np.array([bool(flag_of(row[3])) for row in rows], bool),
        numbers=np.array([row[0] for row in rows], np.int64),
        issues=tuple(issues),
    )


def _parse(file: str) -> tuple[Element, list[AnnotationIssue]]:
    """The root of the XML file, within the bounds, and what is wrong with its encoding."""
    if not os.path.isfile(file):
        raise FileNotFoundError(f"there is no annotation {file}")
    if os.path.getsize(file) > MAX_XML_BYTES:
        raise ValueError(f"{file}: {os.path.getsize(file)} bytes, at most {MAX_XML_BYTES} are read")
    with open(file, "rb") as stream:
        content = stream.read()
    try:
        return ElementTree.fromstring(content), []
    except (ParseError, ValueError, LookupError) as error:
        said = _DECLARED.match(content)
        said = said[1].decode().lower() if said else "utf-8"
        text, encoding = decode(content, said if said in _WIDE else "utf-8")
        if encoding == said == "utf-8":
            raise ValueError(f"{file}: cannot be read as XML: {error}") from error
    try:
        root = ElementTree.fromstring(text)
    except (ParseError, ValueError, LookupError) as error:
        raise ValueError(f"{file}: cannot be read as XML: {error}") from error
    if encoding == said:
        return root, []
    return root, [AnnotationIssue(file, None, f"the text is not {said}, and was read as {encoding}", "corrected")]


def decode(content: bytes, said: str = "utf-8") -> tuple[str, str]:
    """Text of an uncertain encoding, and the encoding: what is said if it fits, else GBK if it does, else Latin-1."""
    utf16 = ["utf-16"] if content[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else []
    gbk = ["gbk"] if _PAIRS.fullmatch(content) else []
    for encoding in (*utf16, said, *gbk):
        with contextlib.suppress(UnicodeDecodeError):
            return content.decode(encoding).removeprefix("\ufeff"), encoding
    return content.decode("latin-1"), "latin-1"


def _read_size(root: Element) -> tuple[int, int] | None:
    """Height and width as the file says, None where it does not say."""
    try:
        height, width = (float(root.findtext(f"size/{side}", "")) for side in ("height", "width"))
    except ValueError:
        return None
    whole = height.is_integer() and width.is_integer() and height > 0 and width > 0
    return (int(height), int(width)) if whole else None


def _read_object(element: Element) -> tuple[str, list[float | None], str, str]:
    """Name, corners and difficult flag of one object, and what is wrong with it, empty for nothing."""
    name = (element.findtext("name") or "").strip()
    # Only the object's own box: VOC's persons have parts (head, hand, foot) with boxes of theirs.
    texts = {side: element.findtext(f"bndbox/{side}") for side in ("ymin", "xmin", "ymax", "xmax")}
    corners = [_number(text) for text in texts.values()]
    issues = [] if name else ["expected a <name>, got none"]
    issues += [
        f"expected a number in <bndbox><{side}>, got {text and text[:40]!r}"
        for (side, text), corner in zip(texts.items(), corners)
        if corner is None
    ]
    return name, corners, (element.findtext("difficult") or "").strip(), next(iter(issues), "")


def _number(text: str | None) -> float | None:
    """The number of an element's text, which may be infinite or NaN, as a word too; None for no number."""
    try:
        return float(text)
    except (TypeError, ValueError):
        return None


def flag_of(text: str) -> bool | None:
    """What `<difficult>` says: a number or a word; nothing at all is no, and None is for what has no known meaning."""
    if not text:
        return False
    number = real(text)
    return _WORDS.get(text.lower()) if math.isnan(number) else number != 0


@dataclasses.dataclass(frozen=True)
class VocItem:
    """One image of a source in VOC's form: its name in the lists, its two files."""

    stem: str
    xml: str
    image: str


class VocFiles(AnnotatedFiles):
    """Images with a VOC XML file each: the common part of `Voc` and `Folder`.

    See `keras_det.data.source.find_frame` for the rule on sizes and orientations. An image that cannot be read is
    reported as `"skipped"`: its annotation then relies on the XML's size, and is empty when there is none. An image
    whose XML cannot be read is reported and left out like one that cannot be read itself.
    """

    first_pixel = 1  # as of `clean_boxes`

    def __init__(
        self,
        name: str,
        classes: Sequence[str],
        items: Sequence[VocItem],
        issues: Sequence[AnnotationIssue] = (),
        rescale_boxes: bool = False,
        annotated: bool = True,
    ):
        super().__init__(name, classes, issues)
        self._items = tuple(items)
        self._annotated = annotated
        self._label = {name: label for label, name in enumerate(self.classes)}
        self._rescale = rescale_boxes

    def __len__(self) -> int:
        return len(self._items)

    def _file(self, i: int) -> str:
        return self._items[i].image

    def _read(self, i: int) -> tuple[Annotation, list[AnnotationIssue]]:
        item = self._items[i]
        if not self._annotated:
            return without_objects(item.stem, item.image)
        try:
            xml = read_xml(item.xml)
        except (OSError, ValueError) as error:
            return self._leave_out(i, item.stem, item.xml, error)
        labels = self._labels(item.xml, xml)
        frame, issues = find_frame(item.image, xml.size, item.xml, rescale=self._rescale)
        height, width = frame.size
        if not height:
            return Annotation(item.stem, 0, 0, np.zeros((0, 4)), [], [], [], []), issues
        boxes, kept, of_boxes = frame.clean_boxes(xml.corners, item.xml, xml.numbers, self.first_pixel)
        area = pixel_areas(boxes, height, width)
        crowd = np.zeros(len(kept), bool)
        annotation = Annotation(
            item.stem, height, width, boxes, labels[kept], xml.difficult[kept], crowd, area, frame.orientation
        )
        return annotation, [*issues, *xml.issues, *of_boxes]

    def _labels(self, file: str, xml: VocXml) -> np.ndarray:
        """The labels of the objects' classes."""
        for number, name in zip(xml.numbers, xml.names):
            if name not in self._label:
                expected = ", ".join(self.classes)
                raise ValueError(f"{file}, object {number}: expected a class among {expected}, got {name!r}")
        return np.array([self._label[name] for name in xml.names], np.int32)


class Voc(VocFiles):
    """Pascal VOC as it is distributed: `VOCdevkit/VOC2007/{Annotations,ImageSets/Main,JPEGImages}`.

    Pixels are counted from 1 and inclusive, so that a box becomes `((ymin-1)/H, (xmin-1)/W, ymax/H, xmax/W)`.
    `image_id` is the file's stem. See `VocFiles` for the rule on sizes and `clean_boxes` for that on boxes.

    Args:
        root: The folder that holds `VOC2007`, `VOC2012` and so on.
        split: `<year>_<list>`, or the union of several: `"2007_trainval+2012_trainval"`. An image listed twice is
            taken once. None is for the message that says which there are.
        missing: What to do about listed images without a file or annotation: `"error"`, or `"skip"` to leave them
            out with an `AnnotationIssue` each.
        rescale_boxes: Scale boxes whose XML gives another size than the image has, instead of keeping their pixels.
        annotated: False for images without annotations, such as a challenge's test set, of which only results can be
            written: none is looked for.

    Raises:
        FileNotFoundError: no such folder or list, or images are missing (with their number and the first one).
        ValueError: a bad split or list.
    """

    def __init__(
        self,
        root: str | os.PathLike,
        split: str | None = None,
        missing: str = "error",
        rescale_boxes: bool = False,
        annotated: bool = True,
    ):
        items, issues = present(_listed_items(root, split), f"voc {split}", missing, annotated)
        super().__init__(f"voc {split}", VOC_CLASSES, items, issues, rescale_boxes, annotated)

    @classmethod
    def is_annotated(cls, root: str | os.PathLike, split: str | None = None) -> bool:
        """Whether any listed image has an annotation; arguments and errors as of the class."""
        return any(os.path.isfile(item.xml) for item in _listed_items(root, split))


def _listed_items(root: str | os.PathLike, split: str | None) -> list[VocItem]:
    """The images in the lists of a split, each once."""
    root = os.path.expanduser(os.fspath(root))
    items: list[VocItem] = []
    for year, name in _parse_split(root, split):
        folder = os.path.join(root, f"VOC{year}")
        if not os.path.isdir(folder):
            raise FileNotFoundError(f"there is no folder {folder}; {_splits_there(root, f'{year}_{name}')}")
        file = os.path.join(folder, "ImageSets", "Main", f"{name}.txt")
        if not os.path.isfile(file):
            raise FileNotFoundError(f"there is no list {file}; {_splits_there(root, f'{year}_{name}')}")
        stems = read_list(file)
        xml, images = (os.path.join(folder, part) for part in ("Annotations", "JPEGImages"))
        items += [VocItem(s, os.path.join(xml, f"{s}.xml"), os.path.join(images, f"{s}.jpg")) for s in stems]
    return list(dict.fromkeys(items))


def _parse_split(root: str, split: str | None) -> list[tuple[str, str]]:
    """Year and list of each part of the split."""
    if not os.path.isdir(root):
        raise FileNotFoundError(f"there is no folder {root}, expected one that holds VOC2007 or the like")
    parts = [_SPLIT.fullmatch(part.strip()) for part in (split or "").split("+")]
    sound = [part for part in parts if part]
    if len(sound) < len(parts):
        example = "'2007_test' or '2007_trainval+2012_trainval'"
        faulty = next(text for text, part in zip((split or "").split("+"), parts) if not part)
        raise ValueError(f"`split` must be like {example}; got {split!r}; {_splits_there(root, faulty)}")
    return [(part[1], part[2]) for part in sound]


def _splits_there(root: str, asked: str) -> str:
    """Says which lists of images the root has, and which one may be meant; not those of single classes (cat_train)."""
    found = []
    for folder in sorted(os.listdir(root)):
        lists = os.path.join(root, folder, "ImageSets", "Main")
        if re.fullmatch(r"VOC\d{4}", folder) and os.path.isdir(lists):
            names = sorted(name[:-4] for name in os.listdir(lists) if name.endswith(".txt"))
            found += [f"{folder[3:]}_{name}" for name in names if name.rpartition("_")[0] not in VOC_CLASSES]
    if not found:
        return f"{root} holds no VOC2007/ImageSets/Main or the like."
    return f"{root} has the splits {', '.join(found)}{did_you_mean(asked, found)}"


def read_list(file: str | os.PathLike) -> list[str]:
    """The names in an `ImageSets` list, one per line, in order and each once; UTF-8, GBK or Latin-1.

    A name may hold blanks. The lists of single classes, which have ` -1`, `  0` or `  1` behind each name, are refused.

    Raises:
        FileNotFoundError: there is no such list; names the lists beside it.
        ValueError: a line is not one plain file name (it could lead out of the folder).
    """
    file = os.fspath(file)
    if not os.path.isfile(file):
        folder = os.path.dirname(file)
        others = sorted(n[:-4] for n in os.listdir(folder) if n.endswith(".txt")) if os.path.isdir(folder) else []
        hint = did_you_mean(os.path.basename(file)[:-4], others)
        raise FileNotFoundError(f"there is no list {file}, found {', '.join(others) or 'none'}{hint}")
    if os.path.getsize(file) > _MAX_LIST_BYTES:
        raise ValueError(f"{file}: {os.path.getsize(file)} bytes, at most {_MAX_LIST_BYTES} are read")
    with open(file, "rb") as stream:
        lines = decode(stream.read())[0].splitlines()
    names = {}
    for number, line in enumerate(lines, 1):
        name = line.strip()
        if re.search(r"[/\\\0]", name) or name in (".", "..") or _OF_CLASS.search(name):
            raise ValueError(f"{file}, line {number}: expected the name of one image, got {name!r}")
        if name:
            names[name] = None
    return list(names)


def present(
    items: Sequence[VocItem], name: str, missing: str, annotated: bool = True
) -> tuple[list[VocItem], list[AnnotationIssue]]:
    """The items that have both their files, or their image alone where not `annotated`, and an issue for each other.

    Raises:
        ValueError: `missing` is neither `"error"` nor `"skip"`, two items share a name, or nothing is left.
        FileNotFoundError: items are missing and `missing` is `"error"`.
    """
    check_missing(missing)
    listed: dict[str, set[str]] = {}
    for folder in {os.path.dirname(file) for item in items for file in (item.xml, item.image)}:
        listed[folder] = set(os.listdir(folder)) if os.path.isdir(folder) else set()
    kept, issues, stems = [], [], set()
    for item in items:
        files = (item.image, item.xml) if annotated else (item.image,)
        absent = [f for f in files if os.path.basename(f) not in listed[os.path.dirname(f)]]
        if absent:
            issues.append(AnnotationIssue(absent[0], None, f"listed in {name}, but there is no such file", "skipped"))
            continue
        if item.stem in stems:
            raise ValueError(f"{name}: two images are called {item.stem}, names must be unique")
        stems.add(item.stem)
        kept.append(item)
    if issues and missing == "error":
        raise FileNotFoundError(
            f"{name}: {len(issues)} of {len(items)} images have no file or annotation, the first is "
            f"{issues[0].file}; --missing skip, or missing='skip', leaves them out"
        )
    if not kept:
        raise ValueError(f"{name}: none of the {len(items)} images is there")
    return kept, issues
