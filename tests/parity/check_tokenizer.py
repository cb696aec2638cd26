"""The tokenizer against transformers: files in every layout, prompts of many scripts, new words.

python tests/parity/check_tokenizer.py [prompts per layout, 4000]
"""
import pathlib
import random
import sys

import numpy as np

from binding import textinv as ti
from report import Report

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / 'tests/golden'))
import make_prompts  # noqa: E402

LAYOUTS = ('sd1', 'sd1-new', 'sd2', 'sd2-new', 'bare', 'bare-new')
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


def main(count=4000):
    from transformers import CLIPTokenizer

    report = Report('tokenizer')
    root = ROOT / 'build/clip-tokenizer'
    make_prompts.write_folders(ROOT / 'models/clip-tokenizer/merges.txt', root)
    with ti.Session() as session:
        for i, layout in enumerate(LAYOUTS):
            # a zero byte ends a C string
            texts = [t.replace('\0', '') for t in make_prompts.prompts(count, 1000 + i)]
            tokenizer = ti.Tokenizer(session, root / layout)
            bad = differing(texts, [tokenizer.encode(t) for t in texts],
                            make_prompts.expected(root / layout, texts), layout)
            report.line(f'{layout}: {count} prompts that differ', str(bad), '0', bad == 0)

            theirs = CLIPTokenizer.from_pretrained(root / layout)
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
