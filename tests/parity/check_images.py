"""Whole pictures against diffusers' pipelines: at most one grey level apart in 99.9 % of the values.

python tests/parity/check_images.py [--full] [--trace] [MODEL ...]
"""
import sys

import numpy as np
import torch
from PIL import Image

import models
from binding import textinv as ti
from check_networks import add_words
from report import Report

ALLOWED = 0.999
D = models.diffusers
SAMPLERS = {
    'ddim': (D.DDIMScheduler, {}),
    'pndm': (D.PNDMScheduler, {}),
    'euler': (D.EulerDiscreteScheduler, {}),
    'euler_a': (D.EulerAncestralDiscreteScheduler, {}),
    'dpmpp_2m': (D.DPMSolverMultistepScheduler, {}),
    'dpmpp_2m_karras': (D.DPMSolverMultistepScheduler, {'use_karras_sigmas': True}),
    'unipc': (D.UniPCMultistepScheduler, {}),
}


def close_values(a, b):
    """Share of the values that are at most one grey level apart."""
    if a.shape != b.shape:
        raise ValueError(f'shapes {a.shape} and {b.shape}')
    return float((np.abs(a.astype(int) - b.astype(int)) <= 1).mean())


def samplers_of(pipe):
    """Samplers that diffusers has for the model's prediction type, and that work on its schedule there."""
    if pipe.scheduler.config.prediction_type == 'sample':
        return ['ddim', 'dpmpp_2m']
    return list(SAMPLERS)


def sampler_number(name):
    return getattr(ti, 'TEXTINV_SAMPLER_' + name.upper())


def pipeline_of(pipe, name, what):
    """The pipeline Img2Img or Inpaint of the same parts."""
    cls = getattr(D, f'StableDiffusion{"XL" if name.startswith("sdxl") else ""}{what}Pipeline')
    parts = dict(pipe.components)
    if not name.startswith('sdxl'):
        parts['requires_safety_checker'] = False
    out = cls(**parts)
    out.set_progress_bar_config(disable=True)
    return out


@torch.no_grad()
def decode(pipe, latents):
    """Pictures of latents."""
    values = pipe.vae.decode(latents / pipe.vae.config.scaling_factor).sample
    values = (values / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).numpy()
    return (values * 255).round().astype(np.uint8)


def draw(pipe, seeds, **arguments):
    if isinstance(pipe, models.LatentDiffusion):  # which knows neither several pictures nor new words
        arguments['prompt'] = pipe.maybe_convert_prompt(arguments['prompt'], pipe.tokenizer)
        images = [pipe(generator=torch.Generator().manual_seed(s), output_type='np', **arguments).images for s in seeds]
        return (np.concatenate(images) * 255).round().astype(np.uint8)
    generators = [torch.Generator().manual_seed(s) for s in seeds]
    if len(generators) == 1:
        generators = generators[0]
    else:
        arguments['num_images_per_prompt'] = len(seeds)
    return decode(pipe, pipe(generator=generators, output_type='latent', **arguments).images)


class Case:
    def __init__(self, report, name, pipe, session, model, embeddings):
        self.__dict__.update(report=report, name=name, pipe=pipe, session=session, model=model, embeddings=embeddings)
        self.config = pipe.scheduler.config

    def run(self, what, sampler, prompt, negative, steps, guidance, seed=42, images=1, width=None, height=None,
            picture=None, strength=0.8, rescale=0.0, mask=None):
        cls, more = SAMPLERS[sampler]
        scheduler = cls.from_config(self.config, **more)
        common = dict(prompt=prompt, negative_prompt=negative, num_inference_steps=steps, guidance_scale=guidance)
        options = dict(negative_prompt=negative, steps=steps, guidance_scale=guidance, seed=seed, images=images,
                       sampler=sampler_number(sampler), guidance_rescale=rescale)
        if rescale:  # which diffusers' image-to-image pipeline of SD does not take
            common['guidance_rescale'] = rescale
        seeds = range(seed, seed + images)
        size = self.model.info.size
        width, height = width or size, height or size
        if picture is None:
            self.pipe.scheduler = scheduler
            expected = draw(self.pipe, seeds, width=width, height=height, **common)
        else:
            pipe = pipeline_of(self.pipe, self.name, 'Img2Img' if mask is None else 'Inpaint')
            pipe.scheduler = scheduler
            common.update(image=Image.fromarray(picture), strength=strength)
            options.update(init_image=ti.Images(self.session, picture[None]), strength=strength)
            if mask is None:
                width = height = 0  # the picture's own
            else:
                common.update(mask_image=Image.fromarray(mask), width=width, height=height)
                options['mask'] = ti.Images(self.session, mask[None])
            channels = pipe.unet.config.in_channels
            if mask is not None and channels != 9:  # its pipeline refuses others, for which it works just as well
                pipe.unet.register_to_config(in_channels=4)
            # one by one: of several, diffusers takes the sample of the picture's latents from the first seed
            expected = np.concatenate([draw(pipe, [s], **common) for s in seeds])
            pipe.unet.register_to_config(in_channels=channels)
        met = np.asarray(self.session.generate(self.model, prompt, self.embeddings, width=width, height=height, **options))
        self.report.at_least(f'{self.name} {what}', close_values(met, expected), ALLOWED)


