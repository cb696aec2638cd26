"""Models in one file: what diffusers' own conversion makes of them, and what the library makes of file and folder.

python tests/parity/check_single.py [--full] [--trace] [sd1 sd2 sdxl sd1-inpaint sd2-inpaint sdxl-inpaint]

single_of() writes a pipeline with the names of LDM and OpenCLIP. That it does so is checked first: the functions of
diffusers, which know nothing of it, have to give back the pipeline's own names and values. Then the library opens file
and folder, which have to be the same model to the last bit, and draw what the pipeline draws. --full adds files of the
real sizes, which have no values.
"""
import json
import re
import sys
from types import SimpleNamespace

import numpy as np
import torch
from PIL import Image
from diffusers.loaders import single_file_utils as theirs
from safetensors.torch import load_file, save_file

import models
from binding import textinv as ti
from check_images import ALLOWED, close_values, draw
from report import Report

sys.path.insert(0, str(models.ROOT / 'tests/golden'))
import make_prompts  # noqa: E402

D, FOLDER = models.diffusers, models.FOLDER
PROMPT, NEGATIVE = 'A photo of a Teapot on the beach!', 'dark, snow'

# --- models of reduced width, but with the groups and heads of the real ones, which the shapes do not tell


def sd1(vocab):
    unet = D.UNet2DConditionModel(sample_size=64, cross_attention_dim=64, attention_head_dim=8,
                                  block_out_channels=[32, 64, 96, 96], down_block_types=models.DOWN4,
                                  up_block_types=models.UP4)
    scheduler = D.PNDMScheduler(**models.SCHEDULE, skip_prk_steps=True, set_alpha_to_one=False, steps_offset=1)
    return unet, models.vae([32, 32, 64, 64], sample_size=512), [models.clip(64, 3, 1, 'quick_gelu', vocab)], scheduler


def sd2(vocab):
    unet = D.UNet2DConditionModel(sample_size=96, cross_attention_dim=128, attention_head_dim=[1, 1, 2, 2],
                                  block_out_channels=[64, 64, 128, 128], use_linear_projection=True,
                                  down_block_types=models.DOWN4, up_block_types=models.UP4)
    scheduler = D.DDIMScheduler(**models.SCHEDULE, prediction_type='v_prediction', clip_sample=False,
                                set_alpha_to_one=False, steps_offset=1)
    return unet, models.vae([32, 32, 64, 64], sample_size=768), [models.clip(128, 3, 2, 'gelu', vocab)], scheduler


def sdxl(vocab):
    unet = D.UNet2DConditionModel(
        sample_size=128, cross_attention_dim=64 + 128, attention_head_dim=[1, 1, 2], block_out_channels=[64, 64, 128],
        down_block_types=['DownBlock2D', 'CrossAttnDownBlock2D', 'CrossAttnDownBlock2D'],
        up_block_types=['CrossAttnUpBlock2D', 'CrossAttnUpBlock2D', 'UpBlock2D'], use_linear_projection=True,
        transformer_layers_per_block=[1, 1, 3], addition_embed_type='text_time', addition_time_embed_dim=16,
        projection_class_embeddings_input_dim=64 + 6 * 16)
    texts = [models.clip(64, 3, 1, 'quick_gelu', vocab), models.clip(128, 3, 2, 'gelu', vocab, 64)]
    scheduler = D.EulerDiscreteScheduler(**models.SCHEDULE, timestep_spacing='leading', steps_offset=1)
    return unet, models.vae([32, 32, 64, 64], scaling_factor=0.13025, sample_size=1024), texts, scheduler


def inpainting(parts):
    """The same made for inpainting, which predicts noise and is drawn with by PNDM where it is no SDXL."""
    def build(vocab):
        unet, autoencoder, texts, scheduler = parts(vocab)
        scheduler = scheduler if len(texts) > 1 else sd1(vocab)[-1]
        return models.changed(unet, in_channels=9, sample_size=128 if len(texts) > 1 else 64), autoencoder, texts, scheduler
    return build


