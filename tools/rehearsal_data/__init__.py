"""Made-up data in the real layouts of the papers' datasets, and random weights in the formats of real ones.

`tools/rehearsal.py` writes all of it. The layouts serve the tests too, with other content.

    content         `Content`: classes, numbers of images, how to draw and save one; files that are not images
    pictures        `draw(name, number, size)`: a picture made from a class name
    arrays, folders, other_folders     the layouts: one function per dataset, `layout(root, content)`
    coop            CoOp's JSON files for the images of a layout
    sets            `SETS`: layout, class names and typical sizes of each dataset
    write           `write_set(root, name, settings)`, and the folder with its record
    weights         `write(folder, model)`: random weights
"""
