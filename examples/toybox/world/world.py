"""The toybox world: pictures and their captions, drawn on demand.

    w = World("build/toybox/world.pack", threads=2)
    images, captions, metas = w.batch(range(32), size=64)

Everything is a function of the seed. The pixels are made in C (render.c and its neighbours), which
is compiled next to the pack on first use.
"""

import os

import numpy as np

import grammar
from heldout import MASK, HeldOut, fnv, splitmix
from library import JOB, Pack, Renderer

KINDS = ["mesh", "emoji", "drawing", "parametric"]
MESH, EMOJI, DRAWING, FAMILY = range(4)
PLAIN = " background"
PAPER = "paper"
INSTANCE_WORDS = 2000
ARTISTS = 64
DRAWN_STYLES = ["line drawing", "woodcut", "chalk drawing", "blueprint"]
ICON_STYLES = ["emoji", "flat icon"]


class Rng:
    """splitmix64, the same stream as world.h's"""

    def __init__(self, seed, purpose=0):
        self.state = splitmix((seed & MASK) ^ splitmix(purpose))

    def next(self):
        self.state = (self.state + 0x9E3779B97F4A7C15) & MASK
        return splitmix(self.state)

    def uniform(self, lo=0.0, hi=1.0):
        return lo + (hi - lo) * ((self.next() >> 11) / (1 << 53))

    def below(self, n):
        return self.next() % n

    def chance(self, p):
        return self.uniform() < p

    def pick(self, items):
        return items[self.next() % len(items)]

    def weighted(self, cumulative):
        return min(
            int(np.searchsorted(cumulative, self.uniform() * cumulative[-1], side="right")),
            len(cumulative) - 1,
        )