PARTS = {'sd1': sd1, 'sd2': sd2, 'sdxl': sdxl}
PARTS |= {f'{name}-inpaint': inpainting(parts) for name, parts in PARTS.items()}


def build(name, folder):
    """The pipeline, saved; its tokenizers are CLIP's, with the token that each encoder is filled up with."""
    tokenizers = FOLDER / 'clip-tokenizer'
    make_prompts.write_folders(models.ROOT / 'models/clip-tokenizer/merges.txt', tokenizers)
    generator = torch.Generator().manual_seed(31)
    unet, autoencoder, texts, scheduler = PARTS[name](49408)
    for module in (unet, autoencoder, *texts):
        models.randomize(module, generator)
    kind = name.removesuffix('-inpaint')
    if kind == 'sd2':  # by which the library tells that it predicts v, unless it was made for inpainting
        last_norm(unet).bias.data *= 2
    models.calibrate(unet, autoencoder, generator)
    parts = dict(unet=unet, vae=autoencoder, scheduler=scheduler)
    for i, text in enumerate(texts):
        suffix, pad = ('', '_2')[i], 'sd2' if kind == 'sd2' or i else 'sd1'
        parts[f'text_encoder{suffix}'] = text
        parts[f'tokenizer{suffix}'] = models.transformers.CLIPTokenizer.from_pretrained(tokenizers / pad)
    if kind == 'sdxl':
        parts['force_zeros_for_empty_prompt'] = True
    else:
        parts.update(safety_checker=None, feature_extractor=None, requires_safety_checker=False)
    pipe = models.pipeline_class(name)(**parts)
    pipe.set_progress_bar_config(disable=True)
    pipe.save_pretrained(folder)
    # the names that published folders have; transformers 5 leaves the first part out
    path = folder / 'text_encoder/model.safetensors'
    save_file({'text_model.' + k.removeprefix('text_model.'): v for k, v in load_file(path).items()}, path,
              metadata={'format': 'pt'})
    return pipe


def last_norm(unet):
    return unet.up_blocks[-1].attentions[-1].transformer_blocks[0].norm1


def real_parts(name):
    """The networks of the published model, without values."""
    if name == 'sd1':
        unet = D.UNet2DConditionModel(sample_size=64, cross_attention_dim=768, attention_head_dim=8,
                                      down_block_types=models.DOWN4, up_block_types=models.UP4)
        texts = [models.clip(768, 12, 12, 'quick_gelu', 49408)]
    elif name == 'sd2':
        unet = D.UNet2DConditionModel(sample_size=96, cross_attention_dim=1024, attention_head_dim=[5, 10, 20, 20],
                                      use_linear_projection=True, down_block_types=models.DOWN4,
                                      up_block_types=models.UP4)
        texts = [models.clip(1024, 23, 16, 'gelu', 49408)]
    else:
        unet = D.UNet2DConditionModel(
            sample_size=128, cross_attention_dim=2048, attention_head_dim=[5, 10, 20],
            block_out_channels=[320, 640, 1280], use_linear_projection=True, transformer_layers_per_block=[1, 2, 10],
            down_block_types=['DownBlock2D', 'CrossAttnDownBlock2D', 'CrossAttnDownBlock2D'],
            up_block_types=['CrossAttnUpBlock2D', 'CrossAttnUpBlock2D', 'UpBlock2D'],
            addition_embed_type='text_time', addition_time_embed_dim=256, projection_class_embeddings_input_dim=2816)
        texts = [models.clip(768, 12, 12, 'quick_gelu', 49408), models.clip(1280, 32, 20, 'gelu', 49408, 1280)]
    return SimpleNamespace(unet=unet, vae=models.vae([128, 256, 512, 512]), text_encoder=texts[0],
                           text_encoder_2=texts[-1], texts=texts)


# --- the same weights under the names of LDM

RESNET = {'norm1': 'in_layers.0', 'conv1': 'in_layers.2', 'norm2': 'out_layers.0', 'conv2': 'out_layers.3',
          'time_emb_proj': 'emb_layers.1', 'conv_shortcut': 'skip_connection'}
