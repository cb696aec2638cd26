"""The tokenizers against transformers: files in every layout, prompts of many scripts, new words.

python tests/parity/check_tokenizer.py [prompts per layout, 4000]
"""
import json
import pathlib
import random
import sys

import numpy as np

from binding import textinv as ti
from report import Report

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / 'tests/golden'))
import make_prompts  # noqa: E402
import wordpiece  # noqa: E402

LAYOUTS = ('sd1', 'sd1-new', 'sd2', 'sd2-new', 'bare', 'bare-new')
BERT_LAYOUTS = {'bert': {}, 'bert-new': {}, 'bert-bare': None, 'bert-cased': dict(do_lower_case=False),
                'bert-accents': dict(strip_accents=False), 'bert-plain': dict(do_lower_case=False, strip_accents=True),
                'bert-han': dict(tokenize_chinese_chars=False)}
WORDS = ['<toy>', '<toy>_1', '<Caf\u00e9-Cat>', 'S*', 'sks1', '<\u732b>', '<dog>', '<dog>s']


def differing(texts, ours, theirs, layout):
    bad = [(t, a, b) for t, a, b in zip(texts, ours, theirs) if a != b]
    for text, a, b in bad[:5]:
        print(f'  {layout}: {text!r}\n    transformers {b}\n    libtextinv   {a}')
    return len(bad)


def with_words(texts, rng):
    """Each word as it is written or in capitals, anywhere in the text."""
    for text in texts:
        for _ in range(rng.randint(1, 4)):
            word = rng.choice(WORDS)
            word = word.upper() if rng.random() < 0.3 else word
            at = rng.randint(0, len(text))
            text = text[:at] + rng.choice([' ', '', ', ']) + word + rng.choice([' ', '', ',']) + text[at:]
        yield text


def write_bert_folders(root):
    from transformers import BertTokenizer

    text = wordpiece.vocab(2000)
    names = {f'{kind}_token': f'[{kind.upper()}]' for kind in ('unk', 'sep', 'pad', 'cls', 'mask')}
    for name, config in BERT_LAYOUTS.items():
        folder = root / name
        folder.mkdir(parents=True, exist_ok=True)
        if name.endswith('-new'):
            BertTokenizer.from_pretrained(root / name[:-4]).save_pretrained(folder)
            continue
        (folder / 'vocab.txt').write_text(text, newline='')
        if config is not None:
            (folder / 'special_tokens_map.json').write_text(json.dumps(names))
            (folder / 'tokenizer_config.json').write_text(json.dumps(
                {**names, 'do_lower_case': True, 'tokenize_chinese_chars': True, 'strip_accents': None,
                 'tokenizer_class': 'BertTokenizer', 'model_max_length': 512, **config}))


def main(count=4000):
    from transformers import BertTokenizer, CLIPTokenizer

    report = Report('tokenizer')
    root = ROOT / 'build/clip-tokenizer'
    make_prompts.write_folders(ROOT / 'models/clip-tokenizer/merges.txt', root)
    write_bert_folders(root)
    with ti.Session() as session:
        for i, layout in enumerate([*LAYOUTS, *BERT_LAYOUTS]):
            cls = BertTokenizer if layout in BERT_LAYOUTS else CLIPTokenizer
            # a zero byte ends a C string
            texts = [t.replace('\0', '') for t in make_prompts.prompts(count, 1000 + i)]
            tokenizer = ti.Tokenizer(session, root / layout)
            bad = differing(texts, [tokenizer.encode(t) for t in texts],
                            cls.from_pretrained(root / layout)(texts, verbose=False).input_ids, layout)
            report.line(f'{layout}: {count} prompts that differ', str(bad), '0', bad == 0)

            theirs = cls.from_pretrained(root / layout)
            theirs.add_tokens(WORDS)
            with ti.Embeddings(session) as embeddings:
                for word in WORDS:
                    embeddings.set(word, np.zeros((1, 8), np.float32))
                texts = list(with_words(texts[:count // 4], random.Random(i)))
                bad = differing(texts, [tokenizer.encode(t, embeddings) for t in texts],
                                theirs(texts, verbose=False).input_ids, layout)
            report.line(f'{layout}: {len(texts)} prompts with new words that differ', str(bad), '0', bad == 0)
            tokenizer.close()
    return report.end()


if __name__ == '__main__':
    sys.exit(main(*map(int, sys.argv[1:])) > 0)