def check_inpaint(report, name, case, samplers, picture, half, colours):
    """Models made for inpainting: every sampler from noise and from the picture, masks, seeds, sizes, guidance."""
    size = len(picture)
    soft = np.repeat(np.linspace(255, 0, size).round().astype(np.uint8), 3 * size).reshape(picture.shape)
    common = dict(prompt='a photo of <toy> on the beach', negative='dark, snow', guidance=7.5, picture=picture)
    cases = {}
    for sampler in samplers:
        cases[f'{sampler}, strength 1'] = dict(sampler=sampler, steps=9, mask=half, strength=1.0)
        cases[f'{sampler}, strength 0.6, soft mask'] = dict(sampler=sampler, steps=12, mask=soft, strength=0.6)
    cases |= {
        'ddim 30 steps, strength 1': dict(sampler='ddim', steps=30, mask=soft, strength=1.0),
        'ddim, strength 0.3, no guidance': dict(sampler='ddim', steps=20, guidance=1.0, mask=half, strength=0.3),
        'euler_a in colours, strength 1, no guidance': dict(sampler='euler_a', steps=8, guidance=1.0, mask=colours,
                                                            strength=1.0),
        'euler in colours, strength 0.6, 3 pictures of another size': dict(
            sampler='euler', steps=10, mask=colours, strength=0.6, images=3, width=size + 64, height=size - 64),
        'euler_a, strength 1, 5 pictures': dict(sampler='euler_a', steps=6, mask=half, strength=1.0, images=5, seed=7),
        'unipc, strength 0.9, white mask': dict(sampler='unipc', steps=10, mask=np.full_like(half, 255), strength=0.9),
        'pndm, strength 1, black mask': dict(sampler='pndm', steps=8, mask=np.zeros_like(half), strength=1.0),
        'ddim, no negative prompt': dict(sampler='ddim', steps=8, mask=half, strength=1.0, negative=None),
    }
    if name.startswith('sdxl'):  # the other pipeline does not take it
        cases['ddim, guidance 9 rescaled by 0.7'] = dict(sampler='ddim', steps=8, guidance=9.0, mask=half, strength=1.0,
                                                         rescale=0.7)
    for what, options in cases.items():
        report.guard(f'{name} {what}', lambda w=what, o=options: case.run(w, **common | o))


