from __future__ import annotations

import io
import struct
import zlib

import pytest
from PIL import Image

from swarmharness.errors import InputError
from swarmharness.execution.kinds.images import decode_image


def encoded(image: Image.Image, form: str = "PNG", **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def png_header(width: int, height: int) -> bytes:
    """A PNG of a few bytes that claims a size."""
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = b"IDAT" + zlib.compress(b"few")
    parts = [struct.pack(">I", len(part) - 4) + part + struct.pack(">I", zlib.crc32(part)) for part in (chunk, pixels)]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM"])
def test_every_named_format_is_read(form: str) -> None:
    image = decode_image(encoded(Image.new("RGB", (8, 6), "red"), form))
    assert (image.mode, image.size) == ("RGB", (8, 6))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "I;16"])
def test_every_mode_becomes_rgb(mode: str) -> None:
    form = "TIFF" if mode == "CMYK" else "PNG"
    assert decode_image(encoded(Image.new(mode, (4, 4)), form)).mode == "RGB"


def test_sixteen_bit_grey_keeps_its_shades() -> None:
    assert decode_image(encoded(Image.new("I;16", (1, 1), 0x8000))).getpixel((0, 0)) == (128, 128, 128)


def test_transparency_is_white_paper() -> None:
    image = decode_image(encoded(Image.new("RGBA", (1, 1), (0, 0, 0, 0))))
    assert image.getpixel((0, 0)) == (255, 255, 255)


def test_a_photo_is_turned_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees
    assert decode_image(encoded(Image.new("RGB", (8, 4)), "JPEG", exif=exif)).size == (4, 8)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "the image is empty"),
        (b"%PDF-1.7 no image", "not an image; the formats are PNG"),
        (b"<svg/>", "not an image"),
        (png_header(100_000, 100_000), "far more than 50 megapixels"),
        (png_header(10_000, 6_000), "10000 x 6000 pixels; at most 50 megapixels"),
        (png_header(40_000, 10), "40000 x 10 pixels"),
        (png_header(100, 100), "the image cannot be read"),
        (encoded(Image.effect_noise((64, 64), 50))[:-200], "the image cannot be read"),
    ],
    ids=["empty", "pdf", "svg", "bomb", "too large", "ribbon", "no pixels", "cut off"],
)
def test_what_cannot_be_read_is_refused_with_a_reason(data: bytes, message: str) -> None:
    with pytest.raises(InputError, match=message):
        decode_image(data)
