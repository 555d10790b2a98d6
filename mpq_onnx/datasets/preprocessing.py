"""From stored images to a model's input: layout, scale, mean and standard deviation, resize and crop.

Sizes and places of pixels are those of torchvision's Resize and CenterCrop, which most published accuracies were measured with.
"""

import dataclasses
from dataclasses import dataclass

import numpy as np

from mpq_onnx.datasets.base import Facts
from mpq_onnx.datasets.spec import DataSpec, parse_options
from mpq_onnx.errors import DataError
from mpq_onnx.graph.metadata import METADATA_PREPROCESSING
from mpq_onnx.graph.model_inputs import ModelInput

OPTIONS = ("layout", "mean", "std", "scale", "resize", "crop", "interpolation")
INTERPOLATIONS = ("bilinear", "bicubic")
"""As Pillow has them, in capitals."""


@dataclass(frozen=True)
class Preprocessing:
    """What happens to an image before the model sees it; the model itself takes NCHW."""

    layout: str = "nchw"
    """How the data is stored: nchw or nhwc."""
    mean: tuple[float, ...] = ()
    """Subtracted per channel, after scaling."""
    std: tuple[float, ...] = ()
    """Divided by per channel."""
    scale: float | None = None
    """Multiplied first; None means 1/255 for uint8 and 1 for anything else, and 1 where the model takes integers."""
    resize: int | None = None
    """Shorter side in pixels, for image files (antialiased)."""
    crop: int | None = None
    """Side of the centre crop, for image files."""
    interpolation: str = "bilinear"
    """How image files are resized; a name in INTERPOLATIONS."""
    given: tuple[str, ...] = dataclasses.field(default=(), compare=False, repr=False)
    """Options that the data spec itself has: whoever writes them takes the data for images."""

    @staticmethod
    def of_model(facts: Facts, spec: DataSpec) -> "Preprocessing":
        """The model's own preprocessing, overridden by the options of `spec`.

        Raises:
            DataError: a value that cannot be understood.
        """
        metadata = facts.get(METADATA_PREPROCESSING, "")
        merged = parse_options(metadata, "in the model's metadata") if metadata else {}
        merged.update({name: spec.options[name] for name in OPTIONS if name in spec.options})
        spec.taken.update(OPTIONS)
        given = tuple(name for name in OPTIONS if name in spec.options)
        return dataclasses.replace(parse_preprocessing(merged, spec.text), given=given)

    def for_input(self, wanted: ModelInput, where: str) -> "Preprocessing":
        """The same for one input: one that takes integers has its images as they are stored.

        Raises:
            DataError: a scale, mean or std that an input of integers would cut off.
        """
        if wanted.dtype.kind == "f":
            return self
        if self.scale not in (None, 1.0) or self.mean or self.std:
            raise DataError(
                f"{where}: model input {wanted.name} takes {wanted.dtype}: scale, mean and std would be cut off; leave them out"
                " (in the file's metadata too: export it without --preprocess, or with layout= alone)"
            )
        return dataclasses.replace(self, scale=1.0)

    def apply(self, images: np.ndarray) -> np.ndarray:
        """A batch of images (N,H,W,C or N,C,H,W as `layout` says) as float32 N,C,H,W."""
        factor = self.scale if self.scale is not None else (1 / 255 if images.dtype == np.uint8 else 1.0)
        result = images.astype(np.float32)
        if self.layout == "nhwc":
            result = result.transpose(0, 3, 1, 2)
        if factor != 1.0:
            result = result * np.float32(factor)
        if self.mean:
            result = result - _per_channel(self.mean, result)
        if self.std:
            result = result / _per_channel(self.std, result)
        return np.ascontiguousarray(result)

    def load_image(self, path: str) -> np.ndarray:
        """An image file as uint8 H,W,3, resized and cropped."""
        from PIL import Image  # of image files alone

        with Image.open(path) as stored:
            image = stored.convert("RGB")
        if self.resize is not None:
            shorter = min(image.size)
            width, height = (self.resize * length // shorter for length in image.size)
            image = image.resize((width, height), Image.Resampling[self.interpolation.upper()])
        if self.crop is not None:
            left, top = (_first_pixel(length, self.crop) for length in image.size)
            image = image.crop((left, top, left + self.crop, top + self.crop))
        return np.asarray(image)


def parse_preprocessing(options: dict[str, str], where: str) -> Preprocessing:
    """Typed preprocessing from text options.

    Raises:
        DataError: an unknown option or a value that cannot be understood.
    """
    unknown = sorted(set(options) - set(OPTIONS))
    if unknown:
        raise DataError(f"{where}: unknown preprocessing option {unknown[0]}; known: {', '.join(OPTIONS)}")
    layout = options.get("layout", "nchw")
    if layout not in ("nchw", "nhwc"):
        raise DataError(f"{where}: layout={layout}; choose nchw or nhwc")
    interpolation = options.get("interpolation", "bilinear")
    if interpolation not in INTERPOLATIONS:
        raise DataError(f"{where}: interpolation={interpolation}; choose {' or '.join(INTERPOLATIONS)}")
    try:
        found = Preprocessing(
            interpolation=interpolation,
            layout=layout,
            mean=_floats(options.get("mean")),
            std=_floats(options.get("std")),
            scale=float(options["scale"]) if "scale" in options else None,
            resize=_pixels(options, "resize"),
            crop=_pixels(options, "crop"),
        )
    except ValueError as error:
        raise DataError(f"{where}: {error}; mean and std are numbers with commas between them") from error
    if 0 in found.std:
        raise DataError(
            f"{where}: std={options['std']}: nothing can be divided by 0; give 1 where a channel is to stay"
        )
    return found


def _first_pixel(length: int, crop: int) -> int:
    """Of a centre crop; below 0 where the image is smaller, and black pixels are added."""
    return round((length - crop) / 2) if length >= crop else -((crop - length) // 2)


def _pixels(options: dict[str, str], name: str) -> int | None:
    if name not in options:
        return None
    pixels = int(options[name])
    if pixels < 1:
        raise ValueError(f"{name}={pixels}: must be at least 1")
    return pixels


def _floats(text: str | None) -> tuple[float, ...]:
    return tuple(float(part) for part in text.split(",")) if text else ()


def _per_channel(values: tuple[float, ...], images: np.ndarray) -> np.ndarray:
    if len(values) not in (1, images.shape[1]):
        advice = "set layout=nhwc" if len(values) == images.shape[-1] else "give one, or one a channel"
        raise DataError(f"{len(values)} values of mean or std for {images.shape[1]} image channels; {advice}")
    return np.asarray(values, dtype=np.float32).reshape(1, -1, *[1] * (images.ndim - 2))
