"""Whole steps on a GPU at the size of Stable Diffusion 1.5, beside PyTorch: training steps and 50-step DDIM pictures.

python tests/bench/cuda_steps.py [--jobs train-4,train-1,image-1] [--size LATENTS] [--steps N] [--rounds N] [--write FILE]
                                 [--systems textinv,cudnn,torch,script,compile] [--seconds N] [--compile-seconds N]
                                 [--together] [--device cpu]

Random weights, bf16, one process for each system and job, one after the other; what matters most comes first, and each
row is printed, and written into FILE, as soon as it is known. Systems:
  textinv  textinv_invert() and textinv_generate(), called through ctypes
  cudnn    the same with convolutions by cuDNN; only when it is asked for
  torch    by hand: moments of the latents kept, rows alone learn, channels last, fused AdamW, cuDNN's algorithms
           searched, eager with SDPA
  script   the step of diffusers' textual inversion script: VAE in every step, gradient and AdamW of the whole table
  compile  torch through torch.compile in its mode reduce-overhead, which captures CUDA graphs; where that fails in the
           default mode. Only when it is asked for: it compiles for minutes
Memory is the most that is in use without the CUDA context: of textinv as the driver counts it, so nothing else may come
or go on the device meanwhile; of PyTorch what its allocator has reserved.
--together lets all load and compile at the same time, and then take their turns one by one, round by round; memory is not
measured then. It needs the device's memory for all, and is for a device that is there for minutes.
--device cpu runs all of it on the CPU in float, to try the flow at a small size (--model sd1 --size 8).
"""
import argparse
import contextlib
import ctypes
import importlib.metadata
import json
import os
import select
import signal
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / 'tests/parity'))
SYSTEMS = {'train': ['textinv', 'cudnn', 'torch', 'script', 'compile'], 'image': ['textinv', 'cudnn', 'torch', 'compile']}
# steps that are not counted; pixels of a latent; seconds that an answer may take, and without which none begins
WARM, SIDE, ANSWER, LEAST = 3, 8, 90, 5
LATE = 'no time was left'


def folder_of(options):
    return ROOT / 'build/parity' / options.model


# --- workers: prepare_SYSTEM(options) gives a call that returns the seconds of each step; options hold one job


def open_session(options):
    from binding import textinv as ti
    on_gpu = options.device == 'cuda'
    return ti.Session(backend=ti.TEXTINV_BACKEND_CUDA if on_gpu else ti.TEXTINV_BACKEND_CPU,
                      dtype=ti.TEXTINV_BF16 if on_gpu else ti.TEXTINV_F32)


def prepare_textinv(options):
    import numpy as np
    from binding import textinv as ti
    before, session = device_bytes(options), open_session(options)
    context = device_bytes(options)
    model = ti.Model(session, folder_of(options))
    pixels = options.size * SIDE
    if options.task == 'image':
        def image():
            began = time.perf_counter()
            session.generate(model, 'a photo of a cat', steps=options.sampler_steps, guidance_scale=7.5, seed=1,
                             sampler=ti.TEXTINV_SAMPLER_DDIM, width=pixels, height=pixels)
            return [time.perf_counter() - began]
        image.before, image.context = before, context
        return image
    pictures = ti.Images(session, np.random.default_rng(0).integers(0, 256, (1, pixels, pixels, 3), np.uint8))

    def train():
        times = []
        embeddings = ti.Embeddings(session)
        embeddings.add(model, '<toy>', 'cat')
        session.invert(model, embeddings, [{'placeholder': '<toy>', 'pictures': [pictures]}],
                       steps=options.steps + WARM, batch=options.batch, resolution=pixels,
                       progress=lambda p: times.append(time.perf_counter()) if p.phase == 'train' else None)
        embeddings.close()
        return [b - a for a, b in zip(times[WARM - 1:], times[WARM:])]

    train.before, train.context = before, context
    return train


def timed(call, wait, count, warm=WARM):
    times = []
    for i in range(count + warm):
        began = time.perf_counter()
        call()
        wait()
        times.append(time.perf_counter() - began)
    return times[warm:]


