"""BERT's tokenizer as transformers runs it: wordpiece/ beside this script.

Needs transformers (made with 5.23, tokenizers 0.23.3). tests/parity/check_tokenizer.py compares many more.

    vocab.txt     tokens of all scripts
    prompts.bin   for each prompt bytes, count as little-endian u32, the UTF-8 text, the ids as u16
"""
import pathlib
import random
import struct
import unicodedata

import make_prompts

HERE = pathlib.Path(__file__).resolve().parent


def vocab(count):
    """vocab.txt with parts of count prompts, of which most words have an end."""
    rng, characters, pieces = random.Random(3), set(), set()
    for text in make_prompts.prompts(count, 7):
        for form in (text, text.lower(), unicodedata.normalize('NFD', text), unicodedata.normalize('NFD', text.lower())):
            for word in form.split():
                characters |= set(word)
                at, size = rng.randrange(len(word)), rng.randint(2, 6)
                pieces.add('##' * (at > 0) + word[at:at + size])
    characters = sorted(c for c in characters if c.isprintable() and not c.isspace() and ord(c) != 0xfffd)
    tokens = {c for c in characters if rng.random() < 0.95} | {'##' + c for c in characters if rng.random() < 0.9}
    tokens = sorted(tokens | {p for p in pieces if p.isprintable() and '\0' not in p and p == p.strip()})
    rng.shuffle(tokens)
    special = ['[PAD]', *(f'[unused{i}]' for i in range(9)), '[UNK]', '[CLS]', '[SEP]', '[MASK]']
    return ''.join(t + '\n' for t in special + tokens)


def main():
    from transformers import BertTokenizer

    folder = HERE / 'wordpiece'
    folder.mkdir(exist_ok=True)
    (folder / 'vocab.txt').write_text(vocab(150), encoding='utf-8', newline='')
    texts = make_prompts.prompts(500, 7) + ['[CLS] a[SEP]b [sep] [MASK]', 'a' * 100, 'a' * 101]
    with open(folder / 'prompts.bin', 'wb') as f:
        for text, ids in zip(texts, BertTokenizer.from_pretrained(folder)(texts, verbose=False).input_ids):
            data = text.encode()
            f.write(struct.pack('<II', len(data), len(ids)) + data + struct.pack(f'<{len(ids)}H', *ids))


if __name__ == '__main__':
    main()
