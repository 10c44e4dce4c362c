import json

from keras_det.weights import describe, entries, get, zoo_table


def test_every_entry_is_a_row():
    header, rule, *rows = zoo_table().splitlines()
    assert len({line.count("|") for line in (header, rule, *rows)}) == 1
    for entry, row in zip(entries(), rows, strict=True):
        assert row.startswith(f"| `{entry.model}` | ") and f"`{entry.name}`" in row
        assert f"{entry.parameters:,}" in row and entry.license in row


def test_unused_classes_are_not_counted():
    row = next(line for line in zoo_table().splitlines() if line.startswith("| `SSDLite320`"))
    assert row.split(" | ")[2:7] == [
        "80",
        "COCO train2017",
        f"[0.213]({get('SSDLite320', 'coco').reported.source}) mAP@[.5:.95], COCO val2017",
        "3,440,060",
        "0.583",
    ]


def test_json():
    for entry in entries():
        described = json.loads(json.dumps(describe(entry)))
        assert described["model"] == entry.model and described["source"] == entry.source
        assert described["classes"] == list(entry.classes)
    described = describe(get("SSD300", "voc"))
    assert described["integrity"] == {"kind": "git_blob", "digest": "1650a2ddbcb51351af4ad70ffe7a879301f5fdfe"}
    assert described["converter"] == "SSD-Tensorflow"
    assert described["constructor_arguments"]["box_scales"] == "coco"
    assert describe(get("SSD512", "voc"))["integrity"] is None
