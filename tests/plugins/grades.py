"""Stars from logits."""

import numpy as np

from vertune.decoders import windows


def decode(records, features, outputs, scale):
    logits = np.array(outputs, np.float64) if len(outputs) else np.empty((0, len(scale)))
    merged = windows.merge(len(records), features, windows.softmax(logits))
    flags = windows.truncated(len(records), features)
    return [
        {"stars": scale[int(row.argmax())], "sure": float(row.max()), "truncated": flag} for row, flag in zip(merged, flags, strict=True)
    ]
