"""Tiny models of random weights, and what diffusers makes of them: tiny-sd/, tiny-sdxl/, tiny-ldm/ and tiny-inpaint/
beside this script, the last with another UNet for the parts of tiny-sd.

python tests/golden/networks.py [sd] [sdxl] [ldm] [inpaint]

Needs the packages of tests/parity/requirements.txt. In each folder expected.safetensors holds

    metadata prompt, negative     texts with the word "<toy>"
    rows.0, rows.1                [2, dim]: its vectors in each encoder
    context, pooled               of prompt
    latents, noise, timesteps     [2, c, h, w] and [2]; predicted: the UNet on latents at timesteps[0], context for both
    predicted.no_middle           tiny-sd: likewise without the UNet's middle block
    pixels, mean, deviation       a picture [h, w, 3] and the moments of its scaled latents
    decoded                       the values of latents[0]
    loss, gradient                of latents, noise, timesteps and prompt, negative; [words, encoders, vectors, dim]
    picture.ddim, picture.euler   [h, w, 3]: prompt, negative, 30 steps, guidance 5, seed 42
    picture.none, picture.empty   likewise with ddim, without a negative prompt and with ""
    init, picture.init            [h, w, 3]: a picture to start from, and likewise with ddim, strength 0.6, from it
    mask, picture.mask            [h, w, 3]: likewise 24 x 16 with euler_a, strength 1, from init where mask is white
    picture.skip                  tiny-sd: likewise with ddim, negative and clip_skip 1
    picture.rescale               likewise with ddim, negative, guidance 15 and guidance_rescale 0.7

tiny-ldm, whose pipeline knows no negative prompt, has of the pictures picture.none alone, and picture.half: likewise
with guidance 0.5; and that of tiny-inpaint prompt, negative, rows.0, init, mask and

    picture.mask, picture.redraw  [16, 24, 3]: 20 steps, guidance 7.5, seed 42 with euler_a, strength 1, and ddim, strength 0.6
"""
import pathlib
import shutil
import sys
import warnings

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / 'parity'))
warnings.filterwarnings('ignore')

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file

import check_images
import models
import torch_training

D = models.diffusers
PROMPT, NEGATIVE = 'a photo of <toy> on the beach', 'the <toy>, dark snow'


def tiny_vae(**more):
    return models.vae([16, 16], layers_per_block=1, norm_num_groups=8, sample_size=16, **more)


def sd(vocab, full):
    unet = D.UNet2DConditionModel(sample_size=8, cross_attention_dim=16, attention_head_dim=2, layers_per_block=1,
                                  block_out_channels=[16, 32], norm_num_groups=8,
                                  down_block_types=['CrossAttnDownBlock2D', 'DownBlock2D'],
                                  up_block_types=['UpBlock2D', 'CrossAttnUpBlock2D'])
    scheduler = D.PNDMScheduler(**models.SCHEDULE, skip_prk_steps=True, steps_offset=1)
    return unet, tiny_vae(), [models.clip(16, 2, 2, 'quick_gelu', vocab)], scheduler


def sdxl(vocab, full):
    unet = D.UNet2DConditionModel(
        sample_size=8, cross_attention_dim=16 + 24, attention_head_dim=[2, 4], layers_per_block=1,
        block_out_channels=[8, 16], norm_num_groups=4, down_block_types=['DownBlock2D', 'CrossAttnDownBlock2D'],
        up_block_types=['CrossAttnUpBlock2D', 'UpBlock2D'], use_linear_projection=True,
        transformer_layers_per_block=[1, 2], addition_embed_type='text_time', addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=20 + 6 * 8)
    texts = [models.clip(16, 2, 2, 'quick_gelu', vocab, inner=32), models.clip(24, 2, 3, 'gelu', vocab, 20, inner=48)]
    scheduler = D.EulerDiscreteScheduler(**models.SCHEDULE, timestep_spacing='leading', steps_offset=1)
    return unet, tiny_vae(scaling_factor=0.13025), texts, scheduler


