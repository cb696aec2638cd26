"""Which kernels take the time of our training step and of a sampler step, at the size of Stable Diffusion 1.5.

python tests/bench/cuda_profile.py [--batches 4,1] [--tasks train,image] [--steps N] [--rows N] [--size LATENTS]
                                   [--model NAME] [--dtype bf16|f16|f32]

Random weights. CUPTI, through torch.profiler, sees every kernel of the process, those of CUDA graphs too. First a line
for each class of operations, then one for a kernel: microseconds of a step, launches of a step, microseconds of a launch,
share. Convolutions are what our matrix products do; linear layers what cuBLASLt's do, and among ours without it.
"""
import argparse
import json
import re
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / 'tests/parity'))
import numpy as np
import torch

import models
from binding import textinv as ti

# steps before those that count; pixels of a latent; steps that run when a training step's loss is told
WARM, SIDE, AHEAD = 3, 8, 1
DTYPES = {'bf16': ti.TEXTINV_BF16, 'f16': ti.TEXTINV_F16, 'f32': ti.TEXTINV_F32}


# a class and the part of a kernel's name that tells it; the first that fits
CLASSES = [(re.compile(pattern), name) for pattern, name in [
    (r'gemm_(hopper|f32)_kernel<.*(true|\(bool\)1)>|gemm_kernel<.*(true|\(bool\)1), *[^,]*>', 'convolutions, backward'),
    (r'gemm_\w*kernel', 'convolutions'),
    (r'attention_(\w+_)?(d[a-z]+|delta|sum)_kernel|plain_d', 'attention, backward'), (r'attention_|plain_fwd', 'attention'),
    (r'groupnorm.*bwd', 'group norm, backward'), (r'groupnorm', 'group norm'),
    (r'layernorm.*bwd', 'layer norm, backward'), (r'layernorm', 'layer norm'),
    (r'geglu', 'GEGLU'), (r'activation', 'activations'), (r'copy_columns|upsample|gather|cast|mem(cpy|set)|Mem(cpy|set)', 'copies'),
    (r'\badd_', 'sums'), (r'nvjet|cutlass|xmma|cublas|gemm|splitK|sm[89]0_', 'linear (cuBLASLt)')]]


def class_of(kernel):
    return next((name for pattern, name in CLASSES if pattern.search(kernel)), 'the rest')


class Profile:
    """A progress callback that records the steps of a phase from step WARM on; ahead: steps that the device has begun then."""

    def __init__(self, phase, steps, ahead=0):
        self.phase, self.last, self.steps = phase, WARM + ahead + steps, steps
        self.profiler = torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA])

    def __call__(self, progress):
        if progress.phase != self.phase:
            return
        if progress.step == WARM:
            torch.cuda.synchronize()
            self.profiler.start()
            self.began = time.perf_counter()
        if progress.step == self.last:
            torch.cuda.synchronize()
            self.seconds = time.perf_counter() - self.began
            self.profiler.stop()

    def kernels(self):
        """{name: microseconds of each launch}, of all steps"""
        kernels = defaultdict(list)
        with tempfile.NamedTemporaryFile(suffix='.json') as file:
            self.profiler.export_chrome_trace(file.name)
            for event in json.loads(Path(file.name).read_text())['traceEvents']:
                if event.get('cat') in ('kernel', 'gpu_memcpy', 'gpu_memset'):
                    kernels[short(event['name'])].append(event['dur'])
        return kernels

    def show(self, title, rows):
        kernels = self.kernels()
        total = sum(map(sum, kernels.values())) / self.steps
        wall = 1e6 * self.seconds / self.steps
        print(f'\n{title}: {wall:.0f} us a step, kernels {total:.0f} us ({100 * total / wall:.0f} %), '
              f'{sum(map(len, kernels.values())) / self.steps:.0f} launches')
        print(f'{wall - total:10.1f} us {100 * (wall - total) / wall:5.1f} % of the step without a kernel')
        self.lines({name: sum((kernels[k] for k in kernels if class_of(k) == name), [])
                    for name in {class_of(k) for k in kernels}}, total)
        print()
        self.lines(kernels, total, rows)

    def lines(self, times, total, rows=None):
        """Of {name: microseconds of each launch}, the longest first"""
        order = sorted(times, key=lambda name: -sum(times[name]))
        for name in order[:rows]:
            print(f'{sum(times[name]) / self.steps:10.1f} us {len(times[name]) / self.steps:7.1f} x '
                  f'{np.mean(times[name]):8.1f} {100 * sum(times[name]) / self.steps / total:5.1f} %  {name}')
        if rows and rows < len(order):
            rest = sum(sum(times[name]) for name in order[rows:]) / self.steps
            print(f'{rest:10.1f} us {"":29s} the other {len(order) - rows}', flush=True)


def short(name):
    """A kernel's name with its template's arguments and without those of the call."""
    name = re.sub(r'\(anonymous namespace\)::|^void ', '', name)
    depth = 0
    for i, c in enumerate(name):
        depth += (c == '<') - (c == '>')
        if c == '(' and depth == 0 and i:
            name = name[:i]
            break
    return re.sub(r'__nv_bfloat16|ti_bf16', 'bf16', name)[:110]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--batches', default='4,1')
    parser.add_argument('--tasks', default='train,image')
    parser.add_argument('--steps', type=int, default=5)
    parser.add_argument('--rows', type=int, default=40, help='kernels in a table')
    parser.add_argument('--size', type=int, default=64, help='side of the latents')
    parser.add_argument('--model', default='sd15-bf16')
    parser.add_argument('--dtype', default='bf16', choices=DTYPES)
    options = parser.parse_args()
    began = time.perf_counter()

    def told(what):
        print(f'{time.perf_counter() - began:5.1f} s: {what}', flush=True)

    folder = models.model(options.model)
    told('the model is there')
    session = ti.Session(backend=ti.TEXTINV_BACKEND_CUDA, dtype=DTYPES[options.dtype])
    model = ti.Model(session, folder)
    told('it is open')
    pixels = options.size * SIDE
    picture = ti.Images(session, np.random.default_rng(0).integers(0, 256, (1, pixels, pixels, 3), np.uint8))
    for batch in map(int, options.batches.split(',') if 'train' in options.tasks else []):
        profile, embeddings = Profile('train', options.steps, AHEAD), ti.Embeddings(session)
        embeddings.add(model, '<toy>', 'cat')
        session.invert(model, embeddings, [{'placeholder': '<toy>', 'pictures': [picture]}], batch=batch,
                       steps=profile.last, resolution=pixels, progress=profile)
        embeddings.close()
        told('steps are recorded')
        profile.show(f'training step, batch {batch}', options.rows)
    if 'image' in options.tasks:
        profile = Profile('sample', options.steps)
        session.generate(model, 'a photo of a cat', steps=WARM + options.steps, guidance_scale=7.5, seed=1,
                         sampler=ti.TEXTINV_SAMPLER_DDIM, width=pixels, height=pixels, progress=profile)
        told('steps are recorded')
        profile.show('sampler step with guidance', options.rows)


if __name__ == '__main__':
    main()
