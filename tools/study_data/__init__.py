"""Tasks for the study of predictors, made from pinned packages: `python -m tools.study_data [--only NAMES] [--out data/broad]`.

It needs a network, the clients npm, pip and apt-get, and the extra `study-data`. Each task becomes `NAME.npz`, which
`benchmarks/broad/` reads, and `NAME.txt` with its licences and packages. docs/broad.md describes the tasks.

Files in reading order:
    packages.py             the packages, pinned by version and checksum
    archives.py             reading their files: tar.gz, wheels, Debian packages, restricted pickles
    svg.py                  drawing SVG, icon collections
    pictures.py             source pictures, and how an image of 48 x 48 pixels is made of one
    division.py             train, val and test without shared source pictures
    animals.py, emoji.py, flags.py, games.py, characters.py, icons.py, textiles.py    the source pictures of the tasks
    recipes.py              one row per task
    files.py                the files that are written
"""
