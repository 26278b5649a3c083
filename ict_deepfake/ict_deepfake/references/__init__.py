"""Reference sets: genuine pictures of known persons, by which ICT-Ref, "who is it?" and claims are answered."""

from ict_deepfake.references.answers import ClaimThreshold, Confusable, Identified, Match, Report
from ict_deepfake.references.hashes import PictureHash, hash_file, near_hash
from ict_deepfake.references.loading import from_published, load_references
from ict_deepfake.references.reference_set import ReferenceSet, check_ending, empty

__all__ = [
    "ClaimThreshold",
    "Confusable",
    "Identified",
    "Match",
    "PictureHash",
    "ReferenceSet",
    "Report",
    "check_ending",
    "empty",
    "from_published",
    "hash_file",
    "load_references",
    "near_hash",
]
