"""The numbers of a plan by key, with the words for each."""

from __future__ import annotations

COUNTS = {
    "tasks": "tasks",
    "updates": "updates",
    "training_images": "training images in batches",
    "trained_image_passes": "image passes in updates, forward and backward",
    "update_image_passes": "image passes in updates, forward only (a teacher)",
    "prepared_image_passes": "image passes before the first task (a teacher's reference images)",
    "task_image_passes": "image passes before and after updates (teachers, searches, features of closed forms)",
    "task_trained_image_passes": "the same, forward and backward",
    "measured_image_passes": "image passes of measures",
    "rows": "evaluated rows of the matrix",
    "test_images": "test images of a row",
    "evaluated_image_passes": "image passes of evaluation",
    "timed_image_passes": "image passes to time a test image",
    "trained_texts": "texts in updates, forward and backward",
    "texts": "texts, forward only",
    "evaluated_texts": "texts of evaluation",
    "decoded_for_training": "images decoded for training",
    "decoded_for_tasks": "images decoded for measures, searches and features",
    "decoded_for_cache": "images decoded once, for the cache",
}
DISK = {
    "checkpoint": "largest checkpoint between tasks",
    "within_task": "largest checkpoint within a task",
    "at_most": "checkpoints while it runs, at most",
    "kept": "checkpoints after it",
    "cached_pixels": "cache of decoded pixels",
    "cached_already": "of it there already",
}
MEMORY = {
    "weights": "weights",
    "gradients": "gradients",
    "optimizer": "optimiser's state",
    "method": "the method's state and teacher",
    "kept_features": "kept features of test images",
    "activations": "activations of an update",
    "sum": "sum of these",
    "per_image": "activations of an image",
    "per_text": "activations of a text",
    "peak": "peak of this process after the same steps",
}
SECONDS = {
    "start": "model and lists of data",
    "decoding": "decoding for the cache",
    "training": "training",
    "measures": "measures",
    "evaluation": "evaluation",
    "checkpoints": "checkpoints",
    "total": "total",
}
