"""Whole steps at the size of Stable Diffusion 1.5 (512 x 512, batch 1), beside PyTorch and OpenVINO.

python tests/bench/steps.py [--tasks train,unet,decode] [--types f32,bf16] [--rounds N] [--threads N] [--size LATENTS]
                              [--model sd15-full|sd1] [--systems textinv,torch,...]

Every system runs in a process of its own on the same random weights; the processes take turns, one call each, so that
all of them meet the same state of the machine. Printed are the median and the least time, the rate of the least, its
share of the machine's matrix-product peak (measured in the same turns), and the peak memory of the process while it
runs. PyTorch: eager, rows-only gradient, allocator that keeps its pages; torch-nhwc: networks and inputs in the layout
channels_last, the faster of the two is to be quoted. script: the step of diffusers' textual inversion script, with the
VAE in every step, and gradient and AdamW of the whole table. OpenVINO: forward passes only.
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
FOLDER = ROOT / 'build/bench'
TUNED = {'MALLOC_MMAP_MAX_': '0', 'MALLOC_TRIM_THRESHOLD_': '400000000000', 'MALLOC_TOP_PAD_': '268435456'}
PROMPT, WORD = 'a photo of <toy> on the beach', '<toy>'
SYSTEMS = {'train': ['textinv', 'textinv-small', 'torch', 'torch-nhwc', 'script'],
           'unet': ['textinv', 'torch', 'torch-nhwc', 'openvino'],
           'decode': ['textinv', 'torch', 'torch-nhwc', 'openvino']}


# --- workers: prepare_SYSTEM(options) gives the call that is timed; options.tasks and .types hold one each


def folder_of(options):
    return ROOT / 'build/parity' / options.model


def width_of(options):
    return json.loads((folder_of(options) / 'text_encoder/config.json').read_text())['hidden_size']


def rows(options):
    import numpy as np
    return np.random.default_rng(0).normal(0, 0.02, (1, width_of(options))).astype(np.float32)


def samples(options):
    """latents, noise, context"""
    import numpy as np
    rng, shape = np.random.default_rng(0), (1, 4, options.size, options.size)
    return [rng.standard_normal(s, np.float32) for s in (shape, shape, (1, 77, width_of(options)))]


def prepare_textinv(options, budget=0):
    from binding import textinv as ti
    latents, noise, context = samples(options)
    task = options.tasks
    session = ti.Session(threads=options.threads, dtype=ti.TEXTINV_F32 if options.types == 'f32' else ti.TEXTINV_BF16,
                         memory_budget=budget)
    model = ti.Model(session, folder_of(options))
    if task == 'unet':
        return lambda: session.predict_noise(model, latents, 500.0, context)
    if task == 'decode':
        return lambda: session.decode_latents(model, latents)
    embeddings = ti.Embeddings(session)
    embeddings.set(WORD, rows(options))
    optimizer = ti.Optimizer(session, embeddings)

    def step():
        _, gradient = session.loss(model, embeddings, latents, noise, [500], [PROMPT])
        optimizer.step(gradient)

    return step


def prepare_textinv_small(options):
    """With a memory budget of the weights and 1 GiB."""
    files = [p for part in ('unet', 'text_encoder') for p in (folder_of(options) / part).glob('*.safetensors')]
    weights = sum(p.stat().st_size for p in files) // (1 if options.types == 'f32' else 2)
    return prepare_textinv(options, weights + 2 ** 30)


def prepare_torch(options, nhwc=False):
    import torch
    import models
    torch.set_num_threads(options.threads)
    task, D, folder = options.tasks, models.diffusers, folder_of(options)
    kind = torch.float32 if options.types == 'f32' else torch.bfloat16
    layout = {'memory_format': torch.channels_last if nhwc else torch.contiguous_format}
    latents, noise, context = (torch.from_numpy(x) for x in samples(options))
    latents, noise = latents.to(**layout), noise.to(**layout)
    if task == 'decode':
        vae = D.AutoencoderKL.from_pretrained(folder / 'vae', dtype=kind).eval().requires_grad_(False).to(**layout)
        z = (latents / vae.config.scaling_factor).to(kind)

        def decode():
            with torch.inference_mode():
                return vae.decode(z).sample

        return decode
    unet = D.UNet2DConditionModel.from_pretrained(folder / 'unet', dtype=kind).eval().requires_grad_(False).to(**layout)
    t = torch.tensor([500])
    if task == 'unet':
        x, c = latents.to(kind), context.to(kind)

        def forward():
            with torch.inference_mode():
                return unet(x, t, c).sample

        return forward
    from torch_training import RowEmbedding
    text = models.transformers.CLIPTextModel.from_pretrained(folder / 'text_encoder', dtype=kind).eval()
    text.requires_grad_(False)
    table = text.get_input_embeddings().weight.data
    embedding = RowEmbedding(torch.cat([table, torch.from_numpy(rows(options)).to(kind)]), len(table))
    text.set_input_embeddings(embedding)
    optimizer = torch.optim.AdamW([embedding.rows], lr=5e-3, weight_decay=0.0)
    ids = torch.randint(0, len(table), (1, 77), generator=torch.Generator().manual_seed(1))
    ids[0, 5] = len(table)
    a = D.PNDMScheduler.from_pretrained(folder / 'scheduler').alphas_cumprod[500]
    noisy = (a.sqrt() * latents + (1 - a).sqrt() * noise).to(kind)

    def step():
        optimizer.zero_grad()
        out = unet(noisy, t, text(ids).last_hidden_state).sample
        torch.nn.functional.mse_loss(out.float(), noise).backward()
        optimizer.step()

    return step


def prepare_torch_nhwc(options):
    return prepare_torch(options, True)


def prepare_script(options):
    import torch
    import models
    from script_step import script_step
    torch.set_num_threads(options.threads)
    D, folder = models.diffusers, folder_of(options)
    kind = torch.float32 if options.types == 'f32' else torch.bfloat16
    parts = [(models.transformers.CLIPTextModel, 'text_encoder'), (D.UNet2DConditionModel, 'unet'), (D.AutoencoderKL, 'vae')]
    text, unet, vae = (c.from_pretrained(folder / name, dtype=kind).requires_grad_(False) for c, name in parts)
    words, side = len(text.get_input_embeddings().weight), options.size * 2 ** (len(vae.config.block_out_channels) - 1)
    ids = torch.randint(0, words, (1, 77), generator=torch.Generator().manual_seed(1))
    ids[0, 5] = words
    pictures = torch.randn(1, 3, side, side).clamp(-1, 1).to(kind)
    alphas = D.PNDMScheduler.from_pretrained(folder / 'scheduler').alphas_cumprod
    return script_step(text, unet, vae, alphas, pictures, ids, kind)


def openvino_path(task, options):
    return FOLDER / f'{options.model}-{task}-{options.size}.xml'


def convert_openvino(task, options):
    """The network as OpenVINO keeps it, converted once."""
    import openvino
    import torch
    import models
    path = openvino_path(task, options)
    if path.exists():
        return
    FOLDER.mkdir(parents=True, exist_ok=True)
    D, folder = models.diffusers, folder_of(options)
    latents, _, context = (torch.from_numpy(x) for x in samples(options))

    class Forward(torch.nn.Module):
        def __init__(self, module):
            super().__init__()
            self.module = module

        def forward(self, *inputs):
            return (self.module(*inputs) if task == 'unet' else self.module.decode(*inputs)).sample

    cls, part = (D.UNet2DConditionModel, 'unet') if task == 'unet' else (D.AutoencoderKL, 'vae')
    inputs = (latents, torch.tensor([500]), context) if task == 'unet' else (latents,)
    module = Forward(cls.from_pretrained(folder / part).eval())
    with torch.no_grad():
        converted = openvino.convert_model(module, example_input=inputs, input=[tuple(i.shape) for i in inputs])
    openvino.save_model(converted, path, compress_to_fp16=False)


def prepare_openvino(options):
    import numpy as np
    import openvino
    task = options.tasks
    network = openvino.Core().compile_model(openvino_path(task, options), 'CPU', {
        'INFERENCE_PRECISION_HINT': options.types, 'INFERENCE_NUM_THREADS': options.threads,
        'PERFORMANCE_HINT': 'LATENCY'})
    latents, _, context = samples(options)
    inputs = [latents, np.array([500], np.int64), context] if task == 'unet' else [latents / np.float32(0.18215)]
    return lambda: network(inputs)


def prepare_peak(options):
    """A matrix product large enough for the machine's best rate."""
    import torch
    torch.set_num_threads(options.threads)
    kind = torch.float32 if options.types == 'f32' or options.worker == 'peak-f32' else torch.bfloat16
    a, b = torch.randn(4096, 4096).to(kind), torch.randn(4096, 4096).to(kind)
    out = torch.empty(4096, 4096, dtype=kind)
    return lambda: torch.mm(a, b, out=out)


