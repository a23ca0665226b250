"""Domains, and the path from image files to the pixels that an encoder takes.

Files in reading order:
    dataset.py, domain.py           the dataset protocol; `Domain`: images, class names, templates and splits
    sampling.py, shots.py           seeded subsets of a dataset; few-shot training splits
    formats.py, opening.py          the image formats that are read; opening untrusted image files
    depth.py, survey.py             conversion of users' images to 8-bit RGB; one scale per dataset
    images.py, hub_images.py, shard_images.py, byte_range.py    datasets of image files, Hugging Face rows and tar members
    pixels.py, pixel_files.py, cache_folder.py                  the cache of resized images
    progress.py                     the type of progress callbacks

Nothing here imports the packages that use it (`benchmarks.own`, `benchmarks.full`, `benchmarks.mini`, the catalog).
"""
