"""Our CUDA operations beside the best of cuDNN, cuBLASLt and FlashAttention, as PyTorch holds them.

python tests/bench/cuda_peers.py BENCH PLUGIN [--batch N] [--names TEXT,...] [--ways fast|all] [--seconds N] [--write FILE]

Runs cuda_bench, then the same shapes in PyTorch (bf16, channels last, cuDNN's algorithms searched), captured into CUDA
graphs over rotating inputs as there. "x" is their time over ours: above 1, ours is faster; the goal is 0.83. Their
convolutions and products have no bias, ours have. What moves memory alone stands beside the copy's bandwidth. The
slowest of an operation's class comes first, and when --seconds have passed, the rest has no peers.
"""
import argparse
import gc
import re
import statistics
import subprocess
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from cuda_steps import write

LAUNCHES, RUNS, MAX_SETS, CACHE = 3, 16, 16, 200e6
# of the others, flash is slower backward, and "efficient" everywhere
BACKENDS = {False: {'cudnn': SDPBackend.CUDNN_ATTENTION, 'flash': SDPBackend.FLASH_ATTENTION},
            True: {'cudnn': SDPBackend.CUDNN_ATTENTION}}


def random(*shape, channels_last=False):
    x = torch.randn(*shape, device='cuda', dtype=torch.bfloat16)
    return x.contiguous(memory_format=torch.channels_last) if channels_last else x