ENDS = {'time_embedding.linear_1': 'time_embed.0', 'time_embedding.linear_2': 'time_embed.2',
        'add_embedding.linear_1': 'label_emb.0.0', 'add_embedding.linear_2': 'label_emb.0.2',
        'conv_in': 'input_blocks.0.0', 'conv_norm_out': 'out.0', 'conv_out': 'out.2'}
VAE = {'group_norm': 'norm', 'to_q': 'q', 'to_k': 'k', 'to_v': 'v', 'to_out.0': 'proj_out'}
LAYER = {'layer_norm1': 'ln_1', 'layer_norm2': 'ln_2', 'mlp.fc1': 'mlp.c_fc', 'mlp.fc2': 'mlp.c_proj',
         'self_attn.out_proj': 'attn.out_proj'}


def split(name):
    return name.rsplit('.', 1)


def ldm_unet(unet):
    per_level, out = unet.config.layers_per_block, {}
    for name, value in unet.state_dict().items():
        stem, kind = split(name)
        if m := re.match(r'(down|up)_blocks\.(\d+)\.(resnets|attentions|downsamplers|upsamplers)\.(\d+)\.(.*)', stem):
            way, level, what, i, rest = m[1], int(m[2]), m[3], int(m[4]), m[5]
            if what == 'downsamplers':
                new = f'input_blocks.{(level + 1) * (per_level + 1)}.0.op'
            elif what == 'upsamplers':
                attends = unet.up_blocks[level].__class__.__name__.startswith('Cross')
                new = f'output_blocks.{level * (per_level + 1) + per_level}.{1 + attends}.conv'
            else:
                block = 1 + level * (per_level + 1) + i if way == 'down' else level * (per_level + 1) + i
                new = f'{"input" if way == "down" else "output"}_blocks.{block}.'
                new += f'1.{rest}' if what == 'attentions' else f'0.{RESNET[rest]}'
        elif m := re.match(r'mid_block\.(resnets|attentions)\.(\d)\.(.*)', stem):
            new = f'middle_block.1.{m[3]}' if m[1] == 'attentions' else f'middle_block.{2 * int(m[2])}.{RESNET[m[3]]}'
        else:
            new = ENDS[stem]
        out[f'model.diffusion_model.{new}.{kind}'] = value
    return out


def ldm_vae(vae):
    levels, out = len(vae.config.block_out_channels), {}
    for name, value in vae.state_dict().items():
        new = name.replace('conv_norm_out', 'norm_out').replace('conv_shortcut', 'nin_shortcut')
        if m := re.match(r'(.*)\.mid_block\.attentions\.0\.(.*)\.(\w+)', name):
            new = f'{m[1]}.mid.attn_1.{VAE[m[2]]}.{m[3]}'
            value = value[:, :, None, None] if value.ndim == 2 else value
        new = re.sub(r'mid_block\.resnets\.(\d)', lambda m: f'mid.block_{int(m[1]) + 1}', new)
        new = re.sub(r'down_blocks\.(\d)\.resnets', r'down.\1.block', new)
        new = re.sub(r'down_blocks\.(\d)\.downsamplers\.0', r'down.\1.downsample', new)
        new = re.sub(r'up_blocks\.(\d)\.resnets', lambda m: f'up.{levels - 1 - int(m[1])}.block', new)
        new = re.sub(r'up_blocks\.(\d)\.upsamplers\.0', lambda m: f'up.{levels - 1 - int(m[1])}.upsample', new)
        out[f'first_stage_model.{new}'] = value
    return out


def plain(module):
    """The weights of a text encoder under the names of every version of transformers."""
    return {k if k.startswith('text_projection') else 'text_model.' + k.removeprefix('text_model.'): v
            for k, v in module.state_dict().items() if not k.endswith('position_ids')}


def ldm_clip(text, prefix):
    return {prefix + k: v for k, v in plain(text).items()}