class World:
    def __init__(self, pack="build/toybox/world.pack", threads=2, library=None):
        where = os.path.dirname(os.path.abspath(pack))
        self.renderer = Renderer(library or os.path.join(where, "libworld.so"))
        self.pack = Pack(pack)
        self.header = self.pack.header
        self.threads = threads
        self.held = HeldOut()
        self.concepts = self.held.concepts
        self.all_styles = self.renderer.styles
        self.painted_scenes = self.renderer.scenes
        self.families = self.renderer.families
        self.scene_phrase = dict(zip(self.painted_scenes, self.renderer.phrases)) | {
            PAPER: "on paper"
        }
        self.style_frame = dict(grammar.STYLE_FRAMES)
        self.scenes = self.painted_scenes + [PAPER]
        self.styles = [s for s in self.all_styles if s not in self.held.styles]
        self.plain_scenes = [s for s in self.painted_scenes if s.endswith(PLAIN)]
        self.filters = [
            s for s in self.styles if s not in ICON_STYLES + ["photo", "line drawing", "woodcut"]
        ]
        self._nouns()
        self._words()

    def _nouns(self):
        """self.things: noun -> kind -> list of objects; held-out meshes are left out."""
        self.things, core = {}, set()
        self.mesh_of_key = {}

        def add(noun, kind, thing, is_core):
            self.things.setdefault(noun, {}).setdefault(kind, []).append(thing)
            if is_core:
                core.add(noun)

        for i, m in enumerate(self.header["meshes"]):
            self.mesh_of_key[m["key"]] = i
            if m["key"] not in self.held.meshes and not m["held"]:
                add(m["noun"], MESH, i, m["core"])
        for i, name in enumerate(self.families):
            add(name, FAMILY, i, True)
        for i, s in enumerate(self.header["sprites"]):
            add(
                s["noun"],
                DRAWING if s["art"] == "drawing" else EMOJI,
                i,
                s["core"] and s["noun"] in self.things,
            )
        self.nouns = sorted(self.things)
        self.members = {
            name: sorted(n for n in nouns if n in self.things)
            for name, nouns in grammar.CLASSES.items()
        }
        self.core = [n in core for n in self.nouns]
        self.solid = [n for n in self.nouns if MESH in self.things[n] or FAMILY in self.things[n]]

    def _words(self):
        """Pseudo-words, each for a thing and a look; pseudo-artists, each for a style and a hand."""
        self.instance_words = [f"<o{i:04d}>" for i in range(INSTANCE_WORDS)]
        self._bound = []
        for i in range(INSTANCE_WORDS):
            r = Rng(i, 0x1057)
            noun = r.pick(self.solid)
            kind, thing = self._thing(r, noun, solid=True)
            self._bound.append(
                (noun, kind, thing, r.next() | 1 if kind == FAMILY or r.chance(0.75) else 0)
            )
        self.artists = grammar.artist_names(ARTISTS)
        self._hands = []
        for i in range(ARTISTS):
            r = Rng(i, 0xA127)
            self._hands.append((r.pick(self.filters), [r.uniform() for _ in range(4)]))

    # --- drawing a specification

    def _thing(self, r, noun, solid=False, style=None):
        kinds = self.things[noun]
        weights = {MESH: 3.0, FAMILY: 2.5, EMOJI: 1.0, DRAWING: 0.5}
        if style in ICON_STYLES:
            allowed = [EMOJI]
        elif style in ("line drawing", "woodcut"):
            allowed = [DRAWING]
        elif style == "photo" or solid:
            allowed = [MESH, FAMILY]
        elif style is not None:
            allowed = [MESH, FAMILY, EMOJI]
        else:
            allowed = [MESH, FAMILY, EMOJI, DRAWING]
        have = [k for k in allowed if k in kinds] or sorted(kinds)
        kind = have[r.weighted(np.cumsum([weights[k] for k in have]))]
        things = kinds[kind]
        if style in ICON_STYLES:
            things = [t for t in things if self.header["sprites"][t]["art"] == style] or things
        return kind, r.pick(things)

    def _object(self, kind, thing):
        return self.header["sprites"][thing]["offset"] if kind in (EMOJI, DRAWING) else thing

    def _azimuth(self, r):
        front = r.uniform(-1.05, 1.05)
        return front if r.chance(0.7) else r.uniform(-np.pi, np.pi)

    def _instance(self, kind, thing, look):
        return splitmix(splitmix(kind << 20 | thing) ^ look) >> 33

    def _weights(self, stage):
        key = round(stage, 2)
        if getattr(self, "_weights_at", None) != key:
            heavy = 12 * (1 - key) + 4 * key
            light = 0.25 * (1 - key) + 1 * key
            w = []
            for noun, is_core in zip(self.nouns, self.core):
                solid = MESH in self.things[noun] or FAMILY in self.things[noun]
                w.append((heavy if is_core else light * (1.5 if solid else 0.5)))
            self._noun_weights, self._weights_at = np.cumsum(w), key
        return self._noun_weights

    def _spec(self, seed, split, stage):
        r = Rng(seed, fnv(split))
        word = None
        for _ in range(200):
            if split == "train" and r.chance(0.10):
                word = r.below(INSTANCE_WORDS)
                noun, kind, thing, look = self._bound[word]
            else:
                word = None
                noun = self.nouns[r.weighted(self._weights(stage))]
                kind, thing = self._thing(r, noun)
                if kind == EMOJI and r.chance(0.5 * (1 - stage)):
                    continue
                look = (
                    0
                    if kind in (EMOJI, DRAWING) or (kind == MESH and r.chance(0.5))
                    else r.next() | 1
                )
            plain = r.chance(0.70 - 0.48 * stage)
            scene = r.pick(self.plain_scenes if plain else self.painted_scenes)
            artist = None
            style, knobs = "photo", [r.uniform() for _ in range(4)]
            if kind == DRAWING:
                style, scene = DRAWN_STYLES[r.weighted(np.cumsum([5, 2, 1.5, 1.5]))], PAPER
            elif kind == EMOJI and r.chance(0.7):
                style = self.header["sprites"][thing]["art"]
            elif kind == EMOJI or r.chance(0.08 + 0.42 * stage):
                if r.chance(0.25):
                    artist = r.below(ARTISTS)
                    style, knobs = self._hands[artist]
                    knobs = list(knobs)
                else:
                    style = r.pick(self.filters)
            scene_out, style_out = self.held.scene_pair(noun, scene), self.held.style_pair(
                noun, style
            )
            if split == "train" and not scene_out and not style_out:
                break
            if split == "unseen" and (scene_out or style_out) and kind != DRAWING and word is None:
                break
        s = {
            "noun": noun,
            "kind": kind,
            "thing": thing,
            "look": look,
            "scene": scene,
            "style": style,
            "artist": artist,
            "knobs": knobs,
            "word": word,
            "second": None,
            "relation": 0,
            "azimuth": self._azimuth(r),
        }
        small = 0.66 - 0.06 * stage
        s["fit"], s["shift"] = r.uniform(small, 0.80), r.uniform(-0.06, 0.06)
        s["elevation"], s["brightness"] = r.uniform(0.10, 0.40), 1.0
        if split == "train" and kind in (MESH, FAMILY) and word is None and r.chance(0.10 * stage):
            for _ in range(20):
                other = r.pick(self.solid)
                if (
                    self.held.scene_pair(other, scene)
                    or self.held.style_pair(other, style)
                    or other == noun
                ):
                    continue
                k2, t2 = self._thing(r, other, solid=True)
                look2 = 0 if k2 == MESH and r.chance(0.5) else r.next() | 1
                s["second"], s["relation"] = (other, k2, t2, look2, self._azimuth(r)), (
                    2 if r.chance(0.3) else 1
                )
                s["fit"] = r.uniform(0.78, 0.88)
                break
        s["rng"] = r
        self._choose_frame(s, stage)
        return s

    def _choose_frame(self, s, stage):
        """The frame is drawn before rendering, for some of its words change the picture."""
        r = s["rng"]
        s["empty"] = r.chance(0.10)
        frame = grammar.STYLE_FRAMES[s["style"]]
        template = None
        if s["artist"] is not None:
            name = self.artists[s["artist"]]
            frame = r.pick(
                [
                    "a painting of {} in the style of " + name,
                    "a picture of {} in the style of " + name,
                    "a drawing of {} in the style of " + name,
                    None,
                ]
            )
            if frame is None:
                template = r.pick(grammar.STYLE_TEMPLATES).format(name)
        elif s["style"] == "photo":
            if r.chance(0.55):
                template = r.pick(grammar.OBJECT_TEMPLATES)
            else:
                frame = r.pick(["a photo of {}", "a photo of {}", "a picture of {}", "{}"])
        text = template or frame
        if text.startswith(("a cropped", "a close-up")):
            s["fit"] = r.uniform(0.95, 1.15)
        elif " small " in text:
            s["fit"] = r.uniform(0.42, 0.52)
        elif " large " in text:
            s["fit"] = r.uniform(0.82, 0.92)
        if text.startswith("a dark"):
            s["brightness"] = r.uniform(0.5, 0.65)
        elif text.startswith("a bright"):
            s["brightness"] = r.uniform(1.25, 1.4)
        s["frame"], s["template"] = frame, template
        s["colour"], s["class"] = r.chance(0.5), r.chance(0.06)
        s["say_scene"] = r.chance(0.5 if s["scene"].endswith("white" + PLAIN) else 0.88)
        if s["style"] in grammar.COLOURLESS and s["scene"].endswith(PLAIN):
            s["say_scene"] = s["say_scene"] and r.chance(0.15)
        s["word_noun"] = r.chance(0.3)
        s["leave_article"] = r.chance(0.4)

    def _caption(self, s, report):
        if s["empty"]:
            return ""
        noun = s["noun"]
        said = grammar.CLASS_OF.get(noun, noun) if s["class"] and s["word"] is None else noun
        phrase = said
        if s["word"] is not None:
            phrase = said = self.instance_words[s["word"]]
            if s["word_noun"]:
                phrase = f"{phrase} {noun}"
        elif s["colour"] and s["style"] in (
            "photo",
            "oil painting",
            "watercolor",
            "cartoon",
            "pixel art",
            "low poly",
            "stained glass",
            "pointillist painting",
            "crayon drawing",
            "emoji",
            "flat icon",
        ):
            words = grammar.colour_words(report["colours"].tolist(), report["patterns"].tolist())
            if words:
                phrase = f"{words} {said}"
        scene = (
            f" {self.scene_phrase[s['scene']]}" if s["say_scene"] and s["scene"] != PAPER else ""
        )
        if s["template"] and "in the style of" in s["template"]:
            return s["template"] + scene
        second = ""
        if s["second"]:
            other = s["second"][0]
            second = (" on top of " if s["relation"] == 2 else " next to ") + grammar.indefinite(
                other, other
            )
        if s["template"]:
            return grammar.fill(s["template"], said, phrase) + second + scene
        bare = s["word"] is not None and s["leave_article"]
        thing = (phrase if bare else grammar.indefinite(said, phrase)) + second + scene
        return s["frame"].format(thing)

    # --- rendering

    def _jobs(self, specs, size):
        jobs = np.zeros(len(specs), JOB)
        scene_index = {n: i for i, n in enumerate(self.painted_scenes)}
        style_index = {n: i for i, n in enumerate(self.all_styles)}
        for job, s in zip(jobs, specs):
            job["seed"] = s["seed"] & MASK
            job["kind"][0], job["object"][0] = s["kind"], self._object(s["kind"], s["thing"])
            job["look"][0], job["azimuth"][0] = s["look"], s["azimuth"]
            if s.get("second"):
                _, k2, t2, look2, az2 = s["second"]
                job["kind"][1], job["object"][1], job["look"][1], job["azimuth"][1] = (
                    k2,
                    self._object(k2, t2),
                    look2,
                    az2,
                )
                job["relation"] = s["relation"]
            job["scene"] = scene_index.get(s["scene"], scene_index["white background"])
            job["style"], job["size"] = style_index[s["style"]], size
            job["elevation"], job["fit"], job["shift"] = s["elevation"], s["fit"], s["shift"]
            job["brightness"], job["style_p"] = s["brightness"], s["knobs"]
        return jobs

    def _render(self, specs, size):
        return self.renderer.render(self.pack, self._jobs(specs, size), self.threads)

    def batch(self, seeds, size=64, split="train", stage=1.0):
        """Returns images [n, size, size, 3] uint8, captions, and a dict about each picture."""
        if split not in ("train", "unseen"):
            raise ValueError(f"split {split!r}: train or unseen")
        specs = []
        for seed in seeds:
            s = self._spec(int(seed), split, float(stage))
            s["seed"] = int(seed)
            specs.append(s)
        images, reports = self._render(specs, size)
        captions = [self._caption(s, rep) for s, rep in zip(specs, reports)]
        metas = [
            {
                "noun": s["noun"],
                "scene": s["scene"],
                "style": s["style"],
                "kind": KINDS[s["kind"]],
                "instance": self._instance(s["kind"], s["thing"], s["look"]),
                "azimuth": s["azimuth"],
                "word": None if s["word"] is None else self.instance_words[s["word"]],
                "artist": None if s["artist"] is None else self.artists[s["artist"]],
                "second": s["second"][0] if s["second"] else None,
                "template": s["template"],
                "coverage": float(rep["coverage"]),
                "key": self.header["meshes"][s["thing"]]["key"] if s["kind"] == MESH else None,
            }
            for s, rep in zip(specs, reports)
        ]
        return images, captions, metas

    def _view(self, r, kind, thing, look, scene, style, azimuth, fit=0.72, elevation=0.25):
        return {
            "kind": kind,
            "thing": thing,
            "look": look,
            "scene": scene,
            "style": style,
            "azimuth": azimuth,
            "knobs": [r.uniform() for _ in range(4)],
            "fit": fit,
            "shift": 0.0,
            "elevation": elevation,
            "brightness": 1.0,
            "seed": r.next(),
        }

    def _concept(self, concept_id):
        for c in self.concepts:
            if c["id"] == concept_id:
                return c
        raise KeyError(f"no concept {concept_id!r} in heldout.json")

    def concept_pictures(self, concept_id, size):
        """The five pictures that a word is learnt from: [5, size, size, 3]."""
        c = self._concept(concept_id)
        r = Rng(fnv(concept_id), 0x5EED)
        grounds = ["wooden table", "grass", "white background", "living room", "beach"]
        angles = [0.35, -0.55, 1.0, -0.1, -1.3]
        specs = []
        for k in range(5):
            if c["kind"] == "object":
                specs.append(
                    self._view(
                        r,
                        MESH,
                        self.mesh_of_key[c["key"]],
                        0,
                        grounds[k],
                        "photo",
                        angles[k],
                        r.uniform(0.68, 0.80),
                        r.uniform(0.15, 0.38),
                    )
                )
            else:
                noun = ["car", "house", "dog", "vase", "palm tree"][k]
                kind, thing = self._thing(r, noun, solid=True)
                scene = ["city street", "meadow", "beach", "living room", "desert"][k]
                specs.append(
                    self._view(
                        r,
                        kind,
                        thing,
                        r.next() | 1 if kind == FAMILY else 0,
                        scene,
                        c["style"],
                        angles[k],
                    )
                )
        return self._render(specs, size)[0]

    def concept_truth(self, concept_id, scene, style, size, angles=8):
        """What is true of a held-out object in a scene and style, or of a held-out style.

        Returns [angles, size, size, 3].
        """
        c = self._concept(concept_id)
        r = Rng(fnv(f"{concept_id}|{scene}|{style}"), 0x72074)
        specs = []
        for k in range(angles):
            azimuth = 2 * np.pi * k / angles
            if c["kind"] == "object":
                specs.append(
                    self._view(r, MESH, self.mesh_of_key[c["key"]], 0, scene, style, azimuth)
                )
            else:
                noun = self.solid[r.below(len(self.solid))]
                kind, thing = self._thing(r, noun, solid=True)
                specs.append(
                    self._view(
                        r,
                        kind,
                        thing,
                        r.next() | 1 if kind == FAMILY else 0,
                        scene,
                        c["style"],
                        self._azimuth(r),
                    )
                )
        return self._render(specs, size)[0]

    def render_caption_spec(self, noun, scene, style, seed, size):
        """One picture [size, size, 3] of a seen noun, or of a class such as "toy"."""
        r = Rng(seed, fnv(f"{noun}|{scene}|{style}"))
        if noun not in self.things:
            noun = r.pick(self.members[noun])
        kind, thing = self._thing(r, noun, style=style)
        look = 0 if kind in (EMOJI, DRAWING) or (kind == MESH and r.chance(0.5)) else r.next() | 1
        spec = self._view(
            r,
            kind,
            thing,
            look,
            scene,
            style,
            self._azimuth(r),
            r.uniform(0.62, 0.8),
            r.uniform(0.1, 0.4),
        )
        spec["seed"] = splitmix(seed)
        return self._render([spec], size)[0][0]
