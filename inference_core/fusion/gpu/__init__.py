"""Triton for GPUs: emitter -> Triton source -> kernel."""
