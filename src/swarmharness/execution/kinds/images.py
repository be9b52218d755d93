"""Decodes images from strangers within limits; it runs in workers alone."""

from __future__ import annotations

import io
import warnings

from PIL import Image, ImageOps, UnidentifiedImageError

from swarmharness.errors import InputError

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
PIXELS_MAX = 50_000_000
SIDE_MAX = 20_000


def decode_image(data: bytes) -> Image.Image:
    """Return the upright RGB image in `data`, on white where it is transparent; InputError says what is wrong.

    Its size is read from the header and compared with the limits before a pixel is unpacked.
    """
    if not data:
        raise InputError("the image is empty")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about odd metadata and large images, which have their own limit here
            image = Image.open(io.BytesIO(data), formats=FORMATS)
            width, height = image.size
            if width * height > PIXELS_MAX or max(width, height) > SIDE_MAX:
                raise InputError(
                    f"the image has {width} x {height} pixels; "
                    f"at most {PIXELS_MAX // 1_000_000} megapixels and {SIDE_MAX} a side are allowed"
                )
            return _flat(ImageOps.exif_transpose(image))
    except UnidentifiedImageError:
        raise InputError(f"not an image; the formats are {', '.join(FORMATS)}") from None
    except (MemoryError, InputError):
        raise
    except Image.DecompressionBombError:  # Pillow's own limit, far above ours
        raise InputError(f"the image has far more than {PIXELS_MAX // 1_000_000} megapixels") from None
    except Exception as error:  # decoders raise whatever they stumble over
        raise InputError(f"the image cannot be read: {error or type(error).__name__}") from None


def _flat(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16") or image.mode == "I":
        image = image.point(lambda value: value / 256).convert("L")  # 16-bit grey; plain conversion would clip it
    if "A" in image.getbands() or "transparency" in image.info:
        rgba = image.convert("RGBA")
        ground = Image.new("RGBA", rgba.size, "white")
        ground.alpha_composite(rgba)
        image = ground
    return image.convert("RGB")
