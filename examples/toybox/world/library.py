"""The C side of the world: compiling and calling the renderer, and unpacking world.pack for it."""

import ctypes
import glob
import json
import os
import struct
import subprocess
import zlib

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
MATERIAL = np.dtype(
    [
        ("kd", "f4", 3),
        ("ks", "f4"),
        ("ns", "f4"),
        ("alpha", "f4"),
        ("texture", "i4"),
        ("w", "i4"),
        ("h", "i4"),
        ("pattern", "i4"),
        ("kd2", "f4", 3),
        ("pattern_scale", "f4"),
        ("tint", "i4"),
        ("unlit", "i4"),
    ]
)
MESHES = np.dtype(
    [
        ("p", "u8"),
        ("n", "u8"),
        ("uv", "u8"),
        ("index", "u8"),
        ("mat", "u8"),
        ("materials", "u8"),
        ("vertices", "i4"),
        ("triangles", "i4"),
        ("materials_count", "i4"),
        ("pad", "i4"),
    ]
)
JOB = np.dtype(
    [
        ("seed", "u8"),
        ("look", "u8", 2),
        ("kind", "i4", 2),
        ("object", "i4", 2),
        ("azimuth", "f4", 2),
        ("relation", "i4"),
        ("scene", "i4"),
        ("style", "i4"),
        ("size", "i4"),
        ("elevation", "f4"),
        ("fit", "f4"),
        ("shift", "f4"),
        ("brightness", "f4"),
        ("style_p", "f4", 4),
    ],
    align=True,
)
REPORT = np.dtype(
    [("colours", "f4", 11), ("patterns", "f4", 5), ("coverage", "f4"), ("box", "f4", 4)]
)


class CWorld(ctypes.Structure):
    _fields_ = [
        ("meshes", ctypes.c_void_p),
        ("texels", ctypes.c_void_p),
        ("sprites", ctypes.c_void_p),
        ("meshes_count", ctypes.c_int32),
        ("sprite_side", ctypes.c_int32),
    ]


def build_library(out):
    """Compiles the renderer into a shared library unless it is newer than its sources."""
    sources = sorted(glob.glob(os.path.join(HERE, "*.c")))
    newest = max(os.path.getmtime(f) for f in sources + [os.path.join(HERE, "world.h")])
    if not os.path.exists(out) or os.path.getmtime(out) < newest:
        os.makedirs(os.path.dirname(out) or ".", exist_ok=True)
        tmp = f"{out}.{os.getpid()}"
        cc = os.environ.get("CC", "cc")
        subprocess.run(
            [
                cc,
                "-std=gnu11",
                "-O3",
                "-fno-math-errno",
                "-fno-trapping-math",
                "-Wall",
                "-Wextra",
                "-shared",
                "-fPIC",
                "-o",
                tmp,
                *sources,
                "-lm",
                "-lpthread",
            ],
            check=True,
        )
        os.replace(tmp, out)
    return out


class Pack:
    """The world's meshes, textures and sprites, unpacked into the renderer's arrays."""

    def __init__(self, path):
        with open(path, "rb") as f:
            if f.read(8) != b"TBXWORLD":
                raise ValueError(f"{path}: not a world pack")
            version, _ = struct.unpack("<II", f.read(8))
            if version != 1:
                raise ValueError(f"{path}: version {version}, expected 1")
            data = zlib.decompress(f.read())
        n = struct.unpack_from("<I", data)[0]
        self.header = json.loads(data[4 : 4 + n])
        self.blob = np.frombuffer(data, np.uint8, offset=4 + n)
        blob, self._keep = self.blob, []
        self.meshes = np.zeros(len(self.header["meshes"]), MESHES)
        self.heights = np.zeros(len(self.meshes))  # of the unit diagonal
        for i, m in enumerate(self.header["meshes"]):
            v = blob[m["v"] : m["v"] + m["vertices"] * 13].reshape(-1, 13)
            p = np.ascontiguousarray(v[:, :6]).view(np.int16).astype(np.float32) / 32000
            self.heights[i] = p[:, 1].max()
            normals = np.ascontiguousarray(v[:, 6:9]).view(np.int8).astype(np.float32) / 127
            uv = np.nan_to_num(
                np.ascontiguousarray(v[:, 9:]).view(np.float16).astype(np.float32),
                posinf=0,
                neginf=0,
            )
            size = m["triangles"] * 3 * (4 if m["wide"] else 2)
            index = np.ascontiguousarray(blob[m["i"] : m["i"] + size]).view(
                np.uint32 if m["wide"] else np.uint16
            )
            mats = np.zeros(max(1, len(m["materials"])), MATERIAL)
            for row, q in zip(mats, m["materials"]):
                row["kd"], row["ks"], row["ns"] = q["kd"], q["ks"], q["ns"]
                row["alpha"] = min(1.0, max(q["d"], 0.45))
                row["texture"], row["w"], row["h"] = (
                    q.get("texture", -1),
                    q.get("w", 0),
                    q.get("h", 0),
                )
            arrays = [
                np.ascontiguousarray(p),
                np.ascontiguousarray(normals),
                np.ascontiguousarray(uv),
                np.ascontiguousarray(index.astype(np.uint32)),
                np.ascontiguousarray(blob[m["m"] : m["m"] + m["triangles"]]),
                mats,
            ]
            self._keep.append(arrays)
            self.meshes[i] = tuple(a.ctypes.data for a in arrays) + (
                m["vertices"],
                m["triangles"],
                len(mats),
                0,
            )
        self.c = CWorld(
            self.meshes.ctypes.data,
            blob.ctypes.data,
            blob.ctypes.data,
            len(self.meshes),
            self.header["sprite_side"],
        )


class Renderer:
    """The shared library, compiled from the C files beside this one."""

    def __init__(self, path):
        self.path = build_library(path)
        self.lib = ctypes.CDLL(self.path)
        self.lib.world_job_bytes.restype = ctypes.c_size_t
        if self.lib.world_job_bytes() != JOB.itemsize:
            raise RuntimeError(
                f"{path}: a job has {self.lib.world_job_bytes()} bytes, expected {JOB.itemsize}"
            )
        self.scenes = self._names("scene_name", self.lib.world_scenes())
        self.phrases = self._names("scene_phrase", self.lib.world_scenes())
        self.styles = self._names("style_name", self.lib.world_styles())
        self.families = self._names("family_name", self.lib.world_families())

    def _names(self, function, count):
        f = getattr(self.lib, function)
        f.restype = ctypes.c_char_p
        return [f(i).decode() for i in range(count)]

    def render(self, pack, jobs, threads):
        """Draws jobs of one size. Returns images [n, size, size, 3] and a report about each."""
        size = int(jobs["size"][0]) if len(jobs) else 0
        images = np.zeros((len(jobs), size, size, 3), np.uint8)
        offsets = np.arange(len(jobs), dtype=np.int64) * (size * size * 3)
        reports = np.zeros(len(jobs), REPORT)
        pointers = [ctypes.c_void_p(a.ctypes.data) for a in (offsets, images, reports)]
        status = self.lib.world_render(
            ctypes.byref(pack.c),
            ctypes.c_void_p(jobs.ctypes.data),
            ctypes.c_int(len(jobs)),
            ctypes.c_int(threads),
            *pointers,
        )
        if status < 0:
            raise MemoryError(f"rendering {len(jobs)} pictures of {size} pixels")
        if status > 0:
            raise ValueError(f"job {status - 1}: {jobs[status - 1]}")
        return images, reports
