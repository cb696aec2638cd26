"""Every parity check on the models of reduced width; --full adds Stable Diffusion 1.5's own size.

python tests/parity/run.py [--full] [--trace]
"""
import os
import sys
import time

# small networks: threads that wait for each other cost more than they compute
os.environ.setdefault('OMP_NUM_THREADS', '1' if '--full' not in sys.argv else str(os.cpu_count()))

import warnings

warnings.filterwarnings('ignore')

import check_clip
import check_images
import check_networks
import check_single
import check_tokenizer
import check_training
import models


def main():
    began = time.time()
    failed = check_tokenizer.main() + check_networks.main(models.REDUCED) + check_clip.main(check_clip.REDUCED) + \
        check_training.main([*models.PARTS]) + check_images.main([*models.PARTS, *models.INPAINT]) + \
        check_single.main([*check_single.PARTS])
    if '--full' in sys.argv:
        for check in (check_networks, check_training, check_images):
            failed += check.main(models.FULL)
        failed += check_clip.main(check_clip.FULL)
    print(f'\nparity: {"everything held" if not failed else f"{failed} failed"}, {time.time() - began:.0f} s')
    return failed > 0


if __name__ == '__main__':
    sys.exit(main())
