"""Unpack the golden files of tests/golden into small seeds below corpus/. Needs safetensors and torch."""

import json
import pathlib
import struct
import sys
import types
import zipfile
import io
import zlib

import torch
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


def png_chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


header = struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)
for name, kind, text in (
    ("parameters", b"tEXt", "parameters\0a toy\nSteps: 20, café".encode("latin-1")),
    ("parameters.utf8", b"iTXt", "parameters\0\0\0en\0Parameter\0玩具\nSteps: 20".encode()),
):
    chunks = (b"IHDR", header), (kind, text), (b"IDAT", zlib.compress(b"\0\x80")), (b"IEND", b"")
    put("image", name, b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*chunk) for chunk in chunks))
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
    elif data[:4] == b"\x89PNG":
        if name == "pixels.png.file":
            put("image", "embedding", data)
    else:
        put("safetensors", name[:-5], data)
put("embedding", "json", b'{"<toy>": {"TORCHTENSOR": [[0.5, -1], [2, 1e-3]]}, "w": {"TORCHTENSOR": [1.5]}, "step": 3}')


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


# the schedules of SD 1, SD 2, SDXL and what samplers read beyond them; few timesteps, so that the files are small
SCHEDULES = {
    "sd1": dict(_class_name="PNDMScheduler", beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear",
                num_train_timesteps=20, skip_prk_steps=True, set_alpha_to_one=False, steps_offset=1, clip_sample=False),
    "sd2": dict(_class_name="DDIMScheduler", beta_schedule="linear", num_train_timesteps=20,
                prediction_type="v_prediction", rescale_betas_zero_snr=True, timestep_spacing="trailing",
                clip_sample=True, clip_sample_range=2.0),
    "sdxl": dict(_class_name="EulerDiscreteScheduler", beta_schedule="squaredcos_cap_v2", num_train_timesteps=20,
                 timestep_spacing="leading", interpolation_type="linear", use_karras_sigmas=True, sigma_min=0.03,
                 sigma_max=14.6, final_sigmas_type="sigma_min"),
    "dpmpp": dict(_class_name="DPMSolverMultistepScheduler", trained_betas=[0.1, 0.2, 0.3], num_train_timesteps=3,
                  solver_order=2, solver_type="heun", lower_order_final=True, euler_at_final=True,
                  algorithm_type="dpmsolver++", lambda_min_clipped=-5.1, timestep_spacing="linspace"),
    "ancestral": dict(_class_name="EulerAncestralDiscreteScheduler", prediction_type="sample", num_train_timesteps=10),
    "unipc": dict(_class_name="UniPCMultistepScheduler", num_train_timesteps=20, solver_order=2, solver_type="bh1",
                  lower_order_final=False, disable_corrector=[], use_karras_sigmas=True),
    "lcm": dict(_class_name="LCMScheduler", num_train_timesteps=20, original_inference_steps=50, timestep_scaling=10.0),
    "unknown": dict(_class_name="NewScheduler", beta_start=0.001, beta_end=0.01, beta_schedule="linear",
                    num_train_timesteps=20, solver_order=3, thresholding=True),
}
for name, config in SCHEDULES.items():
    put("schedule", name, json.dumps(config).encode())

# how pictures are prepared for a CLIP model of 8 x 8 pixels
CLIP_IMAGES = {
    "new": dict(do_resize=True, size={"shortest_edge": 9}, resample=3, do_center_crop=True,
                crop_size={"height": 8, "width": 8}, do_rescale=True, rescale_factor=1 / 255, do_normalize=True,
                image_mean=[0.48145466, 0.4578275, 0.40821073], image_std=[0.26862954, 0.26130258, 0.27577711]),
    "old": dict(size=8, crop_size=8, resample=1),
    "square": dict(size={"height": 8, "width": 8}, do_center_crop=False, image_mean=[0, 0, 0], image_std=[1, 1e-6, 1000]),
}
for name, config in CLIP_IMAGES.items():
    put("clip_image", name, json.dumps(config).encode())


