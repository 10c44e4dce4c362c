"""`keras-det data`: what --data takes."""

from keras_det.cli.options import Json
from keras_det.cli.printing import print_columns, print_json

FORMS = {
    "shapes": ("rendered scenes; no files at all", "none; --seed draws others"),
    "folder:FOLDER": ("images with VOC XML beside them, or in VOC's folders", "train, val; train+val"),
    "voc:DEVKIT": ("Pascal VOC as it is distributed", "2007_test, 2007_trainval+2012_trainval"),
    "coco:FOLDER": ("COCO's JSON and images, also Roboflow's, CVAT's and Label Studio's", "train2017, val2017; train"),
    "coco:FILE.json": ("one such JSON; --image-folder names its images' folder", "none"),
    "yolo:FOLDER": ("YOLO's text files with data.yaml, obj.data or classes.txt", "train, val, test"),
    "csv:FILE": ("a table of path, corners and label; Open Images', too", "values of its column split"),
    "images:FOLDER": ("images without annotations, to write results for", "none"),
    "ilsvrc:FOLDER": ("ILSVRC's data for detection and localization", "DET/train+DET/val1, CLS-LOC/train_loc"),
    "tfds:NAME": ("a TensorFlow data set with objects, such as voc/2007", "train+validation"),
}


def data(as_json: Json = False) -> None:
    """List what --data takes, and which --split goes with it."""
    if as_json:
        print_json([{"data": form, "reads": reads, "splits": splits} for form, (reads, splits) in FORMS.items()])
        return
    print_columns([(f"--data {form}", reads, f"--split: {splits}") for form, (reads, splits) in FORMS.items()])
