"""What a learnt word is asked for: the cells of the sheet, and the prompts that fill them."""

# (scene, style); the prompt names only what differs from a plain photograph
CELLS = [
  ("white background", "photo"), ("beach", "photo"), ("snow", "photo"), ("meadow", "photo"),
  ("wooden table", "photo"), ("city street", "photo"), ("red background", "photo"),
  ("white background", "oil painting"), ("white background", "pencil drawing"),
  ("white background", "pixel art"), ("white background", "cartoon"),
  ("beach", "oil painting"),
]


def prompt_for(world, cell, word):
  """"an oil painting of S* on the beach"; the white ground goes without saying"""
  scene, style = cell
  place = "" if scene == "white background" else " " + world.scene_phrase[scene]
  return world.style_frame[style].format(word + place)


def without_word(world, cell):
  """the prompt without the word, for text similarity: what the context alone asks for"""
  return prompt_for(world, cell, "").replace("of  ", "of ").strip()


def article(noun):
  return ("an " if noun[0] in "aeiou" else "a ") + noun