PREPARE = {'textinv': prepare_textinv, 'textinv-small': prepare_textinv_small, 'torch': prepare_torch,
           'torch-nhwc': prepare_torch_nhwc, 'script': prepare_script, 'openvino': prepare_openvino,
           'peak': prepare_peak, 'peak-f32': prepare_peak}


def peak_memory():
    """Bytes of the largest resident set since reset_memory()."""
    for line in Path('/proc/self/status').read_text().splitlines():
        if line.startswith('VmHWM'):
            return int(line.split()[1]) * 1024
    return 0


def reset_memory():
    Path('/proc/self/clear_refs').write_text('5')


def work(options):
    """One line of JSON for each line read: seconds of a call; the first two calls warm up."""
    output = os.fdopen(os.dup(1), 'w')
    os.dup2(2, 1)
    try:
        call = PREPARE[options.worker](options)
        call()
        reset_memory()
        call()
        print(json.dumps({}), file=output, flush=True)
    except Exception as error:  # noqa: BLE001
        print(json.dumps({'error': f'{type(error).__name__}: {error}'}), file=output, flush=True)
        return
    for _ in sys.stdin:
        began = time.perf_counter()
        call()
        print(json.dumps({'seconds': time.perf_counter() - began, 'memory': peak_memory()}), file=output, flush=True)


