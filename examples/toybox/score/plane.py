"""The distortion-editability plane as a picture: identity across, editability up."""

from PIL import Image, ImageDraw

WIDTH, HEIGHT, MARGIN = 720, 540, 70
COLOURS = ["#1b6ca8", "#c0392b", "#27864a", "#8e44ad", "#d35400", "#16a085", "#555555"]


def draw(path, points, across="identity", up="editability"):
  """points: list of (name, x, y, group); a group has one colour, names are written beside points"""
  xs, ys = [p[1] for p in points], [p[2] for p in points]

  def limits(values):
    low, high = min(values), max(values)
    pad = max(0.02, 0.12 * (high - low))
    return low - pad, high + pad

  (x0, x1), (y0, y1) = limits(xs), limits(ys)
  image = Image.new("RGB", (WIDTH, HEIGHT), "white")
  d = ImageDraw.Draw(image)

  def place(x, y):
    return (MARGIN + (x - x0) / (x1 - x0) * (WIDTH - 2 * MARGIN),
            HEIGHT - MARGIN - (y - y0) / (y1 - y0) * (HEIGHT - 2 * MARGIN))

  d.rectangle([MARGIN, MARGIN, WIDTH - MARGIN, HEIGHT - MARGIN], outline="#888888")
  for i in range(5):   # + 0.0: no minus before a zero
    x, y = x0 + (x1 - x0) * i / 4, y0 + (y1 - y0) * i / 4
    px, py = place(x, y0)[0], place(x0, y)[1]
    d.line([px, HEIGHT - MARGIN, px, HEIGHT - MARGIN + 5], fill="#888888")
    d.text((px - 12, HEIGHT - MARGIN + 8), f"{round(x, 2) + 0.0:.2f}", fill="black")
    d.line([MARGIN - 5, py, MARGIN, py], fill="#888888")
    d.text((MARGIN - 40, py - 6), f"{round(y, 2) + 0.0:.2f}", fill="black")
  d.text((WIDTH / 2 - 30, HEIGHT - 28), across + " ->", fill="black")
  d.text((12, MARGIN - 30), up + " ^", fill="black")
  groups = list(dict.fromkeys(p[3] for p in points))
  for name, x, y, group in points:
    px, py = place(x, y)
    colour = COLOURS[groups.index(group) % len(COLOURS)]
    d.ellipse([px - 4, py - 4, px + 4, py + 4], fill=colour)
    d.text((px + 7, py - 6), name, fill=colour)
  for i, group in enumerate(groups):
    d.rectangle([MARGIN + 150 * i, 14, MARGIN + 150 * i + 10, 24],
                fill=COLOURS[i % len(COLOURS)])
    d.text((MARGIN + 150 * i + 16, 13), group, fill="black")
  image.save(path)
