"""Which kernels take the time of our training step and of a sampler step, at the size of Stable Diffusion 1.5.

python tests/bench/cuda_profile.py [--batches 4,1] [--tasks train,image] [--steps N] [--rows N] [--size LATENTS]
                                   [--model NAME] [--dtype bf16|f16|f32]

Random weights. CUPTI, through torch.profiler, sees every kernel of the process, those of CUDA graphs too. A table
has a line for a kernel: microseconds of a step, launches of a step, microseconds of a launch, share.
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
import textinv_ctypes as ti

WARM, SIDE = 3, 8  # steps before those that count; pixels of a latent
DTYPES = {'bf16': ti.TEXTINV_BF16, 'f16': ti.TEXTINV_F16, 'f32': ti.TEXTINV_F32}


class Profile:
    """A progress callback that records the steps of a phase from step WARM on."""

    def __init__(self, phase, steps):
        self.phase, self.last, self.steps = phase, WARM + steps, steps
        self.profiler = torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA])

    def __call__(self, progress):
        if progress.phase.decode() != self.phase:
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
        order = sorted(kernels, key=lambda name: -sum(kernels[name]))
        for name in order[:rows]:
            times = kernels[name]
            print(f'{sum(times) / self.steps:10.1f} us {len(times) / self.steps:7.1f} x {np.mean(times):8.1f} '
                  f'{100 * sum(times) / self.steps / total:5.1f} %  {name}')
        rest = sum(sum(kernels[name]) for name in order[rows:]) / self.steps
        print(f'{rest:10.1f} us {"":29s} the other {len(order[rows:])}', flush=True)


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
    parser.add_argument('--steps', type=int, default=10)
    parser.add_argument('--rows', type=int, default=30)
    parser.add_argument('--size', type=int, default=64, help='side of the latents')
    parser.add_argument('--model', default='sd15-bf16')
    parser.add_argument('--dtype', default='bf16', choices=DTYPES)
    options = parser.parse_args()
    began = time.perf_counter()
    folder = models.model(options.model)
    print(f'model: {time.perf_counter() - began:.1f} s')
    session = ti.Session(backend=ti.TEXTINV_BACKEND_CUDA, dtype=DTYPES[options.dtype])
    model = ti.Model(session, folder)
    pixels = options.size * SIDE
    picture = ti.Images(session, np.random.default_rng(0).integers(0, 256, (1, pixels, pixels, 3), np.uint8))
    for batch in map(int, options.batches.split(',') if 'train' in options.tasks else []):
        profile, embeddings = Profile('train', options.steps), ti.Embeddings(session)
        embeddings.add(model, '<toy>', 'cat')
        session.invert(model, embeddings, [{'placeholder': '<toy>', 'pictures': [picture]}], batch=batch,
                       steps=WARM + options.steps, resolution=pixels, progress=profile)
        embeddings.free()
        profile.show(f'training step, batch {batch}', options.rows)
    if 'image' in options.tasks:
        profile = Profile('sample', options.steps)
        session.generate(model, 'a photo of a cat', steps=WARM + options.steps, guidance_scale=7.5, seed=1,
                         sampler=ti.TEXTINV_SAMPLER_DDIM, width=pixels, height=pixels, progress=profile)
        profile.show('sampler step with guidance', options.rows)


if __name__ == '__main__':
    main()