def ldm(vocab, full):
    unet = D.UNet2DConditionModel(sample_size=8, cross_attention_dim=16, attention_head_dim=2, layers_per_block=1,
                                  block_out_channels=[8, 16], norm_num_groups=4,
                                  down_block_types=['CrossAttnDownBlock2D', 'DownBlock2D'],
                                  up_block_types=['UpBlock2D', 'CrossAttnUpBlock2D'])
    autoencoder = models.vae([8, 8], layers_per_block=1, norm_num_groups=4, sample_size=16)
    scheduler = D.DDIMScheduler(**models.SCHEDULE, clip_sample=False)
    return unet, autoencoder, [models.bert(16, 2, 3, 4, vocab)], scheduler


def save(folder, out):
    save_file({k: v.detach().contiguous() for k, v in out.items()}, folder / 'expected.safetensors',
              metadata={'prompt': PROMPT, 'negative': NEGATIVE})
    print(folder.name, sum(p.stat().st_size for p in folder.rglob('*') if p.is_file()), 'bytes')


def make(name, parts):
    folder = HERE / f'tiny-{name}'
    shutil.rmtree(folder, ignore_errors=True)
    models.PARTS[name], models.SEEDS[name] = parts, 21
    models.build_plain(name, folder)
    if name == 'sd':
        shutil.rmtree(folder / 'tokenizer')
        models.write_tokenizer(folder / 'tokenizer')
    if name == 'ldm':
        shutil.rmtree(folder / 'tokenizer')
        models.write_wordpiece(folder / 'tokenizer')
    models.make_type(folder, torch.float16)
    models.model = lambda _: folder
    rng = np.random.default_rng(17)
    generator = torch.Generator().manual_seed(17)
    dims = [16, 24] if name == 'sdxl' else [16]
    rows = [rng.normal(0, 0.02, (2, d)).astype(np.float32) for d in dims]
    latents = torch.randn(2, 4, 8, 8, generator=generator)
    noise = torch.randn(2, 4, 8, 8, generator=generator)
    timesteps = [711, 36]
    pixels = rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)
    reference = torch_training.Reference(name, {'<toy>': rows})
    pipe = reference.pipe
    out = {f'rows.{i}': torch.from_numpy(r) for i, r in enumerate(rows)}
    loss, gradient = reference.gradient(latents, noise, timesteps, [PROMPT, NEGATIVE])
    out.update(latents=latents, noise=noise, timesteps=torch.tensor(timesteps, dtype=torch.float32),
               loss=torch.tensor([loss]), gradient=torch.from_numpy(gradient), pixels=torch.from_numpy(pixels))
    with torch.no_grad():
        context, pooled = reference.context([PROMPT])
        added = None
        if pooled is not None:
            out['pooled'] = pooled[0]
            added = {'text_embeds': pooled.repeat(2, 1), 'time_ids': torch.tensor([[16.0, 16, 0, 0, 16, 16]] * 2)}
        out['context'] = context[0]
        out['predicted'] = pipe.unet(latents, timesteps[0], context.repeat(2, 1, 1), added_cond_kwargs=added).sample
        if name == 'sd':
            unet = D.UNet2DConditionModel.from_config(dict(pipe.unet.config, mid_block_type=None))
            unet.load_state_dict({k: v for k, v in pipe.unet.state_dict().items() if not k.startswith('mid_block.')})
            out['predicted.no_middle'] = unet.eval()(latents, timesteps[0], context.repeat(2, 1, 1)).sample
        mean, deviation = torch_training.moments(pipe, pixels[None])
        out.update(mean=mean[0], deviation=deviation[0])
        out['decoded'] = pipe.vae.decode(latents[:1] / pipe.vae.config.scaling_factor).sample[0]
    if name == 'ldm':  # whose pipeline takes every autoencoder for one that halves three times
        for what, guidance in (('none', 5.0), ('half', 0.5)):
            picture = check_images.draw(pipe, [42], prompt=PROMPT, num_inference_steps=30, guidance_scale=guidance,
                                        width=64, height=64)
            out[f'picture.{what}'] = torch.from_numpy(picture[0])
        save(folder, out)
        return
    config = pipe.scheduler.config
    pictures = {'ddim': {}, 'euler': {}, 'none': {'negative_prompt': None}, 'empty': {'negative_prompt': ''},
                'rescale': {'guidance_scale': 15.0, 'guidance_rescale': 0.7}}
    if name == 'sd':
        pictures['skip'] = {'clip_skip': 1}
        pipe.text_encoder.__dict__['text_model'] = pipe.text_encoder  # where transformers had it before 5
    for what, more in pictures.items():
        pipe.scheduler = check_images.SAMPLERS['euler' if what == 'euler' else 'ddim'][0].from_config(config)
        options = dict(prompt=PROMPT, negative_prompt=NEGATIVE, num_inference_steps=30, guidance_scale=5.0, width=16,
                       height=16)
        out[f'picture.{what}'] = torch.from_numpy(check_images.draw(pipe, [42], **options | more)[0])
    init = rng.integers(0, 256, (19, 21, 3), dtype=np.uint8)
    pipe = check_images.pipeline_of(pipe, name, 'Img2Img')
    pipe.scheduler = D.DDIMScheduler.from_config(config)
    picture = check_images.draw(pipe, [42], prompt=PROMPT, negative_prompt=NEGATIVE, num_inference_steps=30,
                                guidance_scale=5.0, strength=0.6, image=Image.fromarray(init))
    out.update({'init': torch.from_numpy(init), 'picture.init': torch.from_numpy(picture[0])})
    mask = rng.integers(0, 256, (5, 7, 3), dtype=np.uint8)
    pipe = check_images.pipeline_of(pipe, name, 'Inpaint')
    pipe.scheduler = D.EulerAncestralDiscreteScheduler.from_config(config)
    picture = check_images.draw(pipe, [42], prompt=PROMPT, negative_prompt=NEGATIVE, num_inference_steps=30,
                                guidance_scale=5.0, strength=1.0, image=Image.fromarray(init), width=24, height=16,
                                mask_image=Image.fromarray(mask))
    out.update({'mask': torch.from_numpy(mask), 'picture.mask': torch.from_numpy(picture[0])})
    save(folder, out)


