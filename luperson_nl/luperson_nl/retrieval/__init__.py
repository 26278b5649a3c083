"""Rankings and what is measured of them, streamed."""

from luperson_nl.retrieval.distances import Cosine as Cosine
from luperson_nl.retrieval.distances import nearest as nearest
from luperson_nl.retrieval.expansion import expand as expand
from luperson_nl.retrieval.features import Features as Features
from luperson_nl.retrieval.ranks import Matches as Matches
from luperson_nl.retrieval.ranks import SameCamera as SameCamera
from luperson_nl.retrieval.reassociation import check_frames as check_frames
from luperson_nl.retrieval.reassociation import reassociate as reassociate
from luperson_nl.retrieval.reranking import RerankDistance as RerankDistance
from luperson_nl.retrieval.reranking import Reranked as Reranked
from luperson_nl.retrieval.scores import Protocol as Protocol
from luperson_nl.retrieval.scores import Scores as Scores
from luperson_nl.retrieval.scores import evaluate_retrieval as evaluate_retrieval
from luperson_nl.retrieval.scores import prepare as prepare
from luperson_nl.retrieval.scores import rank_scores as rank_scores
from luperson_nl.retrieval.scores import score as score
