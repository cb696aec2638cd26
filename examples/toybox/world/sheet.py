"""Contact sheets of the world, and the five pictures of every held-out concept.

sheet.py --sheet docs/toybox-world.png --heldout examples/toybox/heldout
sheet.py --nouns /tmp/nouns.png         one picture of every object, to check the names
"""

import argparse
import os
import textwrap

import numpy as np
from PIL import Image, ImageDraw, ImageFont

import grammar
from world import DRAWING, EMOJI, FAMILY, MESH, Rng, World


def captioned(images, captions, columns, lines=3, gap=8):
    """A page of pictures, each with its caption below: a PIL image."""
    font = ImageFont.load_default(11)
    side = images[0].shape[0]
    cell_w, cell_h = side + gap, side + gap + lines * 13
    rows = -(-len(images) // columns)
    page = Image.new("RGB", (columns * cell_w + gap, rows * cell_h + gap), "white")
    draw = ImageDraw.Draw(page)
    for i, (image, caption) in enumerate(zip(images, captions)):
        y, x = divmod(i, columns)
        page.paste(Image.fromarray(image), (gap + x * cell_w, gap + y * cell_h))
        text = textwrap.wrap(caption or "(no caption)", max(8, side // 6))[:lines]
        draw.text(
            (gap + x * cell_w, gap + y * cell_h + side + 1),
            "\n".join(text),
            fill="black",
            font=font,
            spacing=1,
        )
    return page


def scenes_styles_and_samples(w, side):
    images, captions = [], []
    nouns = [
        "cup",
        "car",
        "dog",
        "robot",
        "teapot",
        "house",
        "armchair",
        "bicycle",
        "horse",
        "guitar",
    ]
    nouns = [n for n in nouns if n in w.solid]
    for i, scene in enumerate(w.painted_scenes):
        noun = nouns[i % len(nouns)]
        images.append(w.render_caption_spec(noun, scene, "photo", i, side))
        captions.append(f"a photo of {grammar.indefinite(noun, noun)} {w.scene_phrase[scene]}")
    while len(images) % 12:
        images.append(np.full((side, side, 3), 255, np.uint8))
        captions.append(" ")
    for i, style in enumerate(w.all_styles):
        noun = {"line drawing": "fox", "woodcut": "owl", "emoji": "fox", "flat icon": "fox"}.get(
            style, nouns[i % len(nouns)]
        )
        scene = (
            w.scenes[-1]
            if style in ("line drawing", "woodcut")
            else ["beach", "city street", "meadow"][i % 3]
        )
        images.append(w.render_caption_spec(noun, scene, style, i, side))
        held = " (held out)" if style in w.held.styles else ""
        captions.append(w.style_frame[style].format(grammar.indefinite(noun, noun)) + held)
    while len(images) % 12:
        images.append(np.full((side, side, 3), 255, np.uint8))
        captions.append(" ")
    more, said, _ = w.batch(range(5000, 5048), side)
    return images + list(more), captions + said


def all_objects(w, side):
    images, captions = [], []
    for noun in w.nouns:
        for kind, things in sorted(w.things[noun].items()):
            for thing in things:
                if kind in (EMOJI, DRAWING) and thing != things[0]:
                    continue
                r = Rng(1)
                scene, style = "white background", "line drawing" if kind == DRAWING else "photo"
                images.append(
                    w._render(
                        [w._view(r, kind, thing, 5 if kind == FAMILY else 0, scene, style, 0.5)],
                        side,
                    )[0][0]
                )
                key = (
                    w.header["meshes"][thing]["key"].split("/")[1]
                    if kind == MESH
                    else ["", "emoji", "drawing", "family"][kind]
                )
                captions.append(f"{noun} {key}")
    return images, captions


def write_heldout(w, folder, side=128):
    for c in w.concepts:
        where = os.path.join(folder, c["id"])
        os.makedirs(where, exist_ok=True)
        for i, image in enumerate(w.concept_pictures(c["id"], side)):
            Image.fromarray(image).save(os.path.join(where, f"{i}.png"), optimize=True)


def main():
    ap = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ap.add_argument("--pack", default="build/toybox/world.pack")
    ap.add_argument("--sheet", help="scenes, styles and samples with their captions")
    ap.add_argument("--heldout", help="folder for the pictures of the held-out concepts")
    ap.add_argument("--nouns", help="one picture of every object")
    ap.add_argument("--side", type=int, default=96)
    args = ap.parse_args()
    w = World(args.pack)
    if args.sheet:
        captioned(*scenes_styles_and_samples(w, args.side), columns=12).save(
            args.sheet, optimize=True
        )
    if args.heldout:
        write_heldout(w, args.heldout)
    if args.nouns:
        captioned(*all_objects(w, args.side), columns=24, lines=2).save(args.nouns)


if __name__ == "__main__":
    main()
