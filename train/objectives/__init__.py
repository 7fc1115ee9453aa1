"""Losses, contrastive learning, distillation and cross-encoders."""
