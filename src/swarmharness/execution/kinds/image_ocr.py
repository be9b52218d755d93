"""Reads text in images: finds boxes, cuts them out, recognises each; it runs in workers alone.

Both models are of the PP-OCR family (PaddlePaddle, Apache-2.0), whose numbers for colours and sizes are used here.
"""

from __future__ import annotations

import io
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from swarmharness.errors import InputError
from swarmharness.execution.items import ITEM_BYTES_MAX
from swarmharness.execution.kinds.images import decode_image
from swarmharness.execution.kinds.session import SessionFactory
from swarmharness.execution.kinds.text_regions import Line, find_lines
from swarmharness.execution.ports import ItemOutput
from swarmharness.execution.records import Line as Reading
from swarmharness.execution.records import encode_record

DETECTION_SIDE_MAX = 960
DETECTION_STEP = 32
LINE_HEIGHT = 48
LINE_WIDTH_MIN = 64
LINE_WIDTH_STEP = 32
LINE_WIDTH_MAX = 2400
PIXELS_A_RUN = LINE_HEIGHT * 2560
CONFIDENCE_MIN = 0.5
TALL = 1.5
"""Height over width from which a box is also tried as text that runs upwards."""

_MEAN = np.array([0.485, 0.456, 0.406], np.float32)  # applied to blue, green, red, as the models were trained
_DEVIATION = np.array([0.229, 0.224, 0.225], np.float32)

Array = npt.NDArray[Any]


