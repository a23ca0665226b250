"""The tasks of the suite `broad` whose images `python -m tools.study_data` makes from pinned packages."""

from __future__ import annotations

from benchmarks.broad.task import Task

_PIECES = ("king", "queen", "rook", "bishop", "knight", "pawn")
_RANKS = ("ace", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "jack", "queen", "king")


def names(text: str) -> tuple[str, ...]:
    """Return the class names in a text that separates them by commas."""
    return tuple(text.split(", "))


STUDY_DATA: dict[str, Task] = {
    "silhouettes": Task(
        (
            "bear",
            "bird",
            "cat",
            "cow",
            "dog",
            "elephant",
            "giraffe",
            "horse",
            "sheep",
            "zebra",
        ),
        ("a silhouette of a {}.", "the outline of a {}."),
        (4000, 388, 972),
        0,
        "MIT",
        "silhouettes of animals in animal-mnist 0.4, dark on a light ground",
    ),
    "textiles": Task(
        (
            "even",
            "damaged all over",
            "damaged at one spot",
        ),
        ("a photo of a textile that is {}.", "a picture of cloth, {}."),
        (1400, 200, 400),
        0,
        "MIT",
        "simulated pictures of textiles in conformal-clip-data 0.1.4",
    ),
    "flags-europe": Task(
        names(
            "Aland Islands, Albania, Andorra, Austria, Belarus, Belgium, Bosnia and Herzegovina, Bulgaria, Croatia, "
            "Cyprus, Czech Republic, Denmark, Estonia, Faroe Islands, Finland, France, Germany, Gibraltar, Greece, "
            "Guernsey, Holy See, Hungary, Iceland, Ireland, Isle of Man, Italy, Jersey, Latvia, Liechtenstein, Lithuania, "
            "Luxembourg, Malta, Moldova, Monaco, Montenegro, Netherlands, North Macedonia, Norway, Poland, Portugal, "
            "Romania, Russia, San Marino, Serbia, Slovakia, Slovenia, Spain, Sweden, Switzerland, Ukraine, United Kingdom"
        ),
        ("the flag of {}.", "a picture of the flag of {}."),
        (1224, 153, 306),
        306,
        "MIT (flag-icons, Flagpack, Circle Flags), CC-BY-4.0 (EmojiOne), CC-BY-SA-4.0 (OpenMoji), public domain",
        "flags of Europe; train: flag-icons and Flagpack, val: OpenMoji, test: Linux Mint, ood: round flags",
    ),
    "flags-continent": Task(
        (
            "Africa",
            "Asia",
            "Europe",
            "North America",
            "Oceania",
            "South America",
        ),
        ("the flag of a country in {}.", "a flag from {}."),
        (615, 125, 300),
        300,
        "CC0-1.0 (CoreUI), MIT (flag-icons)",
        "CoreUI flags of countries by continent; ood: square flags of flag-icons",
    ),
    "emoji-groups": Task(
        (
            "activities",
            "objects",
            "people",
            "faces and feelings",
            "symbols",
            "places and vehicles",
        ),
        ("an emoji of the group {}.", "an emoji of {}."),
        (2508, 159, 331),
        210,
        "CC-BY-SA-4.0 (OpenMoji), CC-BY-4.0 (EmojiOne)",
        "OpenMoji 17.0.0 by group of Unicode; ood: EmojiOne 2",
    ),
    "emoji-animals": Task(
        names(
            "ant, baby chick, bear, bird, blowfish, boar, bug, camel, cat, chicken, chipmunk, cow, crocodile, dog, "
            "dolphin, dove, dragon, elephant, fish, frog, goat, hamster, honeybee, horse, koala, lady beetle, leopard, "
            "monkey, mouse, octopus, ox, panda, penguin, pig, poodle, rabbit, ram, rat, rooster, snail, snake, spider, "
            "tiger, tropical fish, turtle, water buffalo, whale, wolf"
        ),
        ("an emoji of a {}.", "a drawing of a {}."),
        (576, 144, 288),
        0,
        "CC-BY-SA-4.0 (OpenMoji, EmojiOne 1), Apache-2.0 (Noto Emoji 1), CC-BY-4.0 (EmojiOne 2)",
        "emoji of animals; train: OpenMoji and Noto Emoji 1, val: EmojiOne 1, test: EmojiOne 2",
    ),
    "emoji-food": Task(
        names(
            "baby bottle, banana, beer mug, bento box, birthday cake, bread, candy, cherries, chestnut, chocolate bar, "
            "cocktail glass, cooked rice, cookie, cooking, curry rice, custard, dango, doughnut, ear of corn, eggplant, "
            "fish cake with swirl, fork and knife, french fries, fried shrimp, grapes, green apple, hamburger, honey pot, "
            "hot beverage, hot pepper, ice cream, lemon, lollipop, meat on bone, melon, oden, peach, pear, pineapple, "
            "pizza, pot of food, poultry leg, red apple, rice ball, rice cracker, roasted sweet potato, sake, shaved ice, "
            "shortcake, soft ice cream, spaghetti, steaming bowl, strawberry, sushi, tangerine, teacup without handle, "
            "tomato, tropical drink, watermelon, wine glass"
        ),
        ("an emoji of a {}.", "a drawing of a {}."),
        (1200, 180, 360),
        0,
        "CC-BY-SA-4.0 (OpenMoji, EmojiOne 1), Apache-2.0 (Noto Emoji 1), CC-BY-4.0 (EmojiOne 2)",
        "emoji of food; train: OpenMoji and Noto Emoji 1, val: EmojiOne 1, test: EmojiOne 2",
    ),
    "chess": Task(
        tuple(f"{colour} {piece}" for colour in ("white", "black") for piece in _PIECES),
        ("a chess piece: a {}.", "a {} of a chess set."),
        (900, 192, 360),
        468,
        "GPL-3.0-or-later",
        "chess pieces of PyChess 1.0.3, divided by set; ood: diagram fonts",
    ),
    "cards": Task(
        tuple(f"{rank} of {suit}" for suit in ("clubs", "diamonds", "hearts", "spades") for rank in _RANKS),
        ("a playing card: the {}.", "the {}."),
        (2184, 104, 460),
        312,
        "GPL-3.0-or-later",
        "playing cards of AisleRiot 3.22.23, divided by deck; ood: two decks in a simple style",
    ),
    "scripts": Task(
        names(
            "Latin, Greek, Cyrillic, Arabic, Hebrew, Syriac, Thaana, Armenian, Georgian, Devanagari, Bengali, Gurmukhi, "
            "Gujarati, Oriya, Tamil, Telugu, Kannada, Malayalam, Sinhala, Thai, Lao, Khmer, Burmese, Javanese, Balinese, "
            "Ethiopic, Cherokee, Canadian Aboriginal, Mongolian, Yi, Vai, Coptic, Glagolitic, Tifinagh, Deseret, Runic, "
            "Cuneiform, Egyptian Hieroglyph, Linear B, Old Turkic"
        ),
        ("a letter of the {} script.", "a character in {} writing."),
        (2418, 461, 966),
        500,
        "OFL-1.1",
        "letters of forty scripts in the Noto Sans fonts, divided by letter; ood: Noto Serif fonts",
    ),
    "strokes": Task(
        names(
            "three, four, five, six, seven, eight, nine, ten, eleven, twelve, thirteen, fourteen, fifteen, sixteen, "
            "seventeen, eighteen, nineteen, twenty"
        ),
        ("a Chinese character of {} strokes.", "a character with {} strokes."),
        (6000, 458, 915),
        0,
        "Arphic Public License",
        "Chinese characters of hanzi-writer-data 2.0.1 by number of strokes",
    ),
    "clip-art": Task(
        names(
            "fruit, drink, dessert, meat or egg dish, bread, mammal, bird, bug, fish, flower, vehicle, boat, road sign, "
            "house, musical instrument, sport, toy, party, weapon, piece of clothing, smiley, body part, stick figure, "
            "weather symbol, clock, map symbol, semaphore flag, arrow, jigsaw piece, piece of computer hardware"
        ),
        ("a clip art picture of a {}.", "a drawing of a {}."),
        (1794, 171, 359),
        0,
        "public domain",
        "Open Clip Art 0.18 by category",
    ),
    "desktop-icons": Task(
        (
            "action",
            "application",
            "category",
            "device",
            "emoticon",
            "file type",
            "place",
            "status",
        ),
        ("a desktop icon of a {}.", "an icon for a {}."),
        (1064, 198, 415),
        373,
        "GPL-2.0-or-later (GNOME), public domain (Tango), LGPL-3.0-or-later (Oxygen), GPL-2.0-or-later (elementary)",
        "icons of the GNOME, Tango and Oxygen themes by context, divided by name; ood: the elementary theme",
    ),
    "health-icons": Task(
        names(
            "blood, body part, medical condition, contraceptive, medical device, diagnostic test, emotion, chart, "
            "medication, food, object, person, place, protective equipment, medical specialty, symbol, vehicle, animal "
            "disease"
        ),
        ("a health icon of a {}.", "a medical symbol for a {}."),
        (1664, 157, 329),
        0,
        "MIT",
        "Health Icons 1.2.13 by category; pretraining has seen these drawings with their names",
    ),
}
"""One row per task, by name: the name of the file `<data-root>/broad/NAME.npz`."""
