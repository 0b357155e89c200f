"""Decoding: every format and mode becomes the right RGB, and what cannot be used is refused with a reason."""

import io
import os
import random
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageOps

from mobilenet_tf.data import image_decoding, images
from mobilenet_tf.utils.errors import UserError

HEIGHT, WIDTH = 24, 36


def picture() -> np.ndarray:
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return np.stack([x * 7, y * 10, 255 - x * 3 - y * 4], -1).clip(0, 255).astype(np.uint8)


def to_bytes(image: Image.Image, kind: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def decoded(data: bytes) -> np.ndarray:
    encoded, size = image_decoding.normalize(data)
    image = image_decoding.decode(tf.constant(encoded)).numpy()
    assert image.dtype == np.uint8 and image.shape == (*size, 3)
    return image


RGB = Image.fromarray(picture())


@pytest.mark.parametrize("kind", ["PNG", "BMP", "WEBP"])
def test_lossless_formats_are_exact(kind):
    options = {"lossless": True} if kind == "WEBP" else {}
    np.testing.assert_array_equal(decoded(to_bytes(RGB, kind, **options)), picture())


@pytest.mark.parametrize("mode", ["L", "CMYK", "RGB"])
@pytest.mark.parametrize("progressive", [False, True])
def test_jpeg_equals_pillow(mode, progressive):
    data = to_bytes(RGB.convert(mode), "JPEG", quality=95, progressive=progressive)
    expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"), int)
    assert np.abs(decoded(data) - expected).max() <= 2


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "LA", "1"])
def test_png_modes(mode):
    image = RGB.convert(mode)
    np.testing.assert_array_equal(decoded(to_bytes(image, "PNG")), np.asarray(image.convert("RGB")))


def test_16_bit_png_keeps_its_range():
    gray = np.linspace(0, 65535, HEIGHT * WIDTH).reshape(HEIGHT, WIDTH).astype(np.uint16)
    image = decoded(to_bytes(Image.fromarray(gray), "PNG"))
    np.testing.assert_array_equal(image, np.repeat((gray >> 8)[..., None], 3, -1))


def test_gif_gives_its_first_frame():
    other = Image.new("RGB", RGB.size, (9, 9, 9))
    first = Image.new("RGB", RGB.size, (250, 10, 20))
    data = to_bytes(first, "GIF", save_all=True, append_images=[other])
    np.testing.assert_array_equal(decoded(data), np.broadcast_to([250, 10, 20], (HEIGHT, WIDTH, 3)))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation):
    exif = Image.Exif()
    exif[images.ORIENTATION] = orientation
    data = to_bytes(RGB, "JPEG", quality=100, subsampling=0, exif=exif)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))), int)
    assert decoded(data).shape == ((WIDTH, HEIGHT, 3) if orientation >= 5 else (HEIGHT, WIDTH, 3))
    assert np.abs(decoded(data) - expected).max() <= 2


def png_header(width: int, height: int) -> bytes:
    """A PNG of that size by its header, without the pixels."""
    data = bytearray(to_bytes(Image.new("RGB", (8, 8)), "PNG"))
    data[16:24] = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    import zlib

    data[29:33] = zlib.crc32(bytes(data[12:29])).to_bytes(4, "big")
    return bytes(data)


