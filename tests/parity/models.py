"""Models of random weights in the diffusers folder layout, below build/parity/.

python tests/parity/models.py [NAME ...]   builds them; without names, all but the full-size ones

The plain folders are written by save_pretrained of the installed versions. The others hold the same model as
older versions wrote it, or in other types and containers; `reference(name)` is what diffusers makes of it.
"""
import json
import os
import shutil
import sys
from collections import Counter
from pathlib import Path

os.environ.setdefault('HF_HUB_OFFLINE', '1')
os.environ.setdefault('TRANSFORMERS_VERBOSITY', 'error')

import diffusers
import torch
import transformers
from diffusers.loaders import TextualInversionLoaderMixin
from diffusers.pipelines.latent_diffusion import pipeline_latent_diffusion as latent_diffusion
from safetensors.torch import load_file, save_file

diffusers.utils.logging.set_verbosity_error()
diffusers.utils.logging.disable_progress_bar()
transformers.utils.logging.disable_progress_bar()

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / 'build/parity'

# --- tokenizer: CLIP's kind, a few hundred words

CORPUS = """a photo of a dog and a cat on the beach in the style of an oil painting . an image of the toy robot
sitting on a wooden table , a red house with a green door near the river , a drawing of one small bird flying over
the mountains at night with bright stars , the photo of my old guitar beside a window in warm light , watercolour of
a blue teapot and seven oranges , a cropped photo of the statue , a good rendition of a vase with flowers , a close-up
of a cup , dark forest under heavy snow , a child's toy in the garden , an astronaut riding a horse on the moon"""


def byte_symbols():
    """The printable stand-in of every byte, in the order of CLIP's vocabulary."""
    first = [*range(ord('!'), ord('~') + 1), *range(0xa1, 0xac + 1), *range(0xae, 0xff + 1)]
    symbols = {b: chr(b) for b in first}
    for b in range(256):
        if b not in symbols:
            symbols[b] = chr(256 + len(symbols) - len(first))
    return symbols


def write_tokenizer(folder, num_merges=300, pad=None):
    """vocab.json, merges.txt and their companions as published folders have them; returns the vocabulary's size."""
    symbols = byte_symbols()
    words = Counter(CORPUS.split())
    split = {w: [symbols[b] for b in w.encode()[:-1]] + [symbols[w.encode()[-1]] + '</w>'] for w in words}
    merges = []
    for _ in range(num_merges):
        pairs = Counter()
        for w, parts in split.items():
            for pair in zip(parts, parts[1:]):
                pairs[pair] += words[w]
        if not pairs:
            break
        best = max(pairs, key=lambda p: (pairs[p], p))
        merges.append(best)
        for w, parts in split.items():
            i = 0
            while i < len(parts) - 1:
                if (parts[i], parts[i + 1]) == best:
                    parts[i:i + 2] = [parts[i] + parts[i + 1]]
                i += 1
    base = list(symbols.values())
    tokens = base + [s + '</w>' for s in base] + [a + b for a, b in merges] + ['<|startoftext|>', '<|endoftext|>']
    folder.mkdir(parents=True, exist_ok=True)
    dump(folder / 'vocab.json', {t: i for i, t in enumerate(tokens)})
    (folder / 'merges.txt').write_text('#version: 0.2\n' + ''.join(f'{a} {b}\n' for a, b in merges))

    def special(content):
        return {'content': content, 'lstrip': False, 'normalized': True, 'rstrip': False, 'single_word': False}

    pad = pad or '<|endoftext|>'
    dump(folder / 'special_tokens_map.json', {'bos_token': special('<|startoftext|>'),
                                              'eos_token': special('<|endoftext|>'), 'pad_token': pad,
                                              'unk_token': special('<|endoftext|>')})
    dump(folder / 'tokenizer_config.json', {'model_max_length': 77, 'tokenizer_class': 'CLIPTokenizer',
                                            'bos_token': special('<|startoftext|>'), 'do_lower_case': True,
                                            'eos_token': special('<|endoftext|>'), 'pad_token': pad,
                                            'unk_token': special('<|endoftext|>'), 'errors': 'replace'})
    return len(tokens)


