"""From image files to the pixels that an encoder takes."""
