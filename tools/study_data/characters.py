"""Letters of forty scripts by script, and Chinese characters by their number of strokes. A letter is in one split."""

from __future__ import annotations

import io
import json
import unicodedata

from PIL import Image, ImageFont

from benchmarks.mini.iconfonts import glyph_mask
from tools.study_data import svg
from tools.study_data.division import Splits, apart, divided, thinned
from tools.study_data.opening import Open, below
from tools.study_data.pictures import Source, mask, squared

# Class: the Noto font without "Noto" and "-Regular.ttf", and how the names of the letters in Unicode begin.
SCRIPTS: dict[str, tuple[str, str]] = {
    "Latin": ("Sans", "LATIN"),
    "Greek": ("Sans", "GREEK"),
    "Cyrillic": ("Sans", "CYRILLIC"),
    "Arabic": ("SansArabic", "ARABIC LETTER"),
    "Hebrew": ("SansHebrew", "HEBREW"),
    "Syriac": ("SansSyriac", "SYRIAC"),
    "Thaana": ("SansThaana", "THAANA"),
    "Armenian": ("SansArmenian", "ARMENIAN"),
    "Georgian": ("SansGeorgian", "GEORGIAN"),
    "Devanagari": ("SansDevanagari", "DEVANAGARI"),
    "Bengali": ("SansBengali", "BENGALI"),
    "Gurmukhi": ("SansGurmukhi", "GURMUKHI"),
    "Gujarati": ("SansGujarati", "GUJARATI"),
    "Oriya": ("SansOriya", "ORIYA"),
    "Tamil": ("SansTamil", "TAMIL"),
    "Telugu": ("SansTelugu", "TELUGU"),
    "Kannada": ("SansKannada", "KANNADA"),
    "Malayalam": ("SansMalayalam", "MALAYALAM"),
    "Sinhala": ("SansSinhala", "SINHALA"),
    "Thai": ("SansThai", "THAI"),
    "Lao": ("SansLao", "LAO"),
    "Khmer": ("SansKhmer", "KHMER"),
    "Burmese": ("SansMyanmar", "MYANMAR"),
    "Javanese": ("SansJavanese", "JAVANESE"),
    "Balinese": ("SansBalinese", "BALINESE"),
    "Ethiopic": ("SansEthiopic", "ETHIOPIC"),
    "Cherokee": ("SansCherokee", "CHEROKEE"),
    "Canadian Aboriginal": ("SansCanadianAboriginal", "CANADIAN"),
    "Mongolian": ("SansMongolian", "MONGOLIAN"),
    "Yi": ("SansYi", "YI"),
    "Vai": ("SansVai", "VAI"),
    "Coptic": ("SansCoptic", "COPTIC"),
    "Glagolitic": ("SansGlagolitic", "GLAGOLITIC"),
    "Tifinagh": ("SansTifinagh", "TIFINAGH"),
    "Deseret": ("SansDeseret", "DESERET"),
    "Runic": ("SansRunic", "RUNIC"),
    "Cuneiform": ("SansCuneiform", "CUNEIFORM"),
    "Egyptian Hieroglyph": ("SansEgyptianHieroglyphs", "EGYPTIAN"),
    "Linear B": ("SansLinearB", "LINEAR B"),
    "Old Turkic": ("SansOldTurkic", "OLD TURKIC"),
}
# The fonts of the out-of-distribution split, with serifs.
_SERIF = (
    *("Latin", "Greek", "Cyrillic", "Armenian", "Georgian", "Devanagari", "Bengali", "Gurmukhi", "Gujarati", "Tamil", "Telugu"),
    *("Kannada", "Malayalam", "Sinhala", "Thai", "Lao", "Khmer", "Burmese", "Balinese", "Ethiopic", "Hebrew"),
)
MOST_LETTERS = 160
"""The most letters of one script."""
_FONT_FOLDER = "usr/share/fonts/truetype/noto"
_FONT_PIXELS = 96

STROKES = range(3, 21)
"""Numbers of strokes that are classes."""
HANZI_TRAIN = 6000
_HANZI_SIDE = 64
# The stroke paths are drawn upwards in a square of 1,024 units whose base line is at 900.
_HANZI_GROUP = '<g transform="scale(1,-1) translate(0,-900)">'


def scripts(open_package: Open) -> Splits:
    """Return letters by script, divided by letter; the two cases of a letter are in one split. Ood: fonts with serifs."""
    fonts = open_package("noto-fonts", below(_FONT_FOLDER, "-Regular.ttf"))
    sources = []
    for label, (font, prefix) in enumerate(SCRIPTS.values()):
        content = fonts[f"{_FONT_FOLDER}/Noto{font}-Regular.ttf"]
        letters = thinned(f"scripts {prefix}", _letters(content, prefix), MOST_LETTERS)
        sources += _glyphs(content, letters, label, prefix)
    splits = divided("scripts", sources)
    ood = []
    for name in _SERIF:
        font, prefix = SCRIPTS[name]
        label = list(SCRIPTS).index(name)
        tested = {source.group for source in splits["test"] if source.label == label}
        content = fonts[f"{_FONT_FOLDER}/Noto{font.replace('Sans', 'Serif')}-Regular.ttf"]
        letters = [letter for letter in _letters(content, prefix) if letter.lower() in tested]
        ood += _glyphs(content, letters, label, f"serif {prefix}")
    return {**splits, "ood": apart(ood, splits)}


def _letters(content: bytes, prefix: str) -> list[str]:
    """Return the letters in a font whose names begin with a prefix, in the order of Unicode."""
    from fontTools.ttLib import TTFont

    letters = map(chr, sorted(TTFont(io.BytesIO(content), lazy=True).getBestCmap()))
    return [
        letter
        for letter in letters
        if unicodedata.category(letter) in ("Lu", "Ll", "Lo") and unicodedata.name(letter, "").startswith(f"{prefix} ")
    ]


def _glyphs(content: bytes, letters: list[str], label: int, key: str) -> list[Source]:
    font = ImageFont.truetype(io.BytesIO(content), _FONT_PIXELS, layout_engine=ImageFont.Layout.BASIC)
    glyphs = [(letter, glyph_mask(font, letter)) for letter in letters]
    return [
        Source(f"{key} U+{ord(letter):04X}", letter.lower(), label, mask(Image.fromarray(glyph)))
        for letter, glyph in glyphs
        if glyph is not None
    ]


def strokes(open_package: Open) -> Splits:
    """Return Chinese characters by their number of strokes, divided at random."""
    files = open_package("hanzi", lambda path: len(path) == len("package/X.json") and path.endswith(".json"))
    sources = []
    for path, content in files.items():
        paths = json.loads(content)["strokes"]
        if len(paths) not in STROKES:
            continue
        body = "".join(f'<path d="{path}"/>' for path in paths)
        picture = svg.picture(svg.svg(f"{_HANZI_GROUP}{body}</g>", 0, 0, 1024, 1024), _HANZI_SIDE)
        square = squared(picture, _HANZI_SIDE) if picture else None
        if square is not None:
            sources.append(Source(path, path, STROKES.index(len(paths)), square))
    splits = divided("strokes", sources, val=0.05, test=0.1)
    return {**splits, "train": thinned("strokes", splits["train"], HANZI_TRAIN)}
