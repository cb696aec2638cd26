"""From nothing to the first result, as a process of its own: a word after one step, a picture after one step.

python tests/bench/start.py [--tasks learn,draw] [--rounds N] [--model sd15-bf16|sd1] [--program build/cc/textinv]

Stable Diffusion 1.5's networks with random weights in bf16, 64 x 64 pixels, so that loading is most of it: reading the
folder, the words, the picture, one step, and the file that comes out. diffusers does the same from its pipeline. Programs
take turns, and files are in the system's cache from a first run that does not count.
"""
import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / 'tests/parity'))
PICTURES = ROOT / 'examples/toybox/heldout/vase'
SIDE, WORD, INITIALIZER = 64, '<toy>', 'cat'


def textinv(options, task, folder):
    common = ['--model', options.folder, '--steps', 1, '--dtype', 'bf16', '--quiet']
    if task == 'learn':
        return [options.program, 'invert', *common, '--images', PICTURES, '--placeholder', WORD, '--initializer',
                INITIALIZER, '--batch', 1, '--resolution', SIDE, '--out', folder / 'toy.safetensors']
    return [options.program, 'generate', *common, '--prompt', 'a cat', '--width', SIDE, '--height', SIDE,
            '--out', folder / 'cat.png']


def diffusers(options, task, folder):
    return [sys.executable, '-W', 'ignore', __file__, '--worker', task, '--folder', options.folder, '--out', folder]


def work(options):
    """What diffusers does."""
    import numpy as np
    import torch
    from diffusers import StableDiffusionPipeline
    from PIL import Image
    from safetensors.torch import save_file
    pipe = StableDiffusionPipeline.from_pretrained(options.folder, dtype=torch.bfloat16, safety_checker=None)
    if options.worker == 'draw':
        pipe('a cat', num_inference_steps=1, width=SIDE, height=SIDE).images[0].save(options.out / 'cat.png')
        return
    vae, unet, text, tokenizer = pipe.vae, pipe.unet, pipe.text_encoder, pipe.tokenizer
    tokenizer.add_tokens(WORD)
    text.resize_token_embeddings(len(tokenizer))
    for network in (vae, unet, text):
        network.requires_grad_(False)
    table = text.get_input_embeddings().weight.requires_grad_(True)
    first, new = (tokenizer.convert_tokens_to_ids(w) for w in (INITIALIZER, WORD))
    table.data[new] = table.data[first]
    optimizer = torch.optim.AdamW([table], lr=5e-4)
    pictures = [Image.open(p).convert('RGB').resize((SIDE, SIDE)) for p in sorted(PICTURES.glob('*.png'))]
    x = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).to(torch.bfloat16) / 127.5 - 1
    with torch.no_grad():
        latents = vae.encode(x).latent_dist.sample()[:1] * vae.config.scaling_factor
    noise, t = torch.randn_like(latents), torch.tensor([500])
    ids = tokenizer(f'a photo of {WORD}', padding='max_length', max_length=77, return_tensors='pt').input_ids
    out = unet(pipe.scheduler.add_noise(latents, noise, t), t, text(ids).last_hidden_state).sample
    torch.nn.functional.mse_loss(out.float(), noise.float()).backward()
    optimizer.step()
    save_file({WORD: table.data[new].clone()}, options.out / 'toy.safetensors')


def run(command):
    """Seconds and bytes of memory of a process."""
    began = time.perf_counter()
    child = subprocess.Popen([str(c) for c in command], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    said = child.stderr.read()
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        sys.exit(f'start: {command[0]} ended with status {child.returncode}: {said[-400:]}')
    return time.perf_counter() - began, usage.ru_maxrss * 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--tasks', default='learn,draw')
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--model', default='sd15-bf16', choices=['sd15-bf16', 'sd1'])
    parser.add_argument('--program', default=ROOT / 'build/cc/textinv', type=Path)
    parser.add_argument('--worker', choices=['learn', 'draw'], help=argparse.SUPPRESS)
    parser.add_argument('--folder', type=Path, help=argparse.SUPPRESS)
    parser.add_argument('--out', type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        return work(options)
    options.folder = ROOT / 'build/parity' / options.model
    if not (options.folder / '.done').exists():
        import models
        models.model(options.model)
    print('task   system        median      least      memory  textinv / it')
    for task in options.tasks.split(','):
        results = {textinv: [], diffusers: []}
        with tempfile.TemporaryDirectory() as folder:
            for _ in range(options.rounds + 1):
                for system, measured in results.items():
                    measured.append(run(system(options, task, Path(folder))))
        ours = statistics.median(s for s, _ in results[textinv][1:])
        for system, measured in results.items():
            seconds, memory = zip(*measured[1:])
            median = statistics.median(seconds)
            print(f'{task:6} {system.__name__:10} {median:7.2f} s {min(seconds):8.2f} s {max(memory) / 2 ** 20:7.0f} MiB '
                  f'{ours / median:9.2f}', flush=True)


if __name__ == '__main__':
    sys.exit(main())