def checkpoint(words, step, settings):
    """words: {name: {encoder: [vectors, dim]}}; rows, m and v count up, as src/api/checkpoint.c lays them out."""
    state = struct.pack("<6f", 5e-3, 0.9, 0.999, 1e-8, 0.0, 0.25)
    header, data, hashed, value = {}, b"", b"", 0
    for word, encoders in words.items():
        hashed += word.encode() + b"\0"
        for encoder, shape in encoders.items():
            for kind in ("rows", "m", "v"):
                count = shape[0] * shape[1]
                part = struct.pack(f"<{count}f", *(value + i for i in range(count)))
                header[f"{kind}.{encoder}.{word}"] = entry("F32", shape, len(data), len(data) + len(part))
                data, hashed, value = data + part, hashed + part, value + count
    header["state"] = entry("F32", [6], len(data), len(data) + len(state))
    digest = 0xCBF29CE484222325
    for byte in hashed + state + struct.pack("<Q", step) + settings.encode():
        digest = (digest ^ byte) * 0x100000001B3 % 2**64
    texts = {"textinv_checkpoint": "1", "words": " ".join(words), "step": str(step), "settings": settings}
    header["__metadata__"] = {**texts, "checksum": f"{digest:016x}"}
    return safetensors(header, data + state)


put("checkpoint", "one", checkpoint({"<toy>": {0: [1, 4]}}, 7, ""))
TWO = {"<toy>": {0: [2, 2], 1: [2, 3]}, "S*": {0: [1, 2], 1: [1, 3]}}
put("checkpoint", "sdxl", checkpoint(TWO, 500, "model=x; seed=5"))
put("embedding", "checkpoint", checkpoint(TWO, 500, "model=x; seed=5"))
put("checkpoint", "second", checkpoint({"\u00e9": {1: [1, 3]}}, 0, "dtype=0"))


# --- models in one file: every name, and of the shapes what the reader looks at

SHAPES = {
    "model.diffusion_model.input_blocks.0.0.weight": [2, 4],
    "model.diffusion_model.out.2.weight": [4],
    "model.diffusion_model.label_emb.0.0.weight": [1, 3 + 6 * 2],
    "first_stage_model.encoder.conv_in.weight": [2, 3],
    "first_stage_model.decoder.conv_in.weight": [2, 4],
    "first_stage_model.decoder.conv_out.weight": [3],
    ".attn2.to_k.weight": [1, 64],
    ".in_layers.2.weight": [64],
    ".block.0.conv1.weight": [2],
    ".q.weight": [2, 2, 1, 1],
    ".k.weight": [2, 2, 1, 1],
    ".v.weight": [2, 2, 1, 1],
    ".attn_1.proj_out.weight": [2, 2, 1, 1],
    "token_embedding.weight": [2, 64],
    "position_embedding.weight": [2],
    "positional_embedding": [2],
    ".fc1.weight": [2],
    ".c_fc.weight": [2],
    ".in_proj_weight": [6, 1],
    ".in_proj_bias": [3],
    "text_projection": [2, 3],
}


def pairs(prefix, *names):
    return [f"{prefix}{name}.{kind}" for name in names for kind in ("weight", "bias")]


def unet_names(xl):
    def resnet(at, skip=True):
        return pairs(f"{at}.0.", "in_layers.0", "in_layers.2", "emb_layers.1", "out_layers.0", "out_layers.3",
                     *["skip_connection"] * skip)

    def transformer(at, depth):
        out = pairs(f"{at}.", *["norm", "proj_in", "proj_out"] * (depth > 0))
        for i in range(depth):
            block = f"{at}.transformer_blocks.{i}."
            out += pairs(block, "norm1", "norm2", "norm3", "attn1.to_out.0", "attn2.to_out.0")
            out += pairs(block, "ff.net.0.proj", "ff.net.2")
            out += [f"{block}attn{k}.to_{c}.weight" for k in (1, 2) for c in "qkv"]
        return out

    first, last = (0, 2) if xl else (1, 0)
    out = pairs("", "time_embed.0", "time_embed.2", "input_blocks.0.0", "input_blocks.2.0.op", "out.0", "out.2")
    out += pairs("", *["label_emb.0.0", "label_emb.0.2"] * xl)
    out += resnet("input_blocks.1", False) + transformer("input_blocks.1.1", first)
    out += resnet("input_blocks.3") + transformer("input_blocks.3.1", last)
    middle = resnet("middle_block.0", False)
    out += [n.replace("middle_block.0.0.", f"middle_block.{k}.") for k in (0, 2) for n in middle]
    out += transformer("middle_block.1", max(last, 1))
    for i, depth in enumerate((last, last, first, first)):
        out += resnet(f"output_blocks.{i}") + transformer(f"output_blocks.{i}.1", depth)
    out += pairs("", f"output_blocks.1.{2 if last else 1}.conv")
    return ["model.diffusion_model." + n for n in out]


