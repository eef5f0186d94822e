"""A classifier from timm, with its weights and labels, and what it answers in torch."""

from build_engines.model.architecture import current_name
from build_engines.model.attention import attentive
from build_engines.model.starting import Start, starting_model
from build_engines.model.timm_model import TimmModel, load_timm_model, register, timm_model_key, weights_sha256
from build_engines.model.torch_answers import torch_answers
