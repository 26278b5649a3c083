"""Millions of crops on disk, with an index of memory-mapped arrays.

store = open_store("store")             # of build_dataset, or the authors' lmdb/ with keys.pkl
store.image(0), store.index.label[0]    # RGB uint8 (h, w, 3), the noisy identity
"""

from luperson_nl.data.store.crops import Crop as Crop
from luperson_nl.data.store.crops import crop_key as crop_key
from luperson_nl.data.store.crops import identity_of as identity_of
from luperson_nl.data.store.index import Index as Index
from luperson_nl.data.store.reading import Store as Store
from luperson_nl.data.store.reading import open_store as open_store
from luperson_nl.data.store.writing import StoreWriter as StoreWriter
from luperson_nl.data.store.writing import create as create
