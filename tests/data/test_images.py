"""Decoding: every format and mode becomes the right RGB, and what cannot be used is refused with a reason."""

import io
import os
import random
import struct
import subprocess
import sys
import time
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageCms, ImageOps

from mobilenet_tf.config import Rendering
from mobilenet_tf.data import image_decoding, image_formats, images, pixels
from mobilenet_tf.utils.errors import UserError

HEIGHT, WIDTH = 24, 36
PLAIN = Rendering()


def picture() -> np.ndarray:
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return np.stack([x * 7, y * 10, 255 - x * 3 - y * 4], -1).clip(0, 255).astype(np.uint8)


def to_bytes(image: Image.Image, kind: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def rendered(data: bytes, rendering: Rendering = PLAIN) -> np.ndarray:
    """As `predict` reads it."""
    with images.load_image(io.BytesIO(data)) as image:
        return np.array(images.render(image, rendering))


def decoded(data: bytes, rendering: Rendering = PLAIN) -> np.ndarray:
    """As tf.data reads it."""
    encoded, size = image_decoding.normalize(data, rendering)
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


@pytest.mark.parametrize("mode", ["L", "P", "1"])
def test_png_modes(mode):
    image = RGB.convert(mode)
    np.testing.assert_array_equal(decoded(to_bytes(image, "PNG")), np.asarray(image.convert("RGB")))


def test_16_bit_png_keeps_its_range():
    gray = np.linspace(0, 65535, HEIGHT * WIDTH).reshape(HEIGHT, WIDTH).astype(np.uint16)
    image = decoded(to_bytes(Image.fromarray(gray), "PNG"))
    np.testing.assert_array_equal(image, np.repeat((gray >> 8)[..., None], 3, -1))


ALPHA = np.repeat(np.array([255, 128, 0], np.uint8), HEIGHT // 3)[:, None].repeat(WIDTH, 1)
RGBA = RGB.copy()
RGBA.putalpha(Image.fromarray(ALPHA))
CUT_OUT = Image.new("P", (WIDTH, HEIGHT))
CUT_OUT.putpalette([200, 10, 20, 0, 0, 0])
CUT_OUT.paste(1, (0, 0, WIDTH, HEIGHT // 2))
TRANSPARENT = {  # bytes, and the colors of the first and the last row on white
    "RGBA png": (to_bytes(RGBA, "PNG"), None, 255),
    "RGBA webp": (to_bytes(RGBA, "WEBP", lossless=True), None, 255),
    "RGBA tiff": (to_bytes(RGBA, "TIFF", compression="tiff_lzw"), None, 255),
    "LA png": (to_bytes(RGBA.convert("LA"), "PNG"), None, 255),
    "palette and an index": (to_bytes(CUT_OUT, "PNG", transparency=1), 255, [200, 10, 20]),
    "palette and shares": (to_bytes(CUT_OUT, "PNG", transparency=b"\xff\x00"), 255, [200, 10, 20]),
    "gif": (to_bytes(CUT_OUT, "GIF", transparency=1), 255, [200, 10, 20]),
    "RGB and a color": (to_bytes(CUT_OUT.convert("RGB"), "PNG", transparency=(0, 0, 0)), 255, [200, 10, 20]),
    "gray and a value": (to_bytes(CUT_OUT.convert("L"), "PNG", transparency=0), 255, 68),
    "1 bit and a value": (
        to_bytes(CUT_OUT.convert("L").point([0] + [255] * 255, "1"), "PNG", transparency=0), 255, 255
    ),
    "16 bits and a value": (
        to_bytes(Image.fromarray(np.uint16(60000) * (np.asarray(CUT_OUT) == 0)), "PNG", transparency=0), 255, 234
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", TRANSPARENT)
def test_transparent_parts_show_the_background_whichever_way_they_are_read(name):
    data, first, last = TRANSPARENT[name]
    image = decoded(data)
    np.testing.assert_array_equal(image, rendered(data))
    assert first is None or (image[0] == first).all()
    assert (image[-1] == last).all()
    on_blue = decoded(data, Rendering("#0000ff"))
    np.testing.assert_array_equal(on_blue, rendered(data, Rendering("#0000ff")))
    hidden = on_blue[-1] if first is None else on_blue[0]
    assert (hidden == [0, 0, 255]).all()


def test_half_transparent_pixels_mix_with_the_background():
    image = decoded(to_bytes(RGBA, "PNG")).astype(float)
    share = ALPHA[..., None] / 255
    assert np.abs(image - (picture() * share + 255 * (1 - share))).max() <= 1


@pytest.fixture
def fresh_notes():
    for note in (pixels._tell_of_depth, pixels._tell_of_range):
        note.cache_clear()
    yield
    for note in (pixels._tell_of_depth, pixels._tell_of_range):
        note.cache_clear()


RAMP = np.linspace(0, 1, HEIGHT * WIDTH).reshape(HEIGHT, WIDTH)


DEEP = ["PNG", "TIFF", "big-endian TIFF", "32 bits", "float", "RGB", "RGB TIFF", "RGBA", "LA"]


@pytest.mark.parametrize("kind", DEEP)
@pytest.mark.parametrize("bits", [8, 10, 12, 14])
def test_16_bit_images_that_use_fewer_bits_are_scaled_by_those_with_one_note(bits, kind, fresh_notes):
    values = (RAMP * ((1 << bits) - 1)).astype(np.uint16)
    data = deep_bytes(values, kind)
    with warnings.catch_warnings(record=True) as notes:
        warnings.simplefilter("always")
        image = decoded(data)
        np.testing.assert_array_equal(image, rendered(data))
    np.testing.assert_array_equal(image[..., 1], values >> bits - 8)
    assert [f"fit into {bits} " in str(note.message) for note in notes] == [True]


def deep_bytes(values: np.ndarray, kind: str) -> bytes:
    """Values below 65,536 as a file of 16 bits a channel, or more."""
    if kind in ("RGB", "RGBA", "LA"):  # Pillow writes no such PNG
        opaque = [np.full_like(values, 65535)] * kind.endswith("A")
        return png_of_16_bits(np.stack([*[values] * len(kind.removesuffix("A")), *opaque], -1))
    if kind == "RGB TIFF":
        return tiff_of_16_bits(np.repeat(values[..., None], 3, -1))
    if kind == "PNG":
        return to_bytes(Image.fromarray(values), "PNG")
    kinds = {"TIFF": "<u2", "big-endian TIFF": ">u2", "32 bits": "<i4", "float": "<f4"}
    return to_bytes(Image.fromarray(values.astype(kinds[kind])), "TIFF")


def png_of_16_bits(values: np.ndarray) -> bytes:
    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    height, width, channels = values.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", width, height, 16, {2: 4, 3: 2, 4: 6}[channels], 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def tiff_of_16_bits(values: np.ndarray, **tags: int) -> bytes:
    """A TIFF of one strip, [H, W, 3] or [H, W]. tags: further ones by their numbers, such as t281=4095."""
    height, width, *rest = values.shape
    channels = rest[0] if rest else 1
    entries = {
        256: width, 257: height, 259: 1, 262: 2 if channels == 3 else 1, 273: 8, 277: channels, 278: height,
        279: values.nbytes, **{int(name[1:]): value for name, value in tags.items()},
    }  # fmt: skip
    pixel_data = values.astype("<u2").tobytes()
    bits_at = 8 + len(pixel_data)
    bits = struct.pack("<3H", 16, 16, 16)
    fields = [struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries.items()]
    fields.append(
        struct.pack("<HHIHH", 258, 3, 1, 16, 0) if channels == 1 else struct.pack("<HHII", 258, 3, 3, bits_at)
    )
    fields.sort(key=lambda field: struct.unpack("<H", field[:2]))
    directory = struct.pack("<H", len(fields)) + b"".join(fields) + bytes(4)
    return struct.pack("<2sHI", b"II", 42, bits_at + len(bits)) + pixel_data + bits + directory


@pytest.mark.parametrize("kind", DEEP)
def test_the_bit_depth_of_the_config_holds_for_every_image(kind):
    dark = (RAMP * 900).astype(np.uint16)
    for depth in (12, 16):
        image = decoded(deep_bytes(dark, kind), Rendering(bit_depth=depth))
        np.testing.assert_array_equal(image[..., 0], dark >> depth - 8)
    bright = (RAMP * 65535).astype(np.uint16)
    image = decoded(deep_bytes(bright, kind), Rendering(bit_depth=12))
    np.testing.assert_array_equal(image[..., 0], (bright >> 4).clip(0, 255))


def test_the_highest_value_that_a_tiff_gives_is_its_depth():
    dark = (RAMP * 900).astype(np.uint16)
    for highest, depth in ((4095, 12), (65535, 16)):
        image = decoded(tiff_of_16_bits(dark, t281=highest))
        np.testing.assert_array_equal(image[..., 0], dark >> depth - 8)


def test_fractions_from_0_to_1_become_0_to_255():
    data = to_bytes(Image.fromarray((RAMP * 0.8).astype(np.float32)), "TIFF")
    np.testing.assert_array_equal(decoded(data), rendered(data))
    assert np.abs(decoded(data)[..., 0] - RAMP * 0.8 * 255).max() <= 0.5


@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_other_numbers_are_scaled_from_their_lowest_to_their_highest_with_one_note(dtype, fresh_notes):
    values = (RAMP * 3000 - 1000).astype(dtype)
    if dtype == np.float32:
        values[0, :2] = np.nan, -np.inf
    with pytest.warns(UserWarning, match="from their lowest to their highest"):
        image = decoded(to_bytes(Image.fromarray(values), "TIFF"))
    assert np.abs(image[..., 0] - RAMP * 255).max() < 1.5


@pytest.mark.parametrize("mode", ["RGB", "L", "1", "P", "CMYK", "YCbCr", "LAB", "RGBA"])
def test_tiffs_of_any_kind_give_their_first_page(mode):
    first, second = Image.new("RGB", (WIDTH, HEIGHT), "white"), Image.new("RGB", (20, 20))
    data = to_bytes(as_mode(first, mode), "TIFF", save_all=True, append_images=[second])
    np.testing.assert_array_equal(decoded(data), rendered(data))
    assert decoded(data).shape == (HEIGHT, WIDTH, 3) and decoded(data).min() >= 250


def as_mode(image: Image.Image, mode: str) -> Image.Image:
    if mode != "LAB":
        return image.convert(mode)
    srgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    return ImageCms.profileToProfile(image, srgb, lab, outputMode="LAB")


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg"])
def test_compressed_tiffs(compression):
    image = decoded(to_bytes(RGB, "TIFF", compression=compression))
    assert np.abs(image - picture().astype(int)).max() <= (60 if compression == "jpeg" else 0)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_animations_give_their_first_frame(kind):
    other = Image.new("RGB", (WIDTH, HEIGHT), (9, 9, 9))
    first = Image.new("RGB", (WIDTH, HEIGHT), (250, 10, 20))
    data = to_bytes(first, kind, save_all=True, append_images=[other], **({"lossless": True} if kind == "WEBP" else {}))
    np.testing.assert_array_equal(decoded(data), np.broadcast_to([250, 10, 20], (HEIGHT, WIDTH, 3)))


def heif_or_avif(kind: str, image: Image.Image, **options) -> bytes:
    if kind == "HEIF":
        pytest.importorskip("pillow_heif").register_heif_opener()
    if kind == "AVIF":
        pytest.importorskip("PIL._avif")
    return to_bytes(image, kind, quality=100, **options)


def exif_of(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[images.ORIENTATION] = orientation
    return exif


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF", "AVIF", "HEIF"])
def test_every_format_is_turned_once_as_its_exif_says(kind, orientation, tmp_path):
    quarters = np.zeros((40, 64, 3), np.uint8)
    quarters[:20, :32], quarters[20:, 32:] = 255, 120
    data = heif_or_avif(kind, Image.fromarray(quarters), exif=exif_of(orientation).tobytes())
    expected = np.rot90(quarters, {1: 0, 3: 2, 6: 3, 8: 1}[orientation])
    image = decoded(data)
    np.testing.assert_array_equal(image, rendered(data))
    assert image.shape == expected.shape and np.abs(image - expected.astype(int)).mean() < 6
    (tmp_path / "a.jpg").write_bytes(data)
    assert images.displayed_size(tmp_path / "a.jpg") == expected.shape[:2]


@pytest.mark.parametrize(("brand", "reason"), [(b"heic", "a HEIC image, which needs"), (b"avif", "an AVIF image")])
def test_what_this_machine_cannot_read_is_named_whatever_its_suffix(brand, reason, monkeypatch):
    data = struct.pack(">I4s4sI4s4s", 24, b"ftyp", b"mif1", 0, b"mif1", brand) + bytes(200)
    with pytest.raises(images.UnreadableImageError, match="damaged|not a|which needs"):
        image_decoding.normalize(data)
    monkeypatch.setattr(image_formats.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(images.UnreadableImageError, match=reason):
        image_decoding.normalize(data)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation):
    data = to_bytes(RGB, "JPEG", quality=100, subsampling=0, exif=exif_of(orientation))
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))), int)
    assert decoded(data).shape == ((WIDTH, HEIGHT, 3) if orientation >= 5 else (HEIGHT, WIDTH, 3))
    assert np.abs(decoded(data) - expected).max() <= 2


def png_header(width: int, height: int) -> bytes:
    """A PNG of that size by its header, without the pixels."""
    data = bytearray(to_bytes(Image.new("RGB", (8, 8)), "PNG"))
    data[16:24] = width.to_bytes(4, "big") + height.to_bytes(4, "big")
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
    "tiff of 30000x30000": (tiff_of_16_bits(RAMP, t256=30000, t257=30000), "pixels"),
    "truncated tiff": (to_bytes(RGB, "TIFF", compression="tiff_lzw")[:-900], "a TIFF image|damaged"),
    "web page": (b"\n<!DOCTYPE html><html></html>", "a web page"),
    "git lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9", "a pointer of Git LFS"),
    "JPEG 2000": (b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(90), "a JPEG 2000 image"),
    "odd tiff": (tiff_of_16_bits(RAMP, t262=60000), "a TIFF image of a kind|damaged"),
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


def test_few_large_images_are_decoded_at_a_time(monkeypatch):
    running, most = [], []

    def render(image, rendering):
        running.append(image)
        most.append(len(running))
        time.sleep(0.01)
        running.pop()
        return images.render(image, rendering)

    monkeypatch.setattr(image_decoding, "render", render)
    monkeypatch.setattr(image_decoding, "LARGE", HEIGHT * WIDTH - 1)
    with ThreadPoolExecutor(12) as pool:
        list(pool.map(image_decoding.normalize, [to_bytes(RGB, "PNG")] * 12))
    assert len(most) == 12 and max(most) <= 4
