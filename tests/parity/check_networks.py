"""Text encoder, UNet and autoencoder against transformers and diffusers, float, relative error at most 1e-5.

python tests/parity/check_networks.py [--full] [--trace] [MODEL ...]
"""
import sys

import numpy as np
import torch

import models
from binding import textinv as ti
from report import Report, relative_error

ALLOWED = 1e-5
PROMPTS = ['', 'a photo of a dog and a cat', 'An   oil-painting of 7 TOYS, by the river!', 'vase ' * 100]


def prompt_of(pipe, prompt, skip=0):
    """context and pooled of a prompt, as the pipeline makes them"""
    clip_skip = skip or None
    if pipe.components.get('text_encoder_2') is not None:
        context, _, pooled, _ = pipe.encode_prompt(prompt, device='cpu', do_classifier_free_guidance=False,
                                                   clip_skip=clip_skip)
        return context[0], pooled[0]
    if skip:
        ids = pipe.tokenizer(prompt, padding='max_length', max_length=77, truncation=True, return_tensors='pt')
        states = pipe.text_encoder(ids.input_ids, output_hidden_states=True).hidden_states
        if isinstance(pipe, models.LatentDiffusion):
            return pipe.bert.model.layer_norm(states[-(skip + 1)])[0], None
        encoder = getattr(pipe.text_encoder, 'text_model', pipe.text_encoder)
        return encoder.final_layer_norm(states[-(skip + 1)])[0], None
    context, _ = pipe.encode_prompt(prompt, 'cpu', 1, False)
    return context[0], None


def check_text(report, name, session, model, pipe):
    for prompt in PROMPTS:
        for skip in (0, 1):
            if skip and model.info.num_encoders == 1 and pipe.text_encoder.config.num_hidden_layers < 2:
                continue
            expected, expected_pooled = prompt_of(pipe, prompt, skip)
            context, pooled, cut = session.encode_prompt(model, prompt, clip_skip=skip)
            what = f'{name} text "{prompt[:20]}"' + (f' skip {skip}' if skip else '')
            report.at_most(what, relative_error(context, expected), ALLOWED)
            if pooled is not None:
                report.at_most(what + ' pooled', relative_error(pooled, expected_pooled), ALLOWED)
            if prompt.startswith('vase'):
                report.same(what + ' tokens left out', cut, len(model.tokenizer(session).encode(prompt)) - 77)


def add_words(pipe, words):
    """words {name: [rows of encoder 0, rows of encoder 1]} as diffusers loads them"""
    for i, (encoder, tokenizer) in enumerate((('text_encoder', 'tokenizer'), ('text_encoder_2', 'tokenizer_2'))):
        if getattr(pipe, encoder, None) is None:
            break
        pipe.load_textual_inversion([{name: torch.from_numpy(rows[i])} for name, rows in words.items()],
                                    text_encoder=getattr(pipe, encoder), tokenizer=getattr(pipe, tokenizer))


def check_words(report, name, session, model, pipe):
    """New words of one and of three vectors, in the middle and where the prompt is cut."""
    rng = np.random.default_rng(5)
    dims = model.info.embedding_dim[:model.info.num_encoders]
    words = {f'<{word}>': [rng.normal(0, 0.02, (k, d)).astype(np.float32) for d in dims]
             for word, k in (('cat', 1), ('cat-toy', 3), ('zebra', 1))}
    add_words(pipe, words)
    with ti.Embeddings(session) as embeddings:
        for word, rows in words.items():
            for i, values in enumerate(rows):
                embeddings.set(word, values, i)
        for prompt in ('a photo of <cat> on the beach', 'a <cat-toy> beside <cat>, in the style of <zebra>', '<zebra>'):
            expected, expected_pooled = prompt_of(pipe, prompt)
            context, pooled, _ = session.encode_prompt(model, prompt, embeddings)
            report.at_most(f'{name} text "{prompt[:36]}"', relative_error(context, expected), ALLOWED)
            if pooled is not None:
                report.at_most(f'{name} text "{prompt[:36]}" pooled', relative_error(pooled, expected_pooled), ALLOWED)


