"""`from binding import textinv`: the Python binding, which lies in examples/python."""
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / 'examples/python'))
import textinv  # noqa: E402, F401
