"""Chess pieces and playing cards: each set of pieces and each deck is in one split."""

from __future__ import annotations

import gzip
import io
from itertools import product

from PIL import Image, ImageFont

from benchmarks.mini.iconfonts import glyph_mask
from tools.study_data import svg
from tools.study_data.archives import Files
from tools.study_data.division import Splits, apart
from tools.study_data.opening import Open, below
from tools.study_data.pictures import Source, mask, squared

PIECES = "kqrbnp"
"""Letters of the pieces in the order of the classes: king, queen, rook, bishop, knight, pawn; white ones first."""
# A set and its variants are in one split.
_SETS_OF_SPLIT = {
    "train": (
        *("ada", "alfonso", "cburnett", "chessicons", "eyes", "fantasy", "fantasy_alt", "freak"),
        *("leipzig", "magnetic", "maya", "merida", "merida_new", "prmi", "skulls"),
    ),
    "val": ("alpha", "celtic", "kosal", "pirat"),
    "test": ("chessmonk", "freestaunton", "kilfiger", "metaltops", "regular", "spatial"),
}
# Diagram fonts, in which letters stand for pieces. Those that repeat a set above are left out.
_FONTS = (
    *("adventurer", "cases", "condal", "harlequin", "kingdom", "line", "lucena"),
    *("maroquin", "mark", "medieval", "millenia", "motif", "usual"),
)
_FONT_LETTERS = "kqrbnplwtvmo"
_SET_FOLDER = "usr/share/pychess/pieces"

# Decks that share drawings are in one split, and decks that repeat another one are left out.
_DECKS_OF_SPLIT = {
    "train": (
        *("ancient_french", "anglo", "anglo_modern", "anglo_modern_4_color", "anglo_poker", "atlasnye", "bellot"),
        *("berlin", "dondorf", "lattmann", "orell", "rheinland", "swiss-xvii", "tigullio"),
    ),
    "val": ("plastic", "slavic_costumes"),
    "test": ("guyenne-classic", "neoclassical", "ornamental", "paris", "tango"),
    "ood": ("simplistic", "tango_nuevo"),
}
_CARD_WIDTH = 96
_RANKS, _SUITS, _ROWS = 13, 4, 5


def chess(open_package: Open) -> Splits:
    """Return the pieces of PyChess's sets, divided by set. Ood: diagram fonts."""
    files = open_package("pychess", below(_SET_FOLDER, ".svg", ".ttf"))
    splits: Splits = {
        split: [source for name in names for source in _pieces(files, name)] for split, names in _SETS_OF_SPLIT.items()
    }
    fonts = [source for name in _FONTS for source in _glyphs(files[f"{_SET_FOLDER}/ttf/{name}.ttf"], name)]
    return {**splits, "ood": apart(fonts, splits)}


def _pieces(files: Files, name: str) -> list[Source]:
    """Return the twelve pieces of a set: twelve files, or one file with six columns, black in the first row."""
    sheet = files.get(f"{_SET_FOLDER}/{name}/{name}.svg")
    sources = []
    whole = svg.picture(sheet.decode(), width=6 * _CARD_WIDTH) if sheet else None
    for label, (colour, piece) in enumerate(product("wb", PIECES)):
        key = f"{name} {colour}{piece}"
        if whole is None:
            sources += svg.sources(files[f"{_SET_FOLDER}/{name}/{colour}{piece}.svg"].decode(), key, label)
            continue
        width, height = whole.width / 6, whole.height / 2
        left, top = PIECES.index(piece) * width, height * (colour == "w")
        square = squared(whole.crop((round(left), round(top), round(left + width), round(top + height))))
        if square is not None:
            sources.append(Source(key, key, label, square))
    return sources


def _glyphs(content: bytes, name: str) -> list[Source]:
    font = ImageFont.truetype(io.BytesIO(content), _CARD_WIDTH, layout_engine=ImageFont.Layout.BASIC)
    glyphs = [(label, glyph_mask(font, letter)) for label, letter in enumerate(_FONT_LETTERS)]
    return [
        Source(f"{name} {label}", f"{name} {label}", label, mask(Image.fromarray(glyph)))
        for label, glyph in glyphs
        if glyph is not None
    ]


def cards(open_package: Open) -> Splits:
    """Return the 52 cards of AisleRiot's decks, divided by deck. Ood: two decks in a simple style."""
    folder = "usr/share/aisleriot/cards"
    files = open_package("cards", below(folder, ".svgz"))
    splits: Splits = {}
    for split, decks in _DECKS_OF_SPLIT.items():
        drawn = [source for deck in decks for source in _cards(files[f"{folder}/{deck}.svgz"], deck)]
        splits[split] = apart(drawn, splits)
    return splits


def _cards(content: bytes, deck: str) -> list[Source]:
    """Return the cards of a deck: 13 columns from ace to king; rows of clubs, diamonds, hearts and spades, and a fifth row."""
    whole = svg.picture(gzip.decompress(content).decode(), width=_RANKS * _CARD_WIDTH)
    if whole is None:
        return []
    height = whole.height / _ROWS
    sources = []
    for label, (suit, rank) in enumerate(product(range(_SUITS), range(_RANKS))):
        box = (rank * _CARD_WIDTH, round(suit * height), (rank + 1) * _CARD_WIDTH, round((suit + 1) * height))
        square = squared(whole.crop(box))
        if square is not None:
            sources.append(Source(f"{deck} {label}", f"{deck} {label}", label, square))
    return sources