@torch.no_grad()
def check_unet(report, name, session, model, pipe, cases):
    info, rng = model.info, torch.Generator().manual_seed(11)
    for batch, height, width, timestep in cases:
        x = torch.randn(batch, info.latent_channels, height, width, generator=rng)
        context = torch.randn(batch, info.max_tokens, info.context_dim, generator=rng)
        pooled = sizes = added = None
        if info.pooled_dim:
            pooled = torch.randn(batch, info.pooled_dim, generator=rng)
            sizes = torch.tensor([[512, 384, 0, 17, 256.0, 128]] * batch)
            added = {'text_embeds': pooled, 'time_ids': sizes}
        inputs, masks = x, {}
        if info.needs_mask:
            mask = torch.rand(batch, 1, height, width, generator=rng).round()
            masks = dict(mask=mask, masked=torch.randn(x.shape, generator=rng))
            inputs = torch.cat([x, *masks.values()], dim=1)
        expected = pipe.unet(inputs, torch.tensor(timestep), context, added_cond_kwargs=added).sample
        met = session.predict_noise(model, x, timestep, context, pooled, sizes, **masks)
        report.at_most(f'{name} unet [{batch}, {height}, {width}] t {timestep:g}', relative_error(met, expected),
                       ALLOWED)


@torch.no_grad()
def check_vae(report, name, session, model, pipe, sizes, dtype=torch.float32):
    """dtype: of the reference; at 512 x 512 PyTorch's float is 1.4e-5 from its double, 3.2e-6 with exact group norms"""
    config, rng = pipe.vae.config, np.random.default_rng(12)
    scale = config.scaling_factor
    pipe.vae.to(dtype)
    for height, width in sizes:
        pixels = rng.integers(0, 256, (1, height, width, 3), dtype=np.uint8)
        x = torch.from_numpy(pixels).permute(0, 3, 1, 2).to(dtype) / 127.5 - 1
        moments = pipe.vae.encode(x).latent_dist
        with ti.Images(session, pixels) as images:
            mean, deviation = session.encode_image(model, images)
        what = f'{name} vae {height} x {width}'
        report.at_most(what + ' encoder mean', relative_error(mean, moments.mean[0] * scale), ALLOWED)
        report.at_most(what + ' encoder deviation', relative_error(deviation, moments.std[0] * scale), ALLOWED)
        z = torch.from_numpy(rng.normal(size=(1 if dtype is torch.float64 else 2, *mean.shape)).astype(np.float32))
        expected = pipe.vae.decode(z.to(dtype) / scale).sample
        report.at_most(what + ' decoder', relative_error(session.decode_latents(model, z), expected), ALLOWED)


def check_model(report, name):
    full = name in models.FULL
    pipe = models.reference(name)
    with ti.Session(threads=2) as session, ti.Model(session, models.model(name)) as model:
        size, side = pipe.unet.config.sample_size, model.info.latent_scale
        if full:
            cases, pictures = [(1, 64, 64, 500.0)], [(512, 512)]
        else:
            last = model.info.train_timesteps - 1
            cases = [(1, size, size, 0.0), (2, size, 2 * size, last * 0.25), (3, 2 * size, size, last - 0.75)]
            pictures = [(8 * side, 8 * side), (5 * side, 11 * side)]
        report.guard(f'{name} text', check_text, report, name, session, model, pipe)
        report.guard(f'{name} unet', check_unet, report, name, session, model, pipe, cases)
        report.guard(f'{name} vae', check_vae, report, name, session, model, pipe, pictures,
                     torch.float64 if full else torch.float32)
        report.guard(f'{name} words', check_words, report, name, session, model, pipe)


def main(names):
    report = Report('networks: relative error against diffusers and transformers, f32')
    for name in names:
        report.guard(name, check_model, report, name)
    return report.end()


if __name__ == '__main__':
    arguments = [a for a in sys.argv[1:] if not a.startswith('-')]
    sys.exit(main(arguments or (models.FULL if '--full' in sys.argv else models.REDUCED)) > 0)
