"""Whole steps on a GPU at the size of Stable Diffusion 1.5, beside PyTorch: training steps and 50-step DDIM pictures.

python tests/bench/cuda_steps.py [--batches 1,4] [--size LATENTS] [--steps N] [--rounds N] [--write FILE]
                                 [--tasks train,image] [--systems textinv,script,torch,compile] [--device cpu]

Random weights, bf16, one process for each system, the processes in turns. Systems:
  textinv  textinv_invert() and textinv_generate(), called through ctypes
  script   the step of diffusers' textual inversion script: VAE in every step, gradient and AdamW of the whole table
  torch    by hand: moments of the latents kept, rows alone learn, channels last, fused AdamW, eager with SDPA
  compile  the same through torch.compile
--device cpu runs all of it on the CPU in float, to try the flow at a small size (--model sd1 --size 8).
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / 'tests/parity'))
SYSTEMS = {'train': ['textinv', 'script', 'torch', 'compile'], 'image': ['textinv', 'torch', 'compile']}
PROMPT, WARM, SIDE = 'a photo of a <toy>', 3, 8  # steps that are not counted; pixels of a latent


def folder_of(options):
    return ROOT / 'build/parity' / options.model


# --- workers: prepare_SYSTEM(options) gives a call that returns the seconds of each step; options hold one task


def prepare_textinv(options):
    import numpy as np
    import textinv_ctypes as ti
    on_gpu = options.device == 'cuda'
    session = ti.Session(backend=ti.TEXTINV_BACKEND_CUDA if on_gpu else ti.TEXTINV_BACKEND_CPU,
                         dtype=ti.TEXTINV_BF16 if on_gpu else ti.TEXTINV_F32)
    model = ti.Model(session, folder_of(options))
    pixels = options.size * SIDE
    if options.task == 'image':
        def image():
            began = time.perf_counter()
            session.generate(model, 'a photo of a cat', steps=options.sampler_steps, guidance_scale=7.5, seed=1,
                             sampler=ti.TEXTINV_SAMPLER_DDIM, width=pixels, height=pixels)
            return [time.perf_counter() - began]
        return image
    pictures = ti.Images(session, np.random.default_rng(0).integers(0, 256, (1, pixels, pixels, 3), np.uint8))

    def train():
        times = []
        embeddings = ti.Embeddings(session)
        embeddings.add(model, '<toy>', 'cat')
        session.invert(model, embeddings, [{'placeholder': '<toy>', 'pictures': [pictures]}],
                       steps=options.steps + WARM, batch=options.batch, resolution=pixels,
                       progress=lambda p: times.append(time.perf_counter()) if p.phase == b'train' else None)
        embeddings.free()
        return [b - a for a, b in zip(times[WARM - 1:], times[WARM:])]

    return train


def timed(call, wait, count):
    times = []
    for i in range(count + WARM):
        began = time.perf_counter()
        call()
        wait()
        times.append(time.perf_counter() - began)
    return times[WARM:]


class Torch:
    """The networks of a folder on the device, and random data for them."""

    def __init__(self, options, compiled):
        import torch
        import models
        D, folder = models.diffusers, folder_of(options)
        self.torch, self.options, self.device = torch, options, torch.device(options.device)
        self.kind = torch.bfloat16 if options.device == 'cuda' else torch.float32
        self.wait = torch.cuda.synchronize if options.device == 'cuda' else lambda: None
        self.scheduler = D.DDIMScheduler.from_pretrained(folder / 'scheduler')
        unet, vae = D.UNet2DConditionModel.from_pretrained(folder / 'unet'), D.AutoencoderKL.from_pretrained(folder / 'vae')
        text = models.transformers.CLIPTextModel.from_pretrained(folder / 'text_encoder')
        self.unet, self.vae, self.text = (m.eval().requires_grad_(False).to(self.device, self.kind)
                                          for m in (unet, vae, text))
        self.unet.to(memory_format=torch.channels_last)
        self.vae.to(memory_format=torch.channels_last)
        self.words = len(self.text.get_input_embeddings().weight)
        self.alphas = self.scheduler.alphas_cumprod.to(self.device)
        self.run_unet, self.run_text, self.decode = self.unet, self.text, self.vae.decode
        if compiled:
            how = {'backend': options.backend, **({'mode': options.mode} if options.mode else {})}
            self.run_unet, self.run_text = torch.compile(self.unet, **how), torch.compile(self.text, **how)
            self.decode = torch.compile(self.vae.decode, **how)

    def random(self, *shape):
        return self.torch.randn(*shape, device=self.device, dtype=self.kind)

    def ids(self, count):
        ids = self.torch.randint(0, self.words - 2, (count, 77), device=self.device)
        ids[:, 5] = self.words
        return ids

    def noised(self, latents):
        """noise, timesteps and noisy latents"""
        torch, n = self.torch, len(latents)
        noise, t = torch.randn_like(latents), torch.randint(0, 1000, (n,), device=self.device)
        a = self.alphas[t].view(-1, 1, 1, 1)
        return noise, t, (a.sqrt() * latents + (1 - a).sqrt() * noise).to(self.kind)

    def loss(self, noisy, t, context, noise):
        out = self.run_unet(noisy.contiguous(memory_format=self.torch.channels_last), t, context).sample
        return self.torch.nn.functional.mse_loss(out.float(), noise.float())


def prepare_torch(options, compiled=False):
    t = Torch(options, compiled)
    torch = t.torch
    if options.task == 'image':
        return prepare_image(t)
    from torch_training import RowEmbedding
    table = t.text.get_input_embeddings().weight.data
    embedding = RowEmbedding(torch.cat([table, table[:1]]), len(table))
    embedding.rows.data = embedding.rows.data.float()
    t.text.set_input_embeddings(embedding)
    optimizer = torch.optim.AdamW([embedding.rows], lr=5e-3, weight_decay=0.0, fused=options.device == 'cuda')
    n, shape = options.batch, (4, options.size, options.size)
    mean, deviation, ids = t.random(8, *shape), t.random(8, *shape).abs(), t.ids(n)

    def step():
        picture = torch.randint(0, 8, (n,), device=t.device)
        latents = mean[picture] + deviation[picture] * t.random(n, *shape)
        noise, when, noisy = t.noised(latents)
        optimizer.zero_grad()
        t.loss(noisy, when, t.run_text(ids).last_hidden_state, noise).backward()
        optimizer.step()

    return lambda: timed(step, t.wait, options.steps)


def prepare_script(options):
    """What the published script does in a step, without its data loader."""
    t = Torch(options, False)
    torch = t.torch
    table = t.text.get_input_embeddings()
    weight = torch.cat([table.weight.data, table.weight.data[:1]]).float()
    new = torch.nn.Embedding(len(weight), weight.shape[1], device=t.device)
    new.weight.data.copy_(weight)
    t.text.set_input_embeddings(new)
    optimizer = torch.optim.AdamW(new.parameters(), lr=5e-3)
    before, keep = new.weight.data.clone(), torch.ones(len(weight), dtype=torch.bool, device=t.device)
    keep[-1] = False
    n, pixels = options.batch, options.size * SIDE
    pictures, ids = t.random(n, 3, pixels, pixels).clamp(-1, 1), t.ids(n)

    def step():
        with torch.no_grad():
            latents = t.vae.encode(pictures).latent_dist.sample() * t.vae.config.scaling_factor
        noise, when, noisy = t.noised(latents)
        with torch.autocast(options.device, torch.bfloat16, enabled=options.device == 'cuda'):
            context = t.text(ids).last_hidden_state.to(t.kind)
        t.loss(noisy, when, context, noise).backward()
        optimizer.step()
        optimizer.zero_grad()
        with torch.no_grad():
            new.weight[keep] = before[keep]

    return lambda: timed(step, t.wait, options.steps)


def prepare_image(t):
    torch, options = t.torch, t.options

    def image():
        with torch.inference_mode():
            context = t.run_text(torch.cat([t.ids(1), t.ids(1)]).clamp(max=t.words - 1)).last_hidden_state.clone()
            t.scheduler.set_timesteps(options.sampler_steps, device=t.device)
            latents = t.random(1, 4, options.size, options.size)
            for when in t.scheduler.timesteps:
                both = torch.cat([latents, latents]).contiguous(memory_format=torch.channels_last)
                plain, guided = t.run_unet(both, when, context).sample.chunk(2)
                latents = t.scheduler.step(plain + 7.5 * (guided - plain), when, latents).prev_sample.to(t.kind)
            picture = t.decode(latents / t.vae.config.scaling_factor).sample
            return (picture.float().clamp(-1, 1) * 127.5 + 127.5).to(torch.uint8).cpu()

    return lambda: timed(image, t.wait, 1)


def prepare_compile(options):
    return prepare_torch(options, compiled=True)


def prepare_peak(options):
    """Matrix products of 8192, ten at a time."""
    import torch
    n = 8192 if options.device == 'cuda' else 1024
    kind = torch.bfloat16 if options.device == 'cuda' else torch.float32
    a, b = (torch.randn(n, n, device=options.device, dtype=kind) for _ in range(2))
    wait = torch.cuda.synchronize if options.device == 'cuda' else lambda: None

    def products():
        for _ in range(10):
            torch.mm(a, b)

    return lambda: [s / 10 * 8192 ** 3 / n ** 3 for s in timed(products, wait, 5)]


PREPARE = {'textinv': prepare_textinv, 'script': prepare_script, 'torch': prepare_torch, 'compile': prepare_compile,
           'peak': prepare_peak}


def device_bytes():
    """Bytes in use on the device, by all processes."""
    out = subprocess.run(['nvidia-smi', '--query-gpu=memory.used', '--format=csv,noheader,nounits'], capture_output=True,
                         text=True).stdout
    return int(out.split()[0]) * 2 ** 20 if out.split() else 0


def work(options):
    """One line of JSON for each line read: the seconds of steps. The first turn warms up."""
    output = os.fdopen(os.dup(1), 'w')
    os.dup2(2, 1)

    def answer(**fields):
        print(json.dumps(fields), file=output, flush=True)

    try:
        before = device_bytes() if options.device == 'cuda' else 0
        turn = PREPARE[options.worker](options)
        turn()
        answer(memory=device_bytes() - before if options.device == 'cuda' else 0)
    except Exception as error:  # noqa: BLE001
        return answer(error=f'{type(error).__name__}: {error}'.splitlines()[0])
    for _ in sys.stdin:
        answer(seconds=turn())


# --- the run


class Worker:
    def __init__(self, system, task, batch, options):
        self.system, self.seconds = system, []
        self.process = subprocess.Popen(
            [sys.executable, '-W', 'ignore', __file__, '--worker', system, '--task', task, '--batch', str(batch),
             '--size', str(options.size), '--model', options.model, '--device', options.device, '--steps',
             str(options.steps), '--sampler-steps', str(options.sampler_steps), '--backend', options.backend, '--mode',
             options.mode], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            stderr=None if options.trace else subprocess.DEVNULL)
        answer = self.read()
        self.error, self.memory = answer.get('error'), answer.get('memory', 0)

    def read(self):
        line = self.process.stdout.readline()
        return json.loads(line) if line else {'error': f'ended with status {self.process.wait()}'}

    def turn(self):
        if not self.error:
            self.process.stdin.write('\n')
            self.process.stdin.flush()
            answer = self.read()
            self.error = answer.get('error')
            self.seconds += answer.get('seconds', [])

    def end(self):
        self.process.stdin.close()
        self.process.wait()


def count_flops(options):
    """Floating-point operations of a training sample, and of a picture, by PyTorch's counter without memory for values."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode
    import models
    size, full = options.size, options.model == 'sd15-full'
    width = json.loads((folder_of(options) / 'text_encoder/config.json').read_text())['hidden_size']
    with torch.device('meta'):
        unet, vae, _, _ = models.parts_sd1(49408, full=full)
        unet.requires_grad_(False)
        x, t, c = torch.empty(1, 4, size, size), torch.empty(1), torch.empty(1, 77, width)
        with FlopCounterMode(display=False) as forward:
            unet(x, t, c)
        with FlopCounterMode(display=False) as decode:
            vae.decode(x)
        with FlopCounterMode(display=False) as train:
            unet(x, t, c.requires_grad_()).sample.sum().backward()
    return {'train': train.get_total_flops(),
            'image': 2 * options.sampler_steps * forward.get_total_flops() + decode.get_total_flops()}