def check_model(report, name):
    pipe = models.reference(name)
    with ti.Session(threads=2) as session, ti.Model(session, models.model(name)) as model, \
            ti.Embeddings(session) as embeddings:
        rng = np.random.default_rng(3)
        dims = model.info.embedding_dim[:model.info.num_encoders]
        rows = [rng.normal(0, 0.02, (2, d)).astype(np.float32) for d in dims]
        add_words(pipe, {'<toy>': rows})
        for i, values in enumerate(rows):
            embeddings.set('<toy>', values, i)
        case = Case(report, name, pipe, session, model, embeddings)
        size = model.info.size
        scale = max(8, model.info.latent_scale)  # diffusers' own limit
        side = model.info.latent_scale << (len(pipe.unet.config.block_out_channels) - 1)
        prompt, negative = 'a photo of <toy> on the beach', 'dark, snow'
        if name in models.FULL:
            report.guard(name, case.run, 'ddim 4 steps', 'ddim', prompt, negative, 4, 7.5)
            return
        if name == 'ldm':  # its pipeline has no negative prompt, and two of the samplers
            for sampler, options in (('ddim', dict(steps=30, guidance=7.5)), ('pndm', dict(steps=13, guidance=4.0)),
                                     ('ddim', dict(steps=9, guidance=1.0, images=3)),
                                     ('ddim', dict(steps=7, guidance=0.5)),
                                     ('ddim', dict(steps=10, guidance=3.0, width=size + side, height=size - side))):
                what = f'{sampler} ' + ', '.join(f'{k} {v}' for k, v in options.items())
                report.guard(f'{name} {what}', lambda: case.run(what, sampler, prompt, None, **options))
            return
        samplers = samplers_of(pipe)
        blocks = np.kron(rng.integers(0, 256, (8, 8, 3)), np.ones((size // 8, size // 8, 1)))
        picture = blocks.astype(np.uint8)
        half = np.zeros((size, size, 3), np.uint8)
        half[:, size // 2 + 3:] = 255
        colours = rng.integers(0, 256, (13, 9, 3), dtype=np.uint8)
        if model.info.needs_mask:
            check_inpaint(report, name, case, samplers, picture, half, colours)
            return
        for sampler in samplers:
            steps = 30 if name == 'sd1' or sampler in ('ddim', 'euler') else 12
            what = f'{sampler} {steps} steps, guidance 7.5'
            report.guard(f'{name} {what}', case.run, what, sampler, prompt, negative, steps, 7.5)
        for what, options in {
            'euler 7 steps, guidance 3, {} x {}'.format(size + side, size - side): dict(
                sampler='euler', steps=7, guidance=3.0, width=size + side, height=size - side, seed=2 ** 40 + 7),
            'ddim 6 steps, guidance 4, {} x {}'.format(size + 3 * scale, size - scale): dict(
                sampler='ddim', steps=6, guidance=4.0, width=size + 3 * scale, height=size - scale),
            'ddim 10 steps, guidance 9 rescaled by 0.7, 3 pictures': dict(
                sampler='ddim', steps=10, guidance=9.0, rescale=0.7, images=3),
            'euler 8 steps, guidance 9 rescaled by 1': dict(sampler='euler', steps=8, guidance=9.0, rescale=1.0),
            'ddim 9 steps, no guidance': dict(sampler='ddim', steps=9, guidance=1.0, seed=0),
            'ddim 11 steps, no negative prompt': dict(sampler='ddim', steps=11, guidance=5.0, negative=None),
            'ddim 11 steps, empty negative prompt': dict(sampler='ddim', steps=11, guidance=5.0, negative=''),
            'pndm 13 steps': dict(sampler='pndm', steps=13, guidance=4.0),
            'euler_a 6 steps, seeds 5 to 10': dict(sampler='euler_a', steps=6, guidance=6.0, seed=5, images=6),
            'euler_a 1 step': dict(sampler='euler_a', steps=1, guidance=2.0),
            'dpmpp_2m 5 steps': dict(sampler='dpmpp_2m', steps=5, guidance=6.0),
            'ddim from a picture, strength 0.6': dict(sampler='ddim', steps=10, guidance=5.0, picture=picture,
                                                      strength=0.6),
            'ddim from a picture of another size': dict(sampler='ddim', steps=10, guidance=5.0, strength=0.5,
                                                        picture=picture[:size - side - 1, :size - 3]),
            'euler_a from a picture, strength 0.3': dict(sampler='euler_a', steps=11, guidance=5.0, picture=picture,
                                                         strength=0.3),
            'dpmpp_2m_karras from a picture, strength 0.75': dict(sampler='dpmpp_2m_karras', steps=8, guidance=5.0,
                                                                  picture=picture, strength=0.75),
            'pndm from a picture, strength 0.5': dict(sampler='pndm', steps=12, guidance=5.0, picture=picture,
                                                      strength=0.5),
            'ddim masked, strength 1': dict(sampler='ddim', steps=9, guidance=5.0, picture=picture, mask=half,
                                            strength=1.0),
            'ddim masked, strength 0.3, no guidance': dict(sampler='ddim', steps=20, guidance=1.0, picture=picture,
                                                           mask=half, strength=0.3),
            'euler masked in colours, strength 0.6, 3 pictures, {} x {}'.format(size + side, size - side): dict(
                sampler='euler', steps=10, guidance=5.0, picture=picture, mask=colours, strength=0.6, images=3,
                width=size + side, height=size - side),
            'euler masked, strength 1': dict(sampler='euler', steps=8, guidance=5.0, picture=picture, mask=half,
                                             strength=1.0),
            'euler_a masked, strength 0.7, 2 pictures': dict(sampler='euler_a', steps=11, guidance=5.0, picture=picture,
                                                             mask=half, strength=0.7, images=2),
            'euler_a masked in colours, strength 1': dict(sampler='euler_a', steps=6, guidance=5.0, picture=picture,
                                                          mask=colours, strength=1.0),
            'pndm masked, strength 0.5': dict(sampler='pndm', steps=12, guidance=5.0, picture=picture, mask=half,
                                              strength=0.5),
            'pndm masked, strength 1': dict(sampler='pndm', steps=8, guidance=5.0, picture=picture, mask=colours,
                                            strength=1.0),
            'dpmpp_2m masked, strength 1': dict(sampler='dpmpp_2m', steps=8, guidance=5.0, picture=picture, mask=half,
                                                strength=1.0),
            'dpmpp_2m_karras masked, strength 0.75': dict(sampler='dpmpp_2m_karras', steps=8, guidance=5.0,
                                                          picture=picture, mask=half, strength=0.75),
            'unipc masked in colours, strength 0.8': dict(sampler='unipc', steps=10, guidance=5.0, picture=picture,
                                                          mask=colours, strength=0.8),
            'unipc masked, strength 1': dict(sampler='unipc', steps=7, guidance=5.0, picture=picture, mask=half,
                                             strength=1.0),
        }.items():
            if options['sampler'] not in samplers:
                continue
            report.guard(f'{name} {what}', lambda w=what, o=options: case.run(
                w, prompt=prompt, **{'negative': negative, **o}))


def main(names):
    report = Report('pictures: share of the values at most one grey level from diffusers, f32')
    for name in names:
        report.guard(name, check_model, report, name)
    return report.end()


if __name__ == '__main__':
    arguments = [a for a in sys.argv[1:] if not a.startswith('-')]
    sys.exit(main(arguments or (models.FULL if '--full' in sys.argv else [*models.PARTS, *models.INPAINT])) > 0)
