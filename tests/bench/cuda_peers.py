"""Our CUDA operations beside the best of cuDNN, cuBLASLt, FlashAttention and the others that PyTorch holds.

python tests/bench/cuda_peers.py BENCH PLUGIN [--batch N] [--names TEXT,...] [--seconds N]

Runs cuda_bench, once a name, then the same shapes in PyTorch (bf16, channels last, cuDNN's algorithms searched, every backend of
scaled dot-product attention), captured into CUDA graphs over rotating inputs as there. "x" is their time over ours:
above 1, ours is faster; the goal is 0.83. Their convolutions and products have no bias, ours have.
"""
import argparse
import gc
import re
import statistics
import subprocess
import time

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

LAUNCHES, RUNS, MAX_SETS, CACHE = 5, 32, 16, 200e6
BACKENDS = {'flash': SDPBackend.FLASH_ATTENTION, 'cudnn': SDPBackend.CUDNN_ATTENTION,
            'efficient': SDPBackend.EFFICIENT_ATTENTION}


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
        for _ in range(2):
            for call in calls:
                call()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream):
        for _ in range(runs):
            for call in calls:
                call()
    times = []
    for i in range(LAUNCHES + 2):
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        graph.replay()
        end.record()
        end.synchronize()
        times.append(begin.elapsed_time(end) * 1e-3 / (runs * len(calls)))
    return statistics.median(times[2:])


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
    for name, backend in BACKENDS.items():
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


def parse(lines):
    """[(operation, way, microseconds, TFLOP/s)] of cuda_bench's table"""
    rows = []
    for line in lines:
        match = re.match(r'(.{44}) (\S+) +([\d.]+) +([\d.]+) ', line)
        if match and match[1].strip() != 'operation':
            rows.append((match[1].strip(), match[2], float(match[3]), float(match[4])))
    return rows


def theirs(name):
    for call, pattern in PATTERNS:
        match = pattern.match(name)
        if match:
            backward, *numbers = match.groups()
            return call(bool(backward), *map(int, numbers))
    return {}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('bench')
    parser.add_argument('plugin')
    parser.add_argument('--batch', default='4')
    parser.add_argument('--names', default='attention,conv2d,linear,norm,geglu', help='parts of operations\' names')
    parser.add_argument('--seconds', type=float, default=600, help='when they have passed, the rest has no peers')
    options = parser.parse_args()
    began = time.perf_counter()
    lines, failed = [], 0
    for name in options.names.split(','):
        command = ['timeout', '40', options.bench, options.plugin, name, options.batch]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as bench:
            for line in bench.stdout:
                print(line, end='', flush=True)
                lines.append(line)
        failed += bench.returncode != 0
        print(f'{time.perf_counter() - began:.1f} s, status {bench.returncode}', flush=True)
    torch.backends.cudnn.benchmark = True
    gc.freeze()  # a capture collects garbage first
    ours = parse(lines)
    print(f'\n{"operation":44} {"TFLOP/s: ours":>22} {"theirs":>18} {"x":>6}')
    for name in dict.fromkeys(row[0] for row in ours):
        if time.perf_counter() - began > options.seconds:
            print(f'stopped after {options.seconds:.0f} s')
            break
        times = theirs(name)
        if not times:
            continue
        ways = {way: (us, rate) for operation, way, us, rate in ours if operation == name}
        way = min(ways, key=lambda way: ways[way][0])
        us, rate = ways[way]
        peer = min(times, key=times.get)
        ratio = 1e6 * times[peer] / us
        others = ', '.join(f'{k} {1e6 * v:.1f}' for k, v in times.items() if k != peer)
        print(f'{name:44} {rate:12.1f} {way:9} {rate / ratio:8.1f} {peer:9} {ratio:6.2f}  {others}', flush=True)
        torch.cuda.empty_cache()
    print(f'all: {time.perf_counter() - began:.1f} s')
    return failed


if __name__ == '__main__':
    raise SystemExit(main())