def measure(task, batch, flops, options):
    """Rows of the table: system, median and least ms, samples a second, percent of the peak, memory, ratio."""
    systems = [s for s in SYSTEMS[task] if s in options.systems.split(',')]
    workers = [Worker(system, task, batch, options) for system in [*systems, 'peak']]
    for _ in range(options.rounds):
        for worker in workers:
            worker.turn()
    for worker in workers:
        worker.end()
    peak = 2 * 8192 ** 3 / statistics.median(workers[-1].seconds) if workers[-1].seconds else float('nan')
    ours = statistics.median(workers[0].seconds or [float('nan')])
    name = f'train, batch {batch}' if task == 'train' else f'image, DDIM {options.sampler_steps}'
    rows = []
    for worker in workers[:-1]:
        if worker.error:
            rows.append(f'| {name} | {worker.system} | {worker.error} | | | | |')
            continue
        median = statistics.median(worker.seconds)
        rows.append(f'| {name} | {worker.system} | {1e3 * median:.2f} | {1e3 * min(worker.seconds):.2f} '
                    f'| {100 * flops[task] * batch / median / peak:.1f} % | {worker.memory / 2 ** 30:.2f} '
                    f'| {ours / median:.2f} |')
    return [*rows, f'| {name} | matrix product of 8192 | {1e3 * 2 * 8192 ** 3 / peak:.2f} | | 100 % '
                   f'({peak * 1e-12:.0f} TFLOP/s) | | |'], all(not w.error for w in workers)


