"""CLIP's tokenizer as transformers runs it: prompts of many scripts with their ids.

    make_prompts.py --folders DIR       writes tokenizer folders of every layout
    make_prompts.py --sample 2000       and prompts.bin beside this script

Needs transformers (made with 5.23, tokenizers 0.23.3). tests/parity/check_tokenizer.py compares many more.
prompts.bin: for each prompt bytes, count as little-endian u32, the UTF-8 text, the ids as u16.
"""
import argparse
import json
import pathlib
import random
import struct

here = pathlib.Path(__file__).parent
args = argparse.ArgumentParser()
args.add_argument("--merges", default=here.parents[1] / "models/clip-tokenizer/merges.txt")
args.add_argument("--folders", default="build/clip-tokenizer")
args.add_argument("--sample", type=int, default=0)


def bytes_to_unicode():
    kept = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    rest = [b for b in range(256) if b not in kept]
    return [chr(b) for b in kept] + [chr(256 + i) for i in range(len(rest))]


def write_folders(merges_file, root):
    """the published layout (SD 1.x), that of SD 2.x with "!" for padding, and what transformers 5 saves"""
    from transformers import CLIPTokenizer

    lines = pathlib.Path(merges_file).read_text(encoding="utf-8").split("\n")[1:-1]
    letters = bytes_to_unicode()
    vocab = letters + [c + "</w>" for c in letters] + ["".join(m.split()) for m in lines]
    vocab += ["<|startoftext|>", "<|endoftext|>"]
    token = lambda text: dict(content=text, lstrip=False, normalized=True, rstrip=False, single_word=False)
    begin, end = token("<|startoftext|>"), token("<|endoftext|>")
    for name, pad in (("sd1", "<|endoftext|>"), ("sd2", "!")):
        folder = pathlib.Path(root) / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "vocab.json").write_text(json.dumps({t: i for i, t in enumerate(vocab)}, ensure_ascii=False))
        (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(lines) + "\n")
        (folder / "special_tokens_map.json").write_text(
            json.dumps(dict(bos_token=begin, eos_token=end, unk_token=end, pad_token=pad)))
        (folder / "tokenizer_config.json").write_text(
            json.dumps(dict(model_max_length=77, tokenizer_class="CLIPTokenizer", pad_token="<|endoftext|>",
                            bos_token=dict(begin, __type="AddedToken"), eos_token=dict(end, __type="AddedToken"),
                            unk_token=dict(end, __type="AddedToken"), do_lower_case=True)))
        CLIPTokenizer.from_pretrained(folder).save_pretrained(pathlib.Path(root) / f"{name}-new")
    bare = pathlib.Path(root) / "bare"
    bare.mkdir(exist_ok=True)
    for name in ("vocab.json", "merges.txt"):
        (bare / name).write_text((pathlib.Path(root) / "sd1" / name).read_text())
    CLIPTokenizer.from_pretrained(bare).save_pretrained(pathlib.Path(root) / "bare-new")


WORDS = """a photo of the cat dog on in at table chair toy teapot robot owl clay painting style by artist oil watercolor
sketch beach mountain snow sunset city street night cinematic lighting 8k uhd hdr trending artstation masterpiece
isn't we're I'll they've it's don't O'Brien rock'n'roll he'd I'm cafe naïve façade Ångström crème brûlée jalapeño
Zürich smörgåsbord Straße ŁÓDŹ İstanbul Iğdır ΣΊΣΥΦΟΣ ὈΔΥΣΣΕΎΣ ﬁne ﬀ Ǆ ǅ ǆ Ⅷ ⅷ x² ½ ① ㊗ ㎏ № ™ © Å Å Ω Ω K K
antidisestablishmentarianism supercalifragilisticexpialidocious pneumonoultramicroscopicsilicovolcanoconiosis""".split()
SCRIPTS = [
    (0x41, 0x7A), (0xC0, 0x24F), (0x1E00, 0x1EFF), (0x370, 0x3FF), (0x1F00, 0x1FFF), (0x400, 0x52F), (0x531, 0x587),
    (0x5D0, 0x5EA), (0x5B0, 0x5C7), (0x620, 0x64A), (0x64B, 0x65F), (0x660, 0x669), (0x900, 0x97F), (0x980, 0x9FF),
    (0xA00, 0xA7F), (0xB80, 0xBFF), (0xC00, 0xC7F), (0xD00, 0xD7F), (0xE00, 0xE7F), (0xE80, 0xEFF), (0xF00, 0xFFF),
    (0x1000, 0x109F), (0x10A0, 0x10FF), (0x1100, 0x11FF), (0x1200, 0x137F), (0x13A0, 0x13FF), (0x1780, 0x17FF),
    (0x1800, 0x18AF), (0x2C00, 0x2C5F), (0x3040, 0x309F), (0x30A0, 0x30FF), (0x3400, 0x4DBF), (0x4E00, 0x9FFF),
    (0xA640, 0xA7FF), (0xAC00, 0xD7A3), (0xF900, 0xFAFF), (0xFB00, 0xFB4F), (0xFE70, 0xFEFF), (0xFF00, 0xFFEF),
    (0x10400, 0x1044F), (0x10D40, 0x10D8F), (0x16EA0, 0x16EDF), (0x1C80, 0x1C8F), (0xA7C0, 0xA7FF), (0x1D400, 0x1D7FF),
    (0x1E900, 0x1E95F), (0x20000, 0x2A6DF), (0x2EBF0, 0x2EE5D), (0x30000, 0x3134A),
]
MARKS = [*range(0x300, 0x370), 0x5B0, 0x5BF, 0x651, 0x64B, 0x93C, 0x94D, 0x9BC, 0xE38, 0xE48, 0x1AB0, 0x1AC1, 0x1DC0,
         0x20D0, 0x3099, 0x309A, 0xFE20, 0x898, 0x10F46, 0x1DFA, 0x0345, 0x0334, 0x1E2EC]