# --- the run


class Worker:
    def __init__(self, system, task, dtype, options):
        self.system, self.seconds, self.memory, self.error = system, [], 0, None
        environment = {**os.environ, 'OMP_NUM_THREADS': str(options.threads)}
        environment.update(TUNED if system.startswith('torch') else {})
        self.process = subprocess.Popen(
            [sys.executable, '-W', 'ignore', __file__, '--worker', system, '--tasks', task, '--types', dtype, '--size',
             str(options.size), '--threads', str(options.threads), '--model', options.model], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL if not options.trace else None, text=True, env=environment)
        self.read()

    def read(self):
        line = self.process.stdout.readline()
        answer = json.loads(line) if line else {'error': f'ended with status {self.process.wait()}'}
        self.error = answer.get('error', self.error)
        return answer

    def turn(self):
        if self.error:
            return
        self.process.stdin.write('\n')
        self.process.stdin.flush()
        answer = self.read()
        if not self.error:
            self.seconds.append(answer['seconds'])
            self.memory = answer['memory']

    def end(self):
        self.process.stdin.close()
        self.process.wait()


def count_flops(options):
    """Floating-point operations of every task, by PyTorch's counter, without any memory for values."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode
    import models
    size = options.size
    with torch.device('meta'):
        unet, vae, (text,), _ = models.parts_sd1(49408, full=options.model == 'sd15-full')
        for module in (unet, vae, text):
            module.requires_grad_(False)
        x, t, c = torch.empty(1, 4, size, size), torch.empty(1), torch.empty(1, 77, width_of(options))
        out = {}
        for task in SYSTEMS:
            with FlopCounterMode(display=False) as counter:
                if task == 'decode':
                    vae.decode(x)
                elif task == 'unet':
                    unet(x, t, c)
                else:
                    unet(x, t, c.requires_grad_()).sample.sum().backward()
            out[task] = counter.get_total_flops()
    return out


def measure(task, dtype, flops, options):
    systems = [s for s in SYSTEMS[task] if s in options.systems.split(',')]
    # a processor without bf16 instructions is fastest in f32
    peaks = ['peak'] if dtype == 'f32' else ['peak', 'peak-f32']
    workers = [Worker(system, task, dtype, options) for system in systems + peaks]
    for i in range(options.rounds):
        for worker in workers:
            worker.turn()
    peak = 2 * 4096 ** 3 / min([s for w in workers if w.system in peaks for s in w.seconds], default=float('nan'))
    ours = statistics.median(workers[0].seconds or [float('nan')])
    for worker in workers:
        worker.end()
        if worker.error:
            print(f'{task:7} {dtype:5} {worker.system:14} {worker.error}')
            continue
        work_ = 2 * 4096 ** 3 if worker.system in peaks else flops[task]
        rate, median = work_ / min(worker.seconds), statistics.median(worker.seconds)
        memory = '' if worker.system in peaks else f'{worker.memory / 2 ** 20:9.0f} MiB'
        beside = '' if worker.system in peaks else f'{ours / median:8.2f}'
        print(f'{task:7} {dtype:5} {worker.system:14} {median:8.2f} s {min(worker.seconds):8.2f} s {rate / 1e9:8.0f} '
              f'GFLOP/s {100 * rate / peak:5.0f} % {memory:>13} {beside}', flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--tasks', default=','.join(SYSTEMS))
    parser.add_argument('--types', default='f32,bf16')
    parser.add_argument('--rounds', type=int, default=7)
    parser.add_argument('--threads', type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument('--size', type=int, default=64, help='side of the latents')
    parser.add_argument('--model', default='sd15-full', choices=['sd15-full', 'sd1'])
    parser.add_argument('--systems', default='textinv,textinv-small,torch,torch-nhwc,script,openvino')
    parser.add_argument('--worker', choices=PREPARE, help=argparse.SUPPRESS)
    parser.add_argument('--convert', action='store_true', help=argparse.SUPPRESS)
    parser.add_argument('--trace', action='store_true', help='show what the workers print')
    options = parser.parse_args()
    if options.worker:
        return work(options)
    if options.convert:
        return convert_openvino(options.tasks, options)
    import models
    models.model(options.model)
    for task in options.tasks.split(','):
        if 'openvino' in SYSTEMS[task] and 'openvino' in options.systems:
            subprocess.run([sys.executable, '-W', 'ignore', __file__, '--convert', '--tasks', task, '--size',
                            str(options.size), '--model', options.model], check=True)
    flops = count_flops(options)
    print(f'latents {options.size} x {options.size}, batch 1, {options.threads} threads, {options.rounds} rounds, '
          f'load {os.getloadavg()[0]:.1f}')
    print(f'{"task":7} {"type":5} {"system":14} {"median":>10} {"least":>10} {"rate":>16} {"peak":>7} {"memory":>13} '
          f'{"textinv / it":>8}')
    for dtype in options.types.split(','):
        for task in options.tasks.split(','):
            measure(task, dtype, flops, options)
    return 0


if __name__ == '__main__':
    sys.exit(main())
