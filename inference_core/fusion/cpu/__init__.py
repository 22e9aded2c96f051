"""C for the CPU: emitter -> C source -> build -> kernel."""