def write_wordpiece(folder):
    """vocab.txt and its companions as BERT's published folders have them; returns the vocabulary's size."""
    words = set(CORPUS.split())
    letters = sorted(set(''.join(words)) | set('0123456789!,.<>_'))
    longer = words | {w[:k] for w in words for k in (2, 3)} | {'##' + w[k:] for w in words for k in (2, 3) if w[k:]}
    single = letters + ['##' + c for c in letters]
    tokens = ['[PAD]', *(f'[unused{i}]' for i in range(5)), '[UNK]', '[CLS]', '[SEP]', '[MASK]', *single,
              *sorted(longer - set(single))]
    names = {f'{kind}_token': f'[{kind.upper()}]' for kind in ('unk', 'sep', 'pad', 'cls', 'mask')}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / 'vocab.txt').write_text(''.join(t + '\n' for t in tokens))
    dump(folder / 'special_tokens_map.json', names)
    dump(folder / 'tokenizer_config.json', {**names, 'do_lower_case': True, 'model_max_length': 512,
                                            'tokenize_chinese_chars': True, 'strip_accents': None,
                                            'tokenizer_class': 'BertTokenizer'})
    return len(tokens)


def dump(path, value):
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + '\n')


# --- weights that are random and yet keep values near one

@torch.no_grad()
def randomize(module, generator):
    """Every parameter, affine ones of norms too, so that a forgotten one is noticed."""
    for name, p in module.named_parameters():
        owner = module.get_submodule(name.rpartition('.')[0])
        if isinstance(owner, torch.nn.Embedding):
            p.normal_(0, 0.02, generator=generator)
        elif isinstance(owner, (torch.nn.GroupNorm, torch.nn.LayerNorm)):
            p.normal_(1 if name.endswith('weight') else 0, 0.1, generator=generator)
        elif p.ndim < 2:
            p.normal_(0, 0.1, generator=generator)
        else:
            p.normal_(0, p[0].numel() ** -0.5, generator=generator)
    return module.eval()


@torch.no_grad()
def calibrate(unet, vae, generator):
    """Scale the last convolutions: noise of deviation 1, pictures of deviation 0.4, scaled latents of deviation 1."""
    config = unet.config
    x = torch.randn(1, config.in_channels, 16, 16, generator=generator)
    context = torch.randn(1, 77, config.cross_attention_dim, generator=generator)
    added = None
    if config.addition_embed_type == 'text_time':
        pooled = config.projection_class_embeddings_input_dim - 6 * config.addition_time_embed_dim
        added = {'text_embeds': torch.randn(1, pooled, generator=generator), 'time_ids': torch.full((1, 6), 128.0)}
    unet.conv_out.weight /= unet(x, 500, context, added_cond_kwargs=added).sample.std()
    z = torch.randn(1, vae.config.latent_channels, 16, 16, generator=generator)
    vae.decoder.conv_out.weight *= 0.4 / vae.decode(z / vae.config.scaling_factor).sample.std()
    c = vae.config.latent_channels
    picture = torch.rand(1, 3, 64, 64, generator=generator) * 2 - 1
    last = vae.quant_conv if vae.quant_conv is not None else vae.encoder.conv_out
    mean = vae.encode(picture).latent_dist.mean
    last.weight[:c] /= mean.std() * vae.config.scaling_factor
    last.weight[c:] *= 0.2


def clip(width, layers, heads, act, vocab, projection=None, **more):
    config = transformers.CLIPTextConfig(
        vocab_size=vocab, hidden_size=width, intermediate_size=more.pop('inner', 4 * width), num_hidden_layers=layers,
        num_attention_heads=heads, max_position_embeddings=77, hidden_act=act, projection_dim=projection or 512,
        bos_token_id=vocab - 2, eos_token_id=vocab - 1, pad_token_id=1)
    return (transformers.CLIPTextModelWithProjection if projection else transformers.CLIPTextModel)(config)