def sets_of(nbytes):
    return int(min(MAX_SETS, max(4, -(-CACHE // nbytes))))


def time_of(calls):
    """Median seconds of one call; the calls are captured one after the other."""
    runs = -(-RUNS // len(calls))
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for call in calls[:2]:
            call()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream):
        for _ in range(runs):
            for call in calls:
                call()
    times = []
    for i in range(LAUNCHES + 1):
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        graph.replay()
        end.record()
        end.synchronize()
        times.append(begin.elapsed_time(end) * 1e-3 / (runs * len(calls)))
    return statistics.median(times[1:])


# --- one operation each: {library: seconds}


@torch.no_grad()
def conv2d(backward, n, side, cin, cout, k, stride, up):
    out = (side * up + k // 2 * 2 - k) // stride + 1
    inside = side * up  # what is upsampled lies there already
    count = sets_of(2 * (n * side * side * cin + n * out * out * cout + cin * cout * k * k))
    w = random(cout, cin, k, k, channels_last=True)
    x = [random(n, cin, inside, inside, channels_last=True) for _ in range(count)]
    if not backward:
        return {'cudnn': time_of([lambda a=a: F.conv2d(a, w, None, stride, k // 2) for a in x])}
    dy = [random(n, cout, out, out, channels_last=True) for _ in range(count)]
    return {'cudnn': time_of([lambda a=a, d=d: torch.ops.aten.convolution_backward(
        d, a, w, None, [stride] * 2, [k // 2] * 2, [1, 1], False, [0, 0], 1, [True, False, False]) for a, d in zip(x, dy)])}


@torch.no_grad()
def linear(backward, rows, cin, cout):
    count = sets_of(2 * (rows * cin + rows * cout + cin * cout))
    w = random(cout, cin)
    x = [random(rows, cout if backward else cin) for _ in range(count)]
    return {'cublas': time_of([lambda a=a: a @ w if backward else F.linear(a, w) for a in x])}


def attention(backward, n, heads, tq, tk, d):
    q_bytes, k_bytes = 2 * n * tq * heads * d, 2 * n * tk * heads * d
    count = sets_of(4 * (q_bytes + k_bytes) if backward else 2 * (q_bytes + k_bytes))
    inputs = [[random(n, t, heads, d).transpose(1, 2).requires_grad_(backward) for t in (tq, tk, tk)] for _ in range(count)]
    outer = [random(n, tq, heads, d).transpose(1, 2) for _ in range(count)]
    times = {}
    for name, backend in BACKENDS[backward].items():
        try:
            with sdpa_kernel(backend):
                with torch.no_grad():
                    forward = time_of([lambda i=i: F.scaled_dot_product_attention(*i) for i in inputs])
                both = backward and time_of([lambda i=i, do=do: torch.autograd.grad(
                    F.scaled_dot_product_attention(*i), i, do) for i, do in zip(inputs, outer)])
            times[name] = both - forward if backward else forward
        except RuntimeError as error:  # a backend that does not take this shape
            print(f'{name}: {str(error).splitlines()[0][:100]}')
    return times


PATTERNS = [(conv2d, re.compile(r'conv2d(_bwd)? (\d+) (\d+)x\d+ (\d+) -> (\d+) k(\d+) s(\d+) u(\d+)$')),
            (linear, re.compile(r'linear(_bwd)? (\d+) x (\d+) -> (\d+)$')),
            (attention, re.compile(r'attention(_bwd)? (\d+) x (\d+) heads (\d+) x (\d+) d (\d+)$'))]


class Row:
    """A line of cuda_bench's table."""

    def __init__(self, line):
        self.name, rest = line[:44].strip(), line[44:].split()
        self.way, self.us, self.rate, _, self.of_products, self.of_copy = rest[0], *map(float, rest[1:6])


def parse(lines):
    return [Row(line) for line in lines if re.match(r'.{44} \S+ +[\d.]+ +[\d.]+ +[\d.]+ +[\d.]+ +[\d.]+ ', line)]


def theirs(name):
    for call, pattern in PATTERNS:
        match = pattern.match(name)
        if match:
            backward, *numbers = match.groups()
            return call(bool(backward), *map(int, numbers))
    return {}


class Table:
    """Printed, and written as Markdown after every line."""

    def __init__(self, options, told):
        self.path = options.write
        self.lines = [
            '## Operations on a GPU', '',
            f'`tests/bench/cuda_peers.py --batch {options.batch}`, {time.strftime("%Y-%m-%d")}, {told}. Microseconds; "x" is '
            'the other library\'s time over ours.', '',
            '| operation | ours | by | TFLOP/s | theirs | by | x | of the copy |', '|---|---|---|---|---|---|---|---|']
        print(f'\n{"operation":44} {"us: ours":>18} {"theirs":>18} {"x":>6} {"TFLOP/s":>8} {"of copy":>8}')

    def add(self, ours, way, times):
        peer = min(times, key=times.get) if times else ''
        us, ratio = (1e6 * times[peer], 1e6 * times[peer] / ours.us) if times else (None, None)
        print(f'{ours.name:44} {ours.us:9.1f} {way:8} ' + (f'{us:9.1f} {peer:8} {ratio:6.2f}' if times else ' ' * 25) +
              f' {ours.rate:8.1f} {ours.of_copy:6.0f} %  ' + ', '.join(f'{k} {1e6 * v:.1f}' for k, v in times.items() if k != peer),
              flush=True)
        theirs = f'{us:.1f} | {peer} | {ratio:.2f}' if times else '| |'
        self.lines.append(f'| {ours.name} | {ours.us:.1f} | {way} | {ours.rate:.0f} | {theirs} | {ours.of_copy:.0f} % |')
        if self.path:
            write(self.path, self.lines)


def in_turns(rows):
    """Names, so that the classes take turns, and each has its slowest first"""
    classes = {}
    for row in rows.values():
        classes.setdefault(row.name.split()[0], []).append(row)
    for group in classes.values():
        group.sort(key=lambda row: -row.us)
    # convolutions are most of a step, and searched for long
    order = sorted(classes, key=lambda name: -sum(row.us for row in classes[name]))
    longest = max(map(len, classes.values()), default=0)
    return [classes[name][i] for i in range(longest) for name in order if i < len(classes[name])]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('bench')
    parser.add_argument('plugin')
    parser.add_argument('--batch', default='4')
    parser.add_argument('--names', default='', help='parts of operations\' names, separated by commas; "" = all')
    parser.add_argument('--ways', default='fast', choices=['fast', 'all'], help='of ours; "all" takes three times as long')
    parser.add_argument('--seconds', type=float, default=75, help='when they have passed, the rest has no peers')
    parser.add_argument('--search', type=int, default=3, help='algorithms that cuDNN tries for a convolution')
    parser.add_argument('--write', type=Path, help='a file whose section "Operations on a GPU" becomes the table')
    options = parser.parse_args()
    began = time.perf_counter()
    lines = []
    command = ['timeout', str(options.seconds), options.bench, options.plugin, options.names, options.batch, options.ways]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as bench:
        for line in bench.stdout:
            print(line, end='', flush=True)
            lines.append(line)
    print(f'{time.perf_counter() - began:.1f} s, status {bench.returncode}', flush=True)
    torch.backends.cudnn.benchmark, torch.backends.cudnn.benchmark_limit = True, options.search
    gc.freeze()  # a capture collects garbage first
    ours = parse(lines)
    best = {}
    called = {row.name: 1e-6 * row.us for row in ours if row.way == 'cudnn'}  # by us, which has to be asked for
    for row in ours:
        if row.way == 'cudnn':
            continue
        if row.name not in best or row.us < best[row.name].us:
            best[row.name] = row
    table = Table(options, lines[0].strip() if lines else 'nothing')
    late = 0
    for row in in_turns(best):
        times, is_late = {}, time.perf_counter() - began > options.seconds
        if not is_late:
            try:
                times = theirs(row.name)
            except RuntimeError as error:
                print(f'{row.name}: {str(error).splitlines()[0][:100]}')
                if 'CUDA error' in str(error):
                    options.seconds = 0  # the context is lost
            torch.cuda.empty_cache()
        if row.name in called:
            times['cudnn, called'] = called[row.name]
        late += is_late and any(pattern.match(row.name) for _, pattern in PATTERNS)
        table.add(row, row.way, times)
    print(f'all: {time.perf_counter() - began:.1f} s, {late} without peers')
    return bench.returncode != 0


if __name__ == '__main__':
    raise SystemExit(main())
