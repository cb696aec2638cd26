"""A tiny CLIP model of random weights, and what transformers makes of it: tiny-clip/ beside this script.

Needs the packages of tests/parity/requirements.txt. In the folder expected.safetensors holds

    metadata prompt               a text with the word "<toy>"; CLIP sees it without
    picture.0, picture.1          [h, w, 3]: one higher than wide, one wider than high
    values.0, values.1            [3, side, side]: what CLIPImageProcessor makes of them
    image.0, image.1, text        [dim]: their embeddings and that of the prompt, of unit length
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
from safetensors.torch import load_file, save_file

import check_clip
import models

T = models.transformers
PROMPT = 'a photo of <toy> on the beach'


@torch.no_grad()
def main():
    folder = HERE / 'tiny-clip'
    shutil.rmtree(folder, ignore_errors=True)
    check_clip.SIZES['tiny'] = 12, (16, 2, 2, 'quick_gelu'), (24, 2, 3, 'gelu'), (32, 8, 40)
    check_clip.build('tiny', folder)
    weights = load_file(folder / 'model.safetensors')
    (folder / 'model.safetensors').unlink()
    save_file({k: v.half() for k, v in weights.items()}, folder / 'model.safetensors', metadata={'format': 'pt'})
    clip = T.CLIPModel.from_pretrained(folder, dtype=torch.float32).eval()
    processor = T.CLIPImageProcessorPil.from_pretrained(folder)
    rng = np.random.default_rng(6)
    out = {}
    for i, (height, width) in enumerate(((67, 43), (33, 50))):
        picture = np.kron(rng.integers(0, 256, (9, 9, 3)), np.ones((height // 9 + 1, width // 9 + 1, 1)))
        picture = picture[:height, :width].astype(np.uint8)
        values = processor(Image.fromarray(picture), return_tensors='pt').pixel_values
        out[f'picture.{i}'], out[f'values.{i}'] = torch.from_numpy(picture), values[0]
        out[f'image.{i}'] = clip.visual_projection(clip.vision_model(values).pooler_output)[0]
    ids = T.CLIPTokenizer.from_pretrained(folder)(PROMPT.replace('<toy>', ''), return_tensors='pt').input_ids
    out['text'] = clip.text_projection(clip.text_model(ids).pooler_output)[0]
    for name in ('image.0', 'image.1', 'text'):
        out[name] = out[name] / out[name].norm()
    save_file({k: v.contiguous() for k, v in out.items()}, folder / 'expected.safetensors', metadata={'prompt': PROMPT})
    for path in folder.iterdir():
        path.chmod(0o644)
    print(folder.name, sum(p.stat().st_size for p in folder.rglob('*') if p.is_file()), 'bytes')


if __name__ == '__main__':
    main()
