"""Packs the toybox world: build/toybox/world.pack and ATTRIBUTION, from Debian packages alone.

Meshes and textures come from sweethome3d-furniture, drawings from fonts-noto-color-emoji,
texlive-pictures (Twemoji) and fonts-symbola, names from unicode-data and unicode-cldr-core. Every
source is permissive. Two hand-made tables say which models and emoji are used and what they are
called: names.tsv, which also says what is held out, and emoji.tsv.
"""

import argparse
import io
import json
import os
import re
import shutil
import struct
import subprocess
import tempfile
import zipfile
import zlib
from multiprocessing import Pool

import numpy as np
from PIL import Image, ImageDraw, ImageFont

HERE = os.path.dirname(os.path.abspath(__file__))
FURNITURE = "/usr/share/sweethome3d/furniture"
NOTO = "/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf"
SYMBOLA = "/usr/share/fonts/truetype/ancient-scripts/Symbola_hint.ttf"
EMOJI_TEST = "/usr/share/unicode/emoji/emoji-test.txt"
ANNOTATIONS = "/usr/share/unicode/cldr/common/annotations/en.xml"
CC = "https://creativecommons.org/"
LICENCES = {
    "BlendSwap-CC-0": f"CC0 1.0 <{CC}publicdomain/zero/1.0/>",
    "BlendSwap-CC-BY": f"CC BY 3.0 <{CC}licenses/by/3.0/>",
    "KatorLegaz": f"CC BY 3.0 US <{CC}licenses/by/3.0/us/>",
    "Reallusion": f"CC BY 3.0 US <{CC}licenses/by/3.0/us/>",
    "Scopia": f"CC BY 3.0 <{CC}licenses/by/3.0/>",
}
UNICODE_COPYRIGHT = "/usr/share/doc/unicode-data/copyright"
MAGIC = b"TBXWORLD"
TEXTURE_SIDE = 96
SPRITE_SIDE = 96
MAX_TRIANGLES = 5000
MAX_HELD_TRIANGLES = 30000  # what a word is learnt from deserves its detail
CREASE = np.cos(np.radians(40))


# --- catalogues and names


def read_names(path):
    names = {}
    with open(path) as f:
        for line in f:
            if line.startswith("#") or not line.strip():
                continue
            key, noun, core, held = line.rstrip("\n").split("\t")
            names[key] = {
                "noun": noun,
                "core": core == "core",
                "held": None if held == "-" else held,
            }
    return names


def read_catalogue(archive, catalogue):
    entries = {}
    text = archive.read("PluginFurnitureCatalog.properties").decode("latin-1")
    for line in text.splitlines():
        m = re.match(r"(\w+)#(\d+)=(.*)", line.strip())
        if m:
            entries.setdefault(int(m[2]), {})[m[1]] = m[3]
    out = {}
    for e in entries.values():
        if "model" in e:
            stem = os.path.splitext(os.path.basename(e["model"]))[0]
            out[f"{catalogue}/{stem}"] = e
    return out


# --- wavefront files


def parse_materials(text):
    materials, cur = {}, None
    for line in text.splitlines():
        s = line.split()
        if not s or s[0].startswith("#"):
            continue
        key = s[0].lower()
        if key == "newmtl":
            cur = materials.setdefault(
                " ".join(s[1:]), {"kd": [0.8] * 3, "ks": 0.0, "ns": 20.0, "d": 1.0, "map": None}
            )
            continue
        if cur is None:
            continue
        try:
            if key == "kd":
                cur["kd"] = [float(v) for v in s[1:4]]
            elif key == "ks":
                cur["ks"] = float(np.mean([float(v) for v in s[1:4]]))
            elif key == "ns":
                cur["ns"] = float(s[1])
            elif key == "d":
                cur["d"] = float(s[-1])
            elif key == "map_kd":
                cur["map"] = s[-1]
        except ValueError:
            continue
    return materials


def resolve(index, count):
    i = int(index)
    return i - 1 if i > 0 else count + i


