"""Loss, gradients and whole runs against PyTorch's autograd; and that nothing else changes.

python tests/parity/check_training.py [--full] [--trace] [MODEL ...]
"""
import hashlib
import re
import sys
from pathlib import Path

import ctypes
import numpy as np
import torch

import models
from binding import textinv as ti
from report import Report, relative_error
from torch_training import Reference, invert

ALLOWED_GRADIENT = 1e-4
ALLOWED_RUN = 1e-3
PROMPTS = ['a photo of <cat-toy> on the beach', '<cat> beside a <cat-toy>, in the style of <cat>',
           'a dog without any new word']


def words_of(dims, seed=5):
    rng = np.random.default_rng(seed)
    return {word: [rng.normal(0, 0.02, (k, d)).astype(np.float32) for d in dims]
            for word, k in (('<cat>', 1), ('<cat-toy>', 3))}


def fill(embeddings, words):
    for word, rows in words.items():
        for i, values in enumerate(rows):
            embeddings.set(word, values, i)


def samples(info, size, batch, seed):
    rng = torch.Generator().manual_seed(seed)
    shape = (batch, info.latent_channels, *size)
    timesteps = torch.randint(0, info.train_timesteps, (batch,), generator=rng).tolist()
    return torch.randn(shape, generator=rng), torch.randn(shape, generator=rng), timesteps


def check_gradient(report, name, session, model, words, full):
    reference = Reference(name, words)
    size = reference.pipe.unet.config.sample_size
    cases = [((size, size), PROMPTS[:1], 1)] if full else [
        ((size, size), PROMPTS[:1], 1), ((size, 2 * size), PROMPTS[:2], 2), ((2 * size, size), PROMPTS, 3)]
    with ti.Embeddings(session) as embeddings:
        fill(embeddings, words)
        for shape, prompts, seed in cases:
            latents, noise, timesteps = samples(model.info, shape, len(prompts), seed)
            expected, expected_rows = reference.gradient(latents, noise, timesteps, prompts)
            loss, rows = session.loss(model, embeddings, latents, noise, timesteps, prompts)
            what = f'{name} batch {len(prompts)}, latents {shape[0]} x {shape[1]}'
            report.at_most(what + ' loss', abs(loss - expected) / expected, ALLOWED_GRADIENT)
            report.at_most(what + ' gradient', relative_error(rows, expected_rows), ALLOWED_GRADIENT)
            alone, _ = session.loss(model, embeddings, latents, noise, timesteps, prompts, gradient=False)
            report.at_most(what + ' loss alone', abs(alone - expected) / expected, ALLOWED_GRADIENT)
        with ti.Session(threads=2, memory_budget=1) as small:
            try:
                small.loss(model, embeddings, latents, noise, timesteps, prompts)
                met = 'accepted'
            except ti.Error as error:
                met = error.name
            report.same(f'{name} a budget of one byte is refused', met, 'TEXTINV_E_NOMEM')


def check_budget(report, name, model, words):
    """With little memory the gradient is computed by recomputation, and is the same."""
    info = model.info
    size = models.json.loads((models.model(name) / 'unet/config.json').read_text()).get('sample_size', 64)
    latents, noise, timesteps = samples(info, (2 * size, 2 * size), 2, 7)
    results = []
    weights = 4 * info.parameters
    with ti.Session(threads=2) as whole, ti.Embeddings(whole) as embeddings:
        fill(embeddings, words)
        results.append(whole.loss(model, embeddings, latents, noise, timesteps, PROMPTS[:2]))
        peak = whole.peak_bytes()
        with ti.Session(threads=2, memory_budget=weights + int(0.8 * peak)) as small:
            results.append(small.loss(model, embeddings, latents, noise, timesteps, PROMPTS[:2]))
            report.at_most(f'{name} budget: share of the whole peak', small.peak_bytes() / peak, 0.8)
    report.at_most(f'{name} budget: gradient beside the whole one', relative_error(results[1][1], results[0][1]), 1e-6)


