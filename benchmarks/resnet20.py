"""What the ResNet-20 benchmarks share: where the data is, and the two exported files.

The files come from ../shared/data/cifar10 (see docs/benchmarks.md); another folder of the same form can be given as
MPQ_ONNX_CIFAR10.
"""

from pathlib import Path

from shared_data import data_folder, require

import mpq_onnx

DATA = data_folder("MPQ_ONNX_CIFAR10", "cifar10")
OUTPUT = Path(__file__).resolve().parent / "output"
PREPROCESSING = "layout=nhwc&mean=0.485,0.456,0.406&std=0.229,0.224,0.225"
TRAIN, TEST = f"npz:{DATA / 'train.npz'}", f"npz:{DATA / 'test.npz'}"
FILES = ("resnet20", "resnet20_bn_opset13")


def exported(name: str = "resnet20") -> Path:
    """The canonical float file, exported when it is not there yet."""
    require(DATA, "ResNet-20 and the CIFAR-10 images")
    path = OUTPUT / f"{name}.onnx"
    if not path.is_file():
        mpq_onnx.export(str(DATA / f"{name}.onnx"), path, preprocess=PREPROCESSING)
    return path