def open_clip(text, prefix, spare):
    """spare: with a last layer and a projection that SD 2 does not use"""
    weights, out = plain(text), {}
    layers, width = text.config.num_hidden_layers, text.config.hidden_size
    out['positional_embedding'] = weights['text_model.embeddings.position_embedding.weight']
    out['token_embedding.weight'] = weights['text_model.embeddings.token_embedding.weight']
    for kind in ('weight', 'bias'):
        out[f'ln_final.{kind}'] = weights[f'text_model.final_layer_norm.{kind}']
        for i in range(layers + spare):
            ours, block = f'text_model.encoder.layers.{min(i, layers - 1)}', f'transformer.resblocks.{i}'
            fused = [weights[f'{ours}.self_attn.{c}_proj.{kind}'] for c in 'qkv']
            out[f'{block}.attn.in_proj_{kind}'] = torch.cat(fused)
            out.update({f'{block}.{new}.{kind}': weights[f'{ours}.{old}.{kind}'] for old, new in LAYER.items()})
    if spare:
        out['text_projection'] = torch.ones(width, width)
    elif 'text_projection.weight' in weights:
        out['text_projection'] = weights['text_projection.weight'].T
    out['logit_scale'] = torch.tensor(4.6)
    return {prefix + k: v for k, v in out.items()}


def single_of(name, pipe, spare=True):
    out = ldm_unet(pipe.unet) | ldm_vae(pipe.vae)
    if name.startswith('sd1'):
        out |= ldm_clip(pipe.text_encoder, 'cond_stage_model.transformer.')
    elif name.startswith('sd2'):
        out |= open_clip(pipe.text_encoder, 'cond_stage_model.model.', spare)
    else:
        out |= ldm_clip(pipe.text_encoder, 'conditioner.embedders.0.transformer.')
        out |= open_clip(pipe.text_encoder_2, 'conditioner.embedders.1.model.', False)
    return {k: v.detach().clone().contiguous() for k, v in out.items()}


# --- checks

def equal(met, expected):
    """Where two dictionaries of tensors differ, in words; "" for nowhere."""
    if met.keys() != expected.keys():
        return f'names {sorted(met.keys() ^ expected.keys())[:3]}'
    bad = [k for k in expected if met[k].shape != expected[k].shape or not torch.equal(met[k], expected[k])]
    return f'values {bad[:3]}' if bad else ''


def check_writer(report, name, pipe, weights):
    def line(what, met, expected):
        difference = equal(met, expected)
        report.line(f'{name}: diffusers reads the {what} {difference}', 'differs' if difference else 'same', 'same',
                    not difference)

    line('UNet', theirs.convert_ldm_unet_checkpoint(dict(weights), dict(pipe.unet.config)), pipe.unet.state_dict())
    line('autoencoder', theirs.convert_ldm_vae_checkpoint(dict(weights), dict(pipe.vae.config)), pipe.vae.state_dict())
    if name.startswith('sd2'):
        met = theirs.convert_open_clip_checkpoint(pipe.text_encoder, dict(weights))
        # it knows the last layer, which is not used, by the number that it has in the real model
        spare = f'text_model.encoder.layers.{pipe.text_encoder.config.num_hidden_layers}.'
        line('text encoder', {k: v for k, v in met.items() if not k.startswith(spare)}, plain(pipe.text_encoder))
    else:
        line('text encoder', theirs.convert_ldm_clip_checkpoint(dict(weights)), plain(pipe.text_encoder))
    if name.startswith('sdxl'):
        met = theirs.convert_open_clip_checkpoint(pipe.text_encoder_2, dict(weights), 'conditioner.embedders.1.model.')
        line('second text encoder', met, plain(pipe.text_encoder_2))


def pictures_of(name):
    """A picture and a mask, which is white at its left, where the model needs them."""
    rng = np.random.default_rng(8)
    picture, mask = rng.integers(0, 256, (64, 64, 3), dtype=np.uint8), np.zeros((64, 64, 3), np.uint8)
    mask[:, :37] = 255
    return [picture, mask] if name.endswith('inpaint') else []


def draw_ours(session, path, name):
    given = dict(zip(('init_image', 'mask'), (ti.Images(session, p[None]) for p in pictures_of(name))))
    with ti.Model(session, path) as model:
        pictures = session.generate(model, PROMPT, negative_prompt=NEGATIVE, steps=12, guidance_scale=5.0, seed=42,
                                    width=64, height=64, strength=1.0, **given)
        return model.info.fingerprint, model.info.prediction, model.info.size, np.asarray(pictures)


