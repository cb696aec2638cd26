"""What the model never sees: reads heldout.json, and decides which pairs are held out."""

import json
import os

MASK = (1 << 64) - 1


def fnv(text):
    h = 0xCBF29CE484222325
    for byte in text.encode():
        h = ((h ^ byte) * 0x100000001B3) & MASK
    return h


def splitmix(x):
    x = (x + 0x9E3779B97F4A7C15) & MASK
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK
    return x ^ (x >> 31)


class HeldOut:
    def __init__(self, path=None):
        path = path or os.path.join(os.path.dirname(os.path.abspath(__file__)), "heldout.json")
        with open(path) as f:
            self.spec = json.load(f)
        self.concepts = self.spec["concepts"]
        self.styles = {c["style"] for c in self.concepts if c["kind"] == "style"}
        self.meshes = {c["key"] for c in self.concepts if c["kind"] == "object"}
        self.free_styles = set(self.spec["pairs"]["styles_never_held"])

    def _drawn(self, kind, a, b):
        pairs = self.spec["pairs"]
        return splitmix(fnv(f"{kind}|{a}|{b}") ^ pairs["salt"]) % pairs["one_in"] == 0

    def scene_pair(self, noun, scene):
        return self._drawn("scene", noun, scene)

    def style_pair(self, noun, style):
        return style not in self.free_styles and self._drawn("style", noun, style)