class Torch:
    """The networks of a folder on the device, and random data for them."""

    def __init__(self, options, mode=None, tuned=True):
        import torch
        import models
        D, folder = models.diffusers, folder_of(options)
        torch.backends.cudnn.benchmark = tuned
        self.torch, self.options, self.device = torch, options, torch.device(options.device)
        self.kind = torch.bfloat16 if options.device == 'cuda' else torch.float32
        self.wait = torch.cuda.synchronize if options.device == 'cuda' else lambda: None
        self.scheduler = D.DDIMScheduler.from_pretrained(folder / 'scheduler')
        parts = [(D.UNet2DConditionModel, 'unet'), (D.AutoencoderKL, 'vae'),
                 (models.transformers.CLIPTextModel, 'text_encoder')]
        self.unet, self.vae, self.text = (c.from_pretrained(folder / name, dtype=self.kind).eval().requires_grad_(False)
                                          .to(self.device) for c, name in parts)
        if tuned:
            self.unet.to(memory_format=torch.channels_last)
            self.vae.to(memory_format=torch.channels_last)
        self.words = len(self.text.get_input_embeddings().weight)
        self.alphas = self.scheduler.alphas_cumprod.to(self.device)
        self.run_unet, self.run_text, self.decode = self.unet, self.text, self.vae.decode
        if mode:
            how = {'backend': options.backend, **({'mode': mode} if options.backend == 'inductor' else {})}
            self.run_unet, self.run_text = torch.compile(self.unet, **how), torch.compile(self.text, **how)
            self.decode = torch.compile(self.vae.decode, **how)

    def random(self, *shape):
        return self.torch.randn(*shape, device=self.device, dtype=self.kind)

    def ids(self, count):
        ids = self.torch.randint(0, self.words - 2, (count, 77), device=self.device)
        ids[:, 5] = self.words
        return ids

    def noised(self, latents):
        """noise, timesteps and noisy latents"""
        torch, n = self.torch, len(latents)
        noise, t = torch.randn_like(latents), torch.randint(0, 1000, (n,), device=self.device)
        a = self.alphas[t].view(-1, 1, 1, 1)
        return noise, t, (a.sqrt() * latents + (1 - a).sqrt() * noise).to(self.kind)

    def loss(self, noisy, t, context, noise):
        out = self.run_unet(noisy.contiguous(memory_format=self.torch.channels_last), t, context).sample
        return self.torch.nn.functional.mse_loss(out.float(), noise.float())


def prepare_cudnn(options):
    os.environ['TEXTINV_CUDA'] = 'cudnn'
    return prepare_textinv(options)


def prepare_torch(options, mode=None):
    t = Torch(options, mode)
    torch = t.torch
    if options.task == 'image':
        return prepare_image(t)
    from torch_training import RowEmbedding
    table = t.text.get_input_embeddings().weight.data
    embedding = RowEmbedding(torch.cat([table, table[:1]]), len(table))
    embedding.rows.data = embedding.rows.data.float()
    t.text.set_input_embeddings(embedding)
    optimizer = torch.optim.AdamW([embedding.rows], lr=5e-3, weight_decay=0.0, fused=options.device == 'cuda')
    n, shape = options.batch, (4, options.size, options.size)
    mean, deviation, ids = t.random(8, *shape), t.random(8, *shape).abs(), t.ids(n)

    def step():
        picture = torch.randint(0, 8, (n,), device=t.device)
        latents = mean[picture] + deviation[picture] * t.random(n, *shape)
        noise, when, noisy = t.noised(latents)
        optimizer.zero_grad()
        t.loss(noisy, when, t.run_text(ids).last_hidden_state, noise).backward()
        optimizer.step()

    return lambda: timed(step, t.wait, options.steps)


def prepare_script(options):
    from script_step import script_step
    t = Torch(options, tuned=False)
    n, pixels = options.batch, options.size * SIDE
    pictures, ids = t.random(n, 3, pixels, pixels).clamp(-1, 1), t.ids(n)
    step = script_step(t.text, t.unet, t.vae, t.alphas, pictures, ids, t.kind)
    return lambda: timed(step, t.wait, options.steps)


def prepare_image(t):
    torch, options = t.torch, t.options

    def image():
        with torch.inference_mode():
            context = t.run_text(torch.cat([t.ids(1), t.ids(1)]).clamp(max=t.words - 1)).last_hidden_state.clone()
            t.scheduler.set_timesteps(options.sampler_steps, device=t.device)
            latents = t.random(1, 4, options.size, options.size)
            for when in t.scheduler.timesteps:
                both = torch.cat([latents, latents]).contiguous(memory_format=torch.channels_last)
                plain, guided = t.run_unet(both, when, context).sample.chunk(2)
                latents = t.scheduler.step(plain + 7.5 * (guided - plain), when, latents).prev_sample.to(t.kind)
            picture = t.decode(latents / t.vae.config.scaling_factor).sample
            return (picture.float().clamp(-1, 1) * 127.5 + 127.5).to(torch.uint8).cpu()

    return lambda: timed(image, t.wait, 2, warm=0)


