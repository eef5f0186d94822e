"""A classifier from timm, with its weights and labels, and what it answers in torch."""

from build_engines.model.attention import attentive
from build_engines.model.timm_model import TimmModel, load_timm_model, timm_model_key
from build_engines.model.torch_answers import torch_answers