class ImageOcr:
    """The kind `image-ocr`."""

    def __init__(self, files: Mapping[str, Path], sessions: SessionFactory) -> None:
        self._detection = sessions.open(files["detection.onnx"])
        self._recognition = sessions.open(files["recognition.onnx"])
        characters = self._recognition.metadata.get("character", "").split("\n")
        self._alphabet = ("", *characters, " ")  # the first class is CTC's blank, the last a space
        classes = self._recognition.outputs[0].shape[-1]
        if classes != len(self._alphabet):
            raise InputError(f"recognition.onnx has {classes} classes, but names {len(self._alphabet)} characters")

    def run(self, items: Sequence[bytes], parameters: Mapping[str, Any]) -> list[ItemOutput]:
        """See `Runner`: an item is an image file, an output `[[text, [x0, y0, x1, y1], confidence], …]`."""
        return [self._run_one(item) for item in items]

    def samples(self) -> tuple[bytes, ...]:
        """See `Runner`: an image of 640 x 480 with five lines."""
        image = Image.new("RGB", (640, 480), "white")
        draw, font = ImageDraw.Draw(image), ImageFont.load_default(24)
        for line in range(5):
            draw.text((20, 40 + 80 * line), f"Line {line} of a page that warms up", fill="black", font=font)
        stream = io.BytesIO()
        image.save(stream, "PNG")
        return (stream.getvalue(),)

    def _run_one(self, item: bytes) -> ItemOutput:
        try:
            if len(item) > ITEM_BYTES_MAX:
                raise InputError(f"the image has {len(item)} bytes; at most {ITEM_BYTES_MAX} are allowed")
            image = decode_image(item)
        except InputError as error:
            return ItemOutput(b"", str(error))
        try:
            lines = self._detect(image)
        except InputError as error:
            return ItemOutput(b"", f"output: {error}")
        kept = [
            Reading(text, (line.box.x0, line.box.y0, line.box.x1, line.box.y1), confidence)
            for line, (text, confidence) in zip(lines, self._read(image, lines), strict=True)
            if text.strip() and confidence >= CONFIDENCE_MIN
        ]
        return ItemOutput(encode_record(kept))

    def _detect(self, image: Image.Image) -> list[Line]:
        scale = min(1.0, DETECTION_SIDE_MAX / max(image.size))
        width, height = (_step(round(side * scale), DETECTION_STEP) for side in image.size)
        pixels = _blue_green_red(image.resize((width, height), Image.Resampling.BILINEAR))
        inputs = ((pixels - _MEAN) / _DEVIATION).transpose(2, 0, 1)[None]
        (probability,) = self._detection.run({self._detection.inputs[0].name: np.ascontiguousarray(inputs)})
        if np.isnan(probability).any():
            raise InputError("the model finds text with a probability of NaN (not a number)")
        return find_lines(probability[0, 0], width=image.width, height=image.height)

    def _read(self, image: Image.Image, lines: Sequence[Line]) -> list[tuple[str, float]]:
        inputs: list[Array] = []
        owners: list[int] = []
        for place, line in enumerate(lines):
            crop = cut_out(image, line)
            inputs.append(_line(crop))
            owners.append(place)
            if crop.height >= TALL * crop.width:
                inputs.append(_line(crop.transpose(Image.Transpose.ROTATE_90)))
                owners.append(place)
        best: list[tuple[str, float]] = [("", 0.0)] * len(lines)
        for place, reading in zip(owners, self._recognise(inputs), strict=True):
            if reading[1] > best[place][1]:
                best[place] = reading
        return best

    def _recognise(self, lines: Sequence[Array]) -> list[tuple[str, float]]:
        """Return text and confidence of each line. Only lines of one width share a run: none pads another."""
        readings: list[tuple[str, float]] = [("", 0.0)] * len(lines)
        by_width: dict[int, list[int]] = defaultdict(list)
        for place, line in enumerate(lines):
            by_width[line.shape[2]].append(place)
        for width, places in by_width.items():
            step = max(1, PIXELS_A_RUN // (LINE_HEIGHT * width))
            for at in range(0, len(places), step):
                batch = places[at : at + step]
                inputs = np.stack([lines[place] for place in batch])
                (scores,) = self._recognition.run({self._recognition.inputs[0].name: inputs})
                for place, row in zip(batch, scores, strict=True):
                    readings[place] = ctc_text(row, self._alphabet)
        return readings


def ctc_text(scores: Array, alphabet: Sequence[str]) -> tuple[str, float]:
    """Return the text of [steps, classes] scores and its mean confidence, without repeats and blanks.

    Graves et al., Connectionist Temporal Classification (2006), section 3.2: best path decoding; class 0 is the blank.
    """
    classes = scores.argmax(axis=1)
    kept = (classes != 0) & (np.diff(classes, prepend=-1) != 0)
    if not kept.any():
        return "", 0.0
    text = "".join(alphabet[index] for index in classes[kept])
    return text, float(scores.max(axis=1)[kept].mean())


def cut_out(image: Image.Image, line: Line) -> Image.Image:
    """Return the part of an image that holds a text, straightened by a shear if it slopes."""
    box = line.box
    if not line.slope:
        return image.crop((box.x0, box.y0, box.x1, box.y1))
    shear = (1.0, 0.0, float(box.x0), line.slope, 1.0, line.strip_top)
    return image.transform(
        (box.width, line.strip_height),
        Image.Transform.AFFINE,
        shear,
        Image.Resampling.BILINEAR,
        fillcolor=image.getpixel((box.x0, box.y0)),
    )


def _line(crop: Image.Image) -> Array:
    """Return a crop at the height of a line, padded on the right to a width that depends on nothing else."""
    width = min(max(1, round(LINE_HEIGHT * crop.width / crop.height)), LINE_WIDTH_MAX)
    pixels = _blue_green_red(crop.resize((width, LINE_HEIGHT), Image.Resampling.BILINEAR))
    line = np.zeros((3, LINE_HEIGHT, max(LINE_WIDTH_MIN, _step(width, LINE_WIDTH_STEP))), np.float32)
    line[:, :, :width] = ((pixels - 0.5) / 0.5).transpose(2, 0, 1)
    return line


def _blue_green_red(image: Image.Image) -> npt.NDArray[np.float32]:
    return np.asarray(image, np.float32)[:, :, ::-1] / np.float32(255)


def _step(size: int, step: int) -> int:
    return max(step, (size + step - 1) // step * step)