def check_model(report, name):
    folder = FOLDER / f'single-{name}'
    pipe = build(name, folder)
    weights = single_of(name, pipe)
    check_writer(report, name, pipe, weights)

    path = FOLDER / f'single-{name}.safetensors'
    ema = {'model_ema.' + k[6:].replace('.', ''): torch.zeros(1) for k in weights if k.startswith('model.')}
    save_file(weights | ema | {'alphas_cumprod': torch.ones(1000)}, path)
    checkpoint = FOLDER / f'single-{name}.ckpt'
    torch.save({'epoch': 3, 'global_step': 470000, 'state_dict': weights | ema, 'optimizer_states': []}, checkpoint)
    with ti.Session(threads=2) as session:
        expected = draw_ours(session, folder, name)
        for what, file in ('safetensors', path), ('ckpt', checkpoint):
            met = draw_ours(session, file, name)
            report.same(f'{name} {what}: fingerprint, prediction and size of the folder', met[:3], expected[:3])
            report.line(f'{name} {what}: picture of the folder', *(('same', 'same', True) if
                        np.array_equal(met[3], expected[3]) else ('differs', 'same', False)))
        given = dict(zip(('image', 'mask_image'), map(Image.fromarray, pictures_of(name))))
        if given:
            given['strength'] = 1.0  # of SDXL it is 0.9999 when nothing is said
        theirs_drawn = draw(pipe, [42], prompt=PROMPT, negative_prompt=NEGATIVE, num_inference_steps=12,
                            guidance_scale=5.0, width=64, height=64, **given)
        report.at_least(f'{name}: picture of diffusers', close_values(met[3], theirs_drawn), ALLOWED)
        if name != 'sd2':
            return
        # without what is not used, as diffusers' script saves it; and the SD 2 that predicts noise
        last = next(k for k in weights if weights[k].shape == last_norm(pipe.unet).bias.shape and
                    torch.equal(weights[k], last_norm(pipe.unet).bias))
        base = single_of(name, pipe, False) | {last: weights[last] * 0.1}
        save_file(base, path)
        report.same('sd2 base: predicts', draw_ours(session, path, name)[1:3], ('epsilon', 512))
        base[last] = weights[last]
        save_file(base, path)
        report.same('sd2 without its last layer: fingerprint', draw_ours(session, path, name)[0], expected[0])


def check_real(report, name):
    """The file's data are a hole: opening compares every shape with what the library makes of the others."""
    with torch.device('meta'):
        parts = real_parts(name)
        weights = single_of(name, parts)
    header, end = {}, 0
    for key, value in weights.items():
        begin, end = end, end + 2 * value.numel()
        header[key] = {'dtype': 'F16', 'shape': list(value.shape), 'data_offsets': [begin, end]}
    text = json.dumps(header).encode()
    path = FOLDER / f'single-{name}-real.safetensors'
    with open(path, 'wb') as f:
        f.write(len(text).to_bytes(8, 'little') + text)
        f.truncate(8 + len(text) + end)
    count = sum(p.numel() for part in (parts.unet, parts.vae, *parts.texts) for p in part.parameters())
    with ti.Session() as session, ti.Model(session, path) as model:
        report.same(f'{name} of the real size: {count} parameters', model.info.parameters, count)
        report.same(f'{name} of the real size: context', model.info.context_dim, parts.unet.config.cross_attention_dim)
    path.unlink()


def main(names):
    report = Report('models in one file: diffusers reads what is written, the library draws as with the folder')
    for name in names:
        report.guard(name, check_model, report, name)
        if '--full' in sys.argv and not name.endswith('inpaint'):
            report.guard(f'{name} of the real size', check_real, report, name)
    return report.end()


if __name__ == '__main__':
    arguments = [a for a in sys.argv[1:] if not a.startswith('-')]
    sys.exit(main(arguments or [*PARTS]) > 0)
