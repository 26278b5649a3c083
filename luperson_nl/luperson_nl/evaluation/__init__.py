"""Evaluating a model, or features that are there already, as a retrieval."""

from luperson_nl.evaluation.given import Given as Given
from luperson_nl.evaluation.given import finish as finish
from luperson_nl.evaluation.given import of_features as of_features
from luperson_nl.evaluation.given import of_model as of_model
from luperson_nl.evaluation.scoring import Options as Options
from luperson_nl.evaluation.scoring import Result as Result