def make_inpaint():
    """Everything but the UNet is that of tiny-sd, by links."""
    folder, plain = HERE / 'tiny-inpaint', HERE / 'tiny-sd'
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for part in ('vae', 'text_encoder', 'tokenizer', 'scheduler'):
        (folder / part).symlink_to(pathlib.Path('..', plain.name, part))
    index = (plain / 'model_index.json').read_text().replace('"StableDiffusionPipeline"', '"StableDiffusionInpaintPipeline"')
    (folder / 'model_index.json').write_text(index)
    unet = D.UNet2DConditionModel(sample_size=8, in_channels=9, cross_attention_dim=16, attention_head_dim=2,
                                  layers_per_block=1, block_out_channels=[8, 16], norm_num_groups=4,
                                  down_block_types=['CrossAttnDownBlock2D', 'DownBlock2D'],
                                  up_block_types=['UpBlock2D', 'CrossAttnUpBlock2D'])
    models.randomize(unet, torch.Generator().manual_seed(23)).half().save_pretrained(folder / 'unet')
    pipe = D.StableDiffusionInpaintPipeline.from_pretrained(folder, dtype=torch.float32, local_files_only=True)
    pipe.set_progress_bar_config(disable=True)
    rng = np.random.default_rng(19)
    rows = rng.normal(0, 0.02, (2, 16)).astype(np.float32)
    torch_training.add_words(pipe, {'<toy>': [rows]})
    init, mask = (rng.integers(0, 256, shape, dtype=np.uint8) for shape in ((19, 21, 3), (5, 7, 3)))
    out, config = {'rows.0': rows, 'init': init, 'mask': mask}, pipe.scheduler.config
    for what, sampler, strength in (('mask', 'euler_a', 1.0), ('redraw', 'ddim', 0.6)):
        pipe.scheduler = check_images.SAMPLERS[sampler][0].from_config(config)
        out[f'picture.{what}'] = check_images.draw(
            pipe, [42], prompt=PROMPT, negative_prompt=NEGATIVE, num_inference_steps=20, guidance_scale=7.5, width=24,
            height=16, strength=strength, image=Image.fromarray(init), mask_image=Image.fromarray(mask))[0]
    save_file({k: torch.from_numpy(v.copy()) for k, v in out.items()}, folder / 'expected.safetensors',
              metadata={'prompt': PROMPT, 'negative': NEGATIVE})


if __name__ == '__main__':
    chosen = sys.argv[1:] or ['sd', 'sdxl', 'ldm', 'inpaint']
    if 'inpaint' in chosen:
        make_inpaint()
    for name, parts in ('sd', sd), ('sdxl', sdxl), ('ldm', ldm):
        if name in chosen:
            make(name, parts)