def prepare_compile(options):
    import torch
    for mode in ('reduce-overhead', 'default'):
        try:
            turn = prepare_torch(options, mode)
            turn()
            turn.note = mode
            return turn
        except Exception as failure:  # noqa: BLE001
            error = failure
            print(f'{mode}: {error}', flush=True)
            torch._dynamo.reset()
    raise error


def prepare_peak(options):
    """Matrix products of 8192, ten at a time."""
    import torch
    n = 8192 if options.device == 'cuda' else 1024
    kind = torch.bfloat16 if options.device == 'cuda' else torch.float32
    a, b = (torch.randn(n, n, device=options.device, dtype=kind) for _ in range(2))
    wait = torch.cuda.synchronize if options.device == 'cuda' else lambda: None

    def products():
        for _ in range(10):
            torch.mm(a, b)

    return lambda: [s / 10 * 8192 ** 3 / n ** 3 for s in timed(products, wait, 5)]


PREPARE = {'textinv': prepare_textinv, 'cudnn': prepare_cudnn, 'script': prepare_script, 'torch': prepare_torch,
           'compile': prepare_compile, 'peak': prepare_peak}


def work(options):
    """A line of JSON for each line read: to the first, which loads and warms up too, and to others the seconds of steps."""
    output = os.fdopen(os.dup(1), 'w')
    os.dup2(2, 1)
    if options.worker not in ('textinv', 'cudnn'):  # without the device
        import torch
    if options.worker in ('torch', 'script', 'compile'):
        import models  # noqa: F401
    turn = None
    for _ in sys.stdin:
        try:
            if turn:
                answer = {'seconds': turn()}
            else:
                turn = PREPARE[options.worker](options)
                context = getattr(turn, 'context', 0)
                with watched(options, context) as peak:
                    if options.task == 'image':
                        turn()
                    answer = {'seconds': turn(), 'note': getattr(turn, 'note', ''), 'memory': peak[0] - context}
                answer['context'] = context - getattr(turn, 'before', 0)
                if options.device == 'cuda' and 'torch' in sys.modules:
                    answer['memory'] = sys.modules['torch'].cuda.max_memory_reserved()
        except Exception as error:  # noqa: BLE001
            answer = {'error': f'{type(error).__name__}: {error}'.splitlines()[0]}
        print(json.dumps(answer), file=output, flush=True)


# --- the run


class MemoryInfo(ctypes.Structure):
    _fields_ = [('total', ctypes.c_ulonglong), ('free', ctypes.c_ulonglong), ('used', ctypes.c_ulonglong)]


def nvml():
    """NVIDIA's management library, and its handle of the first device"""
    if not hasattr(nvml, 'both'):
        library, handle = ctypes.CDLL('libnvidia-ml.so.1'), ctypes.c_void_p()
        if library.nvmlInit_v2() or library.nvmlDeviceGetHandleByIndex_v2(0, ctypes.byref(handle)):
            raise OSError('no NVIDIA device')
        nvml.both = library, handle
    return nvml.both


def device_name():
    library, handle = nvml()
    name = ctypes.create_string_buffer(96)
    library.nvmlDeviceGetName(handle, name, 96)
    return name.value.decode()


def device_bytes(options):
    """Bytes in use on the device, by all processes."""
    if options.device != 'cuda':
        return 0
    library, handle = nvml()
    info = MemoryInfo()
    library.nvmlDeviceGetMemoryInfo(handle, ctypes.byref(info))
    return info.used


@contextlib.contextmanager
def watched(options, least):
    """A list that gets the most bytes in use meanwhile."""
    peak, running = [least], bool(least)

    def watch():
        while running:
            peak[0] = max(peak[0], device_bytes(options))
            time.sleep(0.02)

    thread = threading.Thread(target=watch)
    thread.start()
    yield peak
    running = False
    thread.join()