def parse_object(read, path):
    """Returns positions and normals [t, 3, 3], uv [t, 3, 2], material [t], the materials used."""
    folder = os.path.dirname(path)
    v, vt, vn, corners, mats = [], [], [], [], []
    library, used, index = {}, [], {}
    cur = None
    for line in read(path).decode("latin-1").splitlines():
        s = line.split()
        if not s:
            continue
        key = s[0]
        if key == "v":
            v.append((float(s[1]), float(s[2]), float(s[3])))
        elif key == "vt":
            vt.append((float(s[1]), float(s[2]) if len(s) > 2 else 0.0))
        elif key == "vn":
            vn.append((float(s[1]), float(s[2]), float(s[3])))
        elif key == "mtllib":
            data = read(folder + "/" + " ".join(s[1:]))
            library.update(parse_materials(data.decode("latin-1")) if data else {})
        elif key == "usemtl":
            cur = " ".join(s[1:])
        elif key == "f":
            if cur not in index:
                index[cur] = len(used)
                used.append(
                    dict(
                        library.get(
                            cur, {"kd": [0.75] * 3, "ks": 0.0, "ns": 20.0, "d": 1.0, "map": None}
                        )
                    )
                )
            poly = []
            for a in s[1:]:
                b = a.split("/")
                t = resolve(b[1], len(vt)) if len(b) > 1 and b[1] else -1
                n = resolve(b[2], len(vn)) if len(b) > 2 and b[2] else -1
                poly.append((resolve(b[0], len(v)), t, n))
            for j in range(1, len(poly) - 1):
                corners.append(poly[0] + poly[j] + poly[j + 1])
                mats.append(index[cur])
    c = np.array(corners, np.int64).reshape(-1, 3, 3)
    v = np.array(v, np.float32)
    p = v[c[:, :, 0]]
    uv = np.array(vt or [(0, 0)], np.float32)[np.maximum(c[:, :, 1], 0)] * (c[:, :, 1:2] >= 0)
    face = np.cross(p[:, 1] - p[:, 0], p[:, 2] - p[:, 0])
    n = np.where(
        c[:, :, 2:3] >= 0,
        np.array(vn or [(0, 1, 0)], np.float32)[np.maximum(c[:, :, 2], 0)],
        face[:, None],
    )
    n /= np.maximum(np.linalg.norm(n, axis=-1, keepdims=True), 1e-9)
    return p, n.astype(np.float32), uv.astype(np.float32), np.array(mats, np.int32), used


def simplify(p, n, uv, m, cells):
    """Merges the corners that fall into one cell of a grid; drops the triangles that vanish."""
    flat = p.reshape(-1, 3)
    lo, hi = flat.min(0), flat.max(0)
    q = np.floor((flat - lo) / max((hi - lo).max(), 1e-9) * cells).astype(np.int64)
    cell = (q[:, 0] << 40) | (q[:, 1] << 20) | q[:, 2]
    _, cell = np.unique(cell, return_inverse=True)
    tri = cell.reshape(-1, 3)
    keep = (tri[:, 0] != tri[:, 1]) & (tri[:, 1] != tri[:, 2]) & (tri[:, 0] != tri[:, 2])
    count = np.bincount(cell).astype(np.float64)
    mean = np.stack([np.bincount(cell, flat[:, k]) / count for k in range(3)], -1)
    p = mean[cell].reshape(-1, 3, 3)[keep].astype(np.float32)
    ident = np.concatenate([np.sort(tri[keep], 1), m[keep, None]], 1)
    _, first = np.unique(ident, axis=0, return_index=True)
    return p[first], n[keep][first], uv[keep][first], m[keep][first]


def smooth(p, n):
    """Gives a mesh without rounded normals some: faces that meet at less than the crease angle share them."""
    face = np.cross(p[:, 1] - p[:, 0], p[:, 2] - p[:, 0])
    area = np.linalg.norm(face, axis=-1, keepdims=True)
    face /= np.maximum(area, 1e-12)
    solid = area[:, 0] > 1e-12
    if np.mean(np.abs((n * face[:, None]).sum(-1))[solid] > 0.9995) < 0.9:
        return n
    corner = np.round(p.reshape(-1, 3) / max(np.ptp(p), 1e-9) * 4000).astype(np.int64)
    _, place = np.unique(corner, axis=0, return_inverse=True)
    order = np.argsort(place.ravel(), kind="stable")
    tri = order // 3
    starts = np.flatnonzero(np.r_[True, np.diff(place.ravel()[order]) > 0, True])
    out = n.reshape(-1, 3).copy()
    for a, b in zip(starts[:-1], starts[1:]):
        if b - a < 2:
            continue
        f = face[tri[a:b]]
        near = (f @ f.T > CREASE) * area[tri[a:b], 0]
        mean = near @ f
        out[order[a:b]] = mean / np.maximum(np.linalg.norm(mean, axis=-1, keepdims=True), 1e-9)
    return out.reshape(n.shape).astype(np.float32)