def write(path, lines):
    """Put the lines into the section of the file that has their heading."""
    text, heading = path.read_text(), lines[0]
    begin = text.find(heading + '\n')
    if begin < 0:
        path.write_text(text.rstrip('\n') + '\n\n' + '\n'.join(lines) + '\n')
        return
    end = text.find('\n## ', begin)
    path.write_text(text[:begin] + '\n'.join(lines) + '\n' + (text[end:] if end >= 0 else ''))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--tasks', default='train,image')
    parser.add_argument('--batches', default='1,4')
    parser.add_argument('--size', type=int, default=64, help='side of the latents')
    parser.add_argument('--steps', type=int, default=20, help='training steps that count, each turn')
    parser.add_argument('--sampler-steps', type=int, default=50)
    parser.add_argument('--rounds', type=int, default=3)
    parser.add_argument('--model', default='sd15-full', choices=['sd15-full', 'sd1'])
    parser.add_argument('--device', default='cuda', choices=['cuda', 'cpu'])
    parser.add_argument('--systems', default='textinv,script,torch,compile')
    parser.add_argument('--backend', default='inductor', help='of torch.compile')
    parser.add_argument('--mode', default='', help='of torch.compile, such as max-autotune')
    parser.add_argument('--write', type=Path, help='a file whose section "On a GPU" becomes the table')
    parser.add_argument('--trace', action='store_true', help='show what the workers print')
    parser.add_argument('--worker', choices=PREPARE, help=argparse.SUPPRESS)
    parser.add_argument('--task', help=argparse.SUPPRESS)
    parser.add_argument('--batch', type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        return work(options)
    import torch
    import models
    if options.device == 'cuda' and not torch.cuda.is_available():
        sys.exit('cuda_steps: no CUDA device, or no driver for it')
    models.model(options.model)
    flops = count_flops(options)
    where = torch.cuda.get_device_name() if options.device == 'cuda' else 'CPU'
    lines = ['## On a GPU', '',
             f'`{"make bench-cuda" if options.device == "cuda" else "tests/bench/cuda_steps.py --device cpu"}`, '
             f'{time.strftime("%Y-%m-%d")}, {where}, PyTorch {torch.__version__}, Stable Diffusion 1.5 shapes, '
             f'latents {options.size} x {options.size}.', '',
             '| step | system | median ms | least ms | of the matrix peak | GB | textinv / it |',
             '|---|---|---|---|---|---|---|']
    print('\n'.join(lines), flush=True)
    good = True
    for task in options.tasks.split(','):
        for batch in [int(b) for b in options.batches.split(',')] if task == 'train' else [1]:
            rows, fine = measure(task, batch, flops, options)
            good = good and fine
            print('\n'.join(rows), flush=True)
            lines += rows
    if options.write:
        write(options.write, lines)
    return 0 if good else 1


if __name__ == '__main__':
    sys.exit(main())