JPEG = to_bytes(Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)), "JPEG")
UNUSABLE = {
    "empty": (b"", "empty"),
    "zeros": (bytes(2000), "not a JPEG"),
    "text": (b"this is no picture", "not a JPEG"),
    "truncated jpeg": (JPEG[: len(JPEG) // 2], "truncated"),
    "truncated png": (to_bytes(RGB, "PNG")[:-60], "damaged"),
    "1x1": (to_bytes(Image.new("RGB", (1, 1)), "PNG"), "1x1 pixels, a side under 4"),
    "12000x9000": (png_header(12000, 9000), "12000x9000 pixels, more than 89,478,485"),
    "30000x30000": (png_header(30000, 30000), "pixels"),
}


@pytest.mark.parametrize("name", UNUSABLE)
def test_unusable_bytes_are_refused_with_the_reason(name, tmp_path):
    data, reason = UNUSABLE[name]
    with pytest.raises(images.UnreadableImageError, match=reason):
        image_decoding.normalize(data)
    path = tmp_path / "x.jpg"
    path.write_bytes(data)
    with pytest.raises(UserError) as error:
        images.read(path)
    assert str(path) in str(error.value) and "Received:" in str(error.value) and "\n" not in str(error.value)


def test_read_names_a_missing_file(tmp_path):
    with pytest.raises(UserError, match="nothing.png must be an image file. Received: No such file"):
        images.read(tmp_path / "nothing.png")


def test_reading_images_leaves_the_filters_of_warnings_alone(tmp_path):
    path = tmp_path / "a.png"
    Image.new("RGB", (8, 8)).save(path)
    code = (
        "import warnings; import numpy; from PIL import Image; before = list(warnings.filters); import mobilenet_tf; "
        f"from mobilenet_tf.data import images; images.read({str(path)!r}); assert warnings.filters == before"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_trailing_bytes_do_no_harm():
    expected = np.asarray(Image.open(io.BytesIO(JPEG)), int)
    assert np.abs(decoded(JPEG + b"trailing") - expected).max() <= 2


def test_damaged_jpegs_never_fail_inside_tensorflow():
    rng, refused = random.Random(0), 0
    for _ in range(400):
        data = bytearray(JPEG)
        for _ in range(rng.choice([1, 5, 20])):
            data[rng.randrange(2, len(data))] = rng.randrange(256)
        try:
            encoded, _ = image_decoding.normalize(bytes(data))
        except images.UnreadableImageError:
            refused += 1
            continue
        image_decoding.decode(tf.constant(encoded))  # an InvalidArgumentError here would end a training run
    assert refused > 20


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("window", [(3, 5, 40, 41), (0, 0, 160, 200), (17, 2, 130, 190)])
def test_decode_crop_shows_the_window_it_returns(kind, window):
    y, x = np.mgrid[:160, :200]
    smooth = np.stack([x, y, (x + y) / 2], -1).astype(np.uint8)
    encoded, _ = image_decoding.normalize(
        to_bytes(Image.fromarray(smooth), kind, **({"quality": 100} if kind == "JPEG" else {}))
    )
    part, shown = image_decoding.decode_crop(tf.constant(encoded), tf.constant(window), (32, 32))
    top, left, height, width = shown.numpy()
    ratio = height // part.shape[0]
    assert ratio == (1 if kind == "PNG" else 2 ** int(np.log2(min(window[2:]) / 32)))
    assert np.abs(np.array(window) - shown.numpy()).max() < ratio and part.shape[0] >= 32
    expected = smooth[top : top + height, left : left + width].reshape(part.shape[0], ratio, part.shape[1], ratio, 3)
    assert np.abs(expected.mean((1, 3)) - part.numpy()).max() <= 4


@pytest.mark.real_data
@pytest.mark.parametrize("folder", ["coco_mini/train2017", "bccd_voc/JPEGImages", "faces_celeba/img_align_celeba"])
def test_photographs_are_the_same_to_the_bit_whichever_way_they_are_read(real_data, folder):
    for path in sorted((real_data / folder).glob("*.jpg"))[:25]:
        np.testing.assert_array_equal(images.read(path), decoded(path.read_bytes()))


@pytest.mark.parametrize("orientation", range(9))
def test_the_displayed_size_is_that_of_the_image_as_it_is_read(tmp_path, orientation):
    exif = Image.Exif()
    if orientation:
        exif[images.ORIENTATION] = orientation
    path = tmp_path / "a.jpg"
    Image.new("RGB", (30, 20)).save(path, exif=exif)
    assert images.displayed_size(path) == images.read(path).shape[:2] == ((30, 20) if orientation >= 5 else (20, 30))


def test_image_files_are_found_by_their_suffix_at_any_depth(tmp_path):
    for name in ("b.GIF", "a/c.jpeg", "a/d.webp", "e.txt", "f"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    found = [str(path.relative_to(tmp_path)) for path in images.files_below(tmp_path)]
    assert found == ["a/c.jpeg", "a/d.webp", "b.GIF"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes")
def test_what_could_block_is_refused_before_it_is_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    for path in (tmp_path / "pipe.jpg", "/dev/zero", tmp_path):
        with pytest.raises(UserError, match="not a file"):
            images.read(path)


def test_a_file_that_is_too_large_is_not_read(tmp_path, monkeypatch):
    (tmp_path / "large.png").write_bytes(b"x" * 100)
    monkeypatch.setattr(images, "MAX_BYTES", 99)
    with pytest.raises(UserError, match="100 bytes, over the limit of 99"):
        images.read(tmp_path / "large.png")
