"""What the tokenizers do to every character, as two hashes for tests/text/characters_test.c.

Needs tokenizers (made with 0.23.3).
"""
from tokenizers import Regex, normalizers, pre_tokenizers

MASK = (1 << 64) - 1


def members(split, characters):
    """the characters that the pre-tokenizer takes out of a text of all"""
    left = {c for piece, _ in split.pre_tokenize_str(''.join(characters)) for c in piece}
    return set(characters) - left


def hash_all(normalizer, classes, other):
    """FNV-1a, as src/base/hash.h has it"""
    characters = [chr(c) for c in range(1, 0x110000) if not 0xd800 <= c < 0xe000]
    classes = {c: name for name, split in classes.items() for c in members(split, characters)}
    value = 0xcbf29ce484222325
    for c in characters:
        text = normalizer.normalize_str(f'e\u0345{c}\u0334 {c}') + classes.get(c, other)
        for byte in text.encode():
            value = (value ^ byte) * 0x100000001b3 & MASK
    return value


def main():
    def removed(expression):
        return pre_tokenizers.Split(Regex(expression), 'removed')

    clip = normalizers.Sequence([normalizers.NFC(), normalizers.Replace(Regex(r'\s+'), ' '), normalizers.Lowercase()])
    bert = normalizers.BertNormalizer(clean_text=True, handle_chinese_chars=True, strip_accents=True, lowercase=True)
    print('clip %#x' % hash_all(clip, {'s': removed(r'\s'), 'l': removed(r'\p{L}'), 'n': removed(r'\p{N}')}, 'o'))
    print('bert %#x' % hash_all(bert, {'p': pre_tokenizers.Punctuation('removed')}, 'w'))


if __name__ == '__main__':
    main()
