"""Scores files of images, each of which is one item, with an ONNX, Keras or PyTorch model of any format.

Each image is read by Pillow, converted to `--color` (RGB, BGR or L), resized to `--size WIDTHxHEIGHT` (bilinear), multiplied by `--scale`
(`1/255` without it, unless the model takes whole numbers or scales by itself), less `--mean`, divided by `--std` (one number, or one for
each channel), and put in `--layout` NCHW or NHWC. What the model's own metadata tells of these is taken where no argument is given.
`--labels` names the classes: with commas (`cat,dog`), or in a file of one a line, by its path or by its name beside the model.

`--probabilities all` adds the probability of each class, `off` leaves out that of the prediction; `--top 3` adds the two next likeliest
classes, with theirs. There are probabilities only where the model's outputs are some; the log says where they are not.

A file that is no image, or that the model refuses, fails alone: it is missing from what run() returns, and the log says which and why.
"""

import logging
import os
import re
import warnings

import _scoring as scoring
import numpy as np
from PIL import Image, UnidentifiedImageError

MOST_BYTES = 1 << 28  # of the images that the model gets in one call

log = logging.getLogger(__name__)


def init():
    """Load the model. Raises what says why it can't be loaded, ValueError for an argument that doesn't fit it."""
    global model, arguments, size, layout, color, scale, mean, std  # noqa: PLW0603 - this is how an entry script keeps what init() made

    def own(parser):
        for name in ("size", "scale", "mean", "std", "labels"):
            parser.add_argument(f"--{name}")
        parser.add_argument("--layout", choices=["NCHW", "NHWC"])
        parser.add_argument("--color", choices=["RGB", "BGR", "L"])

    arguments = scoring.arguments_of(own)
    model = scoring.load_model(arguments, labels_of(arguments.labels))
    shape = model.inputs[0]["shape"] if model.inputs else []
    if model.wants != "tensor" and not model.any_shape:
        raise ValueError("the model takes rows of numbers or texts, not images: score_tables.py and score_rows.py score those")

    def told(name, otherwise=""):
        given = getattr(arguments, name)
        return given if given is not None else model.scorer_defaults.get(name, otherwise)

    size = size_of(told("size"))
    layout = told("layout", "NCHW" if model.framework != "keras" else "NHWC").upper()
    color = told("color", "RGB").upper()
    channels = 1 if color == "L" else 3
    scale = number_of("scale", told("scale", "1" if np.dtype(model.dtype).kind in "iu" else "1/255"))
    mean, std = (numbers_of(name, told(name), channels) for name in ("mean", "std"))
    if len(shape) == 4:
        taken, height, width = (shape[1], shape[2], shape[3]) if layout == "NCHW" else (shape[3], shape[1], shape[2])
        if taken not in (None, channels):
            raise ValueError(f"the model takes images of {taken} channels in layout {layout}, and --color {color} has {channels}")
        if height and width:
            if size not in (None, (width, height)):
                raise ValueError(f"the model takes images of {width}x{height}, not of --size {size[0]}x{size[1]}")
            size = (width, height)
    if not size:
        log.warning("The model doesn't say which size it takes: images keep theirs; --size WIDTHxHEIGHT resizes them")


def run(mini_batch):
    """Score a mini-batch: a list of paths of files. Returns a DataFrame with a row for each, `file` first, without those that failed."""
    by_shape, done = {}, []
    for place, path in enumerate(mini_batch):
        try:
            pixels = pixels_of(path)
        except ValueError as error:
            scoring.file_failed(path, error)
            continue
        batch = by_shape.setdefault(pixels.shape, ([], []))
        batch[0].append(place)
        batch[1].append(pixels)
        if pixels.nbytes * 5 * len(batch[0]) > MOST_BYTES:
            done += score(mini_batch, *by_shape.pop(pixels.shape))
    for places, pixels in by_shape.values():
        done += score(mini_batch, places, pixels)
    places, scores = scoring.joined(done)
    return scoring.frame_of_files(mini_batch, places, scores, arguments)