def bert(width, layers, heads, head_dim, vocab, **more):
    config = latent_diffusion.LDMBertConfig(vocab_size=vocab, d_model=width, encoder_layers=layers, head_dim=head_dim,
                                            encoder_attention_heads=heads, encoder_ffn_dim=4 * width, **more)
    return latent_diffusion.LDMBertModel(config)


def vae(channels, **more):
    blocks = len(channels)
    options = dict(layers_per_block=2, latent_channels=4, norm_num_groups=32, sample_size=128)
    options.update(more)
    return diffusers.AutoencoderKL(block_out_channels=channels, down_block_types=['DownEncoderBlock2D'] * blocks,
                                   up_block_types=['UpDecoderBlock2D'] * blocks, **options)


SCHEDULE = dict(beta_start=0.00085, beta_end=0.012, beta_schedule='scaled_linear', num_train_timesteps=1000)
DOWN4 = ['CrossAttnDownBlock2D'] * 3 + ['DownBlock2D']
UP4 = ['UpBlock2D'] + ['CrossAttnUpBlock2D'] * 3


def parts_sd1(vocab, full=False):
    """Stable Diffusion 1.x: heads of any size, 1x1 convolutions around the transformers, quick_gelu."""
    if full:
        unet = diffusers.UNet2DConditionModel(sample_size=64, cross_attention_dim=768, attention_head_dim=8,
                                              down_block_types=DOWN4, up_block_types=UP4)
        text = clip(768, 12, 12, 'quick_gelu', 49408, inner=3072)
        autoencoder = vae([128, 256, 512, 512], sample_size=512)
    else:
        unet = diffusers.UNet2DConditionModel(sample_size=16, cross_attention_dim=48, attention_head_dim=8,
                                              block_out_channels=[32, 64, 96, 96], down_block_types=DOWN4,
                                              up_block_types=UP4)
        text = clip(48, 4, 4, 'quick_gelu', vocab)
        autoencoder = vae([32, 32, 64, 64])
    scheduler = diffusers.PNDMScheduler(**SCHEDULE, skip_prk_steps=True, set_alpha_to_one=False, steps_offset=1)
    return unet, autoencoder, [text], scheduler


def parts_sd2(vocab, full=False):
    """Stable Diffusion 2.x: a list of heads, linear projections, gelu, velocity, attention in float."""
    unet = diffusers.UNet2DConditionModel(sample_size=16, cross_attention_dim=64, attention_head_dim=[2, 4, 8, 8],
                                          block_out_channels=[32, 64, 64, 128], use_linear_projection=True,
                                          upcast_attention=True, dual_cross_attention=False, norm_num_groups=16,
                                          down_block_types=DOWN4, up_block_types=UP4)
    scheduler = diffusers.DDIMScheduler(**SCHEDULE, prediction_type='v_prediction', clip_sample=False,
                                        set_alpha_to_one=False, steps_offset=1)
    return unet, vae([32, 64, 64, 64]), [clip(64, 5, 4, 'gelu', vocab)], scheduler


def parts_sdxl(vocab, full=False):
    """Stable Diffusion XL: two encoders, pooled text and sizes, transformers of several layers."""
    unet = diffusers.UNet2DConditionModel(
        sample_size=16, cross_attention_dim=32 + 48, attention_head_dim=[4, 8, 8], block_out_channels=[32, 64, 96],
        down_block_types=['DownBlock2D', 'CrossAttnDownBlock2D', 'CrossAttnDownBlock2D'],
        up_block_types=['CrossAttnUpBlock2D', 'CrossAttnUpBlock2D', 'UpBlock2D'], use_linear_projection=True,
        transformer_layers_per_block=[1, 2, 3], addition_embed_type='text_time', addition_time_embed_dim=16,
        projection_class_embeddings_input_dim=40 + 6 * 16, upcast_attention=None)
    texts = [clip(32, 3, 4, 'quick_gelu', vocab), clip(48, 4, 6, 'gelu', vocab, 40)]
    scheduler = diffusers.EulerDiscreteScheduler(**SCHEDULE, timestep_spacing='leading', steps_offset=1,
                                                 interpolation_type='linear', use_karras_sigmas=False)
    return unet, vae([32, 32, 64, 64], scaling_factor=0.13025, force_upcast=True), texts, scheduler


