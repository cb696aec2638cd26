"""What every check prints: a line "what / measured / allowed / ok", and whether all of them held."""
import sys
import traceback

import numpy as np
import torch


def relative_error(a, b):
    """Norm of the difference over the norm of b; infinite when anything is NaN."""
    a, b = (np.asarray(x.detach() if isinstance(x, torch.Tensor) else x, np.float64) for x in (a, b))
    if a.shape != b.shape:
        raise ValueError(f'shapes {a.shape} and {b.shape}')
    difference = np.linalg.norm((a - b).ravel())
    if not np.isfinite(difference):
        return float('inf')
    return 0.0 if difference == 0 else difference / max(np.linalg.norm(b.ravel()), 1e-30)


class Report:
    def __init__(self, title):
        self.failed = 0
        self.count = 0
        print(f'\n{title}\n{"what":58} {"measured":>12} {"allowed":>10}')

    def line(self, what, measured, allowed, ok):
        self.count += 1
        self.failed += not ok
        print(f'{what:58} {measured:>12} {allowed:>10}  {"ok" if ok else "FAILED"}', flush=True)

    def at_most(self, what, measured, allowed):
        self.line(what, f'{measured:.2e}', f'{allowed:.2e}', bool(measured <= allowed))

    def at_least(self, what, measured, allowed):
        self.line(what, f'{measured:.5f}', f'{allowed:.5f}', bool(measured >= allowed))

    def same(self, what, a, b):
        equal = a == b
        self.line(what, 'same' if equal else 'differs', 'same', equal)

    def guard(self, what, function, *args):
        """Run function; an exception is a failed line and the checks go on."""
        try:
            return function(*args)
        except Exception as error:  # noqa: BLE001
            if '--trace' in sys.argv:
                traceback.print_exc()
            self.line(f'{what}: {type(error).__name__}: {error}', '-', '-', False)
            return None

    def end(self):
        print(f'{self.count - self.failed} of {self.count} held')
        return self.failed
