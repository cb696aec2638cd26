"""Files of learnt words as PyTorch and safetensors write them, and a check of a file that we wrote.

Writes embeddings.safetensors beside this script: NAME.file holds the bytes of a file, NAME.rows
[n, d] what it must read as. a1111.pt is what tests/io/embedding_test.c compares the library's own
output with; here it is loaded by torch.load(weights_only=True). Needs torch, safetensors and pillow.
"""

import base64

import collections
import io
import json
import pathlib
import zlib

import numpy as np
import torch
from PIL import Image, PngImagePlugin
from safetensors.torch import save, save_file

here = pathlib.Path(__file__).parent
torch.manual_seed(3)
out = {}


def put(name, data, rows):
    out[name + ".file"] = torch.frombuffer(bytearray(data), dtype=torch.uint8).clone()
    out[name + ".rows"] = rows.detach().float().contiguous().clone()


def saved(value, **options):
    buffer = io.BytesIO()
    torch.save(value, buffer, **options)
    return buffer.getvalue()


def saved_with(metadata, tensors):
    """What save() gives, but for the order of the metadata, which changes there from run to run."""
    data = save(tensors)
    length = int.from_bytes(data[:8], "little")
    header = json.dumps({"__metadata__": metadata, **json.loads(data[8 : 8 + length])}, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + data[8 + length :]


rows = torch.randn(2, 6)
one = torch.randn(6)
big = torch.randn(2, 10)

put("diffusers.bin", saved({"<toy>": rows}), rows)
put("diffusers.1d.bin", saved({"<toy>": one}), one[None])
put("diffusers.parameter.bin", saved({"<toy>": torch.nn.Parameter(rows)}), rows)
put("diffusers.ordered.bin", saved(collections.OrderedDict({"<toy>": rows})), rows)
put("diffusers.f16.bin", saved({"<toy>": rows.half()}), rows.half())
put("diffusers.bf16.bin", saved({"<toy>": rows.bfloat16()}), rows.bfloat16())
put("diffusers.f64.bin", saved({"<toy>": rows.double()}), rows)
put("diffusers.transposed.bin", saved({"<toy>": rows.t().contiguous().t()}), rows)
put(
    "diffusers.slice.bin",
    saved({"<toy>": torch.cat([rows, rows])[1:3]}),
    torch.stack([rows[1], rows[0]]),
)
put("diffusers.protocol4.bin", saved({"<toy>": rows}, pickle_protocol=4), rows)
put("diffusers.safetensors", save({"<toy>": rows}, {"format": "pt"}), rows)
put("diffusers.f16.safetensors", save({"<toy>": rows.half()}), rows.half())
put("diffusers.1d.safetensors", save({"<toy>": one}), one[None])
put(
    "a1111.pt",
    saved(
        {
            "string_to_token": {"*": 265},
            "string_to_param": {"*": rows},
            "name": "toy",
            "step": 500,
            "sd_checkpoint": "81761151",
            "sd_checkpoint_name": "v1-5",
        }
    ),
    rows,
)
parameters = torch.nn.ParameterDict({"*": torch.nn.Parameter(rows)})
put(
    "compvis.pt",
    saved({"string_to_token": {"*": torch.tensor(265)}, "string_to_param": parameters}),
    rows,
)
put(
    "compvis.named.pt",
    saved(
        {
            "string_to_token": {"<toy>": torch.tensor(265)},
            "string_to_param": torch.nn.ParameterDict({"<toy>": rows}),
        }
    ),
    rows,
)
put("kohya.safetensors", save({"emb_params": rows}), rows)
put("kohya.named.safetensors", saved_with({"name": "toy", "step": "77"}, {"emb_params": rows}), rows)
put("kohya.pt", saved({"emb_params": rows}), rows)
put("onetrainer.safetensors", save({"emp_params": rows, "emp_params_out": rows * 2}), rows)
put("sdxl.safetensors", save({"clip_l": rows, "clip_g": big}), rows)
put("sdxl.pt", saved({"clip_l": rows, "clip_g": big}), rows)
put("sdxl.cog", save({"text_encoders_0": rows, "text_encoders_1": big}), rows)
out["big"] = big


def as_json(value):
    """The web UI's JSON of the dict in a .pt file."""
    return json.dumps(value, default=lambda tensor: {"TORCHTENSOR": tensor.tolist()}).encode()


def masked(values):
    """values [h, w, 3] of 4 bits xor the fixed sequence, ornaments in the upper 4 bits."""
    state, sequence = 0, []
    for _ in range(values.size):
        state = (state * 1664525 + 1013904223) % 2**32
        sequence.append(state % 255 & 15)
    ornament = np.arange(values.size).reshape(values.shape) // 5 % 16 * 16
    return (values ^ np.array(sequence).reshape(values.shape) | ornament).astype(np.uint8)


def with_pixels(picture, data):
    """picture [h, w, 3] between two blocks that hide data, each a black column away."""
    packed = np.frombuffer(zlib.compress(data, 9), np.uint8)
    h = picture.shape[0]
    size = h * 3 * (len(packed) // (h * 3) + 1)
    low, high = (np.resize(part, size).reshape(h, -1, 3) for part in (packed & 15, packed >> 4))
    black = np.zeros((h, 1, 3), np.uint8)
    return np.concatenate([masked(low), black, picture, black, masked(high)], 1)


def png(pixels, text=None):
    info, buffer = PngImagePlugin.PngInfo(), io.BytesIO()
    info.add_text("parameters", "a toy")
    if text is not None:
        info.add_text("sd-ti-embedding", text)
    Image.fromarray(pixels).save(buffer, "PNG", pnginfo=info)
    return buffer.getvalue()


picture = np.arange(24 * 20 * 3, dtype=np.uint8).reshape(24, 20, 3) | 1
said = {
    "string_to_token": {"*": 265},
    "string_to_param": {"*": rows},
    "name": "toy",
    "step": 499,
    "sd_checkpoint": None,
    "sd_checkpoint_name": None,
}
put("text.png", png(picture, base64.b64encode(as_json(said))), rows)
put("pixels.png", png(with_pixels(picture, as_json(said))), rows)
hidden = np.pad(with_pixels(picture, as_json({"<toy>": one})), ((3, 2), (4, 5), (0, 0)))
put("border.png", png(hidden), one[None])
put("sdxl.png", png(picture, base64.b64encode(as_json({"clip_l": rows, "clip_g": big}))), rows)
put("plain.png", png(picture), rows)
put("tensor.pt", saved(rows), rows)
put("parameter.pt", saved(torch.nn.Parameter(one)), one[None])

save_file(out, here / "embeddings.safetensors")
(here / "embeddings.safetensors").chmod(0o644)

written = here / "a1111.pt"
if written.exists():
    loaded = torch.load(written, weights_only=True)
    expected = torch.arange(12).reshape(2, 6) / 8
    assert list(loaded) == [
        "string_to_token",
        "string_to_param",
        "name",
        "step",
        "sd_checkpoint",
        "sd_checkpoint_name",
    ]
    assert (
        loaded["string_to_token"] == {"*": 265}
        and loaded["name"] == "<toy>"
        and loaded["step"] == 500
    )
    assert loaded["string_to_param"]["*"].dtype == torch.float32
    assert torch.equal(loaded["string_to_param"]["*"], expected)
    print("a1111.pt loads")
