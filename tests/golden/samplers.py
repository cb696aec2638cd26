"""Sampling as diffusers does it, for many scheduler configs; writes samplers.safetensors beside this script.

Needs torch, diffusers and safetensors (made with diffusers 0.42.1, torch 2.15.0).

    metadata NNN.config   scheduler_config.json      NNN.case  kind, steps, strength and whether masked
    NNN.timesteps         [evaluations]
    NNN.init_sigma        [1]
    NNN.latents           [1 + evaluations, 8]: what the loop starts from and has after every step
    schedule.NAME         alphas_cumprod, with metadata schedule.NAME its config
    guidance.0, 70, 100   [4, 8]: pool's rows 0-3 plus 2 guided by 7.5 times pool's rows 4-7 / 2, rescaled by percent
    metadata trailing     FNV-1a over all timesteps of 1, 2 .. 1000 steps with the spacing "trailing"
    pool                  [64, 8]: row 0 the picture, row 1 the noise; the model says row (2 + i) % 64 plus a tenth
                          of its scaled input, and the noise of step i is row (17 + i) % 64; masked, the first
                          half of the values is kept as diffusers' inpainting pipelines keep it
"""
import json
import pathlib

import diffusers
import numpy as np
import torch
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import rescale_noise_cfg
from safetensors.numpy import save_file

