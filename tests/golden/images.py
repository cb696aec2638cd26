"""Pictures in every PNG and JPEG kind with the pixels they stand for, and Pillow's resizes.

Writes images.safetensors beside this script. Needs numpy, pillow and safetensors.

    NAME.file    bytes of a picture file           NAME.pixels  [h, w, 3] what a reader must give
    resize.in    [h, w, 3]
    resize.L.T.W.H.w.h  resize.in cropped to the box (left, top, width, height), resized to w x h with BICUBIC
    lanczos.L.T.W.H.w.h the same with LANCZOS
"""

import io
import pathlib
import struct
import zlib

import numpy as np
from PIL import Image, ImageOps
from safetensors.numpy import save_file

rng = np.random.default_rng(7)
out = {}

ADAM7 = [
    (0, 0, 8, 8),
    (4, 0, 8, 8),
    (0, 4, 4, 8),
    (2, 0, 4, 4),
    (0, 2, 2, 4),
    (1, 0, 2, 2),
    (0, 1, 1, 2),
]
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def pack_rows(samples, depth):
    rows = b""
    for row in samples:
        flat = row.reshape(-1)
        if depth == 16:
            packed = flat.astype(">u2").tobytes()
        else:
            bits = (flat[:, None] >> np.arange(depth - 1, -1, -1)) & 1
            packed = np.packbits(bits.reshape(-1).astype(np.uint8)).tobytes()
        rows += b"\0" + packed
    return rows


def png(samples, color, depth, interlace=0, extra=b""):
    h, w = samples.shape[:2]
    if interlace:
        rows = b""
        for x, y, dx, dy in ADAM7:
            part = samples[y::dy, x::dx]
            if part.size:
                rows += pack_rows(part, depth)
    else:
        rows = pack_rows(samples, depth)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", w, h, depth, color, 0, 0, interlace))
        + extra
        + chunk(b"IDAT", zlib.compress(rows, 9))
        + chunk(b"IEND", b"")
    )


def over_white(rgb, alpha):
    rgb, alpha = rgb.astype(np.int64), alpha.astype(np.int64)[..., None]
    return ((rgb * alpha + 255 * (255 - alpha)) * 2 + 255) // 510


def put(name, file, pixels):
    out[name + ".file"] = np.frombuffer(file, np.uint8).copy()
    out[name + ".pixels"] = np.ascontiguousarray(pixels.astype(np.uint8))


def eight(samples, depth):
    top = 2**depth - 1
    return (samples.astype(np.int64) * 255 * 2 + top) // (2 * top)


for color, depths in {
    0: (1, 2, 4, 8, 16),
    2: (8, 16),
    3: (1, 2, 4, 8),
    4: (8, 16),
    6: (8, 16),
}.items():
    for depth in depths:
        for interlace in (0, 1):
            w, h = 13, 9
            top = 2**depth
            entries = min(top, 200)
            samples = rng.integers(0, entries if color == 3 else top, (h, w, CHANNELS[color]))
            extra = b""
            if color == 3:
                palette = rng.integers(0, 256, (entries, 3))
                alphas = np.full(entries, 255)
                alphas[: entries // 2] = rng.integers(0, 256, entries // 2)
                extra = (
                    chunk(b"gAMA", struct.pack(">I", 45455))
                    + chunk(b"PLTE", palette.astype(np.uint8).tobytes())
                    + chunk(b"tRNS", alphas[: entries // 2].astype(np.uint8).tobytes())
                )
                index = samples[..., 0]
                pixels = over_white(palette[index], alphas[index])
            else:
                values = eight(samples, depth)
                rgb = values[..., :3] if color in (2, 6) else values[..., :1].repeat(3, 2)
                alpha = values[..., -1] if color in (4, 6) else np.full((h, w), 255)
                if color in (0, 2) and interlace:
                    key = samples[4, 5]
                    extra = chunk(b"tRNS", b"".join(struct.pack(">H", v) for v in key))
                    alpha = np.where((samples == key).all(-1), 0, 255)
                pixels = over_white(rgb, alpha)
            put(
                f"png.{color}.{depth}.{interlace}",
                png(samples, color, depth, interlace, extra),
                pixels,
            )

one = rng.integers(0, 256, (1, 1, 3))
put("png.one", png(one, 2, 8, 1), one)


def exif(orientation, big):
    e = ">" if big else "<"
    return (b"MM\0*" if big else b"II*\0") + struct.pack(
        e + "IHHHIHHI", 8, 1, 0x112, 3, 1, orientation, 0, 0
    )


def smooth(h, w):
    y, x = np.mgrid[0:h, 0:w]
    return np.stack([x * 255 // (w - 1), y * 255 // (h - 1), (x * 5 + y * 3) % 256], -1).astype(
        np.uint8
    )


for orientation in range(1, 9):
    samples = rng.integers(0, 256, (5, 7, 3))
    turned = Image.fromarray(samples.astype(np.uint8))
    turned.getexif()[0x112] = orientation
    put(
        f"orient.png.{orientation}",
        png(samples, 2, 8, 0, chunk(b"eXIf", exif(orientation, orientation % 2))),
        np.asarray(ImageOps.exif_transpose(turned)),
    )
    buffer = io.BytesIO()
    Image.fromarray(smooth(24, 40)).save(
        buffer,
        "JPEG",
        quality=95,
        subsampling=0,
        exif=b"Exif\0\0" + exif(orientation, orientation % 2),
    )
    with Image.open(io.BytesIO(buffer.getvalue())) as picture:
        put(
            f"orient.jpeg.{orientation}",
            buffer.getvalue(),
            np.asarray(ImageOps.exif_transpose(picture)),
        )

picture = Image.fromarray(smooth(33, 50))
for name, image, options in [
    ("444", picture, dict(subsampling=0)),
    ("420", picture, dict(subsampling=2)),
    ("progressive", picture, dict(progressive=True)),
    ("grey", picture.convert("L"), {}),
    ("restarts", picture, dict(restart_marker_rows=1)),
    ("cmyk", picture.convert("CMYK"), {}),
]:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=90, **options)
    decoded = Image.open(io.BytesIO(buffer.getvalue())).convert("RGB")
    put("jpeg." + name, buffer.getvalue(), np.asarray(decoded))

noise = rng.integers(0, 256, (47, 61, 3))
noise[10:30, 15:45] = smooth(20, 30)
out["resize.in"] = noise.astype(np.uint8)
source = Image.fromarray(out["resize.in"])
for left, top, w, h, nw, nh in [
    (0, 0, 61, 47, 61, 47),
    (0, 0, 61, 47, 32, 32),
    (0, 0, 61, 47, 7, 5),
    (0, 0, 61, 47, 96, 80),
    (0, 0, 61, 47, 1, 1),
    (0, 0, 61, 47, 61, 20),
    (0, 0, 61, 47, 20, 47),
    (7, 0, 47, 47, 32, 32),
    (3, 5, 40, 29, 64, 17),
    (60, 46, 1, 1, 9, 4),
    (10, 10, 2, 30, 33, 3),
    (20, 0, 15, 47, 5, 16),
    (20, 0, 15, 45, 5, 30),
    (0, 0, 47, 47, 24, 24),
]:
    cut = source.crop((left, top, left + w, top + h))
    for name, kind in ("resize", Image.Resampling.BICUBIC), ("lanczos", Image.Resampling.LANCZOS):
        out[f"{name}.{left}.{top}.{w}.{h}.{nw}.{nh}"] = np.asarray(cut.resize((nw, nh), kind)).copy()

save_file(out, pathlib.Path(__file__).parent / "images.safetensors")
