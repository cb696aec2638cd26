"""Draws specifications: what a picture shows, from where, on what ground, in what words."""

import numpy as np

import grammar
from heldout import MASK, HeldOut, fnv, splitmix

KINDS = ["mesh", "emoji", "drawing", "parametric"]
MESH, EMOJI, DRAWING, FAMILY = range(4)
PLAIN = " background"
PAPER = "paper"
INSTANCE_WORDS = 2000
ARTISTS = 64
NO_RELATION, NEXT_TO, ON_TOP = range(3)
DRAWN_STYLES = ["line drawing", "woodcut", "chalk drawing", "blueprint"]
DRAWN_WEIGHTS = [5, 7, 8.5, 10]  # cumulative
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


class Sampler:
    """Everything but the pixels."""

    def __init__(self, header, scenes, phrases, styles, families, nouns=None):
        self.header = header
        self.syllabus = nouns and set(nouns)
        self.held = HeldOut()
        self.concepts = self.held.concepts
        self.all_styles = styles
        self.painted_scenes = scenes
        self.families = families
        self.scene_phrase = dict(zip(self.painted_scenes, phrases)) | {PAPER: "on paper"}
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
        """self.things: noun -> kind -> list of objects; held-out meshes are left out.

        Of a syllabus, every noun is core.
        """
        self.things, core = {}, set()
        self.mesh_of_key = {}

        def add(noun, kind, thing, is_core):
            if self.syllabus and noun not in self.syllabus:
                return
            self.things.setdefault(noun, {}).setdefault(kind, []).append(thing)
            if is_core or self.syllabus:
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
        if self.syllabus and len(self.nouns) < len(self.syllabus):
            raise ValueError(f"not in the world: {sorted(self.syllabus - set(self.nouns))}")
        self.members = {
            name: sorted(n for n in nouns if n in self.things)
            for name, nouns in grammar.CLASSES.items()
        }
        self.core = [n in core for n in self.nouns]
        self.solid = [n for n in self.nouns if MESH in self.things[n] or FAMILY in self.things[n]]

    def _words(self):
        """Pseudo-words, each for a thing and look; pseudo-artists, each for a style and hand."""
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

    def _choose_object(self, r, split, stage):
        """Returns (word, noun, kind, thing, look); word is the pseudo-word's number or None."""
        if split == "train" and r.chance(0.10):
            word = r.below(INSTANCE_WORDS)
            return (word, *self._bound[word])
        noun = self.nouns[r.weighted(self._weights(stage))]
        kind, thing = self._thing(r, noun)
        return None, noun, kind, thing, None

    def _look(self, r, kind):
        """0 keeps a mesh as it came; families always need a look, drawings have none."""
        if kind in (EMOJI, DRAWING) or (kind == MESH and r.chance(0.5)):
            return 0
        return r.next() | 1

    def _choose_ground(self, r, kind, thing, stage):
        """Returns (scene, style, knobs, artist)."""
        plain = r.chance(0.70 - 0.48 * stage)
        scene = r.pick(self.plain_scenes if plain else self.painted_scenes)
        style, knobs, artist = "photo", [r.uniform() for _ in range(4)], None
        if kind == DRAWING:
            style, scene = DRAWN_STYLES[r.weighted(DRAWN_WEIGHTS)], PAPER
        elif kind == EMOJI and r.chance(0.7):
            style = self.header["sprites"][thing]["art"]
        elif kind == EMOJI or r.chance(0.08 + 0.42 * stage):
            if r.chance(0.25):
                artist = r.below(ARTISTS)
                style, knobs = self._hands[artist]
            else:
                style = r.pick(self.filters)
        return scene, style, list(knobs), artist

    def _add_second(self, s):
        r = s["rng"]
        for _ in range(20):
            other = r.pick(self.solid)
            held = self.held.scene_pair(other, s["scene"]) or self.held.style_pair(
                other, s["style"]
            )
            if held or other == s["noun"]:
                continue
            kind, thing = self._thing(r, other, solid=True)
            look = self._look(r, kind)
            s["second"] = (other, kind, thing, look, self._azimuth(r))
            s["relation"] = ON_TOP if r.chance(0.3) else NEXT_TO
            s["fit"] = r.uniform(0.78, 0.88)
            return

    def _spec(self, seed, split, stage):
        """Draws what a picture shows and how it will be captioned, within the split."""
        r = Rng(seed, fnv(split))
        for _ in range(1000):
            word, noun, kind, thing, look = self._choose_object(r, split, stage)
            if word is None:
                if kind == EMOJI and r.chance(0.5 * (1 - stage)):
                    continue
                look = self._look(r, kind)
            scene, style, knobs, artist = self._choose_ground(r, kind, thing, stage)
            held = self.held.scene_pair(noun, scene) or self.held.style_pair(noun, style)
            if held == (split == "unseen") and not (held and kind == DRAWING):
                break
        else:
            raise RuntimeError(f"seed {seed}: nothing to draw in split {split}")
        s = {"noun": noun, "kind": kind, "thing": thing, "look": look, "word": word}
        s |= {"scene": scene, "style": style, "knobs": knobs, "artist": artist}
        s |= {"azimuth": self._azimuth(r), "second": None, "relation": NO_RELATION}
        s |= {"fit": r.uniform(0.66 - 0.06 * stage, 0.80), "shift": r.uniform(-0.06, 0.06)}
        s |= {"elevation": r.uniform(0.10, 0.40), "brightness": 1.0, "seed": seed, "rng": r}
        alone = split != "train" or kind not in (MESH, FAMILY) or word is not None
        if not alone and r.chance(0.10 * stage):
            self._add_second(s)
        self._choose_frame(s)
        return s

    def _choose_frame(self, s):
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
        s["colour"], s["class"] = r.chance(0.5), r.chance(0.10)
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
        elif s["colour"] and s["kind"] != DRAWING and s["style"] not in grammar.COLOURLESS:
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
            second = (
                " on top of " if s["relation"] == ON_TOP else " next to "
            ) + grammar.indefinite(other, other)
        if s["template"]:
            return grammar.fill(s["template"], said, phrase) + second + scene
        bare = s["word"] is not None and s["leave_article"]
        thing = (phrase if bare else grammar.indefinite(said, phrase)) + second + scene
        return s["frame"].format(thing)
