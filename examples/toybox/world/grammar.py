"""Captions: a small grammar whose frames contain every template of textual inversion."""

# the 27 object templates of the paper's release
OBJECT_TEMPLATES = [
    "a photo of a {}",
    "a rendering of a {}",
    "a cropped photo of the {}",
    "the photo of a {}",
    "a photo of a clean {}",
    "a photo of a dirty {}",
    "a dark photo of the {}",
    "a photo of my {}",
    "a photo of the cool {}",
    "a close-up photo of a {}",
    "a bright photo of the {}",
    "a cropped photo of a {}",
    "a photo of the {}",
    "a good photo of the {}",
    "a photo of one {}",
    "a close-up photo of the {}",
    "a rendition of the {}",
    "a photo of the clean {}",
    "a rendition of a {}",
    "a photo of a nice {}",
    "a good photo of a {}",
    "a photo of the nice {}",
    "a photo of the small {}",
    "a photo of the weird {}",
    "a photo of the large {}",
    "a photo of a cool {}",
    "a photo of a small {}",
]

STYLE_TEMPLATES = [
    "a painting in the style of {}",
    "a rendering in the style of {}",
    "a cropped painting in the style of {}",
    "the painting in the style of {}",
    "a clean painting in the style of {}",
    "a dirty painting in the style of {}",
    "a dark painting in the style of {}",
    "a picture in the style of {}",
    "a cool painting in the style of {}",
    "a close-up painting in the style of {}",
    "a bright painting in the style of {}",
    "a good painting in the style of {}",
    "a rendition in the style of {}",
    "a nice painting in the style of {}",
    "a small painting in the style of {}",
    "a weird painting in the style of {}",
    "a large painting in the style of {}",
]

STYLE_FRAMES = {
    "photo": "a photo of {}",
    "oil painting": "an oil painting of {}",
    "watercolor": "a watercolor painting of {}",
    "pencil drawing": "a pencil drawing of {}",
    "ink drawing": "an ink drawing of {}",
    "cartoon": "a cartoon of {}",
    "pixel art": "pixel art of {}",
    "stained glass": "a stained glass window of {}",
    "pointillist painting": "a pointillist painting of {}",
    "engraving": "an engraving of {}",
    "blueprint": "a blueprint of {}",
    "neon sign": "a neon sign of {}",
    "sepia photo": "a sepia photo of {}",
    "black and white photo": "a black and white photo of {}",
    "chalk drawing": "a chalk drawing of {}",
    "low poly": "a low poly picture of {}",
    "crayon drawing": "a crayon drawing of {}",
    "emoji": "an emoji of {}",
    "flat icon": "a flat icon of {}",
    "line drawing": "a line drawing of {}",
    "woodcut": "a woodcut of {}",
    "pop art": "pop art of {}",
    "cross-stitch": "a cross-stitch of {}",
    "mosaic": "a mosaic of {}",
}

# styles in which a ground's colour cannot be seen
COLOURLESS = {
    "pencil drawing",
    "ink drawing",
    "engraving",
    "blueprint",
    "neon sign",
    "sepia photo",
    "black and white photo",
    "chalk drawing",
}

COLOURS = [
    "red",
    "orange",
    "yellow",
    "green",
    "blue",
    "purple",
    "pink",
    "brown",
    "black",
    "grey",
    "white",
]
PATTERNS = ["", "striped", "checkered", "dotted", "zigzag"]
PLURAL = {
    "shoes",
    "flowers",
    "slippers",
    "headphones",
    "trousers",
    "keys",
    "scissors",
    "glasses",
    "sunglasses",
    "french fries",
    "clothes",
    "scales",
    "pliers",
    "cherries",
    "grapes",
    "jeans",
    "shorts",
    "socks",
    "gloves",
    "books",
    "chopsticks",
    "firewood",
    "bread",
    "milk",
    "soap",
    "corn",
    "cheese",
    "bamboo",
    "steak",
    "bacon",
    "butter",
    "honey",
    "salt",
    "ice",
    "rice",
    "confetti",
    "sushi",
    "roller skates",
    "beans",
    "peanuts",
    "stars",
}