def load_texture(read, folder, name):
    data = read(folder + "/" + name)
    if not data:
        return None
    image = Image.open(io.BytesIO(data)).convert("RGBA")
    image.thumbnail((TEXTURE_SIDE, TEXTURE_SIDE), Image.LANCZOS)
    return np.array(image)


def load_model(task):
    key, catalogue_path, entry, limit = task
    with zipfile.ZipFile(catalogue_path) as z:
        have = {x.lower(): x for x in z.namelist()}

        def read(path):
            path = os.path.normpath(path).lstrip("/").lower()
            return z.read(have[path]) if path in have else b""

        p, n, uv, m, materials = parse_object(read, entry["model"])
        folder = os.path.dirname(entry["model"])
        textures = [load_texture(read, folder, q["map"]) if q["map"] else None for q in materials]
    if entry.get("modelRotation"):
        r = np.array([float(x) for x in entry["modelRotation"].split()], np.float32).reshape(3, 3)
        p, n = p @ r.T, n @ r.T
    for cells in (192, 160, 128, 104, 84, 68, 56):
        if len(p) <= limit:
            break
        p, n, uv, m = simplify(p, n, uv, m, cells)
    n = smooth(p, n)
    lo, hi = p.reshape(-1, 3).min(0), p.reshape(-1, 3).max(0)
    centre = (lo + hi) / 2
    centre[1] = lo[1]
    p = (p - centre) / np.linalg.norm(hi - lo)
    uv = np.clip(uv - np.floor(uv.min(1, keepdims=True)), 0, 1000)
    corner = np.concatenate(
        [
            np.round(p.reshape(-1, 3) * 32000).astype(np.int16).view(np.uint8).reshape(-1, 6),
            np.round(n.reshape(-1, 3) * 127).astype(np.int8).view(np.uint8).reshape(-1, 3),
            uv.reshape(-1, 2).astype(np.float16).view(np.uint8).reshape(-1, 4),
        ],
        1,
    )
    unique, inverse = np.unique(corner, axis=0, return_inverse=True)
    return (
        key,
        unique,
        inverse.astype(np.uint32).reshape(-1),
        m.astype(np.uint8),
        materials,
        textures,
    )


# --- emoji


def find_twemoji(hint):
    """Returns the folder of all-twemojis.pdf, installed or unpacked from a downloaded .deb."""
    rel = "usr/share/texlive/texmf-dist/tex/latex/twemojis"
    for root in ["/", hint]:
        if os.path.exists(os.path.join(root, rel, "all-twemojis.pdf")):
            return os.path.join(root, rel)
    debs = []
    for folder in [hint, tempfile.gettempdir()]:
        debs += [
            os.path.join(folder, f)
            for f in os.listdir(folder)
            if re.match(r"texlive-pictures_.*\.deb$", f)
        ]
    if not debs:
        subprocess.run(["apt-get", "download", "texlive-pictures"], cwd=hint, check=True)
        debs = [
            os.path.join(hint, f) for f in os.listdir(hint) if f.startswith("texlive-pictures_")
        ]
    subprocess.run(["dpkg", "-x", debs[0], hint], check=True)
    return os.path.join(hint, rel)


def twemoji_images(folder, work):
    pages = {}
    with open(os.path.join(folder, "twemojis.sty")) as f:
        for m in re.finditer(r"\\defineTwemoji\{(\d+)\}\{([0-9a-f]{4,6})\}", f.read()):
            pages[int(m[2], 16)] = int(m[1])
    out = os.path.join(work, "tw")
    os.makedirs(out, exist_ok=True)
    if len(os.listdir(out)) < max(pages.values()):
        subprocess.run(
            [
                "pdftocairo",
                "-png",
                "-transp",
                "-scale-to",
                str(SPRITE_SIDE),
                os.path.join(folder, "all-twemojis.pdf"),
                os.path.join(out, "p"),
            ],
            check=True,
            stderr=subprocess.DEVNULL,
        )
    files = {int(re.search(r"-(\d+)\.png", f)[1]): os.path.join(out, f) for f in os.listdir(out)}
    return {cp: files[page] for cp, page in pages.items() if page in files}


