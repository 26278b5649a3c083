"""Pictures, folders and videos to rows: which face, where, and the answers to the three questions."""

from ict_deepfake.prediction.claims import Claim as Claim
from ict_deepfake.prediction.claims import make_claim as make_claim
from ict_deepfake.prediction.predictor import Predictor as Predictor
from ict_deepfake.prediction.rows import Face as Face
from ict_deepfake.prediction.rows import Summary as Summary
from ict_deepfake.prediction.rows import summarise as summarise
from ict_deepfake.prediction.rows import write_rows as write_rows
from ict_deepfake.prediction.sources import Shot as Shot
from ict_deepfake.prediction.sources import video_shots as video_shots
