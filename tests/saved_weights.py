"""What is in a file of weights, whatever else HDF5 writes into it."""

import h5py
import numpy as np


def read_weights(path):
    """Name -> array."""
    found = {}

    def take(name, item):
        if isinstance(item, h5py.Dataset):
            found[name] = np.array(item)

    with h5py.File(path) as file:
        file.visititems(take)
    return found
