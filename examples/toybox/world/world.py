"""The toybox world: pictures and their captions, drawn on demand.

    w = World("build/toybox/world.pack", threads=2)
    images, captions, metas = w.batch(range(32), size=64)

    World(nouns=["car", "vase"]) draws these things alone.

Everything is a function of the seed. The pixels are made in C (render.c and its neighbours), which
is compiled next to the pack on first use.
"""

import os

import numpy as np

from heldout import MASK, fnv, splitmix
from library import JOB, Pack, Renderer
from sampler import DRAWING, EMOJI, FAMILY, KINDS, MESH, PAPER, Rng, Sampler

__all__ = ["DRAWING", "EMOJI", "FAMILY", "MESH", "PAPER", "Rng", "World"]


class World(Sampler):
    def __init__(self, pack="build/toybox/world.pack", threads=2, library=None, nouns=None):
        where = os.path.dirname(os.path.abspath(pack))
        self.renderer = c = Renderer(library or os.path.join(where, "libworld.so"))
        self.pack = Pack(pack)
        self.threads = threads
        super().__init__(self.pack.header, c.scenes, c.phrases, c.styles, c.families, nouns)

    def _lift(self, kind, thing):
        """What lies flat is looked at from higher up."""
        height = self.pack.heights[thing] if kind == MESH else 1.0
        return 0.35 if height < 0.2 else 0.15 if height < 0.3 else 0.0

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
            job["elevation"] = s["elevation"] + self._lift(s["kind"], s["thing"])
            job["fit"], job["shift"] = s["fit"], s["shift"]
            job["brightness"], job["style_p"] = s["brightness"], s["knobs"]
        return jobs

    def _render(self, specs, size):
        return self.renderer.render(self.pack, self._jobs(specs, size), self.threads)

    def batch(self, seeds, size=64, split="train", stage=1.0):
        """Returns images [n, size, size, 3] uint8, captions, and a dict about each picture."""
        if split not in ("train", "unseen"):
            raise ValueError(f"split {split!r}: train or unseen")
        specs = [self._spec(int(seed), split, float(stage)) for seed in seeds]
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
                "box": [round(float(x), 4) for x in rep["box"]],
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
                noun = ["car", "house", "dog", "vase", "teapot"][k]
                kind, thing = self._thing(r, noun, solid=True)
                scene = ["city street", "meadow", "beach", "living room", "wooden table"][k]
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
        look = self._look(r, kind)
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