def check_run(report, name, session, model, words):
    """Twenty steps of textinv_invert() beside a PyTorch loop with the same draws."""
    rng = np.random.default_rng(8)
    size = model.info.size
    pictures = np.kron(rng.integers(0, 256, (3, 8, 8, 3)), np.ones((1, size // 8, size // 8, 1))).astype(np.uint8)
    templates = ['a photo of {}', 'the {} on a table', 'a drawing of one small {} at night']
    word, seed = '<cat-toy>', 2 ** 33 + 5
    reference = Reference(name, {word: words[word]})
    steps = 20
    losses = invert(reference, pictures, [t.replace('{}', word) for t in templates], seed, steps, batch=2, accumulate=2,
                    lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2)
    with ti.Embeddings(session) as embeddings:
        fill(embeddings, {word: words[word]})
        images = [ti.Images(session, p[None]) for p in pictures]
        met = []

        def progress(p):
            if p.phase == 'train':
                met.append(p.loss)

        run = session.invert(model, embeddings, [dict(placeholder=word, pictures=images, prompts=templates)],
                             steps=steps, batch=2, accumulate=2, learning_rate=1e-3, weight_decay=1e-2, seed=seed,
                             progress=progress).report
        report.same(f'{name} run: steps', run.steps, steps)
        report.at_most(f'{name} run: losses of {steps} steps', relative_error(met, losses), ALLOWED_RUN)
        for i, table in enumerate(reference.tables):
            what = f'{name} run: rows of encoder {i}'
            moved = relative_error(table.rows, words[word][i])
            report.at_most(what, relative_error(embeddings.rows(word, i), table.rows), ALLOWED_RUN)
            change = embeddings.rows(word, i) - words[word][i]
            report.at_most(f'{what}, their change', relative_error(change, table.rows.detach() - words[word][i]), 1e-2)
            report.at_least(f'{what} moved by', float(moved), 0.05)


def check_bf16(report, name, model, words):
    """The error of bf16 beside float is at most twice that of PyTorch's own bf16."""
    info = model.info
    exact, rough = Reference(name, words), Reference(name, words, torch.bfloat16)
    size = exact.pipe.unet.config.sample_size
    latents, noise, timesteps = samples(info, (size, size), 2, 9)
    truth = exact.gradient(latents, noise, timesteps, PROMPTS[:2])
    theirs = rough.gradient(latents, noise, timesteps, PROMPTS[:2])
    prompt = PROMPTS[1]
    with torch.no_grad(), ti.Session(threads=2, dtype=ti.TEXTINV_BF16) as session, \
            ti.Embeddings(session) as embeddings:
        fill(embeddings, words)
        _, rows = session.loss(model, embeddings, latents, noise, timesteps, PROMPTS[:2])

        def compare(what, ours, other, true):
            report.at_most(f'{name} bf16 {what}, allowed twice PyTorch\'s', relative_error(ours, true),
                           2 * relative_error(other.float() if isinstance(other, torch.Tensor) else other, true))

        compare('gradient', rows, theirs[1], truth[1])
        true_context, true_pooled = exact.context([prompt])
        their_context, _ = rough.context([prompt])
        context, _, _ = session.encode_prompt(model, prompt, embeddings)
        compare('text', context, their_context[0], true_context[0])
        t, added, added_rough = torch.tensor(400), None, None
        sizes = torch.tensor([[128.0, 128, 0, 0, 128, 128]])
        if info.pooled_dim:
            added = {'text_embeds': true_pooled, 'time_ids': sizes}
            added_rough = {k: v.bfloat16() for k, v in added.items()}
        true = exact.pipe.unet(latents[:1], t, true_context, added_cond_kwargs=added).sample
        other = rough.pipe.unet(latents[:1].bfloat16(), t, true_context.bfloat16(),
                                added_cond_kwargs=added_rough).sample
        ours = session.predict_noise(model, latents[:1], 400.0, true_context, true_pooled,
                                     sizes if info.pooled_dim else None)
        compare('unet', ours, other, true)
        config = exact.pipe.vae.config
        z = latents[:1] / config.scaling_factor
        true = exact.pipe.vae.decode(z).sample
        other = rough.pipe.vae.bfloat16().decode(z.bfloat16()).sample
        compare('decoder', session.decode_latents(model, latents[:1]), other, true)


def hash_files(folder):
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(Path(folder).rglob('*')) if p.is_file()}


def hash_mapped(folder):
    """Weights as this process has them mapped."""
    digest, count = hashlib.sha256(), 0
    for line in Path('/proc/self/maps').read_text().splitlines():
        match = re.match(r'(\w+)-(\w+) \S+ \w+ \S+ \d+\s+(\S.*\.safetensors)$', line)
        if match and str(folder) in match[3]:
            first, last = int(match[1], 16), int(match[2], 16)
            digest.update(ctypes.string_at(first, last - first))
            count += 1
    return count, digest.hexdigest()


def check_frozen(report, name, words):
    """Learning a word changes no weight, no other word, and no prompt without it."""
    folder = models.model(name)
    files = hash_files(folder)
    others = ['', 'a photo of a dog', 'a photo of <cat> in the style of a toy robot']
    with ti.Session(threads=2) as session, ti.Model(session, folder) as model, ti.Embeddings(session) as embeddings:
        fill(embeddings, {'<cat>': words['<cat>']})
        mapped = hash_mapped(folder)
        report.line(f'{name} frozen: mapped weight files seen', str(mapped[0]), '> 0', mapped[0] > 0)
        before = [[None if a is None else a.tobytes() for a in session.encode_prompt(model, p, embeddings)[:2]]
                  for p in others]
        row = embeddings.rows('<cat>').tobytes()
        picture = np.random.default_rng(1).integers(0, 256, (1, model.info.size, model.info.size, 3), dtype=np.uint8)
        session.invert(model, embeddings, [dict(placeholder='<new>', initializer='toy robot', num_vectors=2,
                                                pictures=[ti.Images(session, picture)])], steps=3, batch=1)
        after = [[None if a is None else a.tobytes() for a in session.encode_prompt(model, p, embeddings)[:2]]
                 for p in others]
        for prompt, a, b in zip(others, before, after):
            report.same(f'{name} frozen: conditioning of "{prompt[:24]}"', a == b, True)
        report.same(f'{name} frozen: rows of the other word', embeddings.rows('<cat>').tobytes() == row, True)
        report.same(f'{name} frozen: mapped weights', hash_mapped(folder), mapped)
    report.same(f'{name} frozen: files of the model', hash_files(folder) == files, True)


def check_model(report, name):
    full = name in models.FULL
    with ti.Session(threads=2) as session, ti.Model(session, models.model(name)) as model:
        words = words_of(model.info.embedding_dim[:model.info.num_encoders])
        report.guard(f'{name} gradient', check_gradient, report, name, session, model, words, full)
        if full:
            return
        report.guard(f'{name} budget', check_budget, report, name, model, words)
        report.guard(f'{name} run', check_run, report, name, session, model, words)
        report.guard(f'{name} bf16', check_bf16, report, name, model, words)
        report.guard(f'{name} frozen', check_frozen, report, name, words)


def main(names):
    report = Report('training: relative error against PyTorch autograd')
    for name in names:
        report.guard(name, check_model, report, name)
    return report.end()


if __name__ == '__main__':
    arguments = [a for a in sys.argv[1:] if not a.startswith('-')]
    sys.exit(main(arguments or (models.FULL if '--full' in sys.argv else [*models.PARTS])) > 0)