COUNT = 8
KINDS = {
    "ddim": ("DDIMScheduler", {}),
    "pndm": ("PNDMScheduler", {}),
    "euler": ("EulerDiscreteScheduler", {}),
    "euler_a": ("EulerAncestralDiscreteScheduler", {}),
    "dpmpp_2m": ("DPMSolverMultistepScheduler", {"use_karras_sigmas": False}),
    "dpmpp_2m_karras": ("DPMSolverMultistepScheduler", {"use_karras_sigmas": True}),
    "unipc": ("UniPCMultistepScheduler", {}),
}
SD = dict(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
SD1 = dict(SD, _class_name="PNDMScheduler", skip_prk_steps=True, set_alpha_to_one=False, steps_offset=1,
           clip_sample=False, trained_betas=None)
SD21 = dict(SD1, _class_name="DDIMScheduler", prediction_type="v_prediction")
SDXL = dict(SD1, _class_name="EulerDiscreteScheduler", timestep_spacing="leading", interpolation_type="linear",
            use_karras_sigmas=False, sample_max_value=1.0, rescale_betas_zero_snr=False)

pool = torch.randn(64, COUNT, generator=torch.Generator().manual_seed(11))
tensors, metadata = {"pool": pool.numpy()}, {}


def make(config, kind):
    name, extra = KINDS[kind]
    return getattr(diffusers, name).from_config(config, **extra)


def run(scheduler, kind, steps, strength, masked):
    scheduler.set_timesteps(steps)
    timesteps = scheduler.timesteps
    if hasattr(scheduler, "set_begin_index"):  # without it a first timestep that comes twice is skipped
        scheduler.set_begin_index(0)
    if strength < 1:  # as StableDiffusionImg2ImgPipeline.get_timesteps
        begin = max(steps - min(int(steps * strength), steps), 0)
        timesteps = timesteps[begin:]
        if hasattr(scheduler, "set_begin_index"):
            scheduler.set_begin_index(begin)
        x = scheduler.add_noise(pool[0:1], pool[1:2], timesteps[:1])
    else:
        x = pool[1:2] * scheduler.init_noise_sigma
    rows = [x]
    for i, t in enumerate(timesteps):
        out = pool[(2 + i) % 64][None] + 0.1 * scheduler.scale_model_input(x, t)
        extra = {}
        if kind in ("euler_a", "ddpm"):  # its step draws the noise by itself
            noise = pool[(17 + i) % 64][None]
            schedulers = diffusers.schedulers
            module = schedulers.scheduling_ddpm if kind == "ddpm" else schedulers.scheduling_euler_ancestral_discrete
            module.randn_tensor = lambda *args, **kwargs: noise
        x = scheduler.step(out, t, x, **extra).prev_sample
        if masked:
            kept = pool[0:1]
            if i + 1 < len(timesteps):
                kept = scheduler.add_noise(kept, pool[1:2], timesteps[i + 1 : i + 2])
            x = torch.cat([kept[:, : COUNT // 2], x[:, COUNT // 2 :]], 1)
        rows.append(x)
    return timesteps, torch.cat(rows)


def case(config, kind, steps, strength=1.0, masked=False):
    name = f"{len(metadata) // 2:03d}"
    scheduler = make({k: v for k, v in config.items()}, kind)
    timesteps, latents = run(scheduler, kind, steps, strength, masked)
    assert torch.isfinite(latents).all(), (config, kind, steps)
    metadata[f"{name}.config"] = json.dumps(config)
    metadata[f"{name}.case"] = json.dumps({"kind": kind, "steps": steps, "strength": strength, "masked": masked})
    tensors[f"{name}.timesteps"] = timesteps.numpy().astype(np.float32)
    tensors[f"{name}.init_sigma"] = np.array([float(scheduler.init_noise_sigma)], np.float32)
    tensors[f"{name}.latents"] = latents.numpy().astype(np.float32)


bare = {"_class_name": "DDIMScheduler"}
for kind in KINDS:
    for config in (SD1, SD21, SDXL, bare):
        case(config, kind, 10)
        case(config, kind, 7, 0.6)
    for spacing in ("leading", "trailing", "linspace"):
        for prediction in ("epsilon", "v_prediction", "sample"):
            if prediction == "sample" and kind in ("pndm", "euler_a"):
                continue  # diffusers has none
            config = dict(SD1, timestep_spacing=spacing, prediction_type=prediction)
            case(config, kind, 6)
            case(config, kind, 17, 0.35)
        case(dict(SD1, timestep_spacing=spacing, steps_offset=0), kind, 30, 0.2)
    case(dict(SD1, beta_schedule="linear", num_train_timesteps=400), kind, 8)
    case(dict(SD1, beta_schedule="squaredcos_cap_v2", prediction_type="v_prediction"), kind, 8)
    case(dict(SD1, rescale_betas_zero_snr=True, prediction_type="v_prediction", timestep_spacing="trailing"), kind, 9)
    case(dict(SD1, trained_betas=[0.01 * (i + 1) for i in range(30)], num_train_timesteps=30), kind, 5)
    case(dict(SD1, clip_sample=True, clip_sample_range=0.7, set_alpha_to_one=True), kind, 6)
    case(SD1, kind, 4)
    case(dict(SD1, timestep_spacing="trailing"), kind, 1)
for steps in (4, 9):
    for strength in (1.0, 0.5):
        case(dict(SD1, skip_prk_steps=False), "pndm", steps, strength)
case(dict(SD1, skip_prk_steps=False, prediction_type="v_prediction", timestep_spacing="linspace"), "pndm", 6)
for kind in ("euler", "dpmpp_2m_karras"):
    case(dict(SDXL, use_karras_sigmas=True), kind, 12)
    case(dict(SDXL, use_karras_sigmas=True, sigma_min=0.05, sigma_max=12.5), kind, 12)
    case(dict(SDXL, use_karras_sigmas=True, final_sigmas_type="sigma_min", timestep_spacing="linspace"), kind, 7)
for kind in ("dpmpp_2m", "dpmpp_2m_karras"):
    dpm = json.loads(diffusers.DPMSolverMultistepScheduler(**SD).to_json_string())  # has an -Infinity
    case(dpm, kind, 8)
    case(dict(dpm, solver_type="heun"), kind, 8)
    case(dict(dpm, solver_order=1), kind, 8)
    case(dict(dpm, final_sigmas_type="sigma_min"), kind, 16)
    case(dict(dpm, final_sigmas_type="sigma_min", lower_order_final=False), kind, 5)
    case(dict(dpm, final_sigmas_type="sigma_min", euler_at_final=True), kind, 17, 0.5)
    case(dict(dpm, beta_schedule="squaredcos_cap_v2", lambda_min_clipped=-5.1), kind, 8)

unipc = json.loads(diffusers.UniPCMultistepScheduler(**SD).to_json_string())
case(dict(unipc, solver_type="bh1", final_sigmas_type="sigma_min"), "unipc", 8)  # with zero diffusers gives NaN
case(dict(unipc, solver_order=1), "unipc", 8)
case(dict(unipc, lower_order_final=False, final_sigmas_type="sigma_min"), "unipc", 5)
case(dict(unipc, use_karras_sigmas=True), "unipc", 12)
case(dict(unipc, use_karras_sigmas=True, sigma_min=0.05, sigma_max=12.5, beta_schedule="squaredcos_cap_v2"), "unipc", 12)
case(dict(unipc, use_karras_sigmas=True, sigma_min=0.1, final_sigmas_type="sigma_min"), "unipc", 6)

# a sampler of its own, which no name asks for
KINDS["ddpm"] = ("DDPMScheduler", {})
DDPM = dict(SD1, _class_name="DDPMScheduler")
for config in (DDPM, {"_class_name": "DDPMScheduler"}, dict(DDPM, clip_sample=True, clip_sample_range=0.7)):
    case(config, "ddpm", 10)
    case(config, "ddpm", 7, 0.6)
for spacing in ("leading", "trailing", "linspace"):
    for prediction in ("epsilon", "v_prediction", "sample"):
        case(dict(DDPM, timestep_spacing=spacing, prediction_type=prediction), "ddpm", 6)
for variance in ("fixed_small", "fixed_small_log", "fixed_large"):
    case(dict(DDPM, variance_type=variance, steps_offset=0), "ddpm", 9)
    case(dict(DDPM, variance_type=variance), "ddpm", 1)
case(dict(DDPM, rescale_betas_zero_snr=True, prediction_type="v_prediction", timestep_spacing="trailing"), "ddpm", 9)

# named samplers on configs of classes that the library has none for
OTHERS = ["DEISMultistepScheduler", "DPMSolverSinglestepScheduler", "UniPCMultistepScheduler", "LMSDiscreteScheduler",
          "HeunDiscreteScheduler", "KDPM2DiscreteScheduler", "KDPM2AncestralDiscreteScheduler", "LCMScheduler"]
for other in OTHERS:
    config = json.loads(getattr(diffusers, other)(**SD).to_json_string())
    for kind in ("ddim", "euler_a", "dpmpp_2m", "dpmpp_2m_karras", "unipc"):
        if other == "DEISMultistepScheduler" and kind.startswith("dpmpp"):
            continue  # diffusers refuses its algorithm_type
        if other == "DPMSolverSinglestepScheduler" and kind == "unipc":
            continue  # NaN: second order to a sigma of 0
        case(config, kind, 8)

for kind in KINDS:
    config = DDPM if kind == "ddpm" else SD1
    case(config, kind, 8, masked=True)
    case(config, kind, 9, 0.5, masked=True)
    case(dict(config, timestep_spacing="trailing", prediction_type="v_prediction"), kind, 6, 0.7, masked=True)
for strength in (1.0, 0.5):
    case(dict(SD1, skip_prk_steps=False), "pndm", 6, strength, masked=True)

schedules = {
    "sd": SD1,
    "linear": bare,
    "cosine": dict(bare, beta_schedule="squaredcos_cap_v2"),
    "zero_snr": dict(SD1, _class_name="DDIMScheduler", rescale_betas_zero_snr=True),
    "short": dict(SD1, num_train_timesteps=77),
}
for name, config in schedules.items():
    tensors[f"schedule.{name}"] = make(config, "ddim").alphas_cumprod.numpy()
    metadata[f"schedule.{name}"] = json.dumps(config)
for other in OTHERS + ["TCDScheduler"]:  # with the defaults of its class
    tensors[f"schedule.{other}"] = getattr(diffusers, other)().alphas_cumprod.numpy()
    metadata[f"schedule.{other}"] = json.dumps({"_class_name": other})

plain, prompted = pool[0:4] + 2, pool[4:8] / 2
for percent in (0, 70, 100):
    guided = plain + 7.5 * (prompted - plain)
    if percent:
        guided = rescale_noise_cfg(guided, prompted, percent / 100)
    tensors[f"guidance.{percent}"] = guided.numpy()


def trailing(kind):
    scheduler, value = make(dict(SD1, timestep_spacing="trailing"), kind), 0x811C9DC5
    for steps in range(1, 1001):
        scheduler.set_timesteps(steps)
        for t in scheduler.timesteps.tolist()[:steps]:  # numpy's arange has one more for 61 steps and others
            value = (value ^ int(t)) * 0x01000193 & 0xFFFFFFFF
    return f"{value:08x}"


metadata["trailing"] = trailing("ddim")
assert metadata["trailing"] == trailing("euler") == trailing("dpmpp_2m")

path = pathlib.Path(__file__).with_name("samplers.safetensors")
metadata["made with"] = f"diffusers {diffusers.__version__}, torch {torch.__version__}"
save_file(tensors, path, metadata)
print(path, path.stat().st_size, "bytes,", sum(k.endswith(".case") for k in metadata), "cases")