def score(mini_batch, places, pixels):
    """[(places, Scores), ...] of images of one shape."""

    def failed(place, error):
        height, width = pixels[places.index(place)].shape[:2]
        scoring.file_failed(mini_batch[place], f"{scoring.reason_of(error)} (the image is {width} by {height})")

    return scoring.score(model.predict, batch_of(pixels), np.array(places, dtype=np.int64), failed)


def pixels_of(path):
    """An image as (height, width, channels) of whole numbers from 0 to 255. Raises ValueError saying why it can't be one."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                return np.asarray(converted(image))
    except UnidentifiedImageError:
        reason = "it is empty" if os.path.getsize(path) == 0 else "it is not an image that can be read"
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        reason = f"it has more than {Image.MAX_IMAGE_PIXELS:,} pixels"
    except IsADirectoryError:
        reason = "it is a folder, not a file"
    except FileNotFoundError:
        reason = "it is not there"
    except Exception as error:  # noqa: BLE001 - Pillow's readers raise what they like: SyntaxError, struct.error, EOFError
        reason = f"it is a damaged image: {' '.join(str(error).split())[:200] or type(error).__name__}"
    raise ValueError(reason)


def converted(image):
    """The image in the model's color and size."""
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG"):
        image = Image.fromarray((np.asarray(image).astype(np.uint32) >> 8).astype(np.uint8))  # Pillow would cut off at 255
    mode = "L" if color == "L" else "RGB"
    if image.mode != mode:
        image = image.convert("RGBA").convert(mode) if image.mode == "P" and "transparency" in image.info else image.convert(mode)
    return image if size in (None, image.size) else image.resize(size, Image.BILINEAR)


def batch_of(images):
    """Images of one shape as the model takes them: scaled, and in its layout."""
    batch = np.stack(images)
    if batch.ndim == 3:
        batch = batch[..., np.newaxis]
    if color == "BGR":
        batch = batch[..., ::-1]
    if np.dtype(model.dtype).kind == "f":
        batch = batch.astype(np.float32)
        multiplier, divisor = scale
        if multiplier != 1:
            batch *= np.float32(multiplier)
        if divisor != 1:
            batch /= np.float32(divisor)
        if mean is not None:
            batch -= mean
        if std is not None:
            batch /= std
    if layout == "NCHW":
        batch = batch.transpose(0, 3, 1, 2)
    return np.ascontiguousarray(batch, dtype=model.dtype)


def labels_of(text):
    """The names of the classes, of a text with commas or of a file."""
    if not text:
        return []
    beside = os.path.join(os.environ.get("AZUREML_MODEL_DIR") or "", text)
    for path in (text, beside):
        if os.path.isfile(path):
            return [line.strip() for line in scoring.text_of(scoring.content_of(path), "utf-8").splitlines() if line.strip()]
    labels = [each.strip() for each in text.split(",")]
    if len(labels) < 2:
        raise ValueError(f"--labels {text}: there is no such file, and one name is not a list of classes")
    return labels


def size_of(text):
    """`224x224` as (width, height); None for nothing."""
    match = re.fullmatch(r"\s*(\d{1,5})\s*[xX×]\s*(\d{1,5})\s*", text or "")
    if text and not (match and int(match[1]) and int(match[2])):
        raise ValueError(f"--size {text} is not WIDTHxHEIGHT, such as 224x224")
    return (int(match[1]), int(match[2])) if match else None


def number_of(name, text):
    """`1/255` or `0.5` as (multiplier, divisor)."""
    try:
        multiplier, _, divisor = text.partition("/")
        pair = float(multiplier), float(divisor or 1)
    except ValueError:
        pair = (np.nan, 1.0)
    if not np.isfinite(pair).all() or not pair[1]:
        raise ValueError(f"--{name} {text} is not a number, such as 1/255")
    return pair


def numbers_of(name, text, channels):
    """`0.5` or `0.485,0.456,0.406` as an array of one number or one for each channel; None for nothing."""
    if not text:
        return None
    try:
        numbers = np.array([float(each) for each in text.split(",")], dtype=np.float32)
    except ValueError:
        numbers = np.array([np.nan])
    if not np.isfinite(numbers).all() or len(numbers) not in (1, channels) or (name == "std" and not numbers.all()):
        raise ValueError(f"--{name} {text} is not a number, nor one for each of {channels} channels, such as 0.485,0.456,0.406")
    return numbers