def vae_names():
    resnet = ("norm1", "conv1", "norm2", "conv2")
    out = pairs("", "quant_conv", "post_quant_conv", "encoder.down.0.downsample.conv", "decoder.up.1.upsample.conv")
    for side, way, blocks in (("encoder", "down", 1), ("decoder", "up", 2)):
        out += pairs(f"{side}.", "conv_in", "conv_out", "norm_out")
        for at in ("mid.block_1", "mid.block_2", *(f"{way}.{i}.block.{k}" for i in (0, 1) for k in range(blocks))):
            out += pairs(f"{side}.{at}.", *resnet)
        out += pairs(f"{side}.mid.attn_1.", "norm", "q", "k", "v", "proj_out")
    out += pairs("", "encoder.down.1.block.0.nin_shortcut", "decoder.up.0.block.0.nin_shortcut")
    return ["first_stage_model." + n for n in out]


def clip_names(prefix):
    out = ["embeddings.token_embedding.weight", "embeddings.position_embedding.weight", *pairs("", "final_layer_norm")]
    for i in range(2):
        out += pairs(f"encoder.layers.{i}.", "layer_norm1", "layer_norm2", "mlp.fc1", "mlp.fc2",
                     *(f"self_attn.{c}_proj" for c in ("q", "k", "v", "out")))
    return [f"{prefix}.text_model.{n}" for n in out]


def open_clip_names(prefix, layers):
    out = ["token_embedding.weight", "positional_embedding", "text_projection", *pairs("", "ln_final")]
    for i in range(layers):
        at = f"transformer.resblocks.{i}."
        out += [f"{at}attn.in_proj_weight", f"{at}attn.in_proj_bias"]
        out += pairs(at, "attn.out_proj", "ln_1", "ln_2", "mlp.c_fc", "mlp.c_proj")
    return [f"{prefix}.{n}" for n in out]


def single(*names):
    """A dictionary of half tensors, which all lie in one storage and count up."""
    names, shapes, at, out = sorted(names), [], 0, {}
    for name in names:
        shapes.append(next((s for end, s in SHAPES.items() if name.endswith(end)), [1]))
    if any(n.startswith("conditioner.") for n in names):  # two encoders
        shapes = [[1, 128] if n.endswith(".attn2.to_k.weight") else s for n, s in zip(names, shapes)]
    values = torch.arange(sum(torch.Size(s).numel() for s in shapes)).remainder(2048).half()
    for name, shape in zip(names, shapes):
        out[name] = values[at : at + torch.Size(shape).numel()].view(shape)
        at += out[name].numel()
    return out


def as_safetensors(tensors, **metadata):
    header, data = {"__metadata__": metadata} if metadata else {}, b""
    for name, value in tensors.items():
        part = value.numpy().tobytes()
        header[name] = entry("F16", list(value.shape), len(data), len(data) + len(part))
        data += part
    return safetensors(json.dumps(header, separators=(",", ":")).encode(), data)


SD1 = single("v_pred", *unet_names(0), *vae_names(), *clip_names("cond_stage_model.transformer"))
put("single", "sd1", as_safetensors(SD1))
SD2 = single(*unet_names(0), *vae_names(), *open_clip_names("cond_stage_model.model", 3))
put("single", "sd2", as_safetensors(SD2))
SHAPES["model.diffusion_model.input_blocks.0.0.weight"] = [2, 9]
put("single", "inpaint", as_safetensors(single(*SD2)))
SHAPES["model.diffusion_model.input_blocks.0.0.weight"] = [2, 4]
put("single", "sdxl", as_safetensors(single("ztsnr", *unet_names(1), *vae_names(),
                                            *clip_names("conditioner.embedders.0.transformer"),
                                            *open_clip_names("conditioner.embedders.1.model", 2)),
                                     **{"modelspec.prediction_type": "v"}))
put("single", "lora", as_safetensors({"lora_unet_down_blocks_0.lora_up.weight": torch.zeros(2, 1).half()}))
# as checkpoints of training have it, with a class for a key
for name in ("pytorch_lightning", "pytorch_lightning.callbacks", "pytorch_lightning.callbacks.model_checkpoint"):
    sys.modules[name] = module = types.ModuleType(name)
module.ModelCheckpoint = type("ModelCheckpoint", (), {"__module__": name})
checkpoint_file = io.BytesIO()
torch.save({"global_step": 7, "state_dict": {k: v for k, v in SD1.items() if k != "v_pred"},
            "callbacks": {module.ModelCheckpoint: {"monitor": "val", "best": None}}}, checkpoint_file)
put("single", "sd1.ckpt", checkpoint_file.getvalue())
