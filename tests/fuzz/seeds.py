"""Unpack the golden files of tests/golden into small seeds below corpus/. Needs safetensors."""

import json
import pathlib
import struct
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