# the word for a kind of thing, said instead of the noun now and then
CLASSES = {
    "toy": {
        "toy animal",
        "robot",
        "toy car",
        "puzzle cube",
        "doll house",
        "ball",
        "duck",
        "rocket",
        "skateboard",
        "slide",
        "swing",
        "toy",
        "balloon",
        "kite",
        "yo yo",
        "game controller",
        "trampoline",
        "football",
        "basketball",
    },
    "animal": {
        "dog",
        "cat",
        "horse",
        "rabbit",
        "chicken",
        "deer",
        "fish",
        "penguin",
        "lion",
        "tiger",
        "elephant",
        "cow",
        "pig",
        "fox",
        "bear",
        "monkey",
        "mouse",
        "sheep",
        "owl",
        "frog",
        "turtle",
    },
    "vehicle": {
        "car",
        "truck",
        "bus",
        "van",
        "bicycle",
        "motorbike",
        "scooter",
        "plane",
        "sailing boat",
        "rowboat",
        "forklift",
        "tractor",
        "train",
        "fire truck",
        "ambulance",
        "helicopter",
        "police car",
        "taxi",
    },
    "furniture": {
        "chair",
        "armchair",
        "table",
        "sofa",
        "bed",
        "desk",
        "bookcase",
        "wardrobe",
        "stool",
        "bench",
        "cabinet",
        "chest of drawers",
        "bedside table",
        "deck chair",
    },
    "machine": {
        "coffee machine",
        "washing machine",
        "microwave",
        "fridge",
        "printer",
        "mixer",
        "toaster",
        "oven",
        "fan",
        "blender",
        "lawn mower",
        "television",
        "water cooler",
        "loudspeaker",
    },
    "plant": {
        "plant",
        "cactus",
        "flowers",
        "flower",
        "tree",
        "palm tree",
        "pine tree",
        "bush",
        "bonsai tree",
        "bamboo",
    },
    "food": {
        "cake",
        "cupcake",
        "hot dog",
        "french fries",
        "bread",
        "steak",
        "birthday cake",
        "ice cream",
        "pizza",
        "apple",
        "banana",
        "cookie",
        "sandwich",
        "taco",
        "roast chicken",
        "apples",
        "fruit bowl",
        "salad bowl",
    },
    "bag": {
        "handbag",
        "suitcase",
        "basket",
        "shopping basket",
        "school backpack",
        "clutch bag",
        "luggage",
        "shopping bags",
    },
}
CLASS_OF = {noun: name for name, nouns in CLASSES.items() for noun in nouns}

SYLLABLES = [
    "ba",
    "do",
    "fe",
    "gu",
    "ka",
    "lo",
    "mi",
    "na",
    "po",
    "ra",
    "su",
    "ti",
    "ve",
    "zo",
    "lin",
    "mor",
    "tan",
    "rek",
]


def article(phrase):
    return "an" if phrase[0] in "aeiou" and not phrase.startswith(("uni", "one", "use")) else "a"


def indefinite(noun, phrase):
    """noun decides whether there is an article, phrase (with its adjectives) which one."""
    return (
        phrase
        if noun in PLURAL or noun.startswith("<") and False
        else f"{article(phrase)} {phrase}"
    )


def fill(template, noun, phrase):
    """Puts a noun phrase into a template, mending "a" before vowels and plurals."""
    for a in ("a {}", "one {}"):
        if template.endswith(" " + a) and noun in PLURAL:
            return template[: -len(a)] + phrase
    if template.endswith(" a {}"):
        return template[:-4] + f"{article(phrase)} {phrase}"
    return template.format(phrase)


def artist_names(count):
    names = []
    n = len(SYLLABLES)
    for i in range(count):
        k = (i * 2654435761) % (n * n * n)
        names.append(SYLLABLES[k % n] + SYLLABLES[k // n % n] + SYLLABLES[k // n // n % n])
    return names


def colour_words(shares, patterns):
    """ "red", "red and white striped" or None, from the shares of the object's rendered pixels."""
    order = sorted(range(len(shares)), key=lambda i: -shares[i])
    first, second = order[0], order[1]
    pattern = max(range(1, len(patterns)), key=lambda i: patterns[i])
    if patterns[pattern] > 0.4 and shares[second] > 0.15:
        return f"{COLOURS[first]} and {COLOURS[second]} {PATTERNS[pattern]}"
    if shares[first] > 0.5:
        return COLOURS[first]
    if shares[first] + shares[second] > 0.75 and shares[second] > 0.25:
        return f"{COLOURS[first]} and {COLOURS[second]}"
    return None
