"""Tests of the world: determinism, the split, the grammar, and that pictures show what is said.

python3 examples/toybox/world/world_test.py [pack]
"""

import re
import sys
import unittest

import numpy as np

import grammar
from world import DRAWING, FAMILY, MESH, PAPER, Rng, World

PACK = "build/toybox/world.pack"
COUNT = 3000


class WorldTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.w = World(PACK)
        cls.images, cls.captions, cls.metas = cls.w.batch(range(COUNT), size=32)

    def test_same_seed_same_picture(self):
        again = World(PACK, threads=1)
        seeds = [5, 3, 900, 77]
        for size in (64, 128):
            a, ca, ma = self.w.batch(seeds, size=size)
            b, cb, mb = again.batch(seeds[::-1], size=size)
            self.assertTrue(np.array_equal(a, b[::-1]))
            self.assertEqual((ca, ma), (cb[::-1], mb[::-1]))

    def test_other_seed_other_picture(self):
        flat = {im.tobytes() for im in self.images}
        self.assertGreater(len(flat), COUNT - 3)

    def test_no_heldout_concept_in_training(self):
        held = {c["key"] for c in self.w.concepts if c["kind"] == "object"}
        self.assertEqual(len(held), 22)
        for things in self.w.things.values():
            for i in things.get(MESH, []):
                self.assertNotIn(self.w.header["meshes"][i]["key"], held)
        for _, kind, thing, _ in self.w._bound:
            if kind == MESH:
                self.assertNotIn(self.w.header["meshes"][thing]["key"], held)
        self.assertFalse({m["key"] for m in self.metas} & held)

    def test_no_heldout_word_or_style_in_training(self):
        absent = self.w.held.spec["absent_nouns"]
        self.assertFalse(set(absent) & set(self.w.nouns))
        words = re.compile(
            r"\b(" + "|".join(absent + sorted(self.w.held.styles)) + r")\b(?! house)"
        )
        for caption in self.captions:
            self.assertIsNone(words.search(caption), caption)
        self.assertFalse(self.w.held.styles & set(self.w.styles))
        self.assertFalse(self.w.held.styles & {m["style"] for m in self.metas})
        self.assertFalse(self.w.held.styles & {style for style, _ in self.w._hands})

    def test_no_heldout_pair_in_training(self):
        for m in self.metas:
            for noun in filter(None, (m["noun"], m["second"])):
                self.assertFalse(self.w.held.scene_pair(noun, m["scene"]), m)
                self.assertFalse(self.w.held.style_pair(noun, m["style"]), m)

    def test_a_tenth_of_the_pairs_is_held_out(self):
        w = self.w
        scenes = [w.held.scene_pair(n, s) for n in w.nouns for s in w.painted_scenes]
        styles = [
            w.held.style_pair(n, s)
            for n in w.nouns
            for s in w.styles
            if s not in w.held.free_styles
        ]
        self.assertAlmostEqual(np.mean(scenes), 0.1, delta=0.01)
        self.assertAlmostEqual(np.mean(styles), 0.1, delta=0.015)

    def test_unseen_split_has_only_heldout_pairs(self):
        _, _, metas = self.w.batch(range(300), size=16, split="unseen")
        for m in metas:
            self.assertTrue(
                self.w.held.scene_pair(m["noun"], m["scene"])
                or self.w.held.style_pair(m["noun"], m["style"])
            )

    def test_every_template_scene_style_and_noun_occurs(self):
        metas = list(self.metas)
        for s in range(COUNT, 12 * COUNT):
            spec = self.w._spec(s, "train", 1.0)
            metas.append(
                {
                    "template": spec["template"],
                    "scene": spec["scene"],
                    "style": spec["style"],
                    "noun": spec["noun"],
                }
            )
        templates = {m["template"] for m in metas}
        self.assertLessEqual(set(grammar.OBJECT_TEMPLATES), templates)
        for t in grammar.STYLE_TEMPLATES:
            self.assertTrue(any(u and u.startswith(t[:-2]) for u in templates), t)
        self.assertEqual({m["scene"] for m in metas}, set(self.w.scenes))
        self.assertEqual({m["style"] for m in metas}, set(self.w.styles))
        self.assertEqual(set(self.w.nouns) - {m["noun"] for m in metas}, set())

    def test_captions(self):
        empty = sum(c == "" for c in self.captions)
        self.assertAlmostEqual(empty / COUNT, 0.10, delta=0.02)
        words = sum("<o" in c for c in self.captions)
        self.assertAlmostEqual(words / COUNT, 0.10, delta=0.03)
        for c in self.captions:
            self.assertEqual(c, c.lower())
            self.assertNotRegex(c, r"  |\{|\}|^ | $|\ba [aeio][a-z]|\ban [bcdfgjklmnpqrstvwyz]")
        self.assertTrue(any(" next to " in c for c in self.captions))
        self.assertTrue(any(" on top of " in c for c in self.captions))

    def test_enough_scenes_and_styles(self):
        self.assertGreaterEqual(len(self.w.painted_scenes), 40)
        self.assertGreaterEqual(len(self.w.styles), 18)
        self.assertGreaterEqual(len(self.w.held.styles), 3)
        self.assertGreaterEqual(len(self.w.artists), 32)
        self.assertEqual(len(set(self.w.artists)), len(self.w.artists))

    def test_colour_words_are_what_is_seen(self):
        """What is called red has more red than green and blue in its vivid pixels, and so on."""
        seen, seeds = {}, []
        for seed in range(50000, 62000):
            spec = self.w._spec(seed, "train", 0.0)
            if (
                spec["style"] == "photo"
                and spec["colour"]
                and not spec["empty"]
                and spec["word"] is None
                and spec["kind"] != DRAWING
                and not spec["second"]
                and spec["scene"][:5] in ("white", "grey ")
            ):
                seeds.append(seed)
        images, captions, _ = self.w.batch(seeds, size=48, stage=0.0)
        for image, caption in zip(images, captions):
            said = re.search(r"(?<!and )\b(red|green|blue|yellow) (?!and|background)", caption)
            centre = image[12:40, 12:36].reshape(-1, 3).astype(float)
            vivid = centre[centre.max(1) - centre.min(1) > 50]
            if said and len(vivid) > 20:
                seen.setdefault(said[1], []).append(np.median(vivid, 0))
        for colour, expect in {
            "red": [1, -1, -1],
            "green": [-1, 1, -1],
            "blue": [-1, -1, 1],
            "yellow": [1, 1, -1],
        }.items():
            self.assertIn(colour, seen)
            means = np.array(seen[colour])
            score = (means - means.mean(1, keepdims=True)) @ np.array(expect)
            self.assertGreater(np.mean(score > 0), 0.9, colour)

    def test_concepts(self):
        tests = [c for c in self.w.concepts if c["kind"] == "object" and c["split"] == "test"]
        self.assertEqual(len(tests), 16)
        self.assertEqual({c["tier"] for c in tests}, {1, 2})
        for c in self.w.concepts:
            pictures = self.w.concept_pictures(c["id"], 64)
            self.assertEqual(pictures.shape, (5, 64, 64, 3))
            self.assertGreater(len({p.tobytes() for p in pictures}), 4)
            truth = self.w.concept_truth(c["id"], "beach", "oil painting", 64)
            self.assertEqual(truth.shape, (8, 64, 64, 3))
            self.assertTrue(
                np.array_equal(truth, self.w.concept_truth(c["id"], "beach", "oil painting", 64))
            )

    def test_objects_fill_the_frame(self):
        sizes = [
            m["coverage"]
            for m in self.metas
            if m["kind"] in ("mesh", "parametric") and not m["second"]
        ]
        self.assertGreater(np.median(sizes), 0.15)
        self.assertLess(np.mean(np.array(sizes) < 0.02), 0.03)

    def test_objects_differ_from_their_ground(self):
        """The same scene with another object is another picture: nothing is hidden."""
        w = self.w
        for noun in w.solid[::9]:
            a = w.render_caption_spec(noun, "beach", "photo", 1, 48).astype(int)
            b = w.render_caption_spec("house", "beach", "photo", 1, 48).astype(int)
            self.assertGreater(np.abs(a - b).mean(), 2, noun)

    def test_every_noun_renders_in_its_kinds(self):
        w = self.w
        specs = []
        for noun in w.nouns:
            for kind, things in w.things[noun].items():
                scene, style = (
                    (PAPER, "line drawing") if kind == DRAWING else ("white background", "photo")
                )
                specs.append(
                    w._view(Rng(1), kind, things[0], 5 if kind == FAMILY else 0, scene, style, 0.4)
                )
        images, reports = w._render(specs, 32)
        self.assertGreater(reports["coverage"].min(), 0.004)
        self.assertGreater(images.reshape(len(images), -1).std(1).min(), 2)


if __name__ == "__main__":
    if len(sys.argv) > 1 and not sys.argv[1].startswith("-"):
        PACK = sys.argv.pop(1)
    unittest.main()
