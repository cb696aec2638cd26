"""Times the renderer: pictures a second with all threads, and CPU time a picture.

python3 examples/toybox/world/world_bench.py [--threads 2] [--count 400]
"""

import argparse
import resource
import time

from world import DRAWING, World


def cpu_seconds():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def main():
    ap = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ap.add_argument("--pack", default="build/toybox/world.pack")
    ap.add_argument("--threads", type=int, default=2)
    ap.add_argument("--count", type=int, default=400)
    args = ap.parse_args()
    w = World(args.pack, threads=args.threads)
    specs = [w._spec(i, "train", 1.0) for i in range(args.count)]
    photos = [dict(s, style="photo") for s in specs if s["kind"] != DRAWING]
    for size in (64, 128, 256):
        for what, some in (("every style", specs), ("photos", photos)):
            wall, cpu = time.perf_counter(), cpu_seconds()
            w._render(some, size)
            wall, cpu = time.perf_counter() - wall, cpu_seconds() - cpu
            print(
                f"{size:4} px  {what:12} {len(some) / wall:6.0f} pictures/s"
                f"  {1e3 * cpu / len(some):5.2f} ms of CPU each"
            )
    wall = time.perf_counter()
    for i in range(args.count):
        w._spec(i, "train", 1.0)
    print(f"specifications  {args.count / (time.perf_counter() - wall):.0f}/s")


if __name__ == "__main__":
    main()