def square(image, side=SPRITE_SIDE):
    """Crops to the visible part and fits it into a square, standing on the lower edge."""
    box = image.getchannel("A").point(lambda a: 255 if a > 20 else 0).getbbox()
    if not box:
        return None
    image = image.crop(box)
    k = (side - 2) / max(image.size)
    image = image.resize([max(1, round(s * k)) for s in image.size], Image.LANCZOS)
    out = Image.new("RGBA", (side, side))
    out.paste(image, ((side - image.width) // 2, side - 1 - image.height))
    return np.array(out)


def emoji_names():
    """Returns code point -> (noun, core), by emoji-test.txt, CLDR and emoji.tsv."""
    short = {}
    with open(ANNOTATIONS, encoding="utf-8") as f:
        for m in re.finditer(r'<annotation cp="(.+?)" type="tts">(.+?)</annotation>', f.read()):
            short[m[1]] = m[2].lower()
    groups, renames, dropped, core = set(), {}, set(), set()
    with open(os.path.join(HERE, "emoji.tsv")) as f:
        for line in f:
            if line.startswith("#") or not line.strip():
                continue
            kind, name, value = (line.rstrip("\n").split("\t") + ["", ""])[:3]
            if kind == "group":
                groups.add(name)
            elif kind == "name":
                renames[name] = value
            elif kind == "drop":
                dropped.update(x.strip() for x in name.split(","))
            elif kind == "core":
                core.update(x.strip() for x in name.split(","))
    names, group = {}, None
    with open(EMOJI_TEST, encoding="utf-8") as f:
        for line in f:
            if line.startswith("# subgroup:"):
                group = line.split(":")[1].strip()
            if line.startswith("#") or "; fully-qualified" not in line or group not in groups:
                continue
            points = [int(x, 16) for x in line.split(";")[0].split() if x != "FE0F"]
            if len(points) != 1 or chr(points[0]) not in short:
                continue
            name = short[chr(points[0])]
            if name in dropped:
                continue
            name = renames.get(name, name)
            if name not in dropped and re.fullmatch(r"[a-z -]+", name):
                names[points[0]] = (name.replace("-", " "), name in core)
    return names


def emoji_sprites(work):
    noto = ImageFont.truetype(NOTO, 109)
    symbola = ImageFont.truetype(SYMBOLA, 220)
    twemoji = twemoji_images(find_twemoji(work), work)
    blank = symbola.getmask("\U0010fffe").getbbox(), bytes(symbola.getmask("\U0010fffe"))
    sprites = []
    for cp, (noun, core) in emoji_names().items():
        canvas = Image.new("RGBA", (160, 160))
        ImageDraw.Draw(canvas).text((4, 4), chr(cp), font=noto, embedded_color=True)
        image = square(canvas)
        if image is None:
            continue
        sprites.append((noun, "emoji", core, cp, image))
        if cp in twemoji:
            image = square(Image.open(twemoji[cp]).convert("RGBA"))
            if image is not None:
                sprites.append((noun, "flat icon", core, cp, image))
        mask = symbola.getmask(chr(cp))
        if (mask.getbbox(), bytes(mask)) != blank and mask.getbbox():
            ink = Image.new("L", mask.size)
            ink.im.paste(mask, (0, 0) + mask.size)
            rgba = Image.merge("RGBA", [Image.new("L", mask.size)] * 3 + [ink])
            image = square(rgba)
            if image is not None:
                sprites.append((noun, "drawing", core, cp, image))
    return sprites


# --- the pack


def unicode_notice():
    """the permission notice that goes with Unicode's names"""
    with open(UNICODE_COPYRIGHT) as f:
        text = f.read()
    notice = text[text.index("COPYRIGHT AND PERMISSION NOTICE"):]
    return ["  " + line.strip() if line.strip() else "" for line in notice.strip().splitlines()]


def write_attribution(path, models, emoji_count):
    lines = [
        "The toybox world is made of the following works, all reduced, simplified and renamed. Its pictures",
        "(examples/toybox/heldout, docs) are rendered from them, and the models of models/ are trained on such",
        "pictures. libtextinv's own part in pictures and models is under the MIT licence of its code; the works",
        "keep their licences, and this list, which gives the attribution they ask for, goes with what is copied.",
        "",
    ]
    for catalogue in LICENCES:
        mine = sorted((k, e) for k, e in models.items() if k.startswith(catalogue + "/"))
        if not mine:
            continue
        lines.append(
            f"{catalogue}, a catalogue of the Debian package sweethome3d-furniture, {LICENCES[catalogue]}"
        )
        lines += [
            f"  {k.split('/')[1]}: {e['name']}, by {e.get('creator', catalogue)}" for k, e in mine
        ] + [""]
    lines += [
        f"Emoji ({emoji_count} sprites)",
        "  Noto Color Emoji (fonts-noto-color-emoji): Google, SIL OFL 1.1 <https://openfontlicense.org/> and",
        "  Apache 2.0 <https://www.apache.org/licenses/LICENSE-2.0>",
        f"  Twemoji (texlive-pictures): Twitter and contributors, CC BY 4.0 <{CC}licenses/by/4.0/>",
        "  Symbola (fonts-symbola): George Douros, free for any use",
        "",
        "Names of emoji (unicode-data, unicode-cldr-core), shortened and changed: Unicode, Inc.",
        "",
        *unicode_notice(),
        "",
    ]
    with open(path, "w") as f:
        f.write("\n".join(lines))


def main():
    ap = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ap.add_argument("--out", default="build/toybox/world.pack")
    ap.add_argument("--work", default="build/toybox/src", help="scratch folder")
    ap.add_argument("--processes", type=int, default=2)
    args = ap.parse_args()
    os.makedirs(args.work, exist_ok=True)
    names = read_names(os.path.join(HERE, "names.tsv"))
    tasks, entries = [], {}
    for catalogue in LICENCES:
        path = os.path.join(FURNITURE, catalogue + ".sh3f")
        with zipfile.ZipFile(path) as z:
            found = read_catalogue(z, catalogue)
        for key in names:
            if key in found:
                entries[key] = found[key]
                limit = MAX_HELD_TRIANGLES if names[key]["held"] else MAX_TRIANGLES
                tasks.append((key, path, found[key], limit))
    missing = sorted(set(names) - set(entries))
    if missing:
        raise SystemExit(f"names.tsv: not in the catalogues: {', '.join(missing)}")
    blob, header = bytearray(), {"meshes": [], "sprites": []}

    def add(array):
        offset = len(blob)
        blob.extend(np.ascontiguousarray(array).tobytes())
        blob.extend(b"\0" * (-len(blob) % 4))
        return offset

    with Pool(args.processes) as pool:
        for key, vertices, index, m, materials, textures in pool.imap(
            load_model, tasks, chunksize=4
        ):
            packed = []
            for q, t in zip(materials, textures):
                packed.append(
                    {
                        "kd": [round(x, 4) for x in q["kd"]],
                        "ks": round(q["ks"], 3),
                        "ns": round(q["ns"], 1),
                        "d": round(q["d"], 3),
                    }
                )
                if t is not None:
                    packed[-1].update(texture=add(t), w=t.shape[1], h=t.shape[0])
            wide = len(vertices) > 65535
            header["meshes"].append(
                {
                    "key": key,
                    **names[key],
                    "vertices": len(vertices),
                    "triangles": len(m),
                    "wide": wide,
                    "v": add(vertices),
                    "i": add(index if wide else index.astype(np.uint16)),
                    "m": add(m),
                    "materials": packed,
                }
            )
    for noun, art, core, cp, image in emoji_sprites(args.work):
        drawn = image[..., 3] if art == "drawing" else image
        header["sprites"].append(
            {"noun": noun, "art": art, "core": core, "cp": cp, "offset": add(drawn)}
        )
    header["sprite_side"] = SPRITE_SIDE
    text = json.dumps(header, separators=(",", ":")).encode()
    with open(args.out + ".tmp", "wb") as f:
        f.write(MAGIC + struct.pack("<II", 1, len(blob)))
        f.write(zlib.compress(struct.pack("<I", len(text)) + text + bytes(blob), 6))
    shutil.move(args.out + ".tmp", args.out)
    write_attribution(os.path.join(HERE, "ATTRIBUTION"), entries, len(header["sprites"]))
    triangles = sum(m["triangles"] for m in header["meshes"])
    print(
        f"{args.out}: {len(header['meshes'])} meshes, {triangles} triangles, "
        f"{len(header['sprites'])} sprites, "
        f"{os.path.getsize(args.out) / 1e6:.1f} MB"
    )


if __name__ == "__main__":
    main()
