"""Whole inversions of a small model on a GPU beside the same on the CPU.

python tests/cuda/inversion_check.py PLUGIN [--model FOLDER] [--steps N] [--seconds N] [--words FILE.tar]

The same seed draws the same data, so in float the rows must agree within 1e-3; ends with 1 when they do not. For
bf16 the distance and the losses are shown. Where the CPU would take longer than --seconds, it takes fewer steps, and so
does the GPU. The model is any that knows "vase" (default: models/toybox, the library's own). --words learns every held-out test object on the GPU in f32 and bf16, 500
steps each, for the yardstick: examples/toybox/score/score.py --words takes the archive's folders f32 and bf16.
"""
import argparse
import json
import sys
import tarfile
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / 'tests/parity'))
import numpy as np

from binding import textinv as ti

WORLD, BOUND = ROOT / 'examples/toybox', 1e-3


class Run:
    """One inversion: its rows, losses and seconds."""

    def __init__(self, session, model, concept, noun, steps):
        self.losses, self.times, self.embeddings = [], [], ti.Embeddings(session)
        word = f'<{concept}>'
        self.embeddings.add(model, word, noun)
        began = time.perf_counter()
        session.invert(model, self.embeddings, [{'placeholder': word, 'images_path': str(WORLD / 'heldout' / concept)}],
                       steps=steps, batch=4, seed=3, progress=self.note)
        self.seconds, self.rows = time.perf_counter() - began, self.embeddings.rows(word)

    def note(self, progress):
        if progress.phase == 'train':
            self.losses.append(progress.loss)
            self.times.append(time.perf_counter())


def distance(a, b):
    return np.linalg.norm(np.subtract(a, b)) / np.linalg.norm(b)


def steps_within(seconds, session, model, most):
    """Steps that the CPU takes in so many seconds, as three of them tell."""
    began = time.perf_counter()
    run = Run(session, model, 'vase', 'vase', 3)
    step, rest = (run.times[-1] - run.times[0]) / 2, run.times[0] - began
    steps = int(max(3, min(most, (seconds - 2 * rest) / step)))
    print(f'cpu: {step:.2f} s a step, {rest:.1f} s before; {steps} steps', flush=True)
    return steps


def compare(sessions, model, steps):
    """Number of runs that are too far from the CPU's."""
    truth = []
    thread = threading.Thread(target=lambda: truth.append(Run(sessions['cpu'], model, 'vase', 'vase', steps)))
    thread.start()
    runs = {name: Run(sessions[name], model, 'vase', 'vase', steps) for name in ('f32', 'bf16')}
    thread.join()
    truth, wrong = truth[0], 0
    print(f'cpu  f32: {truth.seconds:6.2f} s, loss {np.mean(truth.losses):.5f}')
    for name, run in runs.items():
        rows, losses = distance(run.rows, truth.rows), distance(run.losses, truth.losses)
        print(f'cuda {name}: {run.seconds:6.2f} s, loss {np.mean(run.losses):.5f}; from the CPU\'s: rows {rows:.2e}, '
              f'losses {losses:.2e}')
        wrong += name == 'f32' and not rows < BOUND
    return wrong


def learn_words(sessions, model, path):
    concepts = [c for c in json.loads((WORLD / 'world/heldout.json').read_text())['concepts']
                if c['kind'] == 'object' and c['split'] == 'test']
    with tempfile.TemporaryDirectory() as folder, tarfile.open(path, 'w') as archive:
        for name in ('bf16', 'f32'):
            began, losses = time.perf_counter(), []
            for concept in concepts:
                run = Run(sessions[name], model, concept['id'], concept['noun'], 500)
                losses += run.losses
                file = Path(folder, concept['id'] + '.safetensors')
                run.embeddings.save(file)
                archive.add(file, f'{name}/{file.name}')
            print(f'{name}: {len(concepts)} words in {time.perf_counter() - began:.1f} s, loss {np.mean(losses):.5f}')


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('plugin')
    parser.add_argument('--steps', type=int, default=100)
    parser.add_argument('--model', default=ROOT / 'models/toybox', type=Path)
    parser.add_argument('--seconds', type=float, default=60)
    parser.add_argument('--words')
    options = parser.parse_args()
    if not (options.model / 'model_index.json').exists():
        sys.exit(f'inversion_check: {options.model} is not the folder of a pipeline (--model names another)')
    cuda = {'backend': ti.TEXTINV_BACKEND_CUDA, 'backend_path': options.plugin}
    sessions = {'cpu': ti.Session(), 'f32': ti.Session(**cuda), 'bf16': ti.Session(dtype=ti.TEXTINV_BF16, **cuda)}
    model = ti.Model(sessions['cpu'], options.model)
    wrong = compare(sessions, model, steps_within(options.seconds * 0.7, sessions['cpu'], model, options.steps))
    if options.words:
        learn_words(sessions, model, options.words)
    return wrong


if __name__ == '__main__':
    sys.exit(main())