SPACES = " \t\n\r\v\f\x1c\x1d\x1e\x1f\x85\xa0\u1680\u180e\u2000\u2003\u2009\u200a\u200b\u2028\u2029\u202f\u205f\u2060\u3000\ufeff"
EMOJI = "😀😂🥰🤖🐱🐶🦊🎨🎉🏔🌅🌊🔥✨⭐❤💔👍👋🏽👨‍👩‍👧‍👦🏳️‍🌈🇩🇪🇯🇵1️⃣#️⃣☺️✈️🫠🪿🫨"
SIGNS = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~¡¿«»“”‘’…–—·•¶§†‡°±×÷√∞≈≠≤≥∑∫∂€£¥₹₿¢←→↑↓↔⇒∀∃∅∈★☆♥♪♫☎✓✗█▓▒░│─┼"
ODD = ["<|endoftext|>", "<|startoftext|>", "<|ENDOFTEXT|>", "<|StartOfText|>", "<|endoftext", "|>", "<|", "<|endoftext|>!!",
       "!<|endoftext|>", "</w>", "'S", "'LL", "''s", "'s's", "' s", "\x00", "\x7f", "\x9f", "\ufffd", "\ufffe", "\uffff",
       "\U0010ffff", "\ue000", "\u200d", "\u200e\u200f", "\u202e", "\u00ad", "\u0338", ">\u0338", "=\u0338", "\u0344",
       "\u1100\u1161\u11a8", "\uac00\u11a8", "\u0f73\u0f72", "\u212b", "\u2126", "\u037e", "\u1fef", "\u0958", "\ufb1d",
       "\u2adc", "\U0001d15e", "\ufa0e", "\u3000", "\u2f868", "\u0130", "\u0131", "\u1e9e", "\u03a3", "\u01c5", "\u1d2c"]


def prompt(rng):
    def word():
        kind = rng.random()
        if kind < 0.35:
            w = rng.choice(WORDS)
            return rng.choice([w, w, w.upper(), w.title(), w.swapcase()])
        if kind < 0.55:
            lo, hi = rng.choice(SCRIPTS)
            return "".join(chr(rng.randint(lo, hi)) for _ in range(rng.randint(1, 8)))
        if kind < 0.63:
            return "".join(rng.choice("aeoucnsAEOy가<>=かハ") + "".join(chr(rng.choice(MARKS)) for _ in range(rng.randint(0, 4)))
                           for _ in range(rng.randint(1, 4)))
        if kind < 0.70:
            return "".join(rng.choice(EMOJI) for _ in range(rng.randint(1, 5)))
        if kind < 0.80:
            return "".join(rng.choice(SIGNS) for _ in range(rng.randint(1, 6)))
        if kind < 0.87:
            return "".join(rng.choice("0123456789٣४๕Ⅳ½²①") for _ in range(rng.randint(1, 5)))
        if kind < 0.95:
            return rng.choice(ODD)
        if kind < 0.97:
            return "".join(rng.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(rng.randint(10, 60)))
        c = rng.randint(0, 0x10FFFF - 0x800)
        return chr(c if c < 0xD800 else c + 0x800)

    def space():
        return rng.choice([" "] * 12 + ["", "", "", ", ", "  "] + ["".join(rng.choice(SPACES) for _ in range(rng.randint(1, 4)))])

    text = space() if rng.random() < 0.2 else ""
    for _ in range(rng.randint(0, 12)):
        text += word() + space()
    return text


def prompts(count, seed):
    rng = random.Random(seed)
    return [prompt(rng) for _ in range(count)]


def expected(folder, texts):
    from transformers import CLIPTokenizer

    tokenizer = CLIPTokenizer.from_pretrained(folder)
    return tokenizer(texts, verbose=False).input_ids


if __name__ == "__main__":
    a = args.parse_args()
    write_folders(a.merges, a.folders)
    if a.sample:
        texts = prompts(a.sample, 1)
        with open(here / "prompts.bin", "wb") as f:
            for text, ids in zip(texts, expected(pathlib.Path(a.folders) / "bare", texts)):
                data = text.encode()
                f.write(struct.pack("<II", len(data), len(ids)) + data + struct.pack(f"<{len(ids)}H", *ids))
        print(here / "prompts.bin", (here / "prompts.bin").stat().st_size, "bytes")
