"""CLIP's embeddings of pictures and texts against transformers' CLIPModel and CLIPImageProcessor, float, relative error at
most 1e-5; and the scores that are made of them.

python tests/parity/check_clip.py [--full] [--trace] [MODEL ...]
"""
import shutil
import sys

import numpy as np
import torch
from PIL import Image

import models
from binding import textinv as ti
from report import Report, relative_error

ALLOWED = 1e-5
T = models.transformers
TOYBOX = models.ROOT / 'models/toybox-clip'
# name: width of the embeddings; width, layers, heads and activation of the text's and of the picture's tower; side, patch
# and size before the cut of a picture
SIZES = {
    'clip': (48, (64, 2, 4, 'quick_gelu'), (96, 3, 3, 'quick_gelu'), (56, 8, 56)),
    'clip-odd': (20, (40, 1, 5, 'gelu'), (72, 2, 2, 'gelu'), (45, 14, 52)),
    'clip-b32': (512, (512, 12, 8, 'quick_gelu'), (768, 12, 12, 'quick_gelu'), (224, 32, 224)),
}
REDUCED, FULL = ['toybox-clip', 'clip', 'clip-odd'], ['clip-b32']
TEXTS = ['', 'a photo of a dog', 'An   oil-painting of 7 TOYS, by the river!', 'vase ' * 100]


def tower(width, layers, heads, act):
    return dict(hidden_size=width, intermediate_size=4 * width - 8, num_hidden_layers=layers, num_attention_heads=heads,
                hidden_act=act)


def build(name, folder):
    """A CLIPModel of random weights; clip-odd as transformers 5 writes a processor, the others as before."""
    dim, text, vision, (side, patch, size) = SIZES[name]
    vocab = models.write_tokenizer(folder)
    config = T.CLIPConfig(
        projection_dim=dim,
        text_config=dict(tower(*text), vocab_size=vocab, bos_token_id=vocab - 2, eos_token_id=vocab - 1),
        vision_config=dict(tower(*vision), image_size=side, patch_size=patch))
    models.randomize(T.CLIPModel(config), torch.Generator().manual_seed(31)).save_pretrained(folder)
    cut = {'height': side, 'width': side}
    if name == 'clip-odd':
        processor = T.CLIPImageProcessorPil(size={'height': size, 'width': size}, crop_size=cut, resample=1)
        T.CLIPProcessor(processor, T.CLIPTokenizer.from_pretrained(folder)).save_pretrained(folder)
    else:
        T.CLIPImageProcessorPil(size={'shortest_edge': size}, crop_size=cut).save_pretrained(folder)


def model(name):
    """The folder of a model, built when it is not there."""
    if name == TOYBOX.name:
        return TOYBOX
    folder = models.FOLDER / name
    if not (folder / '.done').exists():
        shutil.rmtree(folder, ignore_errors=True)
        build(name, folder)
        (folder / '.done').touch()
    return folder


def pictures():
    """Smooth and noisy, larger and smaller than what CLIP sees, wide and high."""
    rng = np.random.default_rng(8)
    for height, width in ((224, 224), (61, 97), (513, 300), (300, 513), (40, 33), (700, 31)):
        y, x = np.mgrid[0:height, 0:width]
        smooth = np.stack([x * 255 / width, y * 255 / height, (x + y) % 256], -1)
        yield np.clip(smooth + rng.normal(0, 40, smooth.shape), 0, 255).astype(np.uint8)


@torch.no_grad()
def check_model(report, name):
    folder = model(name)
    clip = T.CLIPModel.from_pretrained(folder, dtype=torch.float32).eval()
    processor = T.CLIPImageProcessorPil.from_pretrained(folder)
    tokenizer = T.CLIPTokenizer.from_pretrained(folder)

    def unit(x):
        return (x / x.norm()).numpy()

    with ti.Session(threads=2) as session, ti.Clip(session, folder) as met:
        expected, texts = [], []
        for picture in pictures():
            values = processor(Image.fromarray(picture), return_tensors='pt').pixel_values
            expected.append(unit(clip.visual_projection(clip.vision_model(values).pooler_output)[0]))
            report.at_most(f'{name} picture of {picture.shape[1]} x {picture.shape[0]}',
                           relative_error(session.clip_encode_image(met, picture), expected[-1]), ALLOWED)
        for text in TEXTS:
            ids = tokenizer(text, truncation=True, max_length=clip.config.text_config.max_position_embeddings,
                            return_tensors='pt').input_ids
            texts.append(unit(clip.text_projection(clip.text_model(ids).pooler_output)[0]))
            report.at_most(f'{name} text "{text[:20]}"',
                           relative_error(session.clip_encode_text(met, text)[0], texts[-1]), ALLOWED)
        drawn, references, text = np.array(expected[:4]), np.array(expected[2:]), texts[1]
        scores = session.evaluate(met, [*pictures()][:4], [*pictures()][2:], 'a photo of <toy> a dog',
                                  placeholders='<toy>')
        each = np.stack([(drawn @ references.T).mean(1), drawn @ text], 1)
        report.at_most(f'{name} similarities of every picture', relative_error(scores.each, each), ALLOWED)
        report.at_most(f'{name} similarities', relative_error([scores.image_similarity, scores.text_similarity],
                                                              each.mean(0)), ALLOWED)


def main(names):
    report = Report('CLIP: relative error against transformers, f32')
    for name in names:
        report.guard(name, check_model, report, name)
    return report.end()


if __name__ == '__main__':
    arguments = [a for a in sys.argv[1:] if not a.startswith('-')]
    sys.exit(main(arguments or (FULL if '--full' in sys.argv else REDUCED)) > 0)