def parts_odd(vocab, full=False):
    """Sizes that fit no vector register, and keys that the known models leave at their defaults."""
    unet = diffusers.UNet2DConditionModel(
        sample_size=12, in_channels=6, out_channels=6, cross_attention_dim=40, attention_head_dim=[3, 5, 7],
        block_out_channels=[24, 40, 56], norm_num_groups=8, layers_per_block=[1, 2, 3],
        down_block_types=['CrossAttnDownBlock2D', 'DownBlock2D', 'CrossAttnDownBlock2D'],
        up_block_types=['CrossAttnUpBlock2D', 'UpBlock2D', 'CrossAttnUpBlock2D'],
        only_cross_attention=[True, False, False], mid_block_only_cross_attention=True, downsample_padding=1,
        norm_eps=1e-6, flip_sin_to_cos=False,
        freq_shift=1, transformer_layers_per_block=[2, 1, 1])
    autoencoder = vae([24, 40, 56], norm_num_groups=8, layers_per_block=1, latent_channels=6, use_quant_conv=False,
                      use_post_quant_conv=False, mid_block_add_attention=False, scaling_factor=0.5, shift_factor=0.1,
                      sample_size=48)
    scheduler = diffusers.DDIMScheduler(num_train_timesteps=500, beta_schedule='squaredcos_cap_v2',
                                        prediction_type='sample', clip_sample=False, timestep_spacing='trailing')
    return unet, autoencoder, [clip(40, 2, 5, 'gelu', vocab, inner=72)], scheduler


def parts_ldm(vocab, full=False):
    """Latent diffusion, the paper's own: a BERT whose heads are narrower together than its states."""
    unet = diffusers.UNet2DConditionModel(sample_size=16, cross_attention_dim=48, attention_head_dim=8,
                                          block_out_channels=[32, 64, 96, 96], down_block_types=DOWN4,
                                          up_block_types=UP4)
    scheduler = diffusers.DDIMScheduler(**SCHEDULE, clip_sample=False)
    return unet, vae([32, 32, 64, 64]), [bert(48, 4, 3, 10, vocab)], scheduler


def changed(module, **keys):
    """A new module of a config that differs in keys, whether or not they had their default values."""
    return type(module).from_config({k: v for k, v in module.config.items() if k != '_use_default_values'} | keys)


def inpainting(parts):
    """
    The same, with a UNet that takes a mask and the latents of the masked picture beside its own. Where all is masked,
    that picture is of one colour; groups of one channel then have no variance but their eps, and PyTorch's float norm
    over channels that lie last is 15 % from its double. The groups of real autoencoders have 4 channels and more.
    """
    def build(vocab, full=False):
        unet, autoencoder, texts, scheduler = parts(vocab, full)
        return changed(unet, in_channels=9), changed(autoencoder, norm_num_groups=8), texts, \
            changed(scheduler, prediction_type='epsilon')
    return build


PARTS = {'sd1': parts_sd1, 'sd2': parts_sd2, 'sdxl': parts_sdxl, 'odd': parts_odd, 'ldm': parts_ldm}
INPAINT = {f'{name}-inpaint': inpainting(PARTS[name]) for name in ('sd1', 'sd2', 'sdxl')}
SEEDS = {'sd1': 1, 'sd2': 2, 'sdxl': 3, 'odd': 4, 'sd15-full': 5, 'ldm': 6}
FULL = ['sd15-full']
TYPES = {'sd15-bf16': torch.bfloat16}  # of the weights, where they are not float


class LatentDiffusion(TextualInversionLoaderMixin, diffusers.LDMTextToImagePipeline):
    """Its parts under the names that they have in other pipelines, and with new words."""
    text_encoder = property(lambda self: self.bert)
    vae = property(lambda self: self.vqvae)

    def encode_prompt(self, prompt, *_, **__):
        prompt = self.maybe_convert_prompt(prompt, self.tokenizer)
        ids = self.tokenizer(prompt, padding='max_length', max_length=77, truncation=True, return_tensors='pt')
        return self.bert(ids.input_ids)[0], None


