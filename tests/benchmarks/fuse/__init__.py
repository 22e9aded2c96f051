"""`@deepseek_fuse` beside eager PyTorch and torch.compile, on functions of this application and the published one.

`make bench-fuse`. Every engine runs the same plain function on the same tensors, without gradients; results must agree or the run
fails. torch.compile stands at its best for each size: as it comes, with reduce-overhead, and compiled for that size alone.
"""
