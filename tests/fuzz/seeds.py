"""Unpack the golden files of tests/golden into small seeds below corpus/. Needs safetensors."""

import json
import pathlib
import zipfile
import io

from safetensors.numpy import load_file

here = pathlib.Path(__file__).parent
golden = here.parent / "golden"


def put(target, name, data):
    folder = here / "corpus" / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)


for name, value in load_file(golden / "images.safetensors").items():
    keep = (
        name.startswith("png.")
        or name.startswith("jpeg.")
        or name in ("orient.png.6.file", "orient.jpeg.6.file")
    )
    if name.endswith(".file") and keep:
        put("image", name[:-5], value.tobytes())
for name, value in load_file(golden / "embeddings.safetensors").items():
    if not name.endswith(".file"):
        continue
    data = value.tobytes()
    put("embedding", name[:-5], data)
    if data[:2] == b"PK":
        put("torch", name[:-5], data)
        archive = zipfile.ZipFile(io.BytesIO(data))
        put(
            "pickle",
            name[:-5],
            next(archive.read(n) for n in archive.namelist() if n.endswith("data.pkl")),
        )
    else:
        put("safetensors", name[:-5], data)


def safetensors(header, data=b""):
    header = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(header).to_bytes(8, "little") + header + data


def entry(dtype, shape, begin, end, **more):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end], **more}


put(
    "safetensors",
    "types",
    safetensors(
        {
            "__metadata__": {"a": "b", "c": "\u00e9\U0001f9f8"},
            "x": entry("F8_E4M3", [3], 0, 3),
            "s": entry("I64", [], 3, 11),
            "e": entry("F32", [2, 0], 11, 11, unknown=[{"a": [1.5e3, True, None]}, "\n"]),
        },
        bytes(11),
    ),
)
put("safetensors", "empty", safetensors(b" \t\n{ } \r\n"))
put(
    "json",
    "unet",
    json.dumps(
        {
            "i": 4,
            "f": 0.00085,
            "b": True,
            "s": "epsilon",
            "n": [5, 10, 20],
            "m": [1e-3, 2],
            "t": ["DownBlock2D", "UpBlock2D"],
            "_": None,
        }
    ).encode(),
)
put("json", "odd", b'{"i":16.0,"f":-1e-300,"b":"x","s":"\\ud83e\\uddf8","n":3,"m":[],"t":[[[{}]]]}')