def pipeline_class(name):
    if name.startswith('ldm'):
        return LatentDiffusion
    xl, what = 'XL' if name.startswith('sdxl') else '', 'Inpaint' if name.endswith('inpaint') else ''
    return getattr(diffusers, f'StableDiffusion{xl}{what}Pipeline')


def build_plain(name, folder, parts=None):
    """A new model of random weights, saved by save_pretrained; a full-size one is made on a GPU where there is one."""
    full = name.startswith('sd15')
    parts = parts or (PARTS | INPAINT)['sd1' if full else name]
    device = 'cuda' if full and torch.cuda.is_available() else 'cpu'
    pad = '!' if name.startswith(('sd2', 'sdxl')) else None
    ldm = name.startswith('ldm')
    encoder_names = ['bert' if ldm else 'text_encoder', 'text_encoder_2']
    tokenizer_folders = [folder / 'tokenizer', folder / 'tokenizer_2']
    tokenizer_class = transformers.BertTokenizer if ldm else transformers.CLIPTokenizer
    vocab = write_wordpiece(tokenizer_folders[0]) if ldm else \
        write_tokenizer(tokenizer_folders[0], pad=None if name == 'sdxl' else pad)
    with torch.device(device):
        generator = torch.Generator(device).manual_seed(SEEDS.get(name, 9))
        unet, autoencoder, texts, scheduler = parts(vocab, full)
        for module in (unet, autoencoder, *texts):
            randomize(module, generator)
        calibrate(unet, autoencoder, generator)
    for module in (unet, autoencoder, *texts):
        module.to('cpu', TYPES.get(name))
    components = {'unet': unet, 'vqvae' if ldm else 'vae': autoencoder, 'scheduler': scheduler}
    for i, text in enumerate(texts):
        if i:
            write_tokenizer(tokenizer_folders[i], pad=pad)
        components[encoder_names[i]] = text
        components[tokenizer_folders[i].name] = tokenizer_class.from_pretrained(tokenizer_folders[i])
    if name.startswith('sdxl'):
        components['force_zeros_for_empty_prompt'] = True
    elif not ldm:
        components.update(safety_checker=None, feature_extractor=None, requires_safety_checker=False)
    for path in tokenizer_folders:
        shutil.rmtree(path, ignore_errors=True)
    pipe = (diffusers.LDMTextToImagePipeline if ldm else pipeline_class(name))(**components)
    pipe.save_pretrained(folder)
    # published folders have it whatever the scheduler's class; samplers that are switched to take it from there
    path = folder / 'scheduler/scheduler_config.json'
    dump(path, {**json.loads(path.read_text()), 'clip_sample': False})
    return pipe


# --- the same model as others wrote it

def weight_files(folder):
    return [p for p in sorted(folder.glob('*/*.safetensors'))]


def each_file(folder, change):
    for path in weight_files(folder):
        tensors = change(path, load_file(path))
        if tensors is not None:
            save_file(tensors, path, metadata={'format': 'pt'})


def drop_defaults(path, cls):
    """Leave out of a config what is the default of its class."""
    import inspect
    config = json.loads(path.read_text())
    for key, parameter in inspect.signature(cls.__init__).parameters.items():
        default = list(parameter.default) if isinstance(parameter.default, tuple) else parameter.default
        if key in config and config[key] == default and type(config[key]) is type(default):
            del config[key]
    dump(path, config)


