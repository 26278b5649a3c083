"""Millions of crops on disk, with an index of memory-mapped arrays.

store = open_store("store")             # of build_dataset, or the authors' lmdb/ with keys.pkl
store.image(0), store.index.label[0]    # RGB uint8 (h, w, 3), the noisy identity
"""

from luperson_nl.data.store.authors import crop_key as crop_key
from luperson_nl.data.store.backends import identity_of as identity_of
from luperson_nl.data.store.index import Index as Index
from luperson_nl.data.store.reading import Store as Store
from luperson_nl.data.store.reading import open_store as open_store