class Worker:
    """A process that waits for lines."""

    def __init__(self, system, options, job='train-1'):
        self.system, self.job, self.seconds, self.error, self.note = system, job, [], None, ''
        self.memory = self.context = 0
        arguments = ['--size', options.size, '--model', options.model, '--device', options.device, '--steps', options.steps,
                     '--sampler-steps', options.sampler_steps, '--backend', options.backend]
        self.process = subprocess.Popen(
            [sys.executable, '-W', 'ignore', __file__, '--worker', system, '--jobs', job, *map(str, arguments)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, stderr=None if options.trace else subprocess.DEVNULL)

    def ask(self):
        try:
            self.process.stdin.write('\n')
            self.process.stdin.flush()
        except OSError:
            pass

    def turn(self, limit):
        """The seconds of some steps, at most limit seconds later."""
        if not self.error:
            self.ask()
            self.hear(limit)

    def hear(self, limit):
        if not select.select([self.process.stdout], [], [], max(limit, 0))[0]:
            self.error = f'no answer in {max(limit, 0):.0f} s'
            self.process.kill()
            return
        line = self.process.stdout.readline()
        answer = json.loads(line) if line else {'error': f'ended with status {self.process.wait()}'}
        self.error = answer.get('error')
        self.note = answer.get('note', self.note)
        self.memory = answer.get('memory', self.memory)
        self.context = answer.get('context', self.context)
        self.seconds += answer.get('seconds', [])

    def end(self):
        self.process.kill()
        self.process.wait()


def count_flops(options):
    """Floating-point operations of a training sample, and of a picture, by PyTorch's counter without memory for values."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode
    import models
    size, full = options.size, options.model.startswith('sd15')
    width = json.loads((folder_of(options) / 'text_encoder/config.json').read_text())['hidden_size']
    with torch.device('meta'):
        unet, vae, _, _ = models.parts_sd1(49408, full=full)
        unet.requires_grad_(False)
        x, t, c = torch.empty(1, 4, size, size), torch.empty(1), torch.empty(1, 77, width)
        with FlopCounterMode(display=False) as forward:
            unet(x, t, c)
        with FlopCounterMode(display=False) as decode:
            vae.decode(x)
        with FlopCounterMode(display=False) as train:
            unet(x, t, c.requires_grad_()).sample.sum().backward()
    return {'train': train.get_total_flops(),
            'image': 2 * options.sampler_steps * forward.get_total_flops() + decode.get_total_flops()}


class Table:
    def __init__(self, options, flops):
        where = device_name() if options.device == 'cuda' else 'CPU'
        self.options, self.flops, self.workers, self.peak = options, flops, [], None
        self.heading = [
            '## On a GPU', '',
            f'`{"make bench-cuda" if options.device == "cuda" else "tests/bench/cuda_steps.py --device cpu"}`, '
            f'{time.strftime("%Y-%m-%d")}, {where}, PyTorch {importlib.metadata.version("torch")}, Stable Diffusion 1.5 '
            f'shapes, latents {options.size} x {options.size}.']
        self.columns = ['', '| step | system | median ms | least ms | of the matrix peak | GiB | textinv / it |',
                        '|---|---|---|---|---|---|---|']

    def row(self, worker):
        task, batch = worker.job.split('-')
        name = f'train, batch {batch}' if task == 'train' else f'image, DDIM {self.options.sampler_steps}'
        system = worker.system + (f' ({worker.note})' if worker.note else '')
        if not worker.seconds:
            return f'| {name} | {system} | {worker.error or "not run"} | | | | |'
        median, share, ratio = statistics.median(worker.seconds), '', ''
        if self.peak and self.peak.seconds and task in self.flops:
            rate = 2 * 8192 ** 3 / statistics.median(self.peak.seconds)
            share = f'{100 * self.flops[task] * int(batch) / median / rate:.1f} %'
        ours = [w for w in self.workers if w.system == 'textinv' and w.job == worker.job and w.seconds]
        if ours:
            ratio = f'{statistics.median(ours[0].seconds) / median:.2f}'
        memory = f'{worker.memory / 2 ** 30:.2f}' if worker.memory else ''
        return (f'| {name} | {system} | {1e3 * median:.2f} | {1e3 * min(worker.seconds):.2f} | {share} '
                f'| {memory} | {ratio} |')

    def add(self, worker):
        """Print its row, and write the table with it."""
        if worker.system == 'peak':
            self.peak = worker
        else:
            self.workers.append(worker)
            print(self.row(worker), flush=True)
        if self.options.write and self.workers:
            write(self.options.write, self.lines())

    def lines(self):
        heading = list(self.heading)
        contexts = [w.context for w in self.workers if w.context]
        if contexts:
            heading[-1] += f' Memory is without the CUDA context, which takes {contexts[0] / 2 ** 20:.0f} MiB.'
        jobs = {w.job: None for w in self.workers}
        rows = [self.row(w) for job in jobs for w in self.workers if w.job == job]
        if self.peak and self.peak.seconds:
            rows.append(f'| | matrix product of 8192 | {1e3 * statistics.median(self.peak.seconds):.2f} | | 100 % | | |')
        return [*heading, *self.columns, *rows]


def write(path, lines):
    """Put the lines into the section of the file that has their heading."""
    text, heading = path.read_text() if path.exists() else '', lines[0]
    begin = text.find(heading + '\n')
    if begin < 0:
        path.write_text(text.rstrip('\n') + '\n\n' + '\n'.join(lines) + '\n')
        return
    end = text.find('\n## ', begin)
    path.write_text(text[:begin] + '\n'.join(lines) + '\n' + (text[end:] if end >= 0 else ''))


def in_order(jobs, systems):
    """Pairs of a system and a job: ours, the others at the first job, pictures, the rest"""

    def rank(pair):
        system, job = pair
        if system == 'compile':
            return 5
        if system in ('textinv', 'cudnn'):
            return 0
        return 3 if job.startswith('image') else 1 if job == jobs[0] else 4

    pairs = [(system, job) for job in jobs for system in SYSTEMS[job.split('-')[0]] if system in systems]
    return sorted([*pairs, ('peak', jobs[0])], key=lambda pair: 2 if pair[0] == 'peak' else rank(pair))


def take_all_turns(worker, options, left):
    if left() < LEAST:
        worker.error = LATE
    limit = options.compile_seconds if worker.system == 'compile' else min(ANSWER, left())
    for _ in range(options.rounds):
        worker.turn(limit)


def take_turns(workers, options, left, told):
    """All get ready at the same time; then one of them runs at a time."""
    for worker in workers:
        worker.ask()
    for worker in workers:
        worker.hear(min(options.compile_seconds, left()))
        worker.seconds, worker.memory, worker.context = [], 0, 0
        told(f'{worker.system} {worker.job}: {worker.error or "ready"}')
    for _ in range(options.rounds):
        for worker in workers:
            worker.turn(min(ANSWER, left()))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--jobs', default='train-4,train-1,image-1', help='tasks and their batches')
    parser.add_argument('--size', type=int, default=64, help='side of the latents')
    parser.add_argument('--steps', type=int, default=20, help='training steps that count, each turn')
    parser.add_argument('--sampler-steps', type=int, default=50)
    parser.add_argument('--rounds', type=int, default=2, help='turns of each process')
    parser.add_argument('--model', default='sd15-bf16', choices=['sd15-bf16', 'sd1'])
    parser.add_argument('--device', default='cuda', choices=['cuda', 'cpu'])
    parser.add_argument('--systems', default='textinv,torch,script')
    parser.add_argument('--backend', default='inductor', help='of torch.compile')
    parser.add_argument('--seconds', type=float, default=400, help='what has not begun shortly before they have passed is left out')
    parser.add_argument('--compile-seconds', type=float, default=300, help='that torch.compile may take for a job')
    parser.add_argument('--write', type=Path, help='a file whose section "On a GPU" becomes the table')
    parser.add_argument('--together', action='store_true', help='all load and compile at the same time')
    parser.add_argument('--trace', action='store_true', help='show what the workers print')
    parser.add_argument('--worker', choices=PREPARE, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        options.task, options.batch = options.jobs.split('-')[0], int(options.jobs.split('-')[1])
        return work(options)
    began = time.perf_counter()

    def left():
        return options.seconds - (time.perf_counter() - began)

    def told(what):
        print(f'{time.perf_counter() - began:6.1f} s: {what}', flush=True)

    if not (folder_of(options) / '.done').exists():
        import models
        models.model(options.model)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit('stopped'))
    flops = {}
    counting = threading.Thread(target=lambda: flops.update(count_flops(options)), daemon=True)
    counting.start()
    pairs = in_order(options.jobs.split(','), options.systems.split(','))
    # all start now, which takes the device nothing, and load when it is their turn
    workers = [Worker(system, options, job) for system, job in pairs]
    table = Table(options, flops)
    try:
        if options.together:
            take_turns(workers, options, left, told)
        for worker in workers:
            if not options.together:
                take_all_turns(worker, options, left)
            worker.end()
            table.add(worker)
            told(f'{worker.system} {worker.job}: {worker.error or f"{len(worker.seconds)} steps"}')
    finally:
        for worker in workers:
            worker.end()
        if not sys.exc_info()[0]:
            counting.join(30)
        print('\n'.join(table.lines()), flush=True)
        if options.write and table.workers:
            write(options.write, table.lines())
        if sys.exc_info()[0] is SystemExit:
            os._exit(1)  # the count of operations may still go on
    return any(worker.error not in (None, LATE) for worker in workers)


if __name__ == '__main__':
    sys.exit(main())