def make_old(folder):
    """As diffusers 0.3 and transformers 4.22 wrote Stable Diffusion 1.x and, still earlier, latent diffusion."""
    names = {'to_q': 'query', 'to_k': 'key', 'to_v': 'value', 'to_out.0': 'proj_attn'}

    def change(path, tensors):
        if path.parent.name == 'text_encoder':
            out = {f'text_model.{k}': v for k, v in tensors.items()}
            out['text_model.embeddings.position_ids'] = torch.arange(77).reshape(1, 77)
            return out
        if path.parent.name in ('vae', 'vqvae'):
            for old in [k for k in tensors if '.attentions.' in k]:
                new = old
                for today, before in names.items():
                    new = new.replace(f'.{today}.', f'.{before}.')
                value = tensors.pop(old)
                tensors[new] = value[:, :, None, None].contiguous() if value.ndim == 2 else value
            return tensors
        return None

    each_file(folder, change)
    shutil.rmtree(folder / 'tokenizer')
    ldm = (folder / 'bert').exists()
    (write_wordpiece if ldm else write_tokenizer)(folder / 'tokenizer')
    drop_defaults(folder / 'unet/config.json', diffusers.UNet2DConditionModel)
    drop_defaults(folder / ('vqvae' if ldm else 'vae') / 'config.json', diffusers.AutoencoderKL)
    drop_defaults(folder / 'scheduler/scheduler_config.json',
                  diffusers.DDIMScheduler if ldm else diffusers.PNDMScheduler)
    if ldm:  # torch files, and a size below 64 that StableDiffusionPipeline would not believe
        config = json.loads((folder / 'unet/config.json').read_text())
        dump(folder / 'unet/config.json', {**config, '_diffusers_version': '0.0.4'})
        make_bin(folder)
        return
    config = json.loads((folder / 'text_encoder/config.json').read_text())
    config['model_type'], config['eos_token_id'] = 'clip_text_model', 2
    dump(folder / 'text_encoder/config.json', config)


def make_type(folder, dtype):
    each_file(folder, lambda _, tensors: {k: v.to(dtype) for k, v in tensors.items()})


def make_variant(folder):
    make_type(folder, torch.float16)
    for path in weight_files(folder):
        path.rename(path.with_suffix('.fp16.safetensors'))


def make_sharded(folder):
    """Three shards and an index for every component."""
    for path in weight_files(folder):
        tensors = load_file(path)
        names, where = sorted(tensors), {}
        for i in range(3):
            part = {k: tensors[k] for k in names[i::3]}
            shard = f'{path.stem}-{i + 1:05d}-of-00003.safetensors'
            save_file(part, path.parent / shard, metadata={'format': 'pt'})
            where.update({k: shard for k in part})
        size = sum(t.numel() * t.element_size() for t in tensors.values())
        dump(path.with_suffix('.safetensors.index.json'), {'metadata': {'total_size': size}, 'weight_map': where})
        path.unlink()


def make_bin(folder):
    """torch.save files."""
    for path in weight_files(folder):
        name = 'pytorch_model.bin' if path.stem == 'model' else path.stem + '.bin'
        torch.save(load_file(path), path.parent / name)
        path.unlink()


# name: plain folder, rewriting, rounding of the weights
REWRITTEN = {
    'sd1-old': ('sd1', make_old, None),
    'ldm-old': ('ldm', make_old, None),
    'sd1-f16': ('sd1', lambda f: make_type(f, torch.float16), torch.float16),
    'sd1-bf16': ('sd1', lambda f: make_type(f, torch.bfloat16), torch.bfloat16),
    'sd1-fp16-variant': ('sd1', make_variant, torch.float16),
    'sdxl-sharded': ('sdxl', make_sharded, None),
    'sd2-bin': ('sd2', make_bin, None),
}
REDUCED = [*PARTS, *INPAINT, *REWRITTEN]


def model(name):
    """The folder of a model, built when it is not there."""
    folder, done = FOLDER / name, FOLDER / name / '.done'
    if done.exists():
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    if name in REWRITTEN:
        plain, rewrite, _ = REWRITTEN[name]
        shutil.copytree(model(plain), folder)
        rewrite(folder)
    else:
        build_plain(name, folder)
    done.touch()
    return folder


def reference(name):
    """diffusers' pipeline with the weights that the folder holds, in float."""
    plain, _, dtype = REWRITTEN.get(name, (name, None, None))
    pipe = pipeline_class(plain).from_pretrained(model(plain), dtype=torch.float32, local_files_only=True)
    pipe.set_progress_bar_config(disable=True)
    for module in pipe.components.values():
        if isinstance(module, torch.nn.Module):
            module.eval().requires_grad_(False)
            if dtype:
                module.to(dtype).to(torch.float32)
    return pipe


if __name__ == '__main__':
    for each in sys.argv[1:] or REDUCED:
        print(model(each))
